"""Figures and the report: tidy tables and opened fields in, Matplotlib figures or one HTML file out.

Nothing here computes a published score, opens a store, imports torch or touches the network.
"""

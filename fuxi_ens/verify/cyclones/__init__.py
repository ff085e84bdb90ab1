"""Tropical cyclones: tracks of all members, their errors against best tracks, strike probability.

Positions are degrees north and east, distances kilometers on a sphere of 6371 km.
"""

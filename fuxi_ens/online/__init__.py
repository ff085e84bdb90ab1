"""Scores that are taken while the forecast runs, with or without its fields on disk."""

"""Painters for files, with matplotlib (never pyplot)."""

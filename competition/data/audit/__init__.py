"""Duplicates, leaks, broken photos."""

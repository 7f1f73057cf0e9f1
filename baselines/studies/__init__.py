"""Grids and searches over trainings, and what they show."""

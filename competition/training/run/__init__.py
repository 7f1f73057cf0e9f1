"""A run's start and its files."""

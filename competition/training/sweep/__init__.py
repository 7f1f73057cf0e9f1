"""Optuna over one fold."""

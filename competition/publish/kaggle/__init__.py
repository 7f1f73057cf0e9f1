"""Kaggle's client: retries, transfers, submissions, standings."""

"""Frozen features and the linear probe."""

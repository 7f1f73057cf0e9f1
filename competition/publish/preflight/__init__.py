"""Traps before a push."""

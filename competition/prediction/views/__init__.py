"""Test-time augmentation: which views, merged how."""

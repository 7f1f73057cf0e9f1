"""From photos to a fitted model."""

"""From a fitted model to a submission."""

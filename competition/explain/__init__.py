"""What the model looked at and what it confuses."""

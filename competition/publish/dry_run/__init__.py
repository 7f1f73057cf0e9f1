"""A simulated Kaggle."""

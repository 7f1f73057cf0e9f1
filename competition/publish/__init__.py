"""Kaggle: kernels built, checked and pushed; submissions sent; nothing leaves the machine unchecked."""

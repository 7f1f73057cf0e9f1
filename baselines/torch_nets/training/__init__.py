"""The PyTorch side of ``fit``."""

"""The Keras side of ``fit``."""

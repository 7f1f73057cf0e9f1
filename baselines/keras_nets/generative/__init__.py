"""Autoencoders and a GAN in Keras."""

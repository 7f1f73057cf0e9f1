"""Autoencoders and a GAN."""

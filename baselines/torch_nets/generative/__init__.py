"""Autoencoders and a GAN in PyTorch."""

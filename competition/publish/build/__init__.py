"""A kernel's folder from its ``kernel.toml``."""

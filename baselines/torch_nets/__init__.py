"""The from-scratch networks in PyTorch, one architecture a file; input float32 (n, c, h, w), output logits."""

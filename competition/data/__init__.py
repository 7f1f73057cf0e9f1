"""Where photos come from, and whether to trust them."""

"""Photos to batches: augment, load, render, normalise."""

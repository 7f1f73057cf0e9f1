"""What a run leaves: its folder, history, metrics, TensorBoard. Every trainer writes through it."""

"""Fine-tuning of one fold after the other."""

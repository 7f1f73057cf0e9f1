"""Train, keep, evaluate: the same for every framework."""

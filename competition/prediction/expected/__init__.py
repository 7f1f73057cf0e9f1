"""A submission beside its run: their relation, the score to expect."""

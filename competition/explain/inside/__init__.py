"""What a layer or a class answers to."""

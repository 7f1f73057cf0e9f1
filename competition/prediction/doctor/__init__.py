"""What is odd about a submission."""

"""What leaves the machine, and what comes back."""

"""Find and create networks, where they run, and how precisely."""

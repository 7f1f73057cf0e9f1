"""Write, check, grade."""

"""Several runs into one."""

"""The machine: command lines, processes, workers, disk."""

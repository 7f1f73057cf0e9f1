"""``python -m baselines`` is the command ``baselines``."""

from baselines.cli import main

main()

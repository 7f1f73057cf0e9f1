"""Logistic regression on frozen features of every backbone at hand.

Command: dogbreed run --recipe probe --data DATA --weights WEIGHTS --run-dir runs/probe
Cost: docs/results/competition.md (minutes on two CPU cores; the features are computed once and kept).
Score: see the same table.
"""

from competition.config import ProbeConfig

CONFIG = ProbeConfig()

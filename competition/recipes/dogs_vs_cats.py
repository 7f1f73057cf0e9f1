"""Dogs against cats by feature extraction: logistic regression on frozen features, no training of the network.

Command: dogbreed run --recipe dogs_vs_cats --data DATA --weights WEIGHTS --run-dir runs/dogs_vs_cats
Cost: see docs/results/transfer.md.
Score: see the same page; the data are class folders, so the score on test/ is printed at the end.
"""

from competition.config import ProbeConfig

CONFIG = ProbeConfig(backbones=("tf_efficientnetv2_b0",))

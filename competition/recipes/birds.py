"""Species of birds, a handful of photos of each: frozen features of two networks, no training of them.

Command: dogbreed run --recipe birds --data DATA --weights WEIGHTS --run-dir runs/birds
Cost: 67 s for 500 photos on one thread of a busy two-core machine (2026-11-20).
Score: 100 species, 5 photos each, out of fold: log loss 0.2911, accuracy 0.9160; docs/results/transfer.md has each
network alone.

With four photos of a species to learn from, a network would learn them by heart; logistic regression on both networks'
features has only its penalty to choose, and chooses it out of fold.
"""

from competition.config import ProbeConfig

CONFIG = ProbeConfig(backbones=("tf_efficientnetv2_b0", "mobilenetv2_100"))

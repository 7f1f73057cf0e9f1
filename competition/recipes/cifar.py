"""CIFAR-10 by fine-tuning: images of 32 pixels, enlarged, through a network that knows photographs.

Command: dogbreed run --recipe cifar --folds 0 --data cifar10-jpeg.zip --weights WEIGHTS --run-dir runs/cifar
Cost: 1 min 53 s for fold 0 on an H200 that other trainings shared (2026-11-20).
Score: fold 0 (2,400 images): log loss 0.3517, accuracy 0.8746; docs/results/transfer.md has the alternatives that were
measured. The data are class folders, so a run prints its score on test/ at the end.
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="tf_efficientnetv2_b0",
    head_from="probe",
    image_size=128,
    freeze_epochs=0,
    epochs=4,
    batch_size=64,
    lr=1e-3,
    head_lr=1e-3,
    layer_decay=0.9,
    smoothing=0.0,
    ema_decay=0.99,
    drop_rate=0.2,
    augment="light",
)

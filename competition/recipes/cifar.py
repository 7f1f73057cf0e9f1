"""CIFAR-10 by fine-tuning: images of 32 pixels, enlarged, through a network that knows photographs.

Command: dogbreed run --recipe cifar --folds 0 --data cifar10-jpeg.zip --weights WEIGHTS --run-dir runs/cifar
Cost: see docs/TRANSFER.md, with the alternatives that were measured.
Score: see the same page; the data are class folders, so the score on test/ is printed at the end.
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="tf_efficientnetv2_b0",
    head_from="probe",
    image_size=128,
    freeze_epochs=0,
    epochs=8,
    batch_size=64,
    lr=1e-3,
    head_lr=1e-3,
    layer_decay=0.9,
    smoothing=0.0,
    ema_decay=0.99,
    drop_rate=0.2,
    augment="light",
)

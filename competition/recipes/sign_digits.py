"""Sign language digits by fine-tuning: photos unlike ImageNet's, so every layer moves, at a higher rate than for dogs.

Command: dogbreed run --recipe sign_digits --folds 0 --data DATA --weights WEIGHTS --run-dir runs/sign_digits
Cost: see docs/results/transfer.md, with the alternatives that were measured.
Score: see the same page; the data are class folders, so the score on test/ is printed at the end.
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="tf_efficientnetv2_b0",
    head_from="probe",
    unfreeze="all",
    image_size=128,
    freeze_epochs=0,
    epochs=10,
    batch_size=32,
    lr=1e-3,
    head_lr=1e-3,
    layer_decay=0.9,
    smoothing=0.0,
    ema_decay=0.99,
    drop_rate=0.2,
    views=("identity",),
)

"""EfficientNetV2-B0 from the probe's head, a few epochs: fine-tuning that two CPU cores finish.

Command: dogbreed train effnetv2_b0_224_cpu --fold 0 --data DATA --weights WEIGHTS --run-dir runs/effnetv2_b0_224_cpu
Cost: 26 min 31 s for one fold with its report on two CPU cores that other programs used too (2026-11-20); 36 photos/s
while they did not.
Score: fold 0, 2,044 photos: log loss 0.2908, accuracy 0.9090 (probe on the same backbone: 0.2983, 0.9022).

The head starts from the linear probe's solution, so no epochs are spent frozen, and the batch norms keep ImageNet's
statistics: batches of 32 photos would estimate them worse, and without their gradient a step is cheaper.
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="tf_efficientnetv2_b0",
    head_from="probe",
    unfreeze="12",
    freeze_norm=True,
    image_size=224,
    freeze_epochs=0,
    epochs=3,
    batch_size=32,
    lr=1e-4,
    head_lr=1e-4,
    layer_decay=0.85,
    warmup_epochs=0.3,
    smoothing=0.0,
    ema_decay=0.998,
    interpolate=(0.3, 0.5, 0.7),
    drop_rate=0.2,
    device="cpu",
)

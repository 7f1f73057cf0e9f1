"""A tiny ResNet from scratch on small pictures: shows on two cores that everything works, and nothing more.

Command: dogbreed run --recipe smoke --data SAMPLE --run-dir runs/smoke   (SAMPLE: see 'dogbreed data sample')
Cost: the five folds took 86 s on one thread of a two-core machine that was busy with other work.
Score: none. The embedded sample is a drawing; its scores say nothing about dogs.
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="test_resnet",
    pretrained=False,
    image_size=64,
    freeze_epochs=0,
    epochs=9,
    batch_size=16,
    lr=3e-3,
    head_lr=3e-3,
    layer_decay=1.0,
    schedule="one_cycle",
    warmup_epochs=2,
    smoothing=0.05,
    ema_decay=0.0,
    workers=0,
    threads=1,
)

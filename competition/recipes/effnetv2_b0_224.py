"""EfficientNetV2-B0 at 224 pixels: the small one, for a GPU with an hour to spare and for trying ideas.

Command: dogbreed run --recipe effnetv2_b0_224 --data DATA --weights WEIGHTS --run-dir runs/effnetv2_b0_224
Cost: not measured yet.
Score: not measured yet.

Pictures grow with the epochs, as the network was trained itself (EfficientNetV2, arXiv:2104.00298).
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="tf_efficientnetv2_b0",
    head_from="probe",
    image_size=224,
    progressive=(160, 192, 224),
    freeze_epochs=0,
    epochs=12,
    batch_size=64,
    lr=4e-4,
    head_lr=4e-4,
    layer_decay=0.8,
    warmup_epochs=1,
    mixup=0.1,
    cutmix=0.5,
    mix_probability=0.5,
    interpolate=(0.3, 0.5, 0.7),
    drop_rate=0.2,
    drop_path_rate=0.1,
    augment="medium",
    needs_gpu=True,
)

"""Swin-Small, pretrained on ImageNet-22k, at 224 pixels.

Command: dogbreed run --recipe swin_small_224 --data DATA --weights WEIGHTS --run-dir runs/swin_small_224
Cost: not measured yet (meant for one 16 GB GPU in a Kaggle session).
Score: not measured yet.

Windows of 7 x 7 tokens (arXiv:2103.14030) need a side that is a multiple of 224: the size stays 224, and so do the
views.
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="swin_small_patch4_window7_224.ms_in22k_ft_in1k",
    head_from="probe",
    image_size=224,
    freeze_epochs=0,
    epochs=8,
    batch_size=32,
    lr=1e-4,
    head_lr=4e-4,
    layer_decay=0.8,
    weight_decay=0.05,
    warmup_epochs=1,
    mixup=0.1,
    cutmix=0.5,
    mix_probability=0.5,
    drop_path_rate=0.2,
    augment="medium",
    needs_gpu=True,
)

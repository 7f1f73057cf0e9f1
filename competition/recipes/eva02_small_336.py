"""EVA-02-Small, pretrained by masked image modelling on ImageNet-22k, at 336 pixels.

Command: dogbreed run --recipe eva02_small_336 --data DATA --weights WEIGHTS --run-dir runs/eva02_small_336
Cost: not measured yet (meant for one 16 GB GPU in a Kaggle session).
Score: not measured yet.

The largest of the recipes by time for a photo: 576 patches of 14 pixels. EVA-02 (arXiv:2303.11331) is fine-tuned with a
low rate and a steep layer decay, as in its paper.
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="eva02_small_patch14_336.mim_in22k_ft_in1k",
    head_from="probe",
    image_size=336,
    freeze_epochs=0,
    epochs=6,
    batch_size=16,
    accumulate=2,
    lr=1e-4,
    head_lr=4e-4,
    layer_decay=0.7,
    weight_decay=0.05,
    warmup_epochs=1,
    mixup=0.1,
    cutmix=0.5,
    mix_probability=0.5,
    drop_path_rate=0.1,
    augment="medium",
    needs_gpu=True,
)

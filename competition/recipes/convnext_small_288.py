"""ConvNeXt-Small, pretrained on ImageNet-12k, at 288 pixels.

Command: dogbreed run --recipe convnext_small_288 --data DATA --weights WEIGHTS --run-dir runs/convnext_small_288
Cost: not measured yet (meant for one 16 GB GPU in a Kaggle session).
Score: not measured yet.

ConvNeXt (arXiv:2201.03545) has layer norms only, so the size of the batch does not matter to it: should 16 photos not
fit, they are split and accumulated. 288 pixels is the size that timm tests these weights at.
"""

from competition.config import TrainConfig

CONFIG = TrainConfig(
    backbone="convnext_small.in12k_ft_in1k",
    head_from="probe",
    image_size=288,
    progressive=(224, 288),
    freeze_epochs=0,
    epochs=8,
    batch_size=16,
    accumulate=2,
    lr=2e-4,
    head_lr=4e-4,
    layer_decay=0.75,
    weight_decay=0.05,
    warmup_epochs=1,
    mixup=0.1,
    cutmix=0.5,
    mix_probability=0.5,
    drop_path_rate=0.2,
    augment="medium",
    needs_gpu=True,
)

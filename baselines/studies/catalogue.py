"""The studies that come ready-made: what courses ask a student to try."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from baselines.studies.study import Study
from competition.errors import UsageError, nearest

# Small enough for a laptop: 4,000 of MNIST's images and a few epochs separate most settings by more than the seeds do.
_SMALL: Mapping[str, Any] = {"dataset": "mnist", "train_images": 4000}
# A GoogLeNet takes three thousand times the arithmetic of a LeNet: small images, and few, or a CPU is busy for hours.
_LARGE_NETWORKS: Mapping[str, Any] = {
    "dataset": "fashion-mnist",
    "train_images": 1000,
    "test_images": 1000,
    "image_size": 16,
    "seeds": (0, 1),
}


def _studies() -> dict[str, Study]:
    architectures = (
        *("mlp", "lenet5_relu", "alexnet_small", "vgg11_small"),
        *("vgg11_bn_small", "googlenet_small", "resnet8", "xception_small"),
    )
    studies = (
        Study(
            "lenet-variants",
            "LeNet-5: tanh or ReLU, average or max pooling",
            grid={"activation": ("tanh", "relu"), "pooling": ("average", "max")},
            fixed={"epochs": 4, "lr": 2e-3},
            **_SMALL,
        ),
        Study(
            "batch-size",
            "Batches of 32, 128 and 512, at one rate and at a rate that grows with the batch",
            variants=(
                {"batch_size": 128, "lr": 0.02},
                {"batch_size": 32, "lr": 0.02},
                {"batch_size": 512, "lr": 0.02},
                {"batch_size": 32, "lr": 0.005},
                {"batch_size": 512, "lr": 0.08},
            ),
            fixed={"epochs": 4, "optimiser": "nesterov"},
            **_SMALL,
        ),
        Study(
            "learning-rate",
            "Rates of AdamW from too small to too large",
            grid={"lr": (1e-3, 1e-4, 3e-4, 3e-3, 1e-2, 3e-2)},
            fixed={"epochs": 4},
            **_SMALL,
        ),
        Study(
            "optimisers",
            "SGD, momentum, Nesterov, Adam, AdamW and RMSprop, each at its usual rate",
            grid={"optimiser": ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop")},
            fixed={"epochs": 4},
            **_SMALL,
        ),
        Study(
            "regularisation",
            "What keeps LeNet-5 from learning 1,000 images by heart",
            variants=(
                {},
                {"l2": 1e-3},
                {"l1": 1e-4},
                {"weight_decay": 0.5},
                {"dropout": 0.5},
                {"batch_norm": True},
                {"smoothing": 0.1},
                {"augment": ("crop",)},
            ),
            fixed={"epochs": 12, "lr": 2e-3, "activation": "relu", "pooling": "max", "init": "he"},
            dataset="mnist",
            train_images=1000,
        ),
        Study(
            "initialisation",
            "Four ways to draw the first weights, with tanh and with ReLU",
            grid={"activation": ("tanh", "relu"), "init": ("xavier", "he", "lenet", "alexnet")},
            fixed={"epochs": 3, "optimiser": "nesterov", "lr": 0.02},
            **_SMALL,
        ),
        Study(
            "epochs",
            "Learning longer: 500 images, up to 60 epochs, no regularisation",
            grid={"epochs": (5, 2, 15, 60)},
            fixed={"lr": 2e-3, "schedule": "constant"},
            dataset="mnist",
            train_images=500,
        ),
        Study(
            "architectures",
            "AlexNet, VGG, GoogLeNet, ResNet, Xception and an MLP, the same number of epochs",
            grid={"model": architectures},
            fixed={"epochs": 4, "batch_size": 32},
            **_LARGE_NETWORKS,
        ),
        Study(
            "architectures-in-time",
            "The same networks, the same number of seconds",
            grid={"model": architectures},
            fixed={"batch_size": 32},
            seconds=20,
            **_LARGE_NETWORKS,
        ),
        Study(
            "googlenet",
            "Why a GoogLeNet stays near chance: auxiliary heads, the optimiser, batch norm and how long it remembers",
            variants=(
                {"batch_norm": False, "optimiser": "momentum", "lr": 0.01},
                {"batch_norm": False, "optimiser": "momentum", "lr": 0.01, "aux_heads": True},
                {"batch_norm": False, "optimiser": "adamw", "lr": 1e-3},
                {"batch_norm": True, "optimiser": "momentum", "lr": 0.01},
                {"batch_norm": True, "optimiser": "momentum", "lr": 0.01, "bn_momentum": 0.99},
            ),
            model="googlenet_small",
            fixed={"epochs": 4, "batch_size": 32},
            **_LARGE_NETWORKS,
        ),
    )
    return {study.name: study for study in studies}


STUDIES: Mapping[str, Study] = _studies()


def find_study(name: str, **changes: Any) -> Study:
    """Return a ready-made study, perhaps with other seeds, model, framework, data or number of images.

    Args:
        name: a key of ``STUDIES``.
        changes: attributes of :class:`Study`; ``fixed`` is merged into the study's own.

    Raises:
        UsageError: there is none of that name, or a change is impossible.
    """
    if name not in STUDIES:
        raise UsageError(f"unknown study '{name}'{nearest(name, STUDIES)} Known: {', '.join(STUDIES)}, custom")
    study = STUDIES[name]
    fixed = {**study.fixed, **changes.pop("fixed", {})}
    return dataclasses.replace(study, fixed=fixed, **changes)

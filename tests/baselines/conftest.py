"""Pairs of models in both frameworks, and quiet ones."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both frameworks start every test from the same seed; what a test built in Keras is forgotten after it."""
    import torch

    torch.manual_seed(0)
    if "keras_installed" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("keras_installed")
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session(free_memory=True)


@pytest.fixture(scope="session")
def keras_installed() -> Iterator[None]:
    """Tests of both frameworks are skipped where Keras or TensorFlow is missing."""
    import baselines.keras_nets  # noqa: F401 - must come before TensorFlow, see there

    pytest.importorskip("tensorflow")
    pytest.importorskip("keras")
    pytest.importorskip("torchvision")
    gc.freeze()  # the collection after every test then looks at that test's models, not at the frameworks
    yield
    gc.unfreeze()  # else the bindings of Triton report themselves as leaked at the end

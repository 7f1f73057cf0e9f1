"""Pairs of models in both frameworks, and quiet ones."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Both frameworks start every test from the same seed; what a test built in Keras is forgotten after it."""
    import sys

    import torch

    torch.manual_seed(0)
    if "keras" in sys.modules:
        import keras

        keras.utils.set_random_seed(0)
    yield
    if "keras" in sys.modules:
        import keras

        keras.utils.clear_session(free_memory=True)


@pytest.fixture(scope="session")
def keras_installed() -> None:
    """Tests of both frameworks are skipped where Keras or TensorFlow is missing."""
    pytest.importorskip("baselines.keras_nets")
    pytest.importorskip("tensorflow")
    pytest.importorskip("keras")

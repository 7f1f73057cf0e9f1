"""The same weights in PyTorch and in Keras give the same maps, for every registered baseline network.

One network of each family runs with the suite; all of them with

    pytest -m slow tests/explain/networks/test_protocol_parity.py
"""

from __future__ import annotations

import numpy as np
import pytest

from baselines.registry import MODELS
from competition.errors import UsageError
from competition.explain.maps.attribution import integrated_gradients
from competition.explain.maps.cam import cam
from competition.explain.networks.protocol import Backend, class_target
from tests.baselines.conftest import _seeded, keras_installed  # noqa: F401
from tests.baselines.pairs import narrow, pair, size_for

QUICK = (
    "mlp",
    "lenet5",
    "lenet5_published",
    "alexnet_small",
    "vgg11_bn_small",
    "googlenet_small",
    "resnet8",
    "xception_small",
)
CLASSES = tuple("abcdefghij")
TOLERANCE = 2e-3  # of maps in [0, 1]


def both(name: str) -> tuple[Backend, Backend]:
    """The network in both frameworks behind the protocol, with the same weights."""
    from competition.explain.networks.keras_backend import KerasBackend
    from competition.explain.networks.torch_backend import TorchBackend

    entry = MODELS[name]
    side, channels = 16 if entry.min_size < 16 else size_for(name), entry.in_channels
    ours, theirs = pair(name, side, **narrow(name))
    facts = (CLASSES, (0.4,) * channels, (0.3,) * channels, (side, side, channels))
    return TorchBackend(ours, *facts), KerasBackend(theirs, *facts)


@pytest.mark.usefixtures("keras_installed")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_maps_agree(name: str) -> None:
    ours, theirs = both(name)
    photos = np.random.default_rng(0).random((2, *ours.input_shape), dtype=np.float32)
    target = class_target(CLASSES, ["c", "h"])
    assert np.allclose(ours.logits(photos), theirs.logits(photos), atol=1e-3, rtol=1e-3)
    _integrated_gradients_agree(ours, theirs, photos)
    if name == "mlp":
        for backend in (ours, theirs):
            with pytest.raises(UsageError, match="no layer that is a map"):
                backend.last_spatial_layer()
        return
    layer = theirs.last_spatial_layer()
    assert ours.last_spatial_layer() == layer
    drawn = 0
    for method in ("gradcam", "gradcam++", "layercam"):
        mine, other = (cam(backend, photos, target, method, layer) for backend in (ours, theirs))
        assert np.abs(mine - other).max() < TOLERANCE, method
        drawn += bool(mine.max() > 0.5)
    assert drawn >= 2  # two blank maps would agree whatever was wrong


def _integrated_gradients_agree(ours: Backend, theirs: Backend, photos: np.ndarray) -> None:
    target = class_target(CLASSES, ["c", "h"])
    mine, other = (integrated_gradients(backend, photos, target) for backend in (ours, theirs))
    assert np.abs(mine).max() > 0
    # In the mean square: where two values of a max pooling are nearly equal, the frameworks may pick different ones.
    assert np.linalg.norm(mine - other) < 0.005 * np.linalg.norm(mine)

"""Class activation maps: the NumPy code equals the ``grad-cam`` package, and what can be worked out by hand."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

from competition.errors import UsageError
from competition.explain.maps.cam import METHODS, cam, finer_target, spread
from competition.explain.networks.grad_cam_package import package
from competition.explain.networks.protocol import Target, class_target, contrast_target
from tests.explain.nets import CLASSES, images, small, zoo
from tests.explain.package_maps import CASES, sample, stored

TARGET = class_target(CLASSES, ["pug", "chow"])
STORED = stored()


@pytest.mark.parametrize("name", [name for name in CASES if name != "score"])
def test_maps_equal_the_packages(name: str) -> None:
    """Kept values of the package everywhere, and the package itself, in full, where it is installed."""
    case, wanted = CASES[name](), np.array(STORED[name])
    assert wanted.max() > 0.5  # blank maps would be equal too
    found = case.kit("numpy")
    assert np.allclose(sample(found), wanted, atol=2e-4)
    if package() is not None:
        assert np.allclose(case.package(), found, atol=1e-3 if name == "eigen" else 2e-4)
        if name != "eigen":
            assert np.allclose(case.kit("grad-cam"), found, atol=2e-4)
    assert np.allclose(case.kit("auto"), found, atol=2e-4)


def test_score_cam_equals_the_packages() -> None:
    case, wanted = CASES["score"](), np.array(STORED["score"])
    found = case.kit("auto")
    # The package enlarges the masks with aligned corners, OpenCV (as the package does for its maps) without.
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.995
    if package() is not None:
        assert np.allclose(case.package(), wanted, atol=2e-4)


def test_a_contrast_is_what_finer_cam_calls_it() -> None:
    backend = zoo("resnet")
    photos = images(backend)
    contrast = contrast_target(CLASSES, ["pug", "chow"], ["lakeland_terrier", "wire-haired_fox_terrier"], 0.8)
    assert np.array_equal(
        cam(backend, photos, contrast, "finercam", "layer4"), cam(backend, photos, contrast, layer="layer4")
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [("pytorch_grad_cam", "grad-cam is not installed"), ("ttach", "cannot be imported (")],
)
def test_without_the_package_the_kits_own_engine_makes_the_maps_and_says_so_once(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] in ("pytorch_grad_cam", name)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    if name != "pytorch_grad_cam" and importlib.util.find_spec("pytorch_grad_cam") is None:
        said = "grad-cam is not installed"
    package.cache_clear()
    try:
        backend = small()
        photos = images(backend)
        maps = [cam(backend, photos, TARGET, layer="conv2") for _ in range(2)]
        assert capsys.readouterr().err.count(said) == 1
        assert np.array_equal(maps[0], cam(backend, photos, TARGET, layer="conv2", engine="numpy"))
        assert not backend.package_serves("gradcam", "conv2")
        with pytest.raises(UsageError, match="is not installed or does not serve 'gradcam'"):
            cam(backend, photos, TARGET, layer="conv2", engine="grad-cam")
    finally:
        package.cache_clear()


def test_the_most_similar_classes_are_subtracted_by_their_probability() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]], dtype=np.float32))
    found = finer_target(logits, class_target(CLASSES, ["chow"]), others=2, alpha=0.9)
    assert found.weights[0] == pytest.approx([1, -0.9 * 0.3 / 0.45, -0.9 * 0.15 / 0.45, 0])


def test_of_a_mean_and_a_linear_layer_grad_cam_is_the_class_activation_map() -> None:
    """Zhou et al. (2016): the class's weights over the last map; HiResCAM is the same there."""
    backend = small()
    photos = images(backend)
    weight = backend.model.fc.weight.detach().numpy()[[2, 0]]
    wanted = spread(np.einsum("nhwc,nc->nhw", backend.activations(photos, "relu"), weight), (12, 12))
    for method in ("gradcam", "hirescam"):
        assert np.allclose(cam(backend, photos, TARGET, method, "relu"), wanted, atol=1e-5)


def test_a_module_called_twice_is_seen_at_its_last_call() -> None:
    backend = small()
    assert not backend.package_serves("gradcam", "relu")
    assert backend.package_serves("gradcam", "conv2") is (package() is not None)
    assert backend.last_spatial_layer() == "relu"
    with pytest.raises(UsageError, match="engine='numpy'"):
        cam(backend, images(backend), TARGET, layer="relu", engine="grad-cam")


def test_batches_and_several_layers() -> None:
    backend = small()
    photos = images(backend, 5)
    target = class_target(CLASSES, [0, 1, 2, 3, 0])
    whole = cam(backend, photos, target, "layercam", "conv2")
    assert np.allclose(cam(backend, photos, target, "layercam", "conv2", batch_size=2), whole, atol=1e-6)
    both = cam(backend, photos, target, "layercam", ["conv1", "conv2"])
    assert np.allclose(
        both, spread((whole + cam(backend, photos, target, "layercam", "conv1")) / 2, (12, 12)), atol=1e-6
    )
    assert cam(backend, photos[:0], target[:0]).shape == (0, 12, 12)


def test_where_nothing_speaks_for_the_target_the_map_is_blank() -> None:
    backend = small()
    with torch.no_grad():
        backend.model.fc.weight[2] = -1.0
    assert not cam(backend, images(backend), class_target(CLASSES, [2, 2]), layer="relu").any()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map(method: str) -> None:
    backend = small()
    maps = cam(backend, images(backend), TARGET, method)
    assert maps.shape == (2, 12, 12)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert 0.99 < maps.max() <= 1


def test_wrong_words() -> None:
    backend = small()
    with pytest.raises(UsageError, match="unknown method 'gradcan' - did you mean 'gradcam'"):
        cam(backend, images(backend), TARGET, "gradcan")
    with pytest.raises(UsageError, match="unknown engine 'torch'"):
        cam(backend, images(backend), TARGET, engine="torch")
    with pytest.raises(UsageError, match="a target of shape"):
        cam(backend, images(backend), Target(np.ones((1, 4))))

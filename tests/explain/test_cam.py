"""Class activation maps: the NumPy code equals the ``grad-cam`` package, and what can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction

from competition.errors import UsageError
from competition.explain.backend import Target, class_target, contrast_target
from competition.explain.cam import METHODS, cam, finer_target, spread
from competition.explain.torch_backend import TorchBackend
from tests.explain.nets import CLASSES, MEAN, STD, SmallBackend, images, small, zoo

TARGET = class_target(CLASSES, ["pug", "chow"])
PACKAGE = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
}


def by_hand(
    backend: TorchBackend, photos: np.ndarray, kind: Any, layer: str, targets: list[Any], reshape: Any
) -> np.ndarray:
    """The package used the way its README says, with a normalised tensor and a reshape written for this one model."""
    normalised = (photos - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    tensor = torch.from_numpy(normalised.transpose(0, 3, 1, 2).copy())
    with kind(backend.model, [backend.model.get_submodule(layer)], reshape) as engine:
        maps: np.ndarray = engine(tensor, targets)
    return maps


def vit_reshape(tokens: torch.Tensor) -> torch.Tensor:
    """48 x 80 pixels in patches of 16: 3 x 5, after one class token."""
    return tokens[:, 1:].reshape(len(tokens), 3, 5, -1).permute(0, 3, 1, 2)


def swin_reshape(maps: torch.Tensor) -> torch.Tensor:
    """Channels last."""
    return maps.permute(0, 3, 1, 2)


@pytest.mark.parametrize("method", PACKAGE)
@pytest.mark.parametrize(
    ("name", "layer", "reshape"),
    [
        ("resnet", "layer4", None),
        ("vit", "blocks.1.norm1", vit_reshape),
        ("swin", "layers.1.blocks.0.norm1", swin_reshape),
    ],
)
def test_maps_equal_the_packages(name: str, layer: str, reshape: Any, method: str) -> None:
    backend = zoo(name)
    photos = images(backend)
    targets = [ClassifierOutputTarget(2), ClassifierOutputTarget(0)]
    wanted = by_hand(backend, photos, PACKAGE[method], layer, targets, reshape)
    assert wanted.max() > 0.5  # blank maps would be equal too
    for engine in ("numpy", "grad-cam"):
        assert np.allclose(cam(backend, photos, TARGET, method, layer, engine=engine), wanted, atol=2e-4), engine


def test_score_cam_equals_the_packages() -> None:
    backend = small()
    photos = images(backend)
    # The package multiplies the normalised image by the mask, this kit the image in [0, 1]: no normalisation here.
    backend = SmallBackend(backend.model, CLASSES, (0.0,) * 3, (1.0,) * 3, backend.input_shape)
    tensor = torch.from_numpy(photos.transpose(0, 3, 1, 2).copy())
    with pytorch_grad_cam.ScoreCAM(backend.model, [backend.model.conv1]) as engine:
        backend.model.relu.inplace = False  # else the package sees the map after the ReLU
        wanted = engine(tensor, [ClassifierOutputTarget(2), ClassifierOutputTarget(0)])
    found = cam(backend, photos, TARGET, "scorecam", "conv1")
    # The package enlarges the masks with aligned corners, OpenCV (as the package does for its maps) without.
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.995


def test_eigen_cam_equals_the_packages_sign_corrected_projection() -> None:
    backend = zoo("resnet")
    photos = images(backend)
    found = backend.activations(photos, "layer3")
    wanted = get_2d_projection_with_sign_correction(found.transpose(0, 3, 1, 2))
    assert np.allclose(cam(backend, photos, TARGET, "eigencam", "layer3"), spread(wanted, (64, 64)), atol=1e-3)


def test_a_contrast_equals_the_packages_finer_cam() -> None:
    backend = zoo("resnet")
    photos = images(backend)
    targets = [FinerWeightedTarget(2, [1], 0.8), FinerWeightedTarget(0, [3], 0.8)]
    wanted = by_hand(backend, photos, pytorch_grad_cam.GradCAM, "layer4", targets, None)
    contrast = contrast_target(CLASSES, ["pug", "chow"], ["lakeland_terrier", "wire-haired_fox_terrier"], 0.8)
    assert np.allclose(cam(backend, photos, contrast, layer="layer4"), wanted, atol=1e-3)
    assert np.array_equal(
        cam(backend, photos, contrast, "finercam", "layer4"), cam(backend, photos, contrast, layer="layer4")
    )


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
    assert backend.package_serves("gradcam", "conv2")
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

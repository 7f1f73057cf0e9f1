"""Networks of runs: a probe opened as one network says what the run's own prediction says, and so does a fold."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from competition.config import ProbeConfig, TrainConfig
from competition.data.photos.decode import read_photo
from competition.data.source.competition_data import Photo
from competition.errors import KitError, ResumeError, UsageError
from competition.explain.maps.cam import cam
from competition.explain.networks.open_run import open_backend
from competition.explain.networks.protocol import class_target
from competition.record.metrics import softmax
from competition.record.run_dir import RunDir
from competition.training.backbones.create import create_model, save_weights
from competition.training.backbones.find import BackboneRef, find_backbones
from competition.training.finetune import predict_run
from competition.training.probe import run as probe_run
from competition.training.probe.linear_probe import Design, Fitted, Matrix, Probe, designs
from competition.types import Predictions
from tests.training.conftest import save_local_dir

CLASSES = ("chow", "lakeland_terrier", "pug")
CONFIG = ProbeConfig(views=("identity", "hflip"), precision="float32", device="cpu", workers=0, imagenet_prior=False)
DESIGNS = {item.name: item for item in designs(["one", "two"], CONFIG.views, "concat")} | {
    item.name: item for item in designs(["one", "two"], CONFIG.views, "average")
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backbones of different kinds; the second sees smaller images."""
    folder = tmp_path_factory.mktemp("weights")
    save_local_dir(folder / "one", "test_resnet", seed=1, size=64)
    save_local_dir(folder / "two", "test_efficientnet", seed=2, size=64)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    """Two smooth photos that are no squares."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    found = []
    for number in range(2):
        blocks = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        path = folder / f"{number}.png"
        blocks.resize((120, 90), Image.Resampling.BICUBIC).save(path)
        found.append(Photo(str(number), path))
    return found


def make_probe(folder: Path, backbones: Sequence[BackboneRef], design: Design, config: ProbeConfig = CONFIG) -> RunDir:
    """A run folder as ``fit_probe`` leaves it, with drawn heads of two folds."""
    run = RunDir(folder)
    run.open(config, "data")
    rng = np.random.default_rng(0)
    width = {ref.name: ref.num_features for ref in backbones}

    def head(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
        rows = sum(width[group[0].split("/")[0]] for group in matrix.groups)
        return rng.normal(size=(rows, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)

    fitted = tuple(
        Fitted(0.1, 1.5 + number, (head(matrix), head(matrix)), np.zeros((1, 3)), ())
        for number, matrix in enumerate(design.matrices)
    )
    probe_run.write_heads(run, Probe(design, fitted, ()), backbones, config, CLASSES)
    return run


@pytest.mark.parametrize("name", DESIGNS)
def test_a_probe_is_one_network(name: str, weights: Path, photos: list[Photo], tmp_path: Path) -> None:
    """For a photo that is its own mirror image both views are the same, so one view must give the run's prediction."""
    mirrored = []
    for photo in photos:
        half = read_photo(photo.path)[:, :60]
        path = tmp_path / f"{photo.id}.png"
        Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1)).save(path)
        mirrored.append(Photo(photo.id, path))
    run = make_probe(tmp_path / "run", find_backbones((), weights), DESIGNS[name])
    wanted = probe_run.predict_photos(run, CONFIG, mirrored, weights)[1].probabilities
    backend = open_backend(run.path, fold=1, weights=weights, device="cpu")
    images = np.stack([backend.prepare(read_photo(photo.path)) for photo in mirrored])
    assert softmax(backend.logits(images)) == pytest.approx(wanted, abs=2e-4)
    assert wanted.max() < 0.9999  # probabilities of 0 and 1 would agree too easily
    assert backend.classes == CLASSES
    assert backend.embed(images).shape == (2, sum(ref.num_features for ref in find_backbones((), weights)))


def test_the_maps_of_both_backbones_are_seen_together(weights: Path, photos: list[Photo], tmp_path: Path) -> None:
    """At ``joined`` Grad-CAM adds what each backbone's map gives by itself."""
    run = make_probe(tmp_path / "run", find_backbones((), weights), next(iter(DESIGNS.values())))
    backend = open_backend(run.path, fold=0, weights=weights, device="cpu")
    assert backend.last_spatial_layer() == "joined"
    images = np.stack([backend.prepare(read_photo(photo.path)) for photo in photos])
    target = class_target(CLASSES, ["pug", "chow"])
    found, gradient = backend.layer_gradients(images, "joined", target)
    at = 0
    for name in ("one", "two"):
        alone = open_backend(run.path, fold=0, backbone=name, weights=weights, device="cpu")
        maps, slopes = alone.layer_gradients(images, alone.last_spatial_layer(), target)
        here = slice(at, at + maps.shape[3])
        at = here.stop
        assert np.allclose(found[..., here], maps, atol=1e-4)
        assert np.allclose(gradient[..., here], slopes, atol=1e-5)
    assert at == found.shape[3]
    assert np.abs(gradient).max() > 0.001


def test_backbones_of_other_sizes_share_the_image(tmp_path: Path, photos: list[Photo]) -> None:
    save_local_dir(tmp_path / "weights" / "one", "test_resnet", seed=1, size=64)
    save_local_dir(tmp_path / "weights" / "two", "test_vit", seed=2, size=160)
    backbones = find_backbones((), tmp_path / "weights")
    run = make_probe(tmp_path / "run", backbones, next(iter(DESIGNS.values())))
    backend = open_backend(run.path, weights=tmp_path / "weights", device="cpu")
    assert backend.input_shape == (160, 160, 3)
    images = np.stack([backend.prepare(read_photo(photo.path)) for photo in photos])
    shapes = {layer.name: layer.shape for layer in backend.layers() if layer.spatial}
    assert shapes["two.model.patch_embed"][:2] == (10, 10)
    assert shapes["one.model.layer4"][:2] == (2, 2)
    target = class_target(CLASSES, ["pug", "chow"])
    for layer in ("one.model.layer4", "two.model.norm", backend.last_spatial_layer()):
        assert cam(backend, images, target, "layercam", layer).shape == (2, 160, 160)


def test_without_a_fold_the_mean_head_answers(weights: Path, photos: list[Photo], tmp_path: Path) -> None:
    run = make_probe(tmp_path / "run", find_backbones((), weights), next(iter(DESIGNS.values())))
    mean, *folds = (open_backend(run.path, fold=fold, weights=weights, device="cpu") for fold in (None, 0, 1))
    images = np.stack([mean.prepare(read_photo(photo.path)) for photo in photos])
    wanted = np.mean([backend.logits(images) for backend in folds], axis=0)
    assert mean.logits(images) == pytest.approx(wanted, abs=1e-3)


def test_a_fine_tuned_fold_is_opened_as_it_predicts(weights: Path, photos: list[Photo], tmp_path: Path) -> None:
    config = TrainConfig(
        backbone="one",
        pretrained=False,
        image_size=96,
        views=("identity",),
        precision="float32",
        device="cpu",
        workers=0,
    )
    run = RunDir(tmp_path)
    run.open(config, "data")
    (ref,) = find_backbones(["one"], weights)
    for fold in (0, 2):
        torch.manual_seed(fold)
        save_weights(create_model(ref, 3, pretrained=False), run.fold(fold) / "model.safetensors")
    Predictions(("0",), CLASSES, np.full((1, 3), 1 / 3)).save(run / "oof.npz")
    wanted = list(predict_run.predict_by_view(run, config, photos, ["identity"], weights))
    for fold, logits in zip((0, 2), wanted, strict=True):
        backend = open_backend(tmp_path, fold=fold, weights=weights, device="cpu")
        images = np.stack([backend.prepare(read_photo(photo.path)) for photo in photos])
        assert images.shape == (2, 96, 96, 3)
        assert backend.logits(images) == pytest.approx(logits[0], abs=1e-4)
    first = open_backend(tmp_path, weights=weights, device="cpu")
    assert first.logits(images) == pytest.approx(wanted[0][0], abs=1e-4)
    with pytest.raises(UsageError, match="no network of fold 1; it has: 0, 2"):
        open_backend(tmp_path, fold=1, weights=weights)
    with pytest.raises(UsageError, match="fine-tuned 'one', not 'two'"):
        open_backend(tmp_path, backbone="two", weights=weights)


def test_what_cannot_be_opened_is_named(weights: Path, tmp_path: Path) -> None:
    run = make_probe(tmp_path / "run", find_backbones((), weights), next(iter(DESIGNS.values())))
    with pytest.raises(UsageError, match=r"no backbone 'on' - did you mean 'one'\? Known: one, two"):
        open_backend(run.path, backbone="on", weights=weights)
    with pytest.raises(UsageError, match="no network of fold 7; it has: 0, 1"):
        open_backend(run.path, fold=7, weights=weights)
    with pytest.raises(ResumeError, match="is not a run folder"):
        open_backend(tmp_path, weights=weights)
    unfinished = RunDir(tmp_path / "unfinished")
    unfinished.open(CONFIG, "data")
    with pytest.raises(ResumeError, match="holds no fitted probe"):
        open_backend(unfinished.path, weights=weights)
    blend = RunDir(tmp_path / "blend")
    (tmp_path / "blend").mkdir()
    (tmp_path / "blend" / "config.json").write_text('{"engine": "BlendConfig"}')
    blend.update_manifest(member_paths=["../run"])
    named = re.escape(f"no networks of its own: explain one of its members, {tmp_path / 'run'}")
    with pytest.raises(KitError, match=named):
        open_backend(blend.path, weights=weights)
    other = dataclasses.replace(find_backbones(["one"], weights)[0], digest="of something else")
    strange = make_probe(tmp_path / "strange", [other], designs(["one"], ("identity",), "auto")[0])
    with pytest.raises(ResumeError, match="one holds other weights than those"):
        open_backend(strange.path, weights=weights)

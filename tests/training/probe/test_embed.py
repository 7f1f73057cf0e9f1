"""Features are the backbone's own, computed once, and the same after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from competition.config import ProbeConfig
from competition.data.photos.decode import read_photo
from competition.data.photos.views import render_view
from competition.data.source.competition_data import Photo
from competition.training.backbones.create import create_model
from competition.training.backbones.find import find_backbones
from competition.training.probe import embed as module
from competition.training.probe.embed import Block, embed
from competition.types import view
from tests.training.small_fold import small_data

CONFIG = ProbeConfig(batch_size=4, workers=0, precision="float32", device="cpu")


def blocks(weights: Path, *names: str) -> list[Block]:
    (ref,) = find_backbones((), weights)
    return [Block(ref, view(name)) for name in names]


def test_features_are_those_of_a_plain_forward_pass(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=9, test=0)
    wanted = blocks(weights, "identity", "hflip", "large")
    found = embed(data.train, wanted, CONFIG, folder=tmp_path / "features")
    ref = wanted[0].backbone
    model = create_model(ref, 0).eval()
    for block in wanted:
        photo = render_view(read_photo(data.train[5].path), block.view, ref.spec.size, 1.0, ref.spec.interpolation)
        image = torch.from_numpy(photo).permute(2, 0, 1).float() / 255
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (ref.spec.mean, ref.spec.std))
        with torch.inference_mode():
            expected = model(((image - mean) / std)[None])[0].numpy()
        np.testing.assert_allclose(found[block.name][5], expected, rtol=1e-3, atol=1e-4)


def test_a_second_call_reads_what_is_there(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_data(tmp_path / "photos", count=9, test=0)
    wanted = blocks(weights, "identity")
    first = embed(data.train, wanted, CONFIG, folder=tmp_path / "features")[wanted[0].name].copy()
    monkeypatch.setattr(module, "_compute", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(
        embed(data.train, wanted, CONFIG, folder=tmp_path / "features")[wanted[0].name], first
    )


def test_interrupted_after_a_chunk_it_goes_on_and_gives_the_same(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_data(tmp_path / "photos", count=30, test=0)
    wanted = blocks(weights, "identity", "hflip")
    whole = {name: values.copy() for name, values in embed(data.train, wanted, CONFIG, folder=tmp_path / "a").items()}
    monkeypatch.setattr(module, "CHUNK_BATCHES", 2)
    calls = {"n": 0}
    forward = module._forward

    def dies(*arguments: object) -> np.ndarray:
        calls["n"] += 1
        if calls["n"] == 11:
            raise KeyboardInterrupt
        return forward(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_forward", dies)
    with pytest.raises(KeyboardInterrupt):
        embed(data.train, wanted, CONFIG, folder=tmp_path / "b")
    before = calls["n"]
    again = embed(data.train, wanted, CONFIG, folder=tmp_path / "b")
    # 8 batches a block; two chunks of two batches were recorded, so four batches of both blocks are left.
    assert calls["n"] - before == 8
    for name in whole:
        np.testing.assert_array_equal(again[name], whole[name])


def test_other_photos_or_weights_are_other_features(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=6, test=0)
    wanted = blocks(weights, "identity")
    embed(data.train, wanted, CONFIG, folder=tmp_path / "f")
    embed(data.train[:5], wanted, CONFIG, folder=tmp_path / "f")
    assert len(list((tmp_path / "f").iterdir())) == 2


def test_another_photo_of_the_same_name_and_size_is_another_photo(weights: Path, tmp_path: Path) -> None:
    wanted = blocks(weights, "identity")
    path = tmp_path / "dog.bmp"
    found = []
    for grey in (10, 200):
        Image.new("RGB", (40, 40), (grey, 60, 90)).save(path)
        found.append(embed([Photo("dog", path)], wanted, CONFIG, folder=tmp_path / "features")[wanted[0].name].copy())
    assert not np.allclose(found[0], found[1])

"""Every recipe loads, says what it costs, and names a backbone that timm builds at the recipe's sizes."""

from __future__ import annotations

from importlib import import_module

import pytest

from competition.config import Config, TrainConfig
from competition.errors import UsageError
from competition.recipes import list_recipes, recipe
from competition.types import view

TRAINED = [name for name in list_recipes() if isinstance(recipe(name), TrainConfig)]


def test_the_promised_recipes_are_there() -> None:
    promised = {"probe", "smoke", "effnetv2_b0_224", "convnext_small_288", "swin_small_224", "eva02_small_336"}
    assert promised | {"effnetv2_b0_224_cpu"} <= set(list_recipes())


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_opens_with_its_command_cost_and_score(name: str) -> None:
    text = import_module(f"competition.recipes.{name}").__doc__ or ""
    for opening in ("Command: dogbreed ", "Cost: ", "Score: "):
        assert any(line.startswith(opening) for line in text.splitlines()), opening
    assert name in next(line for line in text.splitlines() if line.startswith("Command:"))


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_survives_its_json(name: str) -> None:
    config = recipe(name)
    assert isinstance(config, Config)
    assert config.name == name
    assert type(config).from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", TRAINED)
def test_the_backbone_takes_every_size_of_the_recipe(name: str) -> None:
    """Shapes only, on torch's meta device: no weights are made and nothing is computed."""
    import timm
    import torch

    config = recipe(name)
    assert isinstance(config, TrainConfig)
    described = timm.get_pretrained_cfg(config.backbone)
    assert described is not None, f"timm has no {config.backbone}"
    if "." in config.backbone:
        assert config.backbone in timm.list_pretrained()
    sides = {config.image_size, *config.progressive, *(view(name).size_for(config.image_size) for name in config.views)}
    with torch.device("meta"):
        for side in sorted(sides):
            model = timm.create_model(
                config.backbone, num_classes=120, drop_rate=config.drop_rate, drop_path_rate=config.drop_path_rate
            )
            assert model(torch.empty(2, 3, side, side)).shape == (2, 120)


@pytest.mark.parametrize("name", TRAINED)
def test_weights_that_start_from_the_probe_exist(name: str) -> None:
    config = recipe(name)
    assert isinstance(config, TrainConfig)
    assert config.pretrained or config.head_from == "fresh"
    assert config.image_size >= max(config.progressive, default=0)


def test_overrides_are_read_by_type_and_typos_are_offered() -> None:
    config = recipe("effnetv2_b0_224", "epochs=2", "progressive=96,128", "mixup=0")
    assert isinstance(config, TrainConfig)
    assert (config.epochs, config.progressive, config.mixup) == (2, (96, 128), 0.0)
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        recipe("effnetv2_b0_224", "epoch=2")
    with pytest.raises(UsageError, match="did you mean 'swin_small_224'"):
        recipe("swin_smal_224")

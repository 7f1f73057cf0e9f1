"""Configurations refuse unknown keys and impossible values, with the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from competition.config import ProbeConfig, TrainConfig
from competition.errors import UsageError
from competition.files import write_json
from competition.recipes import list_recipes, recipe
from competition.record.run_dir import RunDir


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_survives_its_own_json(name: str) -> None:
    config = recipe(name)
    assert type(config).from_dict(config.to_dict()) == config


def test_a_run_of_the_engine_that_is_gone_is_read_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = recipe("smoke"), RunDir(tmp_path)
    run.open(config, "digest")
    write_json(tmp_path / "config.json", {**run.config, "augment_backend": "torchvision"})
    run.open(config, "digest")
    assert TrainConfig.from_dict({**config.to_dict(), "augment_backend": "torchvision"}) == config
    assert "augment_backend=torchvision is gone and has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("view=hflip", "unknown key 'view' - did you mean 'views'"),
        ("n_folds", "lacks '='"),
        ("n_folds=one", "expected a whole number"),
        ("n_folds=1", "expected at least 2"),
        ("imagenet_prior=perhaps", "expected true or false"),
        ("combine=sum", "auto, concat or average"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ProbeConfig().override([text])


def test_texts_are_read_by_the_type_of_their_key() -> None:
    config = ProbeConfig().override(["views=identity,large", "strengths=1,0.1", "imagenet_prior=off", "seed=7"])
    assert config.views == ("identity", "large")
    assert config.strengths == (1.0, 0.1)
    assert config.imagenet_prior is False
    assert config.seed == 7


def test_the_digest_sees_what_decides_the_result_and_nothing_else() -> None:
    base = ProbeConfig()
    assert base.digest == ProbeConfig(device="cpu", workers=3, name="other").digest
    assert base.digest != ProbeConfig(seed=1).digest
    assert base.digest != TrainConfig().digest


def test_an_unknown_recipe_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown recipe 'prob' - did you mean 'probe'"):
        recipe("prob")

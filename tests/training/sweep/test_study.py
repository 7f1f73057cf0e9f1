"""Sweeps with a fitter whose best values are known: pruning, continuing, refusing, the page."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competition.config import TrainConfig
from competition.errors import KitError, ResumeError, StorageError, UsageError
from competition.record.run_dir import RunDir
from competition.training.sweep.space import Choice, Range, Space, parse_space
from competition.training.sweep.study import OnEpoch, run_sweep
from competition.types import FoldResult, Predictions

CONFIG = TrainConfig(name="tiny", epochs=4, freeze_epochs=0)
SPACE = Space({"lr": Range(1e-5, 1e-3, log=True), "augment": Choice(("light", "strong"))})
FACTS = {"data_digest": "d1", "fold": 0}


def loss_of(config: TrainConfig, epoch: int) -> float:
    """Lowest at a rate of 1e-4 with light augmentation, falling with the epochs."""
    distance = abs(np.log10(config.lr) + 4)
    return float(0.3 + 0.4 * distance + 0.1 * (config.augment == "strong") + 1.0 / epoch)


class Fitter:
    """Stands in for a training; remembers what it was asked."""

    def __init__(self, before_epoch: Callable[[int, int], None] = lambda trial, epoch: None) -> None:
        self.before_epoch = before_epoch
        self.configs: list[TrainConfig] = []
        self.folders: list[Path] = []
        self.epochs = 0

    def __call__(self, config: TrainConfig, run: RunDir, on_epoch: OnEpoch) -> FoldResult:
        self.configs.append(config)
        self.folders.append(run.path)
        for epoch in range(1, config.epochs + 1):
            self.before_epoch(len(self.configs), epoch)
            self.epochs += 1
            on_epoch({"epoch": epoch, "log_loss": loss_of(config, epoch), "accuracy": 0.5})
        valid = Predictions(("a",), ("x", "y"), np.array([[0.5, 0.5]]))
        return FoldResult(0, loss_of(config, config.epochs), 0.5, valid, None, 1.0)


def sweep(run: Path, fit: Fitter, trials: int = 8, **changes: Any) -> Any:
    pytest.importorskip("optuna", reason="Optuna is not in this image (what is said without it is tested below)")
    arguments: dict[str, Any] = {"config": CONFIG, "space": SPACE, "facts": FACTS, "storage": None, **changes}
    config, space = arguments.pop("config"), arguments.pop("space")
    return run_sweep(config, space, fit, RunDir(run), trials=trials, **arguments)


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "trials.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_sweep_finds_the_better_values_and_prunes_the_others(tmp_path: Path) -> None:
    fit = Fitter()
    result = sweep(tmp_path, fit, trials=24)
    assert 10**-4.4 < result.config.lr < 10**-3.6
    assert result.config.augment == "light"
    assert result.log_loss == pytest.approx(loss_of(result.config, 4))
    assert result.log_loss == min(float(row["log_loss"]) for row in rows_of(tmp_path) if row["state"] == "finished")
    assert result.finished + result.pruned == len(fit.configs) == 24
    assert CONFIG.override(result.overrides) == result.config
    assert json.loads((tmp_path / "best.json").read_text())["values"]["augment"] == "light"
    assert result.pruned >= 3
    assert fit.epochs == 4 * result.finished + 2 * result.pruned  # after the second epoch: the first is warm-up
    pruned = [float(row["log_loss"]) for row in rows_of(tmp_path) if row["state"] == "pruned"]
    assert min(pruned) > result.log_loss


def test_the_same_call_continues_the_study(tmp_path: Path) -> None:
    first, second = Fitter(), Fitter()
    sweep(tmp_path, first, trials=4)
    sweep(tmp_path, second, trials=6)
    assert (len(first.configs), len(second.configs)) == (4, 2)
    everything = [config.lr for config in (*first.configs, *second.configs)]
    assert len(set(everything)) == 6  # the seed does not draw the first values again
    again = Fitter()
    assert sweep(tmp_path, again, trials=6).finished >= 1
    assert again.configs == []


def test_a_new_sweep_of_the_same_seed_draws_the_same_values(tmp_path: Path) -> None:
    one, other = Fitter(), Fitter()
    sweep(tmp_path / "a", one, trials=7)
    sweep(tmp_path / "b", other, trials=7)
    assert one.configs == other.configs


def interrupt_third(trial: int, epoch: int) -> None:
    if (trial, epoch) == (3, 2):
        raise KeyboardInterrupt


def test_an_interrupted_trial_is_taken_up_in_its_own_folder(tmp_path: Path) -> None:
    first, second = Fitter(interrupt_third), Fitter()
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, first, trials=5)
    result = sweep(tmp_path, second, trials=5)
    assert second.configs[0] == first.configs[2]
    assert second.folders[0] == first.folders[2]
    assert len(second.configs) == 3
    assert result.finished + result.pruned == 5


def test_a_killed_trial_is_taken_up_too(tmp_path: Path) -> None:
    """A killed process leaves its trial marked as running."""
    import optuna

    first, second = Fitter(), Fitter()
    sweep(tmp_path, first, trials=2)
    study = optuna.load_study(study_name="dogbreed-tiny", storage=f"sqlite:///{tmp_path / 'study.sqlite3'}")
    left = SPACE.suggest(study.ask())
    sweep(tmp_path, second, trials=3)
    assert [config.lr for config in second.configs] == [left["lr"]]


def test_a_diverged_trial_does_not_end_the_sweep(tmp_path: Path) -> None:
    from competition.errors import TrainingError

    def diverge(trial: int, epoch: int) -> None:
        if trial == 2:
            raise TrainingError("the loss is NaN in step 3")

    fit = Fitter(diverge)
    result = sweep(tmp_path, fit, trials=4)
    assert len(fit.configs) == 4
    assert [row["state"] for row in rows_of(tmp_path)].count("diverged") == 1
    assert result.finished + result.pruned == 4  # the diverged one counts as stopped early
    again = Fitter()
    sweep(tmp_path, again, trials=4)
    assert again.configs == []  # not tried again


def test_a_recipe_that_always_diverges_stops_soon(tmp_path: Path) -> None:
    from competition.errors import TrainingError

    def diverge(trial: int, epoch: int) -> None:
        raise TrainingError("the loss is NaN in step 1")

    fit = Fitter(diverge)
    with pytest.raises(KitError, match=r"none of the 3 trials came to its end .*NaN"):
        sweep(tmp_path, fit, trials=20)
    assert len(fit.configs) == 3


def test_an_error_of_the_recipe_is_passed_on(tmp_path: Path) -> None:
    def refuse(trial: int, epoch: int) -> None:
        raise UsageError("needs a GPU")

    with pytest.raises(UsageError, match="needs a GPU"):
        sweep(tmp_path, Fitter(refuse))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": dataclasses.replace(CONFIG, epochs=5)}, "epochs: 4 -> 5"),
        ({"facts": {**FACTS, "data_digest": "d2"}}, "data_digest: 'd1' -> 'd2'"),
        ({"space": Space({"lr": Range(1e-5, 1e-2, log=True), "augment": SPACE.entries["augment"]})}, "space of lr"),
    ],
)
def test_a_study_of_another_sweep_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    sweep(tmp_path / "a", Fitter(), trials=2, storage=storage)
    fit = Fitter()
    with pytest.raises(ResumeError, match=said) as refused:
        sweep(tmp_path / "b", fit, trials=4, storage=storage, **changes)
    assert "choose another" in str(refused.value)
    assert fit.configs == []


def test_where_it_runs_may_change(tmp_path: Path) -> None:
    sweep(tmp_path, Fitter(), trials=2)
    fit = Fitter()
    sweep(tmp_path, fit, trials=3, config=dataclasses.replace(CONFIG, device="cpu", workers=1))
    assert len(fit.configs) == 1


def test_two_machines_share_one_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    one, other = Fitter(), Fitter()
    sweep(tmp_path / "a", one, trials=3, storage=storage)
    result = sweep(tmp_path / "b", other, trials=5, storage=storage)
    assert (len(one.configs), len(other.configs)) == (3, 2)
    assert result.finished + result.pruned == 5
    assert len(rows_of(tmp_path / "b")) == 5


@pytest.mark.parametrize(
    "storage", ["postgresql://me:hush@localhost:1/x", "nonsense", "sqlite:////no/such/folder/study.sqlite3"]
)
def test_a_database_out_of_reach_is_one_line(tmp_path: Path, storage: str) -> None:
    with pytest.raises(StorageError, match="database") as refused:
        sweep(tmp_path, Fitter(), storage=storage)
    assert "hush" not in str(refused.value)


def test_the_page_holds_three_plots_and_loads_nothing(tmp_path: Path) -> None:
    result = sweep(tmp_path, Fitter(), trials=14)
    page = result.page.read_text()
    for heading in ("History", "Importance", "Parallel coordinates"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count('class="plotly-graph-div"') == 3  # plotly 5 names newPlot in its library too
    assert "<p>Needs" not in page  # plotly's own library has the word
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert f"{result.log_loss:.4f}" in page


def test_importance_finds_what_matters(tmp_path: Path) -> None:
    """The stand-in's loss depends on the rate and not on the smoothing."""
    space = Space({"lr": SPACE.entries["lr"], "smoothing": Range(0.0, 0.2)})
    page = sweep(tmp_path, Fitter(), trials=14, space=space).page.read_text()
    shown = re.search(r'"x":\[([^\]]+)\],"y":\[([^\]]+)\],"type":"bar"', page)
    assert shown is not None
    of = dict(zip(json.loads(f"[{shown[2]}]"), json.loads(f"[{shown[1]}]"), strict=True))
    assert of["lr"] > 0.8 > of["smoothing"]


def test_the_page_says_when_a_plot_needs_more_trials(tmp_path: Path) -> None:
    page = sweep(tmp_path, Fitter(), trials=1).page.read_text()
    assert page.count('class="plotly-graph-div"') == 1
    assert "Needs 6 finished trials." in page


def test_without_optuna_a_sweep_says_so_before_it_trains(tmp_path: Path, no_optuna: None) -> None:
    fit = Fitter()
    with pytest.raises(KitError, match="Optuna, which is not installed: pip install optuna"):
        run_sweep(CONFIG, SPACE, fit, RunDir(tmp_path / "run"), trials=2, facts=FACTS)
    assert not fit.configs
    assert not (tmp_path / "run").exists()


def test_one_trial_at_least(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--trials 0"):
        sweep(tmp_path, Fitter(), trials=0)


def described(texts: list[str]) -> Mapping[str, str]:
    return parse_space(texts).describe()


def test_spaces_are_read() -> None:
    assert set(described([])) == {"lr", "head_lr", "layer_decay", "weight_decay", "smoothing", "augment"}
    assert described(["mixup"]) == {"mixup": "0.0,0.1,0.4"}
    assert described(["lr=1e-5:1e-4", "epochs=2:6", "augment=light, medium"]) == {
        "lr": "1e-05:0.0001 (log)",
        "epochs": "2:6",
        "augment": "light,medium",
    }
    assert parse_space(["freeze_norm=true,false"]).entries["freeze_norm"] == Choice((True, False))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lrr", "did you mean 'lr'"),
        ("backbone", "no usual range"),
        ("lr=3:1", "low below high"),
        ("weight_decay=0:1", "logarithmic"),
        ("epochs=a:b", "whole number"),
        ("augment=light:strong", "needs a number"),
        ("augment=light", "two different values"),
        ("progressive=1:2", "a list cannot be varied"),
    ],
)
def test_bad_spaces_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_space([text])


def test_a_key_twice_and_an_empty_space_are_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        parse_space(["lr", "lr=1e-4:1e-3"])
    with pytest.raises(UsageError, match="must vary something"):
        Space({})


def test_values_the_recipe_refuses_are_refused_before_the_first_trial(tmp_path: Path) -> None:
    fit = Fitter()
    with pytest.raises(UsageError, match=r"smoothing=1\.5 is impossible"):
        sweep(tmp_path, fit, space=parse_space(["smoothing=0:1.5"]))
    with pytest.raises(UsageError, match="augment='heavy'"):
        sweep(tmp_path, fit, space=parse_space(["augment=light,heavy"]))
    assert fit.configs == []


def test_every_usual_range_is_accepted_by_the_recipe() -> None:
    from competition.training.sweep.space import DEFAULTS

    Space(DEFAULTS).check(CONFIG)

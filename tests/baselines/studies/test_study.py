"""Studies: what they declare, that they resume, run side by side and may diverge; the text is true to the numbers.

Worker processes take seconds to start, so that test is slow: ``pytest -m slow tests/baselines/studies/test_study.py``.
"""

from __future__ import annotations

import csv
import dataclasses

import pytest

from baselines.studies.catalogue import STUDIES, find_study
from baselines.studies.report import paragraphs, table_of, write_report
from baselines.studies.run import run_study
from baselines.studies.statistics import difference, effects, grouped
from baselines.studies.study import Cell, Study, parse_vary
from baselines.studies.trial import data_for, make_model
from competition.errors import KitError, ResumeError, StorageError, UsageError
from competition.training.sweep.space import Choice, Range

TINY = Study(
    "tiny",
    "two activations",
    grid={"activation": ("relu", "tanh")},
    fixed={"epochs": 2, "hidden": (8,), "lr": 0.02, "optimiser": "adam"},
    seeds=(0, 1),
    model="mlp",
    framework="numpy",
    dataset="digits",
    train_images=200,
)


@pytest.fixture(autouse=True)
def _no_pictures_of_trials(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than the training: those of the runs are tested elsewhere, those of a study in one test."""
    from baselines.studies import report
    from baselines.training import evaluate

    monkeypatch.setattr(evaluate, "draw_run", lambda *arguments: None)
    if "continued" not in request.node.name:
        for name in ("draw_accuracy", "draw_curves", "_write_board"):
            monkeypatch.setattr(report, name, lambda *arguments: None)


@pytest.fixture(params=["Optuna", "trials.json"])
def keeper(request: pytest.FixtureRequest) -> str:
    """Who keeps the trials: Optuna, or a plain file where it is not installed."""
    request.getfixturevalue("needs_optuna" if request.param == "Optuna" else "no_optuna")
    return str(request.param)


@pytest.mark.parametrize("name", STUDIES)
def test_the_ready_made_studies_are_sound(name: str) -> None:
    study = STUDIES[name]
    labels = [cell.label for cell in study.cells()]
    assert len(study.settings()) >= 3
    assert len(set(labels)) * len(study.seeds) == len(labels) == len({cell.key for cell in study.cells()})


def test_a_grid_is_every_combination_and_the_first_is_the_reference() -> None:
    study = find_study("lenet-variants", seeds=(3, 4), dataset="devanagari", fixed={"epochs": 1})
    assert [cell.label for cell in study.cells()][:4] == [
        "activation=tanh, pooling=average",
        "activation=tanh, pooling=max",
        "activation=relu, pooling=average",
        "activation=relu, pooling=max",
    ]
    assert [cell.seed for cell in study.cells()] == [3] * 4 + [4] * 4
    plan = study.plan(study.settings()[3], 4)
    assert plan.options == {"activation": "relu", "pooling": "max"}
    assert (plan.config.seed, plan.config.epochs, plan.config.lr, plan.dataset) == (4, 1, 2e-3, "devanagari")


def test_a_cell_is_known_by_its_values() -> None:
    assert Cell({"a": 1, "b": (2,)}, 0).key == Cell({"b": [2], "a": 1}, 0).key
    assert Cell({"a": 1}, 0).key != Cell({"a": 1}, 1).key


def test_a_study_is_run_reported_and_continued(tmp_path, capsys, keeper: str) -> None:
    first = run_study(TINY, tmp_path)
    assert len(first.rows) == 4
    names = {path.name for path in tmp_path.iterdir()}
    assert ("study.sqlite3" if keeper == "Optuna" else "trials.json") in names
    assert {"trials", "comparison.md", "summary.csv", "trials.csv", "accuracy.png"} <= names
    assert {"curves.png", "tensorboard"} <= names
    with (tmp_path / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["activation"], row["seed"]) for row in rows] == [
        ("relu", "0"),
        ("tanh", "0"),
        ("relu", "1"),
        ("tanh", "1"),
    ]
    assert all((tmp_path / "trials" / row["run"] / "metrics.json").is_file() for row in rows)
    page = (tmp_path / "comparison.md").read_text()
    assert f"{100 * first.groups[1].mean:.2f} +- {100 * first.groups[1].spread:.2f}" in page
    capsys.readouterr()
    more = run_study(dataclasses.replace(TINY, seeds=(0, 1, 2)), tmp_path)
    assert "2 trials to go" in capsys.readouterr().err
    assert [row["test_accuracy"] for row in more.rows[:4]] == [row["test_accuracy"] for row in first.rows]
    with pytest.raises(ResumeError, match="compares something else"):
        run_study(dataclasses.replace(TINY, train_images=100), tmp_path)


def test_an_interrupted_study_goes_on(tmp_path, monkeypatch, capsys, keeper: str) -> None:
    from baselines.studies import trial as experiments_trial

    calls = []
    right = experiments_trial.run_plan

    def cut(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return right(*arguments)

    monkeypatch.setattr(experiments_trial, "run_plan", cut)
    with pytest.raises(KeyboardInterrupt):
        run_study(TINY, tmp_path)
    capsys.readouterr()
    done = run_study(TINY, tmp_path)
    assert "2 trials to go" in capsys.readouterr().err
    assert len(done.rows) == 4
    assert len(calls) == 5


@pytest.mark.slow
@pytest.mark.usefixtures("needs_optuna")
def test_trials_run_side_by_side_are_those_of_one_process(tmp_path) -> None:
    alone = run_study(TINY, tmp_path / "alone")
    together = run_study(TINY, tmp_path / "together", jobs=2)
    assert [row["test_loss"] for row in together.rows] == [row["test_loss"] for row in alone.rows]
    assert len(together.rows) == 4


def test_fewer_seeds_go_on_behind_the_queued_trials_of_the_others(tmp_path, keeper: str) -> None:
    def stop(*_) -> None:
        raise KitError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("baselines.studies.trial.run_plan", stop)
        with pytest.raises(KitError, match="killed"):
            run_study(TINY, tmp_path)  # both seeds are queued, the first trial is lost
    done = run_study(dataclasses.replace(TINY, seeds=(0,)), tmp_path)
    assert [row["seed"] for row in done.rows] == [0, 0]
    assert len(run_study(TINY, tmp_path).rows) == 4


@pytest.mark.usefixtures("no_optuna")
def test_what_only_optuna_can_do_is_said_without_it(tmp_path) -> None:
    with pytest.raises(KitError, match="machines share a study with Optuna, which is not installed: pip install"):
        run_study(TINY, tmp_path / "a", storage=f"sqlite:///{tmp_path / 'shared.sqlite3'}")
    searched = dataclasses.replace(TINY, grid={}, space={"lr": Range(1e-4, 0.1, log=True)}, trials=4)
    with pytest.raises(KitError, match="values are drawn with Optuna"):
        run_study(searched, tmp_path / "b")
    assert not list(tmp_path.glob("*/trials*"))


@pytest.mark.usefixtures("needs_optuna")
def test_two_folders_share_one_database(tmp_path, capsys) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    run_study(dataclasses.replace(TINY, seeds=(0,)), tmp_path / "a", storage=storage)
    capsys.readouterr()
    both = run_study(TINY, tmp_path / "b", storage=storage)
    assert "2 trials to go" in capsys.readouterr().err
    assert len(both.rows) == 4
    with pytest.raises(StorageError, match="cannot be used"):
        run_study(TINY, tmp_path / "c", storage="sqlite:////nowhere/at/all.sqlite3")


@pytest.mark.usefixtures("needs_optuna")
def test_a_search_draws_from_its_space(tmp_path) -> None:
    space = {"lr": Range(1e-4, 0.1, log=True), "optimiser": Choice(("sgd", "adam"))}
    fixed = {"epochs": 1, "hidden": (6,)}
    study = dataclasses.replace(TINY, grid={}, space=space, trials=4, fixed=fixed)
    found = run_study(study, tmp_path)
    assert len(found.rows) == 4
    assert all(1e-4 <= row["settings"]["lr"] <= 0.1 for row in found.rows)
    best = min(found.rows, key=lambda row: row["valid_loss"])
    assert f"{best['valid_loss']:.4f} with `{best['label']}`" in found.text
    assert len(run_study(dataclasses.replace(study, trials=5), tmp_path).rows) == 5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_diverged_trial_is_a_result(tmp_path, keeper: str) -> None:
    study = dataclasses.replace(
        TINY, grid={"lr": (0.05, 1e30)}, seeds=(0,), fixed={"epochs": 1, "hidden": (8,), "optimiser": "sgd"}
    )
    found = run_study(study, tmp_path)
    assert [row["state"] for row in found.rows] == ["finished", "diverged"]
    assert "`lr=1e+30` diverged with every seed (1)" in found.text
    assert "0 (1 diverged)" in table_of(found.groups, study)
    all_lost = dataclasses.replace(study, grid={"lr": (1e30, 1e31)})
    with pytest.raises(KitError, match="all 2 diverged"):
        run_study(all_lost, tmp_path / "lost")


def rows_of(**values: list[float]) -> list[dict]:
    rows = []
    for label, accuracies in values.items():
        for seed, accuracy in enumerate(accuracies):
            rows.append(
                {
                    "label": label,
                    "settings": {"activation": label},
                    "seed": seed,
                    "state": "finished",
                    "test_accuracy": accuracy,
                    "train_accuracy": accuracy + 0.01,
                    "test_loss": 0.5,
                    "valid_loss": 1 - accuracy,
                    "valid_accuracy": accuracy,
                    "train_loss": 0.4,
                    "seconds_per_epoch": 1.0,
                    "parameters": 10,
                    "best_epoch": 2,
                    "epochs": 2,
                    "key": f"{label}{seed}",
                }
            )
    return rows


def test_differences_are_those_of_the_numbers() -> None:
    found = difference({0: 0.90, 1: 0.92, 2: 0.91}, {0: 0.93, 1: 0.95, 2: 0.95, 9: 0.1})
    assert found.mean == pytest.approx(0.1 / 3)
    assert (found.seeds, found.higher) == (3, 3)
    assert found.spread == pytest.approx(((0.01**2 + 0.0115470**2) / 2) ** 0.5, rel=1e-4)
    half = 4.302653 * 0.0057735 / 3**0.5
    assert found.interval == pytest.approx((0.1 / 3 - half, 0.1 / 3 + half), rel=1e-4)
    assert found.settled
    assert difference({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([0.95, 0.96, 0.94], "+5.00 points, higher in 3 of 3 seeds. That exceeds the spread between seeds (1.00)"),
        ([0.905, 0.90, 0.90], "higher in 2 of 3 seeds. That is within the spread between seeds"),
        ([0.93, 0.90, 0.95], "but the 95 % interval"),
    ],
)
def test_the_text_says_whether_a_difference_exceeds_the_seeds(other, words: str) -> None:
    groups = grouped(rows_of(relu=[0.90, 0.91, 0.89], tanh=other), "test_accuracy")
    study = dataclasses.replace(TINY, seeds=(0, 1, 2))
    assert words in "\n".join(paragraphs(study, groups))


def test_one_seed_proves_nothing_and_the_text_says_so() -> None:
    groups = grouped(rows_of(relu=[0.90], tanh=[0.99]), "test_accuracy")
    text = "\n".join(paragraphs(dataclasses.replace(TINY, seeds=(0,)), groups))
    assert "+9.00 points on one seed" in text
    assert "the order may be chance" in text


def test_a_network_that_learns_but_evaluates_badly_is_named() -> None:
    rows = rows_of(relu=[0.90, 0.91], tanh=[0.10, 0.12])
    for row in rows:
        row["running_accuracy"] = 0.9
    named = [text for text in paragraphs(TINY, grouped(rows, "test_accuracy")) if "running statistics" in text]
    assert len(named) == 1
    assert "`tanh` had 90.0 % of its training images right in the last epoch, but 12.0 % when" in named[0]


def test_test_images_can_be_limited() -> None:
    data = data_for("digits", None, 200, test_images=100)
    assert (len(data.train), len(data.test)) == (200, 100)
    plan = dataclasses.replace(TINY, test_images=100).plan({}, 0)
    assert (plan.train_images, plan.test_images) == (TINY.train_images, 100)


def test_effects_average_over_the_other_settings() -> None:
    rows = []
    for activation, pooling, accuracies in (
        ("tanh", "average", [0.90, 0.92]),
        ("tanh", "max", [0.93, 0.95]),
        ("relu", "average", [0.91, 0.93]),
        ("relu", "max", [0.90, 0.92]),
    ):
        for seed, accuracy in enumerate(accuracies):
            settings = {"activation": activation, "pooling": pooling}
            label = f"activation={activation}, pooling={pooling}"
            base = rows_of(x=[accuracy])[0]
            rows.append({**base, "label": label, "settings": settings, "seed": seed})
    study = find_study("lenet-variants", seeds=(0, 1))
    groups = grouped(rows, "test_accuracy")
    by_key = {effect.key: effect for effect in effects(groups, study.grid)}
    assert by_key["pooling"].mean == pytest.approx((0.03 - 0.01) / 2)
    assert by_key["pooling"].by_context == pytest.approx({"activation=tanh": 0.03, "activation=relu": -0.01})
    assert by_key["activation"].mean == pytest.approx((0.01 - 0.03) / 2)
    text = "\n".join(paragraphs(study, groups))
    assert "The sign depends on the rest" in text


def test_the_subset_keeps_the_shares_of_the_classes() -> None:
    import numpy as np

    whole, part = data_for("digits", None, 0), data_for("digits", None, 200)
    assert len(part.train) == 200
    expected = np.bincount(whole.train.labels) * 200 / len(whole.train)
    assert np.abs(np.bincount(part.train.labels) - expected).max() <= 1
    assert part.digest != whole.digest
    np.testing.assert_array_equal(part.test.images, whole.test.images)


def test_the_seed_decides_the_first_weights() -> None:
    import torch

    study = dataclasses.replace(TINY, framework="pytorch")
    data = data_for("digits", None, 200)

    def weights(seed: int) -> torch.Tensor:
        return make_model(study.plan({"activation": "relu"}, seed), data).fc1.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_vary_is_read_by_type() -> None:
    entries = parse_vary(
        ["lr=1e-4:0.1", "batch_size=16:64", "augment=none,crop+flip", "maps=6+16+120,8+16+32"], "lenet5"
    )
    assert entries["lr"] == Range(1e-4, 0.1, log=True)
    assert entries["batch_size"] == Range(16, 64, whole=True)
    assert entries["augment"] == Choice(((), ("crop", "flip")))
    assert entries["maps"] == Choice(((6, 16, 120), (8, 16, 32)))
    for wrong, match in (
        ("lrr=1", "did you mean 'lr'"),
        ("lr", "KEY=A,B"),
        ("optimiser=sgd:adam", "a range needs a number"),
        ("batch_size=a,b", "whole number"),
        ("lr=0.1", "at least two"),
    ):
        with pytest.raises(UsageError, match=match):
            parse_vary([wrong], "lenet5")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"grid": {"activaton": ("relu", "tanh")}}, "did you mean 'activation'"),
        ({"grid": {"activation": ("relu", "tanhh")}}, "did you mean 'tanh'"),
        ({"grid": {}}, "one of them"),
        ({"seeds": (1, 1)}, "different whole numbers"),
        ({"model": "mlpp"}, "did you mean 'mlp'"),
        ({"fixed": {"epochs": 0}}, "epochs=0"),
        ({"train_images": -1}, "train_images"),
        ({"test_images": -1}, "test_images"),
        ({"seconds": -1}, "seconds=-1"),
    ],
)
def test_an_unsound_study_is_refused_before_anything_runs(changes, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        dataclasses.replace(TINY, **changes)


def test_a_budget_of_seconds_becomes_epochs(tmp_path, monkeypatch) -> None:
    from baselines.studies import trial as experiments_trial
    from baselines.training.run_folder import FitResult

    asked = []

    def fit(model, data, config, folder, **rest):
        asked.append((config.epochs, folder.name.endswith("-probe")))
        part = {"accuracy": 0.5, "loss": 1.0}
        rest = dict.fromkeys(("parameters", "macs", "best_epoch", "seconds"), 1)
        parts = {"test": part, "valid": part, "train": part, "epochs": config.epochs, "seconds_per_epoch": 0.4}
        return FitResult(folder, ({"train_accuracy": 0.6},), {**parts, **rest})

    monkeypatch.setattr(experiments_trial, "fit", fit)
    study = dataclasses.replace(TINY, seconds=2.1, seeds=(0,), grid={"hidden": ((8,), (4,))}, fixed={})
    found = run_study(study, tmp_path)
    assert asked == [(1, True), (5, False)] * 2
    assert "2.1 s of training each" in found.text


def test_the_numpy_framework_says_what_it_lacks(tmp_path) -> None:
    with pytest.raises(UsageError, match="offers the mlp"):
        run_study(dataclasses.replace(TINY, model="lenet5", fixed={}, grid={"epochs": (1, 2)}), tmp_path)
    with pytest.raises(UsageError, match="batch_norm of mlp"):
        run_study(dataclasses.replace(TINY, grid={"batch_norm": (True, False)}), tmp_path / "b")
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        find_study("epoch")


def test_a_report_needs_a_finished_trial(tmp_path) -> None:
    with pytest.raises(KitError, match="no trial came to its end"):
        write_report(TINY, [], tmp_path)

"""A sweep of real (tiny) trainings, and the commands that train one fold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from competition import cli
from competition.data.source.competition_data import CompetitionData
from competition.errors import KitError, ResumeError, UsageError
from competition.training.sweep.one_fold import sweep_recipe
from competition.training.sweep.space import parse_space
from tests.training.small_fold import small_config, small_data

SMALL = {"n_folds": 3, "epochs": 3, "ema_decay": 0.0, "image_size": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CompetitionData:
    return small_data(tmp_path_factory.mktemp("photos"), count=36)


@pytest.fixture
def run_command(data: CompetitionData, monkeypatch: pytest.MonkeyPatch):
    """Run ``dogbreed`` in this process on the tiny data, with the smoke recipe made tinier."""
    monkeypatch.setattr("competition.data.source.layout.load_data", lambda where=None: data)
    settings = ("n_folds=3", "epochs=2", "image_size=32", "workers=0", "cache=false", "device=cpu")

    def run(*arguments: str) -> str:
        command = [*arguments, *(part for text in settings for part in ("--set", text))]
        done = CliRunner().invoke(cli.app, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


@pytest.mark.usefixtures("needs_optuna")
def test_a_sweep_trains_and_goes_on(data: CompetitionData, tmp_path: Path) -> None:
    config, space = small_config(**SMALL), parse_space(["lr=1e-4:1e-2", "smoothing=0:0.2"])
    sweep_recipe(data, config, space, tmp_path, trials=2)
    found = sweep_recipe(data, config, space, tmp_path, trials=3)
    assert found.finished + found.pruned == 3
    assert 1e-4 <= found.config.lr <= 1e-2
    trials = sorted((tmp_path / "trials").iterdir())
    assert len(trials) == 3
    assert not list(tmp_path.rglob("model.safetensors"))
    results = [json.loads(path.read_text())["log_loss"] for path in tmp_path.rglob("result.json")]
    assert found.log_loss == min(results)
    assert found.page.is_file()


@pytest.mark.usefixtures("needs_optuna")
def test_a_sweep_of_other_data_is_refused(data: CompetitionData, tmp_path: Path) -> None:
    config, space = small_config(**SMALL, name="other"), parse_space(["smoothing"])
    sweep_recipe(data, config, space, tmp_path / "run", trials=1)
    others = small_data(tmp_path / "photos", count=36, seed=5)
    with pytest.raises(ResumeError, match="another run"):
        sweep_recipe(others, config, space, tmp_path / "run", trials=2)


@pytest.mark.parametrize(
    ("vary", "fold", "said"), [("n_folds=2:4", 0, "one backbone"), ("smoothing", 3, "expected 0 to 2")]
)
def test_what_a_sweep_cannot_do(data: CompetitionData, tmp_path: Path, vary: str, fold: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweep_recipe(data, small_config(**SMALL), parse_space([vary]), tmp_path, trials=1, fold=fold)


def test_train_fits_the_named_folds_only(run_command, tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    out = run_command("train", "smoke", "--fold", "1", "--run-dir", folder)
    assert out.startswith("fold 1: log loss ")
    assert "12 photos" in out
    assert [path.name for path in sorted((tmp_path / "run").glob("fold?"))] == ["fold1"]
    both = json.loads(run_command("train", "smoke", "--fold", "0,1", "--run-dir", folder, "--json"))
    assert [one["fold"] for one in both["folds"]] == [0, 1]


def test_lr_find_suggests_a_rate_and_draws_it(run_command, tmp_path: Path) -> None:
    out = run_command("lr-find", "smoke", "--run-dir", str(tmp_path / "find"), "--steps", "12")
    assert out.startswith("suggested: --set lr=")
    assert (tmp_path / "find" / "lr_find.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("needs_optuna")
def test_sweep_prints_the_command_that_uses_its_values(run_command, tmp_path: Path) -> None:
    out = run_command(
        "sweep", "smoke", "--trials", "1", "--vary", "augment=light,medium", "--run-dir", str(tmp_path / "sweep")
    )
    assert "dogbreed run --recipe smoke --set " in out
    assert "--set augment=" in out
    assert out.rstrip().endswith("sweep.html")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "probe"], "use 'dogbreed run --recipe probe'"),
        (["train", "smoke", "--fold", "5"], "expected numbers from 0 to 4"),
        (["train", "smoke", "--fold", ""], "expected numbers from 0 to 4"),
        (["train", "smoke", "--set", "epoch=2"], "did you mean 'epochs'"),
        (["sweep", "smoke", "--trials", "2", "--vary", "augmnt"], "did you mean 'augment'"),
        (["lr-find", "swin_smal_224"], "did you mean 'swin_small_224'"),
    ],
)
def test_mistakes_are_one_clear_line(arguments: list[str], said: str) -> None:
    with pytest.raises(KitError, match=said):
        CliRunner().invoke(cli.app, arguments, catch_exceptions=False)


def test_after_ctrl_c_the_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from competition.cli.train import how_to_continue
    from competition.system.command_line import run_app

    def command() -> None:
        with how_to_continue(tmp_path / "run"):
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_app(command, "dogbreed")
    assert stop.value.code == 130
    said = " ".join(capsys.readouterr().err.split())
    assert f"kept in {tmp_path / 'run'}" in said
    assert "the same command continues" in said


def test_show_augment_draws_a_photo(tmp_path: Path, data: CompetitionData) -> None:
    from PIL import Image

    out = tmp_path / "sheet.png"
    photo = str(data.train[0].path)
    command = ["show", "augment", photo, "--out", str(out), "--size", "48", "--draws", "3"]
    assert CliRunner().invoke(cli.app, command, catch_exceptions=False).exit_code == 0
    assert Image.open(out).size == (90 + 4 * 54 + 6, 24 + 4 * 54)


def test_show_augment_without_a_photo_says_that_it_is_a_drawing(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    done = CliRunner().invoke(cli.app, ["show", "augment", "--out", str(out), "--size", "32"], catch_exceptions=False)
    assert done.exit_code == 0
    assert out.is_file()
    assert "not a photo" in done.stderr

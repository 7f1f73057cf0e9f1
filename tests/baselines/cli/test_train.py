"""``baselines``: quick help, one line per error, and a training from the command line to its evaluation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from baselines.cli import app, main
from competition.errors import KitError, UsageError
from competition.files import write_npz
from tests.baselines.toys import quarters


def baselines(*arguments: str) -> str:
    """Standard output of a command in this process; what it raises is raised."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set on the disk, and the folder it lies in as the working directory."""
    monkeypatch.chdir(tmp_path)
    data = quarters(train=120, test=40)
    parts = {"train": data.train, "test": data.test}
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        arrays |= {f"x_{name}": part.images, f"y_{name}": part.labels}
    write_npz(tmp_path / "quarters.npz", **arrays)
    return tmp_path / "quarters.npz"


def test_help_imports_no_framework() -> None:
    code = (
        "import sys; sys.argv=['baselines','--help']\n"
        "from baselines.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy={'torch','fastai','timm','keras','tensorflow','numpy','pandas','matplotlib','sklearn'}&set(sys.modules)\n"
        "print('heavy:',sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    assert "evaluate" in done.stdout


def test_the_list_names_every_model_and_data_set() -> None:
    from baselines.data.datasets import list_datasets
    from baselines.registry import MODELS

    lines = baselines("list").splitlines()
    assert [line.split()[0] for line in lines[: len(MODELS)]] == list(MODELS)
    assert {line.split()[0] for line in lines[-len(list_datasets()) :]} == set(list_datasets())
    assert [line.split()[0] for line in baselines("list", "resnet8*").splitlines()] == ["resnet8"]


def test_the_summary_takes_options() -> None:
    assert "61,706" in baselines("summary", "lenet5").splitlines()[-1]
    wide = baselines("summary", "mlp", "--option", "hidden=[32]", "--classes", "5", "--image-size", "8")
    assert f"{64 * 32 + 32 + 32 * 5 + 5:,}" in wide.splitlines()[-1]


def test_a_training_and_its_evaluation(toy: Path) -> None:
    arguments = ["train", "mlp", "--dataset", str(toy), "--option", "hidden=[16]", "--device", "cpu"]
    settings = ["--epochs", "2", "--set", "lr=0.01", "--set", "batch_size=16", "--set", "augment=crop,flip"]
    metrics = json.loads(baselines(*arguments, *settings, "--json"))
    run = Path("runs/baselines/mlp-pytorch-quarters")
    assert metrics == json.loads((run / "metrics.json").read_text())
    assert json.loads((run / "config.json").read_text())["augment"] == ["crop", "flip"]
    assert metrics["epochs"] == 2
    found = json.loads(baselines("evaluate", str(run), "--device", "cpu", "--json"))
    assert found["test"] == pytest.approx(metrics["test"])
    table = baselines("evaluate", str(run), "--device", "cpu").splitlines()
    assert table[0].startswith(f"test  accuracy {metrics['test']['accuracy']:.4f}")
    assert len(table) == 2 + 4
    again = baselines(*arguments, *settings).splitlines()
    assert again[-1] == str(run)  # read back: nothing is trained twice


def test_the_first_weights_follow_from_the_seed(toy: Path) -> None:
    train = ["train", "mlp", "--dataset", str(toy), "--epochs", "1", "--option", "hidden=[8]", "--device", "cpu"]
    losses = []
    for number, seed in enumerate((1, 1, 2)):
        done = baselines(*train, "--set", f"seed={seed}", "--run-dir", f"run{number}", "--json")
        losses.append(json.loads(done)["valid"]["loss"])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("train", "lenet6"), UsageError, "unknown model 'lenet6' - did you mean 'lenet5'"),
        (("train", "--framework", "kers"), UsageError, "unknown framework 'kers' - did you mean 'keras'"),
        (("train", "--dataset", "minst"), UsageError, "unknown data set 'minst' - did you mean 'mnist'"),
        (("train", "--epochs", "0"), UsageError, "epochs=0 is impossible: expected 1 or more"),
        (("train", "--set", "lrate=1"), UsageError, "unknown key 'lrate' - did you mean 'lr'"),
        (("train", "--set", "lr"), UsageError, "lacks '='"),
        (("train", "--option", "droput=0.1"), UsageError, "lenet has no option 'droput' - did you mean 'dropout'"),
        (("train", "--image-size", "8"), UsageError, "lenet5 needs images of at least 16 px, not 8 px"),
        (("train", "--device", "tpu7"), UsageError, "unknown device 'tpu7'"),
        (("evaluate", "nowhere"), KitError, "nowhere is no run of a baseline"),
        (("summary", "vgg16", "--option", "dropout=2"), UsageError, "dropout=2 is impossible"),
    ],
)
def test_a_mistake_is_told_and_leaves_nothing_behind(
    arguments: tuple[str, ...], kind: type[KitError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        baselines(*arguments)
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_one_line_and_exit_code_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["baselines", "summary", "lenet6"])
    monkeypatch.delenv("DOGBREED_DEBUG", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["baselines: unknown model 'lenet6' - did you mean 'lenet5'? List them with 'baselines list'"]


def test_without_keras_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    monkeypatch.chdir(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else found(name))
    with pytest.raises(KitError, match=r"tensorflow not installed: pip install 'dogbreed-kit\[keras\]'"):
        baselines("train", "--framework", "keras")
    assert not list(tmp_path.iterdir())

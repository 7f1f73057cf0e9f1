"""Every command with every file absent that it might read: one line and the right exit code, never a bug's traceback.

A run, its data, a submission and a ledger are made once; each case works on a copy that lacks one thing. What a command
cannot do without is the last item of its line in ``COMMANDS``; without anything else it must do its work.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from baselines.cli import app as baselines
from competition import pipeline
from competition.cli import app as dogbreed
from competition.data.sample.competition import draw_sample
from competition.system.command_line import run_app
from tests.test_pipeline import CONFIG
from tests.training.conftest import save_local_dir

# Files that nothing but a reader's eye needs go together.
EXTRAS = ("audit.csv", "audit.html", "history.csv", "submission.csv", "tensorboard", "report", "fold0/history.csv")

# What each command is called with, what it might read, and what it cannot do without.
_DATA = ("D/sample_submission.csv", "D/labels.csv", "D/test", "D/train")
_LABELLED = ("D/labels.csv", "D/train")
_RUN = tuple(
    f"R/{name}" for name in (
        "oof.npz", "test.npz", "probe.json", "audit.json", "folds.csv", "metrics.json", "config.json", "manifest.json",
        "fold0", "extras",
    )
)  # fmt: skip
_NETWORK = tuple(
    f"N/{name}" for name in (
        "oof.npz", "test.npz", "audit.json", "folds.csv", "metrics.json", "config.json", "manifest.json", "fold0",
        "fold0/model.safetensors", "fold0/result.json", "fold0/valid_views.npz", "extras",
    )
)  # fmt: skip
_BASELINE = tuple(
    f"B/{name}" for name in (
        "config.json", "manifest.json", "metrics.json", "model.json", "model.safetensors", "test.npz", "extras",
    )
)  # fmt: skip
_PROBE = (
    "--recipe probe --set n_folds=3 --set strengths=1.0,0.1,0.01 --set batch_size=8 --set workers=0 --set device=cpu "
    "--set precision=float32"
)
_SMOKE = "smoke --set n_folds=3 --set workers=0 --set epochs=1 --set warmup_epochs=0 --device cpu"
_DIGITS = "lenet5 --epochs 1 --device cpu"

COMMANDS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "check": ("dogbreed submission check S --data D", _DATA, ()),
    "check --sample": (
        "dogbreed submission check S --sample D/sample_submission.csv",
        _DATA,
        ("D/sample_submission.csv",),
    ),
    "doctor": (
        "dogbreed submission doctor S --run R --data D --out page.html --ledger L --weights W",
        (*_DATA, *_RUN, "L", "W", "cache"),
        (*_LABELLED, "R/oof.npz", "R/test.npz", "R/folds.csv", "R/config.json"),
    ),
    "record": (
        "dogbreed submission record S --run R --data D --ledger L",
        (*_DATA, *_RUN, "L"),
        (*_LABELLED, "R/oof.npz", "R/test.npz", "R/folds.csv", "R/config.json", "R/metrics.json"),
    ),
    "grade": ("dogbreed submission grade S --answers A", ("D", "A"), ("A",)),
    "list": ("dogbreed submission list --ledger L", ("L",), ()),
    "score": ("dogbreed submission score old.csv 0.3 --ledger L", ("L",), ("L",)),
    "split": ("dogbreed submission split --data D --out split", _DATA, _LABELLED),
    "submit": ("dogbreed submit S --data D --dry-run --ledger L", (*_DATA, "L"), ()),
    "submit --run": ("dogbreed submit S --run R --data D --dry-run --ledger L", (*_DATA, *_RUN, "L"), _LABELLED),
    "blend": (
        "dogbreed blend R R2 --data D --out blend --ledger L",
        ("D/sample_submission.csv", "D/labels.csv", "D/test", *_RUN, "L"),
        ("D/labels.csv", "R/oof.npz", "R/test.npz", "R/folds.csv", "R/config.json"),
    ),
    "report": (
        "dogbreed report R --data D --weights W --no-maps",
        (*_DATA, *_RUN, "W", "cache"),
        (*_LABELLED, "R/oof.npz", "R/config.json"),
    ),
    "predict": (
        "dogbreed predict R --data D --weights W --out p.csv",
        (*_DATA, *_RUN, "W", "cache"),
        ("D/test", "R/oof.npz", "R/probe.json", "R/metrics.json", "R/config.json", "R/fold0", "W"),
    ),
    "run": (
        f"dogbreed run {_PROBE} --data D --weights W --run-dir R --ledger L",
        (*_DATA, *_RUN, "L", "W", "cache"),
        (*_LABELLED, "D/test", "R/manifest.json", "W"),
    ),
    "audit": ("dogbreed data audit --data D --out audit --workers 0", _DATA, _LABELLED),
    "folds": ("dogbreed data folds --data D --out f.csv --folds 3 --workers 0", _DATA, _LABELLED),
    "embedding": (
        "dogbreed show embedding R --data D --weights W",
        (*_DATA, *_RUN, "W"),
        (*_LABELLED, "R/config.json", "W"),
    ),
    "filters": ("dogbreed show filters R --weights W", (*_RUN, "W"), ("R/probe.json", "R/config.json", "R/fold0", "W")),
    "activations": (
        "dogbreed show activations R P --weights W",
        (*_RUN, "W", "P"),
        ("R/probe.json", "R/config.json", "R/fold0", "W", "P"),
    ),
    "explain": (
        "dogbreed explain R P --weights W --method gradcam --no-faithfulness",
        (*_RUN, "W", "P"),
        ("R/probe.json", "R/config.json", "R/fold0", "W", "P"),
    ),
    "predict network": (
        "dogbreed predict N --data D --out p.csv",
        (*_DATA, *_NETWORK),
        ("D/test", "N/oof.npz", "N/metrics.json", "N/config.json", "N/fold0", "N/fold0/model.safetensors"),
    ),
    "train network": (
        f"dogbreed train {_SMOKE} --data D --run-dir N",
        (*_DATA, *_NETWORK),
        (*_LABELLED, "D/test", "N/manifest.json"),
    ),
    "report network": ("dogbreed report N --data D --no-maps", _NETWORK, ("N/oof.npz", "N/config.json")),
    "filters network": (
        "dogbreed show filters N",
        _NETWORK,
        ("N/oof.npz", "N/config.json", "N/fold0", "N/fold0/model.safetensors"),
    ),
    "tta": ("dogbreed show tta N --data D", _NETWORK, ("N/config.json", "N/fold0", "N/fold0/valid_views.npz")),
    "sweep": (f"dogbreed sweep {_SMOKE} --data D --run-dir sweep --trials 1", _LABELLED, _LABELLED),
    "lr-find": (f"dogbreed lr-find {_SMOKE} --data D --run-dir lr", _LABELLED, _LABELLED),
    "baselines train": (f"baselines train {_DIGITS} --run-dir B", _BASELINE, ("B/manifest.json",)),
    "baselines evaluate": (
        "baselines evaluate B --device cpu",
        _BASELINE,
        ("B/metrics.json", "B/model.json", "B/model.safetensors"),
    ),
    "baselines compare": (
        "baselines compare B --out c.html",
        _BASELINE,
        ("B/config.json", "B/metrics.json", "B/model.json", "B/test.npz"),
    ),
    "baselines filters": ("baselines show filters B", _BASELINE, ("B/model.json", "B/model.safetensors")),
    "baselines activations": (
        "baselines show activations B P",
        (*_BASELINE, "P"),
        ("B/model.json", "B/model.safetensors", "P"),
    ),
    "baselines embedding": ("baselines show embedding B", _BASELINE, ("B/model.json", "B/model.safetensors")),
    "baselines explain": ("baselines explain B P", (*_BASELINE, "P"), ("B/model.json", "B/model.safetensors", "P")),
    "baselines table": ("baselines numpy table T", ("T",), ("T",)),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data (D), two probes (R, R2), a network (N), a baseline (B), weights (W), a submission (S), a ledger (L)."""
    home = tmp_path_factory.mktemp("made")
    draw_sample(home / "D", breeds=3, train_per_breed=8, test_per_breed=3)
    (home / "D" / "truth.json").unlink()  # from now on they are photos
    save_local_dir(home / "W" / "first")
    save_local_dir(home / "W2" / "second", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOGBREED_CACHE", str(home / "cache"))
        patch.chdir(home)
        pipeline.run(home / "D", CONFIG, home / "R", weights=home / "W")
        pipeline.run(home / "D", CONFIG, home / "R2", weights=home / "W2")
        assert called(f"dogbreed train {_SMOKE} --data D --run-dir N", patch) == 0
        assert called(f"baselines train {_DIGITS} --run-dir B", patch) == 0
    shutil.copy(home / "R" / "submission.csv", home / "S")
    shutil.copy(next((home / "D" / "train").glob("*.jpg")), home / "P")
    ids = [line.split(",")[0] for line in (home / "S").read_text().splitlines()[1:]]
    breed = (home / "S").read_text().split(",")[1]
    (home / "A").write_text("\n".join(["id,breed", *(f"{name},{breed}" for name in ids)]))
    (home / "L").write_text("file,digest\nold.csv,0123456789abcdef\n")
    (home / "T").write_text("a,class\n" + "1,x\n2,y\n" * 10)
    return home


def called(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of a command line of the kit."""
    name, *arguments = line.split()
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        run_app(dogbreed if name == "dogbreed" else baselines, name)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


# The rest draws pictures, trains or blends: minutes in all.
_QUICK = (
    "check",
    "check --sample",
    "grade",
    "list",
    "score",
    "split",
    "submit",
    "predict",
    "run",
    "baselines evaluate",
)
CASES = [
    pytest.param(command, absent, marks=[] if command in _QUICK else [pytest.mark.slow])
    for command, (_, reads, _) in COMMANDS.items()
    for absent in reads
]


@pytest.mark.parametrize(("command", "absent"), CASES)
def test_one_line_and_the_right_exit_code(
    made: Path,
    tmp_path: Path,
    command: str,
    absent: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    line, _, needs = COMMANDS[command]
    home = tmp_path / "home"
    shutil.copytree(made, home)
    gone = [home / absent] if not absent.endswith("extras") else [(home / absent).parent / name for name in EXTRAS]
    for path in gone:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=absent.endswith("extras"))
    monkeypatch.setenv("DOGBREED_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)
    code = called(line, monkeypatch)
    said = capfd.readouterr().err.strip().splitlines()
    assert not [text for text in said if "unexpected" in text or "Traceback" in text]
    assert (code != 0) == (absent in needs), said
    assert code == 0 or said[-1].startswith(f"{line.split()[0]}: "), said

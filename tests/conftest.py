"""What every test may ask for."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from competition.environment import before_tensorflow

# A run in the background, or under nohup, hands on that signals are ignored; tests send them to processes of their own.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _usual)
before_tensorflow()  # all tests share one process
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, data, weights or credentials."""
    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("DOGBREED_KAGGLE_ROOT", str(tmp_path_factory.getbasetemp() / "no-kaggle"))
    for name in ("DOGBREED_DATA", "DOGBREED_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("DOGBREED_SHARED", Path(__file__).resolve().parents[2] / "shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip("no real data here: set DOGBREED_SHARED")
    return folder


@pytest.fixture
def needs_optuna() -> None:
    """Some images have no Optuna; what is said there is tested beside, by ``no_optuna``."""
    pytest.importorskip("optuna", reason="Optuna is not in this image (what is said without it is tested beside)")


@pytest.fixture
def no_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Optuna were not installed."""
    monkeypatch.delitem(sys.modules, "baselines.studies.search_optuna", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)

"""A tiny competition without pictures, and cross-validations of made-up models on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from competition.config import ProbeConfig
from competition.data.folds import FoldTable
from competition.data.source.competition_data import CompetitionData, Photo
from competition.files import write_json
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.run_dir import RunDir
from competition.types import CVResult, FoldResult, Predictions

BREEDS = ("affenpinscher", "basset", "chow", "dhole", "whippet")
N_TRAIN, N_TEST, N_FOLDS = 600, 80, 5


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> CompetitionData:
    """600 train and 80 test photos (one-byte files) of five breeds."""
    root = tmp_path_factory.mktemp("tiny")
    labels = np.random.default_rng(1).integers(0, len(BREEDS), N_TRAIN)

    def photo(split: str, name: str, breed: str | None) -> Photo:
        path = root / split / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        return Photo(name, path, breed)

    train = tuple(photo("train", f"train{i:04d}", BREEDS[label]) for i, label in enumerate(labels))
    test = tuple(photo("test", f"test{i:04d}", None) for i in range(N_TEST))
    return CompetitionData(root, root, "kaggle", train, test, BREEDS)


@pytest.fixture(scope="session")
def fold_of() -> np.ndarray:
    return np.random.default_rng(2).permutation(np.arange(N_TRAIN) % N_FOLDS)


MakeCV = Callable[..., CVResult]


@pytest.fixture(scope="session")
def make_cv(tiny: CompetitionData, fold_of: np.ndarray) -> MakeCV:
    """Makes the cross-validation of a model that sees the truth through noise of its own."""
    hidden = np.random.default_rng(3).normal(size=(N_TRAIN + N_TEST, len(BREEDS)))
    truth = np.concatenate([tiny.labels, np.random.default_rng(4).integers(0, len(BREEDS), N_TEST)])

    def make(name: str, noise: float, seed: int, sharpen: float = 1.0, folds: np.ndarray | None = None) -> CVResult:
        rng = np.random.default_rng(seed)
        logits = 0.4 * hidden + noise * rng.normal(size=hidden.shape)
        logits[np.arange(len(truth)), truth] += 2.0
        probabilities = softmax(sharpen * logits)
        oof = Predictions(tiny.train_ids, BREEDS, probabilities[:N_TRAIN])
        test = Predictions(tiny.test_ids, BREEDS, probabilities[N_TRAIN:])
        which = fold_of if folds is None else folds
        parts = []
        for k in range(N_FOLDS):
            rows = np.flatnonzero(which == k)
            valid = oof.aligned_to([oof.ids[row] for row in rows], BREEDS)
            parts.append(
                FoldResult(
                    k,
                    log_loss(valid.probabilities, tiny.labels[rows]),
                    accuracy(valid.probabilities, tiny.labels[rows]),
                    valid,
                    test,
                    1.0,
                )
            )
        loss = log_loss(oof.probabilities, tiny.labels)
        return CVResult(name, tuple(parts), oof, test, loss, accuracy(oof.probabilities, tiny.labels))

    return make


@pytest.fixture
def make_run(tmp_path: Path, tiny: CompetitionData, make_cv: MakeCV, fold_of: np.ndarray) -> Callable[..., RunDir]:
    """Writes a made-up cross-validation as the run folder that the pipeline would leave."""

    def make(name: str, noise: float, seed: int, folds: np.ndarray | None = None, **options: float) -> RunDir:
        result = make_cv(name, noise, seed, folds=folds, **options)
        run = RunDir(tmp_path / "runs" / name)
        run.open(ProbeConfig(name=name, seed=seed), tiny.digest)
        which = fold_of if folds is None else folds
        FoldTable(tiny.train_ids, which, np.arange(N_TRAIN)).save(run / "folds.csv")
        result.oof.save(run / "oof.npz")
        assert result.test is not None
        result.test.save(run / "test.npz")
        write_json(run / "metrics.json", {"log_loss": result.log_loss, "accuracy": result.accuracy, "temperature": 1.0})
        return run

    return make

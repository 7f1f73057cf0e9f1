"""All folds and strengths of the probe in one batched path, against scikit-learn's LogisticRegression one by one."""

from __future__ import annotations

import time
import warnings

import numpy as np
import torch

from competition.config import DEFAULT_STRENGTHS, ProbeConfig
from competition.data.folds import make_folds
from competition.data.source.layout import load_data
from competition.record.metrics import log_loss, softmax
from competition.training.backbones.find import find_backbones
from competition.training.probe.embed import embed
from competition.training.probe.logistic import Problems, solve
from competition.training.probe.run import probe_blocks
from tests.benchmarks.measure import Claim, Outcome, Setup, figure, seconds_of

FOLDS = 5


def measure(setup: Setup) -> Outcome:
    """The kit does all 60 fits; scikit-learn one fold's 12, times five."""
    outcome = Outcome("probe", "probe: 5 folds x 12 strengths")
    torch.set_num_threads(setup.threads)
    features, labels, fold_of, classes = _problem(setup)
    strengths = sorted(DEFAULT_STRENGTHS, reverse=True)
    kit_seconds, kit_losses, flops = _by_kit(features, labels, fold_of, classes, strengths)
    plain_seconds, plain_losses = _by_sklearn(features, labels, fold_of, strengths)
    rate = _matmul_rate(len(features), features.shape[1], FOLDS * classes)
    case = f"{len(features):,} x {features.shape[1]:,}, {classes} classes"
    outcome.figures += [
        figure(case, "kit, 60 fits", "s", [kit_seconds]),
        figure(case, "scikit-learn, 60 fits", "s", [FOLDS * plain_seconds]),
        figure(case, "matrix products of that shape", "GFLOP/s", [rate / 1e9]),
        figure(case, "kit's products", "GFLOP/s", [flops / kit_seconds / 1e9]),
    ]
    worst = max(kit / plain - 1 for kit, plain in zip(kit_losses, plain_losses, strict=True))
    best = min(kit_losses) / min(plain_losses) - 1
    outcome.claims += [
        Claim("probe: scikit-learn's time over the kit's", FOLDS * plain_seconds / kit_seconds, 3.0),
        Claim("probe: log loss above scikit-learn's, best strength", 100 * best, 0.5, False, "%"),
        Claim("probe: log loss above scikit-learn's, worst of the strengths", 100 * worst, 0.5, False, "%"),
    ]
    told = zip(strengths, kit_losses, plain_losses, strict=True)
    outcome.notes += [
        f"scikit-learn: fold 0 measured ({plain_seconds:.1f} s), times {FOLDS}; its default tolerance",
        f"share of the machine's rate of matrix products: {flops / kit_seconds / rate:.2f}",
        "log loss of fold 0 by strength (kit, scikit-learn): "
        + "; ".join(f"{strength:g}: {kit:.4f}, {plain:.4f}" for strength, kit, plain in told),
    ]
    return outcome


def _problem(setup: Setup) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Standardised features of one backbone, labels, folds and the number of classes."""
    data = load_data(setup.data)
    backbone = sorted(find_backbones((), setup.weights), key=lambda ref: "efficientnet" not in ref.name)[0]
    (block,) = probe_blocks([backbone], ("identity",))
    raw = np.asarray(embed(data.train, [block], ProbeConfig())[block.name], np.float32)
    fold = dict(zip((table := make_folds(data, FOLDS, 42, {})).ids, table.fold.tolist(), strict=True))
    fold_of = np.array([fold[name] for name in data.train_ids])
    labels = data.labels
    if setup.scale < 1:
        kept = np.flatnonzero(labels < max(3, round(len(data.classes) * setup.scale)))
        raw, labels, fold_of = raw[kept], labels[kept], fold_of[kept]
    return (raw - raw.mean(0)) / (raw.std(0) + 1e-6), labels, fold_of, int(labels.max()) + 1


def _by_kit(
    features: np.ndarray, labels: np.ndarray, fold_of: np.ndarray, classes: int, strengths: list[float]
) -> tuple[float, list[float], float]:
    """Seconds of the whole path, log loss of fold 0 at each strength, floating-point operations of its products."""
    start = time.perf_counter()
    seen = (fold_of[:, None] != np.arange(FOLDS)[None]).astype(np.float32)
    with_bias = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    problems = Problems(
        torch.from_numpy(with_bias), torch.from_numpy(labels), torch.from_numpy(seen / seen.sum(0)), classes
    )
    point, losses, evaluations = problems.start(), [], 0
    rows = np.flatnonzero(fold_of == 0)
    for strength in strengths:
        solution = solve(problems, strength, point)
        point, evaluations = solution.coefficients, evaluations + solution.evaluations
        losses.append(log_loss(softmax(solution.logits[rows, 0].numpy()), labels[rows]))
    seconds = time.perf_counter() - start
    return seconds, losses, evaluations * 2 * 2.0 * with_bias.size * FOLDS * classes


def _by_sklearn(
    features: np.ndarray, labels: np.ndarray, fold_of: np.ndarray, strengths: list[float]
) -> tuple[float, list[float]]:
    """Seconds of fold 0's fits, and their log losses."""
    from sklearn.linear_model import LogisticRegression

    train, held = np.flatnonzero(fold_of != 0), np.flatnonzero(fold_of == 0)
    x, y, losses, seconds = features[train], labels[train], [], 0.0
    for strength in strengths:
        model = LogisticRegression(C=1 / (strength * len(train)), max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds += seconds_of(lambda model=model: model.fit(x, y))  # type: ignore[misc]
        losses.append(log_loss(model.predict_proba(features[held]).astype(np.float64), labels[held]))
    return seconds, losses


def _matmul_rate(n: int, d: int, columns: int, repeats: int = 5) -> float:
    """Floating-point operations per second of a product of the probe's shape, median."""
    left, right = torch.randn(n, d), torch.randn(d, columns)
    times = [seconds_of(lambda: left @ right) for _ in range(repeats + 1)][1:]
    return 2.0 * n * d * columns / float(np.median(times))

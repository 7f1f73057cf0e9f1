"""Linear probe: multinomial logistic regression on frozen features, every fold at once, strength chosen out of fold.

The blocks of features (backbone x view) are combined in up to three designs: views averaged and backbones side by
side, everything side by side, or one probe per backbone with their probabilities averaged. The second is tried only
when it is asked for (``combine=concat``): it costs as much as the others together and gave the same log loss as the
first (0.2804 against 0.2803, two backbones x two views, 10,222 photos). Each design's path of L2
strengths is solved from strong to weak; the design and strength with the best out-of-fold log loss after a temperature
are kept. Two more strengths are tried after the best one, then the path ends: the loss along it has one minimum.

Where a backbone's own classifier knows the competition's classes, its rows are the centre that the penalty pulls
towards (``ProbeConfig.imagenet_prior``): the probe then learns what to change about them instead of starting from
nothing. Only their scale is fitted, per fold, on that fold's training photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from competition.config import ProbeConfig
from competition.console import progress, say, warn
from competition.errors import DataError, WeightsError
from competition.files import atomic_path, digest_of, digest_of_array, read_npz
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.temperature import fit_temperature
from competition.training.backbones.create import try_features
from competition.training.backbones.devices import pick_device
from competition.training.backbones.find import BackboneRef
from competition.training.backbones.imagenet import imagenet_classifier, imagenet_rows
from competition.training.probe.logistic import Problems, Solution, solve

PATIENCE = 2  # weaker strengths that may be worse before a path ends
Head = tuple[np.ndarray, np.ndarray]  # weight (d, c) and bias (c,), for features as they come from the backbone


@dataclass(frozen=True)
class Matrix:
    """One matrix of features: groups of blocks side by side, the blocks within a group averaged."""

    groups: tuple[tuple[str, ...], ...]

    def assemble(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Put the blocks together, float32 (n, d)."""
        return np.concatenate([np.mean([features[name] for name in group], axis=0) for group in self.groups], axis=1)


@dataclass(frozen=True)
class Design:
    """How blocks are combined: one matrix, or several whose probes' probabilities are averaged."""

    name: str
    matrices: tuple[Matrix, ...]


def designs(backbones: Sequence[str], views: Sequence[str], combine: str) -> tuple[Design, ...]:
    """The designs worth trying for these blocks; equal ones appear once.

    Args:
        backbones: names of backbones.
        views: names of views.
        combine: ``auto`` (first and third), ``concat`` (first and second) or ``average`` (third).
    """
    names = [tuple(f"{backbone}/{view}" for view in views) for backbone in backbones]
    found = {
        "views averaged, backbones side by side": (Matrix(tuple(names)),),
        "everything side by side": (Matrix(tuple((name,) for group in names for name in group)),),
        "probes of each backbone averaged": tuple(Matrix((group,)) for group in names),
    }
    tried_by = dict(zip(found, (("auto", "concat"), ("concat",), ("auto", "average")), strict=True))
    chosen: dict[tuple[Matrix, ...], str] = {}
    for name, matrices in found.items():
        if combine in tried_by[name]:
            chosen.setdefault(matrices, name)
    return tuple(Design(name, matrices) for matrices, name in chosen.items())


@dataclass(frozen=True)
class Fitted:
    """The best point of one matrix' path.

    Attributes:
        strength: L2 penalty chosen.
        temperature: fitted on the out-of-fold logits.
        heads: one per fold, for raw features.
        oof_logits: float32 (n, c); row i by the fold that validates photo i, before the temperature.
        tried: a row of figures per strength.
    """

    strength: float
    temperature: float
    heads: tuple[Head, ...]
    oof_logits: np.ndarray
    tried: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Probe:
    """The chosen design with its heads: turns features into probabilities."""

    design: Design
    fitted: tuple[Fitted, ...]
    candidates: tuple[dict[str, Any], ...]

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Divisors of each matrix' logits before probabilities are averaged; 1 where there is nothing to average."""
        return tuple(item.temperature for item in self.fitted) if len(self.fitted) > 1 else (1.0,)

    @property
    def oof(self) -> np.ndarray:
        """Out-of-fold probabilities before the final temperature, float64 (n, c)."""
        pairs = zip(self.fitted, self.temperatures, strict=True)
        return np.mean([softmax(item.oof_logits, temperature) for item, temperature in pairs], axis=0)

    @property
    def heads(self) -> tuple[tuple[Head, ...], ...]:
        """Per matrix, per fold."""
        return tuple(item.heads for item in self.fitted)


def predict(
    design: Design,
    heads: Sequence[Sequence[Head]],
    temperatures: Sequence[float],
    features: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Probabilities before the final temperature, float64 (folds, n, c): mean over the matrices.

    Args:
        design: what to put together.
        heads: per matrix, per fold.
        temperatures: per matrix, as ``Probe.temperatures`` gives them.
        features: block name to features (n, d).
    """
    parts = []
    for matrix, own, temperature in zip(design.matrices, heads, temperatures, strict=True):
        raw = matrix.assemble(features)
        parts.append([softmax(raw @ weight + bias, temperature) for weight, bias in own])
    return np.mean(parts, axis=0)


def fit(
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    fold_of: np.ndarray,
    classes: Sequence[str],
    backbones: Sequence[BackboneRef],
    config: ProbeConfig,
    folder: Path,
) -> Probe:
    """Fit every design, choose the best out of fold.

    Args:
        features: block name to float32 (n, d), rows in the order of ``labels``.
        labels: int64 (n,).
        fold_of: int64 (n,), the fold that validates each photo.
        classes: class names, by index.
        backbones: the backbones of the blocks.
        config: strengths, designs, device.
        folder: where finished points of the paths are kept, so that a killed run continues.

    Raises:
        DataError: features hold NaN (half precision overflowed, or damaged weights).
    """
    for name, values in features.items():
        if not np.isfinite(values).all():
            raise DataError(f"features of {name} hold NaN or infinity: try --set precision=float32")
    own = _own_classifiers(backbones, classes) if config.imagenet_prior else {}
    facts = [digest_of_array(labels), digest_of_array(fold_of), sorted(own), list(config.strengths)]
    facts += [[name, digest_of_array(values)] for name, values in sorted(features.items())]
    todo = designs([ref.name for ref in backbones], config.views, config.combine)
    matrices = list(dict.fromkeys(matrix for design in todo for matrix in design.matrices))
    done: dict[Matrix, Fitted] = {}
    with progress("probe", len(matrices) * len(config.strengths), "fits of all folds") as ticker:
        for number, matrix in enumerate(matrices):
            ticker.start_at(number * len(config.strengths))
            path = _Path(matrix, features, labels, fold_of, len(classes), own, config)
            done[matrix] = path.follow(folder / f"{digest_of([facts, matrix.groups])}.npz", ticker.advance)
    return _best(todo, done, labels)


def _best(todo: Sequence[Design], done: Mapping[Matrix, Fitted], labels: np.ndarray) -> Probe:
    probes: list[Probe] = []
    scores: list[float] = []
    candidates: list[dict[str, Any]] = []
    for design in todo:
        fitted = tuple(done[matrix] for matrix in design.matrices)
        probes.append(Probe(design, fitted, ()))
        for matrix, item in zip(design.matrices, fitted, strict=True):
            label = design.name if len(fitted) == 1 else f"{_backbone_of(matrix.groups[0])} alone"
            candidates += [{"design": label, **row} for row in item.tried]
        log_p = np.log(np.maximum(probes[-1].oof, 1e-15))
        scores.append(log_loss(softmax(log_p, fit_temperature(log_p, labels)), labels))
        say(f"probe: {design.name}: out-of-fold log loss {scores[-1]:.4f}")
    best = probes[int(np.argmin(scores))]
    return Probe(best.design, best.fitted, tuple(candidates))


def _own_classifiers(backbones: Sequence[BackboneRef], classes: Sequence[str]) -> dict[str, Head]:
    """Rows of the backbones' own classifiers for the competition's classes, where they know at least half of them."""
    rows = imagenet_rows(classes)
    if len(rows) < len(classes) / 2:
        return {}
    found = {}
    for ref in backbones:
        try:
            weight, bias = imagenet_classifier(ref)
        except WeightsError:
            continue  # ``check_backbones`` has said so
        say(f"{ref.name}: using its own classifier of {len(bias):,} classes")
        index = [rows.get(name, -1) for name in classes]
        known = np.array([row >= 0 for row in index])
        # A class that the classifier does not know starts from the mean of the others: nothing is known against it.
        own = np.where(known[:, None], weight[index], weight[index][known].mean(0))
        found[ref.name] = (own.T.copy(), np.where(known, bias[index], bias[index][known].mean()))
    return found


def check_backbones(backbones: Sequence[BackboneRef], classes: Sequence[str], config: ProbeConfig) -> None:
    """See that every backbone gives features, and say which have no classifier of ImageNet's to start from.

    Raises:
        WeightsError: weights cannot be loaded, or give no features.
    """
    reasons = []
    for ref in backbones:
        try_features(ref)
    wanted = config.imagenet_prior and len(imagenet_rows(classes)) >= len(classes) / 2
    for ref in backbones if wanted else ():
        try:
            imagenet_classifier(ref)
        except WeightsError as error:
            reasons.append(str(error))
    if reasons:
        warn(
            f"{'; '.join(reasons)}: used without the rows of an ImageNet-1k classifier (no backbone has them with "
            "imagenet_prior=false)"
        )


def _backbone_of(group: Sequence[str]) -> str:
    """The backbone of a group of blocks ``backbone/view``; its name may hold slashes."""
    return group[0].rpartition("/")[0]


class _Path:
    """The path of strengths for one matrix, all folds at once."""

    def __init__(
        self,
        matrix: Matrix,
        features: Mapping[str, np.ndarray],
        labels: np.ndarray,
        fold_of: np.ndarray,
        n_classes: int,
        own: Mapping[str, Head],
        config: ProbeConfig,
    ) -> None:
        raw = matrix.assemble(features).astype(np.float32)
        # Mean and spread of all labelled photos: they use no label, and every fold then shares one matrix.
        self.mean, self.spread = raw.mean(axis=0), raw.std(axis=0) + 1e-6
        self.labels, self.fold_of, self.config = labels, fold_of, config
        self.n_folds, self.n_classes = int(fold_of.max()) + 1, n_classes
        device = pick_device(config.device)
        raw -= self.mean
        raw /= self.spread
        ones = np.ones((len(raw), 1), dtype=np.float32)
        seen = (fold_of[:, None] != np.arange(self.n_folds)[None]).astype(np.float32)
        widths = [features[group[0]].shape[1] for group in matrix.groups]
        centre = self._centre(matrix, widths, raw, seen, own)
        self.problems = Problems(
            torch.from_numpy(np.concatenate([raw, ones], axis=1)).to(device),
            torch.from_numpy(labels).to(device),
            torch.from_numpy(seen / seen.sum(axis=0)).to(device),
            n_classes,
            None if centre is None else torch.from_numpy(centre).to(device),
        )

    def _centre(
        self, matrix: Matrix, widths: Sequence[int], standard: np.ndarray, seen: np.ndarray, own: Mapping[str, Head]
    ) -> np.ndarray | None:
        """Coefficients of the backbones' own classifiers, scaled per fold: float32 (d + 1, folds * c)."""
        parts, at = [], 0
        for group, width in zip(matrix.groups, widths, strict=True):
            here = slice(at, at + width)
            at += width
            head = own.get(_backbone_of(group))
            if head is None:
                continue  # these features start from nothing
            weight, bias = head
            scaled = weight * self.spread[here, None]
            parts.append((here, scaled, bias + self.mean[here] @ weight))
        if not parts:
            return None
        logits = np.stack([standard[:, here] @ scaled + bias for here, scaled, bias in parts])  # (groups, n, c)
        scales = _fit_scales(logits, self.labels, seen)  # (folds, groups)
        centre = np.zeros((len(self.mean) + 1, self.n_folds, self.n_classes), dtype=np.float32)
        for fold in range(self.n_folds):
            for (here, scaled, bias), scale in zip(parts, scales[fold], strict=True):
                centre[here, fold] = scale * scaled
                centre[-1, fold] += scale * bias
        return centre.reshape(len(centre), -1)

    def follow(self, state: Path, advance: Any) -> Fitted:
        """Solve from strong to weak until it has got worse ``PATIENCE`` times; finished points are read from disk."""
        point, best, tried = self._restore(state)
        for strength in sorted(self.config.strengths, reverse=True)[len(tried) :]:
            if _worsened(tried):
                break
            solution = solve(self.problems, strength, point)
            point = solution.coefficients
            logits = self._held_out(solution)
            temperature = fit_temperature(logits, self.labels)
            tried.append(self._row(strength, temperature, logits, solution))
            if tried[-1]["log_loss"] == min(row["log_loss"] for row in tried):
                best = (point.cpu().numpy().copy(), logits)
            self._keep(state, point, best, tried)
            advance()
        row = min(tried, key=lambda item: item["log_loss"])
        return Fitted(row["strength"], row["temperature"], self._heads(best[0]), best[1], tuple(tried))

    def _row(self, strength: float, temperature: float, logits: np.ndarray, solution: Solution) -> dict[str, Any]:
        probabilities = softmax(logits, temperature)
        return {
            "strength": strength,
            "temperature": temperature,
            "log_loss": log_loss(probabilities, self.labels),
            "accuracy": accuracy(probabilities, self.labels),
            "evaluations": solution.evaluations,
        }

    def _held_out(self, solution: Solution) -> np.ndarray:
        rows = torch.arange(len(self.labels), device=solution.logits.device)
        folds = torch.from_numpy(self.fold_of).to(solution.logits.device)
        return solution.logits[rows, folds].float().cpu().numpy()

    def _heads(self, coefficients: np.ndarray) -> tuple[Head, ...]:
        """Heads for raw features: the standardisation is folded into weight and bias."""
        weights = coefficients.reshape(-1, self.n_folds, self.n_classes)
        heads = []
        for fold in range(self.n_folds):
            weight = weights[:-1, fold] / self.spread[:, None]
            bias = weights[-1, fold].astype(np.float64) - self.mean.astype(np.float64) @ weight
            heads.append((np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)))
        return tuple(heads)

    def _keep(
        self, state: Path, point: torch.Tensor, best: tuple[np.ndarray, np.ndarray], tried: Sequence[dict[str, Any]]
    ) -> None:
        table = np.array([list(row.values()) for row in tried], dtype=np.float64)
        arrays = {"point": point.cpu().numpy(), "best_point": best[0], "best_logits": best[1], "tried": table}
        # Random floats do not compress, and this is written after every strength: plain npz.
        with atomic_path(state) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    def _restore(self, state: Path) -> tuple[torch.Tensor, tuple[np.ndarray, np.ndarray], list[dict[str, Any]]]:
        if not state.is_file():
            return self.problems.start(), (np.empty(0), np.empty(0)), []
        try:
            stored = read_npz(state)
        except DataError:
            say(f"{state} is damaged: these strengths are fitted again")
            return self.problems.start(), (np.empty(0), np.empty(0)), []
        keys = ("strength", "temperature", "log_loss", "accuracy", "evaluations")
        tried = [dict(zip(keys, map(float, row), strict=True)) for row in stored["tried"]]
        point = torch.from_numpy(stored["point"]).to(self.problems.features.device)
        return point, (stored["best_point"], stored["best_logits"]), tried


def _worsened(tried: Sequence[Mapping[str, Any]]) -> bool:
    losses = [row["log_loss"] for row in tried]
    return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE


def _fit_scales(logits: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Factors (folds, groups) of the groups' logits (groups, n, c) that fit each fold's training photos best."""
    stacked = torch.from_numpy(logits.astype(np.float32))
    target = torch.from_numpy(labels)
    scales = np.ones((seen.shape[1], len(logits)), dtype=np.float64)
    for fold in range(seen.shape[1]):
        rows = torch.from_numpy(np.flatnonzero(seen[:, fold]))
        scales[fold] = _fit_scale(stacked[:, rows], target[rows])
    return scales


def _fit_scale(logits: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Factors (groups,) of logits (groups, n, c) that minimise the cross-entropy of their sum."""
    factor = torch.full((len(logits),), 1 / len(logits), requires_grad=True)
    optimiser = torch.optim.LBFGS([factor], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(torch.einsum("g,gnc->nc", factor, logits), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimiser.step(closure)
    return factor.detach().numpy()

"""Multinomial logistic regression for many problems at once: one matrix of features, many folds.

All problems share the features, so one matrix product serves them all; each has its own photos (by weights), its own
L-BFGS memory and its own step. Penalties are solved from strong to weak, each from the solution before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

MEMORY = 10  # pairs kept by L-BFGS (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4)
ARMIJO = 1e-4
BIAS_PENALTY = 1e-6  # of the penalty 1: keeps the problem strictly convex without holding the bias back


@dataclass(frozen=True)
class Problems:
    """Features and labels shared by p problems, and which photos each of them trains on.

    Attributes:
        features: float32 (n, d), standardised, last column 1 (the bias).
        labels: int64 (n,).
        weights: float32 (n, p); column sums are 1, zero for photos that a problem must not see.
        classes: number of classes c.
        centre: coefficients (d, p * c) that the penalty pulls towards; None means zero.
    """

    features: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    classes: int
    centre: torch.Tensor | None = None

    @property
    def count(self) -> int:
        """Number of problems p."""
        return int(self.weights.shape[1])

    def start(self) -> torch.Tensor:
        """Coefficients to start from, (d, p * c): the centre of the penalty."""
        if self.centre is not None:
            return self.centre.clone()
        return torch.zeros(self.features.shape[1], self.count * self.classes, device=self.features.device)


@dataclass(frozen=True)
class Solution:
    """Minimum of every problem: coefficients (d, p * c), logits (n, p, c), loss (p,), passes over the data."""

    coefficients: torch.Tensor
    logits: torch.Tensor
    loss: torch.Tensor
    evaluations: int


def solve(
    problems: Problems, strength: float, start: torch.Tensor, tolerance: float = 1e-4, most: int = 200
) -> Solution:
    """Minimise the mean cross-entropy plus ``strength / 2`` times the squared distance to the centre, for each.

    Args:
        problems: what to solve.
        strength: L2 penalty per photo and standardised feature.
        start: coefficients to start from, (d, p * c).
        tolerance: relative decrease of every problem's loss below which the iteration ends.
        most: iterations at most.
    """
    penalty = torch.full((problems.features.shape[1], 1), strength, device=start.device)
    penalty[-1] = strength * BIAS_PENALTY
    memory = _Memory(problems)
    point, (loss, gradient, logits), evaluations = start, _evaluate(problems, start, penalty), 1
    for _ in range(most):
        direction = memory.direction(gradient)
        slope = memory.dot(gradient, direction)
        size = torch.ones_like(loss)
        while True:  # the loss is convex and the direction descends, so halving ends
            moved = point - memory.spread(size) * direction
            new_loss, new_gradient, new_logits = _evaluate(problems, moved, penalty)
            evaluations += 1
            worse = new_loss > loss - ARMIJO * size * slope + 1e-7 * loss
            if not bool(worse.any()) or float(size.min()) < 1e-6:
                break
            size = torch.where(worse, size / 2, size)
        memory.remember(moved - point, new_gradient - gradient)
        decrease = float(((loss - new_loss) / loss).max())
        point, loss, gradient, logits = moved, new_loss, new_gradient, new_logits
        if decrease < tolerance:
            break
    return Solution(point, logits, loss, evaluations)


def _evaluate(
    problems: Problems, coefficients: torch.Tensor, penalty: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss (p,), gradient (d, p * c) and logits (n, p, c) at one point."""
    n, p, c = len(problems.labels), problems.count, problems.classes
    logits = (problems.features @ coefficients).view(n, p, c)
    true = problems.labels.view(n, 1, 1).expand(n, p, 1)
    log_probability = torch.log_softmax(logits, dim=2)
    loss = -(log_probability.gather(2, true).squeeze(2) * problems.weights).sum(0)
    held = coefficients if problems.centre is None else coefficients - problems.centre
    loss = loss + 0.5 * (held.square() * penalty).view(-1, p, c).sum((0, 2))
    residual = log_probability.exp_()  # its own memory: the log-probabilities are not needed any more
    residual.scatter_add_(2, true, torch.full_like(true, -1, dtype=residual.dtype))
    residual *= problems.weights[:, :, None]
    gradient = torch.addcmul(problems.features.T @ residual.view(n, p * c), held, penalty)
    return loss, gradient, logits


class _Memory:
    """The last steps and changes of gradient of every problem, and the two-loop recursion over them."""

    def __init__(self, problems: Problems) -> None:
        self._p, self._c = problems.count, problems.classes
        self._steps: list[torch.Tensor] = []
        self._changes: list[torch.Tensor] = []
        self._inverse: list[torch.Tensor] = []

    def dot(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Inner products per problem, (p,)."""
        return (a * b).view(-1, self._p, self._c).sum((0, 2))

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """(p,) values as a row (1, p * c) that multiplies coefficients."""
        return values.repeat_interleave(self._c).view(1, -1)

    def remember(self, step: torch.Tensor, change: torch.Tensor) -> None:
        """Keep a pair; one without positive curvature (rounding) counts for nothing."""
        curvature = self.dot(step, change)
        self._steps.append(step)
        self._changes.append(change)
        self._inverse.append(torch.where(curvature > 1e-20, 1 / curvature.clamp_min(1e-20), 0.0))
        del self._steps[:-MEMORY], self._changes[:-MEMORY], self._inverse[:-MEMORY]

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """Quasi-Newton direction (d, p * c), to be subtracted."""
        result = gradient.clone()
        if not self._steps:
            return result / self.spread(self.dot(gradient, gradient).sqrt().clamp_min(1e-12))
        factors = []
        pairs = list(zip(self._steps, self._changes, self._inverse, strict=True))
        for step, change, inverse in reversed(pairs):
            factor = inverse * self.dot(step, result)
            factors.append(factor)
            result.addcmul_(change, self.spread(factor), value=-1)
        scale = self.dot(self._steps[-1], self._changes[-1]) / self.dot(self._changes[-1], self._changes[-1])
        result *= self.spread(scale.nan_to_num(1.0).clamp_min(1e-12))
        for (step, change, inverse), factor in zip(pairs, reversed(factors), strict=True):
            result.addcmul_(step, self.spread(factor - inverse * self.dot(change, result)))
        return result

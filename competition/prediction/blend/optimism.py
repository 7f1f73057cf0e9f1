"""By how much the nested score of a blend may be too good, where members were made with other folds than the run's.

Two things can make it so. Duplicates: where a member's folds part a photo from its duplicate, or nobody knows them, its
prediction of that photo may come from a model that trained on the duplicate. And the fit of the blend: the folds that
keep weights and photos apart are not those that kept the member's models and photos apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from competition.prediction.blend.align import Stack
from competition.prediction.blend.combiners import Combiner
from competition.prediction.blend.members import crossing, group_numbers
from competition.prediction.submission.template import count
from competition.record.metrics import per_photo_loss


@dataclass(frozen=True)
class Optimism:
    """What may be too good about a nested log loss, in nats.

    Attributes:
        members: names of the members with other folds, or with unknown ones.
        photos: duplicates that a member's folds part, or may part.
        duplicates: how much more these members lower the loss on those photos than elsewhere, spread over all photos,
            and two standard errors.
        fit: how much lower the loss is where the weights were fitted on the photos that they are scored on.
    """

    members: tuple[str, ...]
    photos: int
    duplicates: float
    fit: float

    @property
    def most(self) -> float:
        """The nested log loss may be too low by this much, nats."""
        return self.duplicates + self.fit

    def __str__(self) -> str:
        return (
            f"the folds of {', '.join(self.members)} are unknown, not the run's, or part duplicates: the nested log "
            f"loss may be too low by up to {self.most:.4f} ({self.duplicates:.4f} by {count(self.photos, 'photo')} "
            f"with duplicates, {self.fit:.4f} by the fit of the weights)"
        )


def optimism(
    stack: Stack, nested: np.ndarray, fitted: Combiner, renest: Callable[[Stack], np.ndarray]
) -> Optimism | None:
    """The bound, or None where every member keeps to the folds that the score was nested over.

    Args:
        stack: the members.
        nested: (n, c), nested probabilities of the method that was taken.
        fitted: that method, fitted on all photos.
        renest: nested probabilities (n, c) of the same method for fewer members.
    """
    if not stack.strangers:
        return None
    loss = per_photo_loss(nested, stack.labels)
    in_sample = per_photo_loss(fitted.predict(stack.log_probabilities), stack.labels)
    fit = max(0.0, float((loss - in_sample).mean()))
    parted = np.zeros(len(stack.ids), dtype=bool)
    for place in stack.strangers:
        parted |= parted_duplicates(stack, place)
    names = tuple(stack.names[place] for place in stack.strangers)
    return Optimism(names, int(parted.sum()), _by_duplicates(stack, loss, parted, renest), fit)


def parted_duplicates(stack: Stack, place: int) -> np.ndarray:
    """Bool (n,): photos with a duplicate that lies in another fold of this member, or may."""
    member, parted = stack.members[place], np.zeros(len(stack.ids), dtype=bool)
    folds = np.array([member.folds[name] for name in stack.ids])
    for groups in (stack.groups, group_numbers([member.groups[name] for name in stack.ids])):
        parted |= crossing(groups, folds) if member.folds_known else np.bincount(groups)[groups] > 1
    return parted


def _by_duplicates(stack: Stack, loss: np.ndarray, parted: np.ndarray, renest: Callable[[Stack], np.ndarray]) -> float:
    """What the members in question gain on duplicates beyond what they gain elsewhere, mean over all photos.

    It is a bound: two standard errors of the difference are added. Where nobody else is in the blend, the duplicates'
    own advantage stands for it.
    """
    if not parted.any() or parted.all():
        return 0.0
    others = [place for place in range(len(stack.members)) if place not in stack.strangers]
    gain = -loss
    if others:
        rest = replace(
            stack,
            members=tuple(stack.members[place] for place in others),
            log_probabilities=stack.log_probabilities[others],
            strangers=(),
        )
        gain = per_photo_loss(renest(rest), stack.labels) - loss
    on, off = gain[parted], gain[~parted]
    error = float(np.sqrt(on.var() / len(on) + off.var() / len(off)))
    return float(parted.mean()) * max(0.0, float(on.mean() - off.mean()) + 2 * error)

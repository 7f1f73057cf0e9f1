"""By how much a nested score may be too good: nothing for common folds, and what planted leaks make otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from competition.data.source.competition_data import CompetitionData
from competition.prediction.blend.align import align
from competition.prediction.blend.members import Member, load_member
from competition.prediction.blend.optimism import parted_duplicates
from competition.prediction.blend.study import study
from competition.prediction.blend.text import study_lines
from competition.record.metrics import per_photo_loss
from competition.types import CVResult
from tests.prediction.conftest import BREEDS, N_TRAIN

MakeCV = Callable[..., CVResult]
TWINS = 120  # the first photos, two by two, are duplicates


def ours(cv: CVResult, fold_of: np.ndarray) -> Member:
    """A run whose folds keep the duplicates together."""
    groups = np.where(np.arange(N_TRAIN) < TWINS, np.arange(N_TRAIN) // 2, np.arange(N_TRAIN))
    together = fold_of.copy()
    together[1:TWINS:2] = together[0:TWINS:2]
    fold, group = (dict(zip(cv.oof.ids, column.tolist(), strict=True)) for column in (together, groups))
    return Member("run", cv.oof, None, fold, group)


def theirs(cv: CVResult, leak: float, folds: object) -> Member:
    """A model that saw the duplicates of the first photos: it is surer of their breeds."""
    labels = np.random.default_rng(1).integers(0, len(BREEDS), N_TRAIN)  # the fixture's
    p = cv.oof.probabilities.copy()
    p[:TWINS] = (1 - leak) * p[:TWINS] + leak * np.eye(len(BREEDS))[labels[:TWINS]]
    return Member.from_arrays(cv.oof.ids, BREEDS, p, folds=folds, name="theirs")  # type: ignore[arg-type]


def test_members_of_common_folds_are_not_doubted(tiny: CompetitionData, make_cv: MakeCV) -> None:
    assert study([make_cv("a", 1.0, 5), make_cv("b", 1.0, 6)], tiny).optimism is None


def test_the_words_name_the_members_and_the_bound(tiny: CompetitionData, make_cv: MakeCV, fold_of: np.ndarray) -> None:
    found = study([ours(make_cv("a", 1.0, 5), fold_of), theirs(make_cv("b", 1.0, 6), 0.0, "unknown")], tiny)
    assert found.optimism is not None
    assert found.optimism.members == ("theirs",)
    told = next(line for line in study_lines(found) if line.startswith("optimistic"))
    assert f"too low by up to {found.optimism.most:.4f}" in told
    assert "by 120 photos with duplicates" in told


def test_a_leak_through_duplicates_is_measured(tiny: CompetitionData, make_cv: MakeCV, fold_of: np.ndarray) -> None:
    """The bound covers what the leak made of the score, and no leak leaves a bound of noise only."""
    run, model = ours(make_cv("a", 1.0, 5), fold_of), make_cv("b", 1.0, 6)
    honest, leaky = (study([run, theirs(model, leak, "unknown")], tiny, method="equal") for leak in (0.0, 0.9))
    assert honest.optimism is not None
    assert leaky.optimism is not None
    made = float((per_photo_loss(honest.nested, tiny.labels) - per_photo_loss(leaky.nested, tiny.labels)).mean())
    assert made > 0.05
    assert leaky.optimism.most > made
    assert leaky.optimism.duplicates == pytest.approx(leaky.optimism.most, abs=0.01)
    assert honest.optimism.most < 0.5 * made


def test_only_duplicates_in_several_folds_count_where_the_folds_are_known(
    tiny: CompetitionData, make_cv: MakeCV, fold_of: np.ndarray
) -> None:
    run = ours(make_cv("a", 1.0, 5), fold_of)
    cases = {"unknown": TWINS, "apart": TWINS, "whole": 0, "half": TWINS // 2}
    order = np.arange(N_TRAIN)
    folds = {
        "unknown": "unknown",
        "apart": order % 2,
        "whole": order // 2 % 3,
        "half": np.where(order < TWINS // 2, order % 2, order // 2 % 2),
    }
    for name, photos in cases.items():
        stack = align([run, theirs(make_cv("b", 1.0, 6), 0.5, folds[name])], tiny)
        assert stack.strangers == (1,)
        assert int(parted_duplicates(stack, 1).sum()) == photos


def test_without_a_run_of_the_kit_the_duplicates_are_compared_with_the_rest(
    tiny: CompetitionData, make_cv: MakeCV
) -> None:
    members = [theirs(make_cv(name, 1.0, seed), 0.9, "unknown") for name, seed in (("a", 5), ("b", 6))]
    pairs = {name: number // 2 for number, name in enumerate(tiny.train_ids)}
    pairs |= {name: number for number, name in enumerate(tiny.train_ids) if number >= TWINS}
    known = [
        Member(f"m{n}", m.oof, None, m.folds, pairs, foreign=True, folds_known=False) for n, m in enumerate(members)
    ]
    found = study(known, tiny, method="equal")
    assert found.optimism is not None
    assert found.optimism.photos == TWINS
    assert found.optimism.duplicates > 0.05


def test_the_fixture_is_what_this_file_takes_it_for(tiny: CompetitionData, make_cv: MakeCV) -> None:
    labels = np.random.default_rng(1).integers(0, len(BREEDS), N_TRAIN)
    np.testing.assert_array_equal(tiny.labels, labels)
    assert load_member(make_cv("a", 1.0, 5)).folds_known

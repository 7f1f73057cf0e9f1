"""Blending: identities of the combiners, nested scores, refusals that name the difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from competition.data.source.competition_data import CompetitionData
from competition.errors import DataError, ResumeError, SubmissionError, UsageError
from competition.prediction.blend.align import align
from competition.prediction.blend.combiners import COMBINERS, combiner, greedy_weights, pool_weights, simplex_weights
from competition.prediction.blend.members import load_member
from competition.prediction.blend.study import MethodScore, blend, choose, forward_order, nested_predictions, study
from competition.record.metrics import log_loss, softmax
from competition.record.run_dir import RunDir
from competition.record.temperature import apply_temperature, fit_temperature
from competition.types import CVResult, Predictions
from tests.prediction.conftest import BREEDS, N_TRAIN


def members_and_labels(
    m: int = 3, n: int = 400, c: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    logits = rng.normal(size=(m, n, c))
    logits[:, np.arange(n), labels] += np.array([2.0, 1.5, 0.5, 0.2])[:m, None]
    return np.log(softmax(logits)), labels, np.arange(n) % 5


# --- combiners


@pytest.mark.parametrize("name", COMBINERS)
def test_every_combiner_gives_distributions_and_weights_that_sum_to_one(name: str) -> None:
    log_p, labels, folds = members_and_labels()
    fitted = combiner(name).fit(log_p, labels, folds)
    np.testing.assert_allclose(fitted.predict(log_p).sum(axis=1), 1)
    assert fitted.weights.sum() == pytest.approx(1)
    assert fitted.weights.min() >= 0


@pytest.mark.parametrize("name", [name for name in COMBINERS if name != "stacking"])
def test_the_order_of_the_members_does_not_matter(name: str) -> None:
    log_p, labels, folds = members_and_labels()
    one = combiner(name).fit(log_p, labels, folds).predict(log_p)
    other = combiner(name).fit(log_p[::-1], labels, folds).predict(log_p[::-1])
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", ["equal", "geometric", "weights", "greedy", "log-pool"])
def test_equal_members_blend_into_themselves(name: str) -> None:
    """Up to the temperature, which each blend fits anew."""
    log_p, labels, folds = members_and_labels(m=1)
    fitted = combiner(name).fit(np.repeat(log_p, 3, axis=0), labels, folds)
    alone = combiner("equal").fit(log_p, labels, folds)
    np.testing.assert_allclose(fitted.predict(np.repeat(log_p, 3, axis=0)), alone.predict(log_p), atol=1e-4)


def test_equal_is_the_mean_and_geometric_the_mean_of_logarithms() -> None:
    log_p, labels, folds = members_and_labels()
    equal, geometric = (combiner(name).fit(log_p, labels, folds) for name in ("equal", "geometric"))
    mean = np.log(np.exp(log_p).mean(axis=0))
    np.testing.assert_allclose(equal.predict(log_p), apply_temperature(mean, equal.temperature))
    product = np.exp(log_p.sum(axis=0)) ** (1 / 3)
    product /= product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(geometric.predict(log_p), apply_temperature(np.log(product), geometric.temperature))


def test_rank_sees_only_the_order_within_a_photo() -> None:
    log_p, labels, folds = members_and_labels()
    fitted = combiner("rank").fit(log_p, labels, folds)
    np.testing.assert_allclose(fitted.predict(log_p), fitted.predict(np.log(softmax(3 * log_p))))


def test_single_is_the_best_member_at_its_temperature() -> None:
    log_p, labels, folds = members_and_labels()
    fitted = combiner("single").fit(log_p, labels, folds)
    np.testing.assert_allclose(fitted.predict(log_p), apply_temperature(log_p[0], fit_temperature(log_p[0], labels)))
    assert fitted.weights.tolist() == [1, 0, 0]


def test_simplex_weights_find_the_mixture_that_made_the_data() -> None:
    """Photos drawn from 0.7 A + 0.3 B: the maximum of the likelihood lies there."""
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(size=(2, 50_000, 4)) * 3)
    mixture = 0.7 * p[0] + 0.3 * p[1]
    labels = (mixture.cumsum(axis=1) > rng.random((50_000, 1))).argmax(axis=1)
    weights = simplex_weights(p[:, np.arange(50_000), labels])
    np.testing.assert_allclose(weights, [0.7, 0.3], atol=0.02)


def test_simplex_weights_are_a_minimum() -> None:
    log_p, labels, _ = members_and_labels()
    true = np.exp(log_p[:, np.arange(len(labels)), labels])
    weights = simplex_weights(true)
    best = -np.log(weights @ true).mean()
    for other in np.random.default_rng(1).dirichlet(np.ones(3), 200):
        assert best <= -np.log(other @ true).mean() + 1e-7


def test_greedy_comes_close_to_the_simplex_and_never_below_the_best_member() -> None:
    log_p, labels, _ = members_and_labels()
    true = np.exp(log_p[:, np.arange(len(labels)), labels])
    greedy, simplex = greedy_weights(true), simplex_weights(true)
    loss = -np.log(greedy @ true).mean()
    assert loss <= -np.log(true).mean(axis=1).min() + 1e-12
    assert loss == pytest.approx(-np.log(simplex @ true).mean(), abs=2e-3)


def test_pool_weights_are_a_minimum() -> None:
    log_p, labels, _ = members_and_labels()

    def loss(factors: np.ndarray) -> float:
        return log_loss(softmax(np.tensordot(factors, log_p, axes=1)), labels)

    best = pool_weights(log_p, labels)
    rng = np.random.default_rng(1)
    assert all(loss(best) <= loss(np.maximum(best + 0.3 * rng.normal(size=3), 0)) + 1e-7 for _ in range(100))


def test_stacking_repairs_two_breeds_that_every_member_swaps() -> None:
    log_p, labels, folds = members_and_labels(n=3000)
    swapped = log_p[:, :, [1, 0, 2, 3, 4]]
    # The prior that holds the matrix at the pool is strong on purpose; a swap shows all the same.
    stacked = log_loss(combiner("stacking").fit(swapped, labels, folds).predict(swapped), labels)
    pooled = log_loss(combiner("log-pool").fit(swapped, labels, folds).predict(swapped), labels)
    assert stacked < pooled - 0.05


def test_an_unknown_method_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown method 'stackng' - did you mean 'stacking'"):
        combiner("stackng")


# --- choice and nested scores


def score(method: str, loss: float, gap: float, error: float) -> MethodScore:
    return MethodScore(method, loss, 0.01, gap, error, 0.9, 0.01, (1.0,), 0.1)


def test_the_simplest_within_one_standard_error_wins() -> None:
    scores = [score("single", 0.40, 0.10, 0.01), score("equal", 0.305, 0.005, 0.006), score("stacking", 0.3, 0, 0)]
    assert choose(scores) == "equal"
    scores[1] = score("equal", 0.31, 0.01, 0.006)
    assert choose(scores) == "stacking"


def test_nested_predictions_of_a_fold_do_not_see_its_labels(
    tiny: CompetitionData, make_cv: Callable[..., CVResult]
) -> None:
    stack = align([load_member(make_cv(name, 1.0, seed)) for name, seed in (("a", 5), ("b", 6))], tiny)
    held = stack.folds == 3
    changed = dataclasses.replace(stack, labels=np.where(held, (stack.labels + 1) % 5, stack.labels))
    for name in ("weights", "log-pool", "stacking"):
        before, after = nested_predictions(name, stack), nested_predictions(name, changed)
        np.testing.assert_allclose(before[held], after[held], rtol=1e-9)
        assert not np.allclose(before[~held], after[~held])


def test_a_blend_of_different_models_beats_the_best_of_them(
    tiny: CompetitionData, make_cv: Callable[..., CVResult]
) -> None:
    runs = [make_cv("a", 1.0, 5), make_cv("b", 1.0, 6), make_cv("c", 3.0, 7)]
    found = study(runs, tiny)
    result = found.result
    assert found.chosen != "single"
    assert result.log_loss < min(run.log_loss for run in runs) - 0.02
    assert result.log_loss == pytest.approx(log_loss(result.oof.probabilities, tiny.labels))
    assert result.members == ("a", "b", "c")
    assert result.test is not None
    assert result.test.ids == tiny.test_ids
    assert [row["method"] for row in result.table] == list(COMBINERS)
    assert [point.members for point in found.curve] == [1, 2, 3]
    assert found.curve[-1].added == "c"
    np.testing.assert_allclose(np.diag(found.loss_correlation), 1)
    np.testing.assert_allclose(np.diag(found.disagreement), 0)


def test_a_useless_second_run_leaves_the_first_alone(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    """The second run is the first plus noise; blending gains nothing, and the simple rule says so."""
    good = make_cv("good", 0.3, 5)
    noise = np.random.default_rng(0).dirichlet(np.full(5, 5.0), N_TRAIN)
    assert good.test is not None
    useless = dataclasses.replace(good, name="useless", oof=Predictions(good.oof.ids, BREEDS, noise))
    found = study([good, useless], tiny)
    assert found.chosen == "single"
    assert found.score.weights == (1.0, 0.0)
    assert found.enough.members == 1


def test_a_method_can_be_asked_for(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    result = blend([make_cv("a", 1.0, 5), make_cv("b", 1.0, 6)], tiny, method="geometric")
    assert result.method == "geometric"
    assert result.weights == (0.5, 0.5)


def test_members_are_aligned_by_id_and_breed_name(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    a, b = make_cv("a", 1.0, 5), make_cv("b", 1.0, 6)
    straight = study([a, b], tiny)
    assert b.test is not None
    turned = dataclasses.replace(
        b,
        oof=b.oof.aligned_to(b.oof.ids[::-1], BREEDS[::-1]),
        test=b.test.aligned_to(b.test.ids[::-1], BREEDS[::-1]),
    )
    np.testing.assert_allclose(study([a, turned], tiny).nested, straight.nested)


def test_a_partial_cross_validation_can_be_blended(
    tiny: CompetitionData, make_cv: Callable[..., CVResult], fold_of: np.ndarray
) -> None:
    kept = [name for name, fold in zip(tiny.train_ids, fold_of, strict=True) if fold != 4]
    runs = []
    for name, seed in (("a", 5), ("b", 6)):
        whole = make_cv(name, 1.0, seed)
        runs.append(dataclasses.replace(whole, oof=whole.oof.aligned_to(kept, BREEDS), folds=whole.folds[:4]))
    result = blend(runs, tiny)
    assert set(result.oof.ids) == set(kept)


def test_runs_of_different_folds_blend_on_their_common_photos(
    tiny: CompetitionData, make_cv: Callable[..., CVResult], fold_of: np.ndarray
) -> None:
    whole, other = make_cv("a", 1.0, 5), make_cv("b", 1.0, 6)
    first = [name for name, fold in zip(tiny.train_ids, fold_of, strict=True) if fold == 0]
    part = dataclasses.replace(other, oof=other.oof.aligned_to(first, BREEDS), folds=other.folds[:1])
    with pytest.raises(SubmissionError, match="--common blends on the photos that all have"):
        study([whole, part], tiny)
    found = study([whole, part], tiny, common=True)
    assert set(found.stack.ids) == set(first)
    assert sorted(set(found.stack.folds.tolist())) == [0, 1, 2, 3, 4]  # parts of the one fold
    alone = {score.method: score.log_loss for score in found.scores}
    assert alone["equal"] < alone["single"]


def test_runs_without_a_common_photo_are_told(
    tiny: CompetitionData, make_cv: Callable[..., CVResult], fold_of: np.ndarray
) -> None:
    parts = []
    for number, name in enumerate("ab"):
        whole = make_cv(name, 1.0, number)
        ids = [photo for photo, fold in zip(tiny.train_ids, fold_of, strict=True) if fold == number]
        parts.append(dataclasses.replace(whole, oof=whole.oof.aligned_to(ids, BREEDS), folds=whole.folds[:1]))
    with pytest.raises(SubmissionError, match="no out-of-fold photo in common"):
        study(parts, tiny, common=True)


def test_forward_order_starts_with_the_best() -> None:
    true = np.array([[0.5, 0.5], [0.9, 0.8], [0.1, 0.2]])
    assert forward_order(true) == [1, 0, 2]


# --- refusals


def test_one_run_is_no_blend(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    with pytest.raises(UsageError, match="at least two runs, got 1"):
        blend([make_cv("a", 1.0, 5)], tiny)


def test_the_same_run_twice_is_refused(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    a = make_cv("a", 1.0, 5)
    for other in (a, dataclasses.replace(a, name="copy of a")):
        with pytest.raises(UsageError, match="give each run once"):
            blend([a, make_cv("b", 1.0, 6), other], tiny)


def test_different_folds_are_refused_with_the_difference(
    tiny: CompetitionData, make_cv: Callable[..., CVResult], fold_of: np.ndarray
) -> None:
    moved = fold_of.copy()
    i, j = int(np.flatnonzero(fold_of == 0)[0]), int(np.flatnonzero(fold_of == 1)[0])
    moved[i], moved[j] = 1, 0
    with pytest.raises(
        SubmissionError, match=r"'a' and 'b' were made with different folds.*train\d{4}.*fold"
    ) as caught:
        blend([make_cv("a", 1.0, 5), make_cv("b", 1.0, 6, folds=moved)], tiny)
    assert tiny.train_ids[min(i, j)] in str(caught.value) or "photos sit" in str(caught.value)


def test_the_same_split_with_other_numbers_is_accepted(
    tiny: CompetitionData, make_cv: Callable[..., CVResult], fold_of: np.ndarray
) -> None:
    renumbered = np.array([3, 0, 4, 1, 2])[fold_of]
    straight = study([make_cv("a", 1.0, 5), make_cv("b", 1.0, 6)], tiny)
    other = study([make_cv("a", 1.0, 5), make_cv("b", 1.0, 6, folds=renumbered)], tiny)
    np.testing.assert_allclose(other.nested, straight.nested)


def test_missing_photos_are_named(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    b = make_cv("b", 1.0, 6)
    short = dataclasses.replace(b, oof=b.oof.aligned_to(b.oof.ids[:-2], BREEDS))
    with pytest.raises(
        SubmissionError, match=r"'b' lacks 2 out-of-fold predictions that 'a' has .'train0598', 'train0599'"
    ):
        blend([make_cv("a", 1.0, 5), short], tiny)


def test_other_test_photos_are_named(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    b = make_cv("b", 1.0, 6)
    assert b.test is not None
    other = dataclasses.replace(b, test=Predictions(("x", *b.test.ids[1:]), BREEDS, b.test.probabilities))
    with pytest.raises(
        SubmissionError, match=r"'b' lacks 1 test prediction that 'a' has .'test0000'.; 'a' lacks 1 test"
    ):
        blend([make_cv("a", 1.0, 5), other], tiny)
    with pytest.raises(SubmissionError, match="'b' has no test predictions"):
        blend([make_cv("a", 1.0, 5), dataclasses.replace(b, test=None)], tiny)


def test_other_breeds_are_named(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    b = make_cv("b", 1.0, 6)
    renamed = dataclasses.replace(b, oof=Predictions(b.oof.ids, ("pug", *BREEDS[1:]), b.oof.probabilities))
    with pytest.raises(SubmissionError, match="'b' has other breeds than 'a': 1 unknown column: 'pug'"):
        blend([make_cv("a", 1.0, 5), renamed], tiny)


def test_other_data_are_refused(tiny: CompetitionData, make_run: Callable[..., RunDir]) -> None:
    a, b = make_run("a", 1.0, 5), make_run("b", 1.0, 6)
    b.update_manifest(data_digest="another")
    with pytest.raises(SubmissionError, match=r"'b' was trained on other data than 'a' .digest another against"):
        blend([a, b], tiny)


def test_labels_of_other_data_are_refused(tiny: CompetitionData, make_run: Callable[..., RunDir]) -> None:
    with pytest.raises(DataError, match="600 photos of the run without a label in the data"):
        blend([make_run("a", 1.0, 5), make_run("b", 1.0, 6)], {"other": "chow"})


def test_folders_that_are_no_finished_runs(tmp_path, make_run: Callable[..., RunDir], tiny: CompetitionData) -> None:
    a = make_run("a", 1.0, 5)
    with pytest.raises(ResumeError, match="is not a run folder"):
        blend([a, tmp_path / "nowhere"], tiny)
    b = make_run("b", 1.0, 6)
    (b / "oof.npz").unlink()
    with pytest.raises(DataError, match=r"has no oof\.npz: the run has not ended"):
        blend([a, b], tiny)


def test_something_that_is_no_run_is_named(tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> None:
    blended = blend([make_cv("a", 1.0, 5), make_cv("b", 1.0, 6)], tiny)
    with pytest.raises(UsageError, match="cannot blend a EnsembleResult"):
        blend([make_cv("a", 1.0, 5), blended], tiny)  # type: ignore[list-item]


def test_runs_of_one_name_are_told_apart(make_run: Callable[..., RunDir], tiny: CompetitionData, tmp_path) -> None:
    a, b = make_run("probe", 1.0, 5), make_run("b", 1.0, 6)
    other = tmp_path / "old" / "probe"
    other.parent.mkdir()
    b.path.rename(other)
    assert blend([a, other], tiny).members == ("runs/probe", "old/probe")
    moved = [tmp_path / top / "runs" / "probe" for top in ("here", "there")]
    for folder, run in zip(moved, (a.path, other), strict=True):
        folder.parent.mkdir(parents=True)
        run.rename(folder)
    assert blend(moved, tiny).members == ("here/runs/probe", "there/runs/probe")
    with pytest.raises(UsageError, match="run 'probe' was given twice"):
        blend([moved[0], moved[0]], tiny)

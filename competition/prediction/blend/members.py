"""What is to be blended: runs of the kit, results of a cross-validation, predictions that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.config import Config
from competition.data.audit.report import AuditReport
from competition.data.folds import FoldTable
from competition.errors import DataError, ResumeError, SubmissionError, UsageError
from competition.files import digest_of
from competition.prediction.blend.foreign_values import fold_numbers, to_probabilities
from competition.prediction.submission.template import count, few
from competition.record.run_dir import RunDir
from competition.types import CVResult, Predictions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class MemberConfig(Config):
    """Predictions that were made elsewhere.

    Attributes:
        scale: what their numbers were: ``probabilities``, ``logits`` or ``percent``.
        folds_from: where the folds came from, or ``unknown``.
    """

    scale: str = "probabilities"
    folds_from: str = UNKNOWN


@dataclass(frozen=True)
class Member:
    """One run as the blend sees it.

    Attributes:
        name: how tables and pictures call it.
        oof: out-of-fold predictions; a partial cross-validation has fewer photos.
        test: predictions of the test photos, or None.
        folds: fold of every out-of-fold photo; parts drawn by chance where they are not known.
        groups: group of duplicates of every out-of-fold photo; a photo alone is its own group.
        config_digest: digest of the run's configuration.
        data_digest: digest of the data it was trained on, None when it is not known.
        path: the run folder, None for a result that was never written.
        foreign: it was made elsewhere; its folds may differ from the other members'.
        folds_known: False for the parts drawn by chance.
    """

    name: str
    oof: Predictions
    test: Predictions | None
    folds: Mapping[str, int]
    groups: Mapping[str, int]
    config_digest: str = ""
    data_digest: str | None = None
    path: Path | None = None
    foreign: bool = False
    folds_known: bool = True

    @classmethod
    def from_arrays(
        cls,
        ids: Sequence[str],
        classes: Sequence[str],
        oof: ArrayLike,
        test: ArrayLike | None = None,
        folds: Sequence[object] | str | None = None,
        *,
        test_ids: Sequence[str] | None = None,
        scale: str = "probabilities",
        name: str = "notebook",
    ) -> Member:
        """Predictions that a notebook has in memory, to be blended with runs or written as a run folder.

        Args:
            ids: n ids of train photos, in any order.
            classes: c breeds, in the order of the columns.
            oof: (n, c), each row by a model that did not train on that photo.
            test: (t, c), or None.
            folds: (n,) names or numbers; None or ``unknown`` where nobody knows them.
            test_ids: t ids of test photos.
            scale: ``probabilities``, ``logits`` or ``percent``.
            name: how tables and pictures call it.

        Raises:
            SubmissionError: shapes disagree, an id is repeated, or numbers are not what ``scale`` says.
            UsageError: an unknown scale, or test predictions without their ids.
        """
        if (test is None) != (test_ids is None):
            raise UsageError(f"{name}: test predictions and test_ids belong together: give both or neither")
        ids, known = tuple(map(str, ids)), folds is not None and not isinstance(folds, str)
        groups = {photo: number for number, photo in enumerate(ids)}
        numbers = fold_numbers(folds, ids, name) if known else parts_of(np.arange(len(ids)))  # type: ignore[arg-type]
        out_of_fold = _predictions(ids, classes, oof, scale, f"{name}, out of fold")
        in_test = (
            _predictions(tuple(map(str, test_ids)), classes, test, scale, f"{name}, test")
            if test is not None and test_ids is not None
            else None
        )
        fold_of = dict(zip(ids, numbers.tolist(), strict=True))
        return cls(name, out_of_fold, in_test, fold_of, groups, out_of_fold.digest, foreign=True, folds_known=known)


def _predictions(
    ids: tuple[str, ...], classes: Sequence[str], values: ArrayLike, scale: str, where: str
) -> Predictions:
    array = np.asarray(values)
    if array.shape != (len(ids), len(classes)) or array.dtype.kind not in "fiu":
        raise SubmissionError(
            f"{where}: expected numbers of shape ({len(ids)}, {len(classes)}), ids x classes, got {array.dtype} of "
            f"shape {array.shape}"
        )
    return Predictions(ids, tuple(classes), to_probabilities(array, ids, scale, where, array.dtype == np.float16))


Source = CVResult | Member | RunDir | Path | str


def load_member(source: Source) -> Member:
    """Read a run folder, or take the result of a cross-validation.

    Raises:
        UsageError: it is something else.
        ResumeError: the folder is no run.
        DataError: it has no out-of-fold predictions or no folds.csv (yet).
    """
    if isinstance(source, CVResult):
        return _from_result(source)
    if isinstance(source, Member):
        return source
    if not isinstance(source, RunDir | Path | str):
        raise UsageError(f"cannot blend a {type(source).__name__}: give run folders or results of cross_validate")
    run = source if isinstance(source, RunDir) else RunDir(Path(source))
    if not run.path.is_dir():
        raise ResumeError(f"{run.path} is not a run folder: there is no such folder")
    config = run.config
    foreign = config.get("engine") == MemberConfig.__name__
    if not (run / "oof.npz").is_file():
        if foreign and (run / "test.npz").is_file():
            raise DataError(f"{run.path} has test predictions only: blend it with --by-hand {run.path}=0.2")
        raise DataError(f"{run.path} has no oof.npz: the run has not ended; start it again to continue it")
    oof = Predictions.load(run / "oof.npz")
    known = not foreign or (run / "folds.csv").is_file()
    folds, groups = _split_of(run) if known else ({}, {})
    if foreign:
        groups = _found_groups(run, oof.ids)
    if not known:
        folds = dict(zip(oof.ids, parts_of(group_numbers([groups[name] for name in oof.ids])).tolist(), strict=True))
    lacking = [name for name in oof.ids if name not in folds]
    if lacking:
        raise DataError(f"{run / 'folds.csv'} lacks {count(len(lacking), 'photo')} of oof.npz: {few(lacking)}")
    test = Predictions.load(run / "test.npz") if (run / "test.npz").is_file() else None
    name = run.path.name or run.path.resolve().name
    digests = digest_of(config), run.manifest.get("data_digest")
    return Member(name, oof, test, folds, groups, *digests, run.path, foreign, known)


def _split_of(run: RunDir) -> tuple[dict[str, int], dict[str, int]]:
    """Fold and group of every photo."""
    table = FoldTable.load(run / "folds.csv")
    fold, group = (dict(zip(table.ids, column.tolist(), strict=True)) for column in (table.fold, table.group))
    return fold, group


def _found_groups(run: RunDir, ids: Sequence[str]) -> dict[str, int]:
    """Groups of duplicates as the audit found them: those of folds made elsewhere may lie in several folds."""
    found = AuditReport.load(run.path).groups() if (run / "audit.json").is_file() else {}
    return dict(zip(ids, group_numbers([found.get(name, name) for name in ids]).tolist(), strict=True))


def group_numbers(names: Sequence[object]) -> np.ndarray:
    """Groups numbered from 0 by first appearance, int64 (n,)."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.fromiter((numbers[name] for name in names), dtype=np.int64, count=len(names))


def _from_result(result: CVResult) -> Member:
    folds = {name: fold.index for fold in result.folds for name in fold.valid.ids}
    groups = {name: number for number, name in enumerate(result.oof.ids)}
    return Member(result.name or "cross-validation", result.oof, result.test, folds, groups, result.oof.digest)


def crossing(groups: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Bool (n,): photos of a group that lies in more than one fold, of groups numbered from 0."""
    pairs = np.unique(np.stack([groups, folds]), axis=1)
    return np.bincount(pairs[0], minlength=int(groups.max()) + 1)[groups] > 1


def parts_of(groups: np.ndarray) -> np.ndarray:
    """Five parts by chance, int64 (n,), of groups numbered from 0: duplicates stay together."""
    order = np.random.default_rng(0).permutation(int(groups.max()) + 1)
    return (order % 5)[groups]

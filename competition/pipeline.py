"""The whole way, resumable: audit, folds, fit, predict, submission, report.

Every step leaves its result in the run's folder; a second start reads back what is whole and goes on with the rest.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from competition import recipes
from competition.config import Config, ProbeConfig, TrainConfig
from competition.console import duration, say, warn
from competition.data.audit.audit import audit
from competition.data.photos.decode import read_photo
from competition.data.relabel import relabelled
from competition.data.sample.competition import draw_sample
from competition.data.source.arrange import arranged
from competition.data.source.competition_data import CompetitionData, Photo
from competition.data.source.layout import load_data
from competition.data.source.names import require_text
from competition.environment import cache_folder
from competition.errors import DataError, ResumeError
from competition.files import digest_of, digest_of_file, read_json, require_writable
from competition.prediction.submission.check import SubmissionReport
from competition.prediction.submission.write import check_template, write_submission
from competition.prediction.views.merge_run import adopt_merge, merge_stored
from competition.record.run_dir import RunDir
from competition.training.backbones.devices import device_here
from competition.training.backbones.weight_files import local_folders
from competition.training.cross_validate import check_start, fit_run, mean_of_folds, open_run
from competition.training.forecast import announce, settle
from competition.training.run.prepare import Prepared, timed
from competition.types import CVResult, Predictions

_ENGINES = {kind.__name__: kind for kind in (ProbeConfig, TrainConfig)}


@dataclass(frozen=True)
class RunResult:
    """Where a run lies and what it gave.

    ``submission`` is None where there are no test photos or not all folds ran with a test part.
    """

    folder: Path
    cv: CVResult
    submission: Path | None
    report: Path
    seconds: float


def run(
    data: CompetitionData | Path | str | None = None,
    config: Config | str = "probe",
    run_dir: Path | str | None = None,
    *,
    folds: Sequence[int] | None = None,
    weights: Path | str | None = None,
    relabel: Path | None = None,
) -> RunResult:
    """From photos to a validated submission and a report; the same call again continues or reads back.

    Args:
        data: the competition, or where it is (folder or archive); None looks at the usual places.
        config: a configuration or the name of a recipe.
        run_dir: the run's folder; ``runs/<recipe>`` by default.
        folds: only these folds; None means all.
        weights: folder of pretrained weights; None looks at the usual places.
        relabel: CSV with the columns ``id`` and ``suggested``: breeds to train with instead of the given ones.

    Raises:
        KitError: one of its kinds, whose text says what to do.
    """
    begun = time.monotonic()
    found = recipes.recipe(config) if isinstance(config, str) else config
    loaded = arranged(data if isinstance(data, CompetitionData) else load_data(data), found)
    if relabel is not None:
        loaded = relabelled(loaded, relabel)
    if loaded.test:
        check_template(loaded)
    folder = RunDir(Path(run_dir) if run_dir is not None else Path("runs") / (found.name or "run"))
    chosen = check_start(loaded, found, folder, folds, weights)
    with folder.claimed():
        expected = announce(loaded, found, folder, weights, chosen)
        prepared = open_run(loaded, found, folder, weights)
        _audit_page(folder, prepared)
        result = fit_run(prepared, found, folder, folds=folds, weights=weights)
        if _has_more_views(found):
            with timed(folder, "merge of the views"):
                result = adopt_merge(folder, result, prepared)
        try:
            submission = _submission(folder, result, loaded)
        finally:  # what is finished is reported, also where the submission cannot be written
            page = _report(folder, prepared, found, weights)
        settle(folder, expected, result)
    return RunResult(folder.path, result, submission, page, time.monotonic() - begun)


def _has_more_views(config: Config) -> bool:
    """Whether a fine-tuning recipe predicts views beyond the two that a fold is scored by."""
    return isinstance(config, TrainConfig) and not set(config.views) <= {"identity", "hflip"}


def _audit_page(run: RunDir, prepared: Prepared) -> None:
    from competition.report.audit_page import write_audit_page

    page = run / "audit.html"
    key = digest_of_file(run / "audit.json")
    if not _is_made(run, "audit page", key, page):
        write_audit_page(prepared.report, prepared.everything, page)
        _made(run, "audit page", key)


def _submission(run: RunDir, result: CVResult, data: CompetitionData) -> Path | None:
    if result.test is None:
        return None
    path = run / "submission.csv"
    key = digest_of([result.test.digest, _sample_digest(data)])
    if not _is_made(run, "submission", key, path):
        with timed(run, "submission"):
            checked = write_submission(result.test, data, path)
        for note in (*checked.notes, *checked.warnings):
            warn(str(note))
        _made(run, "submission", key)
    return path


def _sample_digest(data: CompetitionData) -> str:
    return digest_of_file(data.sample_submission) if data.sample_submission else "none"


def _report(run: RunDir, prepared: Prepared, config: Config, weights: Path | str | None) -> Path:
    from competition.report.run.write import write_run_report

    page = run / "report" / "index.html"
    key = digest_of([run.manifest.get("fitted"), digest_of_file(run / "metrics.json"), digest_of_file(run / "oof.npz")])
    if not _is_made(run, "report", key, page):
        with timed(run, "report"):
            write_run_report(run, prepared.everything, _features(prepared, config, weights))
        _made(run, "report", key)
    return page


def _features(
    prepared: Prepared, config: Config, weights: Path | str | None
) -> tuple[Sequence[str], np.ndarray] | None:
    """Features of the first block, where the run computed them: the report shows each photo's nearest neighbours."""
    if not isinstance(config, ProbeConfig):
        return None
    from competition.training.backbones.find import find_backbones
    from competition.training.probe.embed import embed
    from competition.training.probe.run import probe_blocks

    block = probe_blocks(find_backbones(config.backbones, weights), config.views)[0]
    return prepared.usable.train_ids, embed(prepared.usable.train, [block], config)[block.name]


def _is_made(run: RunDir, step: str, key: str, path: Path) -> bool:
    return path.is_file() and run.manifest.get("made", {}).get(step) == key


def _made(run: RunDir, step: str, key: str) -> None:
    run.update_manifest(made={**run.manifest.get("made", {}), step: key})


def predict(
    run_dir: Path | str,
    data: Path | str | CompetitionData | None,
    out: Path | str,
    *,
    weights: Path | str | None = None,
) -> SubmissionReport:
    """Predict photos that were not part of the run, by all its folds' models, and write a submission.

    Args:
        run_dir: a finished run.
        data: folder or archive with ``test/`` and, if present, ``sample_submission.csv``, or loose photos; labels are
            not needed.
        out: the CSV to write.
        weights: the folder of weights that the run was made with (probe runs keep heads only).

    Raises:
        ResumeError: no finished run, or other weights.
        SubmissionError: the photos do not fit ``sample_submission.csv``.
    """
    folder = require_finished(run_dir)
    require_writable(Path(out))
    loaded = data if isinstance(data, CompetitionData) else load_data(data, need_labels=False)
    require_text("photos have names", (photo.id for photo in loaded.test))
    # Without labels the data name no breeds: the columns are then the run's, unless a sample_submission.csv says more.
    loaded = dataclasses.replace(loaded, classes=_classes(folder))
    check_template(loaded)
    return write_submission(_predicted(folder, loaded, weights), loaded, Path(out))


def predict_photos(run_dir: Path | str, photos: CompetitionData, *, weights: Path | str | None = None) -> Predictions:
    """Probabilities of photos that were not part of the run, by all its folds' models; nothing is written.

    Raises:
        ResumeError: no finished run, or other weights.
        PhotoError: a photo cannot be read.
    """
    folder = require_finished(run_dir)
    if len(photos.test) == 1:
        read_photo(photos.test[0].path)  # the only photo: nothing is left to predict where it cannot be read
    return _predicted(folder, photos, weights)


def require_finished(run_dir: Path | str) -> RunDir:
    """The folder of a finished run that can predict.

    Raises:
        ResumeError: it is none.
    """
    run = RunDir(Path(run_dir))
    probed = isinstance(stored_config(run), ProbeConfig)
    needed = ("metrics.json", "oof.npz", *(("probe.json",) if probed else ()))
    lacking = [name for name in needed if not (run / name).is_file()]
    if lacking:
        raise ResumeError(f"{run.path} is not finished (no {lacking[0]}): start the same 'dogbreed run' again")
    return run


def _predicted(folder: RunDir, loaded: CompetitionData, weights: Path | str | None) -> Predictions:
    """Calibrated mean of the folds for the photos of ``loaded.test``; unreadable ones get the class prior."""
    config = _on_this_machine(stored_config(folder))
    _check_weights(folder, config, weights)
    temperature = float(read_json(folder / "metrics.json")["temperature"])
    if config.crop_to_boxes:
        warn("the run learnt from photos cut to boxes; these are whole: cut them to the dog first")
    looked = audit(dataclasses.replace(loaded, train=()), config.workers)
    for _, name, reason in looked.unreadable:
        warn(f"test photo {name}: {reason}; its row gets the class prior")
    photos = [photo for photo in loaded.test if photo.id not in looked.unreadable_test]
    if not photos:
        raise DataError(f"{loaded.source} holds no photo that can be read: give photos, or a folder test/ with photos")
    raw = _predict_folds(folder, config, photos, weights)
    return _filled(mean_of_folds(raw, temperature), loaded, folder)


def _classes(run: RunDir) -> tuple[str, ...]:
    """The breeds of a run, sorted; data without labels name none."""
    return tuple(sorted(Predictions.load(run / "oof.npz").classes))


def _check_weights(run: RunDir, config: Config, weights: Path | str | None) -> None:
    """Whether the weights that the run needs are here and are the same, before a photo is looked at.

    Raises:
        ResumeError: they are not, or the run holds no trained fold.
    """
    if isinstance(config, ProbeConfig):
        from competition.training.probe.run import backbones_of, read_heads

        stored = read_json(run / "probe.json")
        backbones_of(run, stored, weights)
        read_heads(run, stored)
    elif isinstance(config, TrainConfig):
        from competition.training.finetune.predict_run import backbone_of, trained_folds

        trained_folds(run)
        backbone_of(run, config, weights)


def _filled(test: Predictions, loaded: CompetitionData, run: RunDir) -> Predictions:
    """Rows for unreadable and absent photos: the mean out-of-fold prediction, the class prior as the run saw it."""
    ids = (*loaded.test_ids, *loaded.absent_test)
    if len(test) == len(ids):
        return test
    oof = Predictions.load(run / "oof.npz")
    row = oof.aligned_to(oof.ids, test.classes).probabilities.mean(axis=0)
    return test.completed(ids, row / row.sum())


def _on_this_machine(config: Config) -> Config:
    """A run trained on GPUs can be used where there are none, or fewer."""
    wanted = str(getattr(config, "device", "auto"))
    device = device_here(wanted)
    if device == wanted:
        return config
    say(f"the run was made on {wanted}, which is not here: predicting on what there is")
    return dataclasses.replace(config, device=device)


def _predict_folds(
    run: RunDir, config: Config, photos: Sequence[Photo], weights: Path | str | None
) -> tuple[Predictions, ...]:
    if isinstance(config, ProbeConfig):
        from competition.training.probe.run import predict_photos

        return predict_photos(run, config, photos, weights)
    from competition.training.finetune.predict_run import predict_by_view
    from competition.training.finetune.predict_run import predict_photos as predict_with_networks

    if not (isinstance(config, TrainConfig) and _has_more_views(config) and (run / "tta.json").is_file()):
        return predict_with_networks(run, config, photos, weights)
    views = tuple(str(name) for name in read_json(run / "tta.json")["views"])
    ids, classes = tuple(photo.id for photo in photos), Predictions.load(run / "oof.npz").classes
    return tuple(
        Predictions(ids, classes, np.exp(merge_stored(run, logits, views)))
        for logits in predict_by_view(run, config, photos, views, weights)
    )


def stored_config(run: RunDir) -> Config:
    """The configuration that a run was made with.

    Raises:
        ResumeError: this is no run of an engine that can predict (a blend, for example).
    """
    values: dict[str, Any] = dict(run.config)
    engine = values.pop("engine", "")
    if engine not in _ENGINES:
        raise ResumeError(f"{run.path} is a {engine or 'folder without engine'}: predict with the runs it is made of")
    config: Config = _ENGINES[engine].from_dict(values)
    return config


def demo(run_dir: Path | str = Path("runs/demo"), weights: Path | str | None = None) -> RunResult:
    """``run`` on the embedded sample: the probe where pretrained weights are at hand, else a tiny network from scratch.

    Args:
        run_dir: the run's folder.
        weights: folder of pretrained weights; None looks at the usual places, and does without when there are none.
    """
    sample = draw_sample(cache_folder() / "sample")
    say("The embedded sample is a drawing: its scores say nothing about dogs.")
    if weights is not None or local_folders():
        config = recipes.recipe("probe")
    else:
        say("No pretrained weights here: training a tiny network from scratch.")
        config = recipes.recipe("smoke", "device=cpu")
    return run(sample, config, run_dir, weights=weights)


def _test_line(folder: Path) -> list[str]:
    """The score on test photos whose classes are known, where there are any."""
    found = read_json(folder / "metrics.json").get("test")
    if found is None:
        return []
    return [f"test log loss {found['log_loss']:.4f}, accuracy {found['accuracy']:.4f}, {found['photos']:,} photos"]


def summary(result: RunResult) -> str:
    """What a person wants to know at the end of a run, a few lines."""
    cv = result.cv
    folds = len(cv.folds)
    spread = f" (folds: +- {cv.log_loss_spread:.4f})" if folds > 1 else ""
    lines = [
        f"out-of-fold log loss {cv.log_loss:.4f}{spread}, accuracy {cv.accuracy:.4f}, "
        f"{len(cv.oof):,} photos, {folds} folds, temperature {cv.temperature:.3f}",
        *_test_line(result.folder),
        *([f"submission: {result.submission}"] if result.submission else []),
        f"report: {result.report}",
        f"took {duration(result.seconds)}",
    ]
    return "\n".join([*(f"note: {note}" for note in cv.notes), *lines])

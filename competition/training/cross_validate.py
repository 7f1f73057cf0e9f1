"""The loop over folds, whatever fits a fold: the probe solves them at once, fine-tuning one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from competition.config import Config, ProbeConfig, TrainConfig
from competition.console import say
from competition.data.source.arrange import arranged
from competition.data.source.competition_data import CompetitionData
from competition.errors import UsageError
from competition.files import digest_of
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.run_dir import RunDir
from competition.record.temperature import fit_temperature
from competition.training.backbones.create import create_model
from competition.training.backbones.devices import spread_devices
from competition.training.backbones.find import find_backbones
from competition.training.backbones.imagenet import imagenet_rows
from competition.training.finetune.fit_folds import companions, follow
from competition.training.memory_and_disk import require_folds, require_room_for_features, require_room_for_networks
from competition.training.run.files import read_run, write_run
from competition.training.run.prepare import Prepared, prepare
from competition.types import CVResult, FoldResult, Predictions

IMAGENET_NOTE = (
    "The photos of this competition come from ImageNet: backbones pretrained on ImageNet have probably seen them, with "
    "their labels. Compare this score with others of that kind only."
)
SCRATCH_NOTE = "Trained from scratch: no pretrained weights were used."


def origin_notes(classes: Sequence[str], *, pretrained: bool) -> tuple[str, ...]:
    """What a reader of a score must know of the weights: whether they come from photos of these very classes.

    Args:
        classes: of the data; taken for ImageNet's where ImageNet-1k has at least half of their names.
        pretrained: whether the weights were.
    """
    if not pretrained:
        return (SCRATCH_NOTE,)
    return (IMAGENET_NOTE,) if 2 * len(imagenet_rows(classes)) >= len(classes) else ()


def cross_validate(
    data: CompetitionData,
    config: Config,
    run_dir: Path | str | None = None,
    *,
    folds: Sequence[int] | None = None,
    weights: Path | str | None = None,
    test: bool = True,
) -> CVResult:
    """Audit, make folds, fit them, and leave out-of-fold and test predictions in the run's folder.

    Args:
        data: the competition.
        config: a recipe's configuration.
        run_dir: where the run is kept and continued; ``runs/<recipe>`` by default.
        folds: which folds to fit; None means all. Photos of the others have no prediction.
        weights: folder of pretrained weights; None looks at the usual places.
        test: predict the test photos as well.

    Raises:
        UsageError: a fold that does not exist, or a configuration that cannot run here.
        ResumeError: ``run_dir`` holds another run.
    """
    run = RunDir(Path(run_dir) if run_dir is not None else Path("runs") / (config.name or "run"))
    together = companions(config)
    if together is not None and together.rank > 0:
        follow(together, config, run, weights=weights, test=test)  # type: ignore[arg-type]
        return read_run(run)
    data = arranged(data, config)
    check_start(data, config, run, folds, weights)
    with run.claimed():
        prepared = open_run(data, config, run, weights)
        result = fit_run(prepared, config, run, folds=folds, weights=weights, test=test)
    if together is not None:
        together.told()
    return result


def open_run(data: CompetitionData, config: Config, run: RunDir, weights: Path | str | None) -> Prepared:
    """Start the run or check that this start continues it; audit and folds."""
    names = config.backbones if isinstance(config, ProbeConfig) else (config.backbone,)  # type: ignore[attr-defined]
    pretrained = getattr(config, "pretrained", True)
    used = {ref.name: ref.digest for ref in find_backbones(names, weights)} if pretrained else {}
    before: dict[str, str] = run.manifest.get("weights", {})
    if set(before.values()) == set(used.values()):
        used = before  # the same weights, in another place or by another name
    run.open(config, data.digest, weights=used)
    return prepare(data, config, run)


def pick_folds(config: Config, folds: Sequence[int] | None) -> tuple[int, ...]:
    """The folds to fit, each once, in order; None means all.

    Raises:
        UsageError: one of them does not exist, or there are none.
    """
    chosen = tuple(range(config.n_folds)) if folds is None else tuple(sorted(set(folds)))
    if not chosen or min(chosen) < 0 or max(chosen) >= config.n_folds:
        raise UsageError(f"folds {', '.join(map(str, chosen))} are impossible: expected 0 to {config.n_folds - 1}")
    return chosen


def check_start(
    data: CompetitionData, config: Config, run: RunDir, folds: Sequence[int] | None, weights: Path | str | None
) -> tuple[int, ...]:
    """The folds to fit, after what can be refused before anything is computed or written.

    A run that was begun has passed this, and a finished one may be read back where it could not be fitted.

    Raises:
        UsageError: a fold or a device does not exist, the backbone refuses the image size, or the recipe needs a GPU.
        WeightsError: there are no such weights, or they are of another architecture.
        DataError: there are fewer photos than folds.
        StorageError: the folder cannot be written, or disk or memory do not suffice.
    """
    chosen = pick_folds(config, folds)
    if (run / "manifest.json").is_file():
        return chosen
    require_folds(data, config, run)
    spread_devices(config.device)
    with torch.random.fork_rng(devices=[]):  # the run draws what it would have drawn without this
        _check_models(data, config, weights, run, len(chosen))
    return chosen


def _check_models(data: CompetitionData, config: Config, weights: Path | str | None, run: RunDir, folds: int) -> None:
    """Load the weights once, show each network a picture of every size that it will see, look whether there is room.

    A network to be trained must take its head as well.
    """
    from competition.training.probe.linear_probe import check_backbones

    if isinstance(config, ProbeConfig):
        from competition.training.finetune.fold_job import try_sizes
        from competition.training.probe.run import probe_blocks

        backbones = find_backbones(config.backbones, weights)
        check_backbones(backbones, data.classes, config)
        blocks = probe_blocks(backbones, config.views)
        for ref in backbones:
            sides = {block.rendering.size for block in blocks if block.backbone is ref} - {ref.spec.size}
            if sides:
                try_sizes(create_model(ref, 0), sorted(sides), f"{ref.name} (views {', '.join(config.views)})", "views")
        require_room_for_features(data, blocks, config)
    elif isinstance(config, TrainConfig):
        from competition.training.finetune.fold_job import choose_device, imagenet_head, put_head, try_sizes

        (ref,) = find_backbones([config.backbone], weights)
        model = create_model(ref, len(data.classes), pretrained=config.pretrained, image_size=config.image_size)
        try_sizes(model, sorted({config.image_size, *config.progressive}), ref.name)
        bytes_of = sum(value.numel() * value.element_size() for value in model.state_dict().values())
        require_room_for_networks(run, bytes_of, folds)
        if config.head_from == "probe":
            from competition.training.probe.run import at_size_of, head_config

            check_backbones(at_size_of(config, (ref,)), data.classes, head_config(config))
            put_head(model, (np.zeros((len(data.classes), ref.num_features)), np.zeros(len(data.classes))), ref)
        elif config.head_from == "imagenet":
            imagenet_head(ref, model, data.classes)
        choose_device(config, model, len(data.train) * (config.n_folds - 1) // config.n_folds)


def fit_run(
    prepared: Prepared,
    config: Config,
    run: RunDir,
    *,
    folds: Sequence[int] | None = None,
    weights: Path | str | None = None,
    test: bool = True,
) -> CVResult:
    """Fit the folds of an open run; a run that is already whole is read back."""
    chosen = pick_folds(config, folds)
    key = digest_of([config.digest, prepared.usable.digest, prepared.table.fold.tolist(), chosen, test])
    kept = ("metrics.json", "oof.npz", *(["test.npz"] if test and prepared.usable.test else []))
    if run.manifest.get("fitted") == key and all((run / name).is_file() for name in kept):
        return _read_back(run, prepared)
    if isinstance(config, ProbeConfig):
        result, extra = _probe(prepared, config, run, chosen, weights, test)
    elif isinstance(config, TrainConfig):
        result, extra = _fine_tune(prepared, config, run, chosen, weights, test)
    else:
        raise UsageError(f"'{type(config).__name__}' cannot be fitted")
    write_run(run, result, prepared, extra)
    run.update_manifest(fitted=key)
    return result


def _read_back(run: RunDir, prepared: Prepared) -> CVResult:
    """The result of an earlier start; a test photo that it knew nothing of gets its row now."""
    result = read_run(run)
    if result.test is None or not set(prepared.everything.absent_test) - set(result.test.ids):
        return result
    test = with_prior(result.test, prepared.everything, prepared.usable)
    test.save(run / "test.npz")
    return dataclasses.replace(result, test=test)


def _probe(
    prepared: Prepared,
    config: ProbeConfig,
    run: RunDir,
    chosen: Sequence[int],
    weights: Path | str | None,
    test: bool,
) -> tuple[CVResult, dict[str, Any]]:
    from competition.training.probe.run import fit_probe, log_probe

    outcome = fit_probe(prepared, config, run, weights, test=test)
    log_probe(run, prepared, config, outcome, weights)
    fitted = [fold for fold in outcome.folds if fold.index in chosen]
    result = assemble(config.name or "probe", fitted, prepared, origin_notes(prepared.usable.classes, pretrained=True))
    return result, {"candidates": outcome.candidates, "design": outcome.design}


def _fine_tune(
    prepared: Prepared,
    config: TrainConfig,
    run: RunDir,
    chosen: Sequence[int],
    weights: Path | str | None,
    test: bool,
) -> tuple[CVResult, dict[str, Any]]:
    heads: Sequence[Any] = [None] * config.n_folds
    if config.head_from == "probe":
        from competition.training.probe.run import fit_heads

        heads = fit_heads(prepared, config, run, weights)
    results = _fit_each(prepared, config, run, [(index, heads[index]) for index in chosen], weights, test)
    notes = origin_notes(prepared.usable.classes, pretrained=config.pretrained)
    return assemble(config.name or config.backbone, results, prepared, notes), {}


def _fit_each(
    prepared: Prepared,
    config: TrainConfig,
    run: RunDir,
    chosen: Sequence[tuple[int, Any]],
    weights: Path | str | None,
    test: bool,
) -> list[FoldResult]:
    """Folds (with the start of their heads) one after the other, or side by side where there are several devices."""
    from competition.training.finetune.fit_fold import fit_fold
    from competition.training.finetune.fit_folds import fit_folds

    data, splits = prepared.usable, prepared.table.folds()
    devices, together = spread_devices(config.device), companions(config)
    if len(devices) > 1 and len(chosen) > 1 and together is None:
        say(f"- folds {', '.join(str(index) for index, _ in chosen)} over {', '.join(devices)}")
        folds, heads = [splits[index] for index, _ in chosen], [head for _, head in chosen]
        return fit_folds(data, folds, config, run, devices=devices, weights=weights, heads=heads, test=test)
    results = []
    for index, head in chosen:
        say(f"- fold {index}")
        if together is not None:
            together.told((data, splits[index], head))
        done = fit_fold(data, splits[index], config, run, weights=weights, head=head, test=test)
        say(f"  fold {index}: log loss {done.log_loss:.4f}, accuracy {done.accuracy:.4f} (before the temperature)")
        results.append(done)
    return results


def assemble(name: str, fitted: Sequence[FoldResult], prepared: Prepared, notes: tuple[str, ...] = ()) -> CVResult:
    """Join folds, fit the temperature on their out-of-fold predictions, average the calibrated test predictions.

    Args:
        name: of the run.
        fitted: folds with probabilities before the temperature.
        prepared: the data; unreadable test photos get the class prior.
        notes: what a reader of the score must know.
    """
    data = prepared.usable
    joined = {
        photo: row for fold in fitted for photo, row in zip(fold.valid.ids, fold.valid.probabilities, strict=True)
    }
    ids = tuple(photo for photo in data.train_ids if photo in joined)
    labels = data.labels_of(ids)
    raw = Predictions(ids, data.classes, np.stack([joined[photo] for photo in ids]))
    temperature = fit_temperature(raw.log_probabilities, labels)
    oof = _cooled(raw, temperature)
    folds = tuple(_calibrated(fold, temperature, data) for fold in fitted)
    tests = [fold.test for fold in folds if fold.test is not None]
    test = _mean(tests) if tests else None
    return CVResult(
        name=name,
        folds=folds,
        oof=oof,
        test=None if test is None else with_prior(test, prepared.everything, data),
        log_loss=log_loss(oof.probabilities, labels),
        accuracy=accuracy(oof.probabilities, labels),
        temperature=temperature,
        notes=notes,
    )


def _cooled(predictions: Predictions, temperature: float) -> Predictions:
    return predictions.with_probabilities(softmax(predictions.log_probabilities, temperature))


def _calibrated(fold: FoldResult, temperature: float, data: CompetitionData) -> FoldResult:
    valid = _cooled(fold.valid, temperature)
    labels = data.labels_of(valid.ids)
    test = None if fold.test is None else _cooled(fold.test, temperature)
    figures = (log_loss(valid.probabilities, labels), accuracy(valid.probabilities, labels))
    return FoldResult(fold.index, *figures, valid, test, fold.seconds)


def _mean(tests: Sequence[Predictions]) -> Predictions:
    first = tests[0]
    return first.with_probabilities(
        np.mean([item.aligned_to(first.ids, first.classes).probabilities for item in tests], axis=0)
    )


def mean_of_folds(raw: Sequence[Predictions], temperature: float) -> Predictions:
    """Mean over folds of the calibrated probabilities: what ``assemble`` does with the test photos."""
    return _mean([_cooled(item, temperature) for item in raw])


def with_prior(test: Predictions, everything: CompetitionData, usable: CompetitionData) -> Predictions:
    """Give test photos without a prediction (unreadable or absent ones) the frequencies of the breeds in training."""
    prior = np.bincount(usable.labels, minlength=len(usable.classes)) / len(usable.labels)
    return test.completed((*everything.test_ids, *everything.absent_test), prior)

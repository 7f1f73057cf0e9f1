"""The report of a study: a table, plots, TensorBoard's hparams, and a comparison written from the numbers.

Files: ``comparison.md`` (table, text, pictures), ``summary.csv`` (a row a variant), ``trials.csv`` (a row a trial),
``accuracy.png``, ``curves.png``, ``tensorboard/``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.studies.pictures import draw_accuracy, draw_curves
from baselines.studies.statistics import Difference, Group, Rows, difference, effects, grouped
from baselines.studies.study import Study, label_of, text_of
from competition.console import duration
from competition.errors import KitError
from competition.files import write_csv, write_text
from competition.record.tensorboard import tensorboard

METRIC = "test_accuracy"
_FIGURES = ("test_accuracy", "test_loss", "valid_accuracy", "valid_loss", "train_accuracy", "train_loss")
# Accuracy while training above the evaluated one by more than this is worth a word; dropout makes it lower, not higher.
_UNSETTLED = 0.2
_COSTS = ("parameters", "macs", "epochs", "best_epoch", "seconds", "seconds_per_epoch")


@dataclass(frozen=True)
class Report:
    """What a study found.

    Attributes:
        text: the written comparison, Markdown.
        groups: the variants over their seeds.
        rows: the trials.
        page: the written comparison with table and pictures.
    """

    text: str
    groups: tuple[Group, ...]
    rows: tuple[Mapping[str, Any], ...]
    page: Path


def write_report(study: Study, rows: Rows, folder: Path) -> Report:
    """Write the report of the trials that have ended.

    Raises:
        KitError: none came to its end.
    """
    groups = grouped(rows, METRIC)
    if not any(group.values for group in groups):
        reason = f"all {len(rows)} diverged: lower the rate" if rows else "there is none"
        raise KitError(f"study '{study.name}': no trial came to its end ({reason})")
    _write_tables(study, groups, rows, folder)
    draw_accuracy(folder / "accuracy.png", groups, study)
    draw_curves(folder / "curves.png", groups, folder / "trials")
    _write_board(rows, folder / "tensorboard", study)
    text = "\n\n".join(paragraphs(study, groups))
    page = folder / "comparison.md"
    pictures = "![test accuracy of every trial](accuracy.png)\n\n![validation over the epochs](curves.png)"
    write_text(page, f"# {study.name}\n\n{study.question}\n\n{table_of(groups, study)}\n\n{text}\n\n{pictures}\n")
    return Report(text, tuple(groups), tuple(rows), page)


def paragraphs(study: Study, groups: Sequence[Group]) -> list[str]:
    """The written comparison, generated from the numbers alone."""
    parts = [_setting(study, groups)]
    if study.searched:
        return [*parts, *_search_found(groups, study)]
    reference = groups[0]
    if len(groups) > 1 and reference.values:
        lines = [_sentence(reference, group) for group in groups[1:]]
        parts.append(f"Each variant against the first, `{reference.label}`:\n\n" + "\n".join(f"- {x}" for x in lines))
    parts += _effects_found(groups, study)
    parts.append(_best(groups))
    parts += [text for text in (_unfinished(groups), _unsettled(groups), _overfitting(groups), _cost(groups)) if text]
    return parts


def _setting(study: Study, groups: Sequence[Group]) -> str:
    plan = study.plan(study.settings()[0] if not study.searched else study_first(study), study.seeds[0])
    images = f"{plan.train_images:,} training images" if plan.train_images else "all training images"
    images += f" ({plan.image_size} px)" if plan.image_size else ""
    images += f", {plan.test_images:,} test images" if plan.test_images else ""
    varied = {key for group in groups for key in group.settings}
    model = "" if "model" in varied else f"{plan.model} "
    framework = "" if "framework" in varied else f"({plan.framework}) " if model else f"In {plan.framework}, "
    trials = sum(len(group.values) + group.diverged for group in groups)
    epochs = "" if "epochs" in varied else f", {plan.config.epochs} epoch{'s' if plan.config.epochs > 1 else ''}"
    epochs = f", {plan.seconds:g} s of training each" if plan.seconds else epochs
    seeds = sorted({seed for group in groups for seed in group.values})
    fixed = {key: value for key, value in study.fixed.items() if key not in ("epochs", "seconds", *varied)}
    held = f" Held fixed: {label_of(fixed)}." if fixed else ""
    counted = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    return (
        f"{model}{framework}on {plan.dataset}, {images}{epochs}: {len(groups)} variants, {counted}, {trials} trials."
        f"{held} Test accuracy in percent; +- is the standard deviation between seeds (initial weights and order of "
        "the images; the images are the same)."
    )


def study_first(study: Study) -> dict[str, Any]:
    """Settings of a search that name its keys, to describe what is held fixed."""
    return {key: entry.edges()[0] for key, entry in study.space.items()}


def _sentence(reference: Group, group: Group) -> str:
    """One variant against the reference."""
    name = f"`{group.label}`"
    if not group.values:
        return f"{name} diverged with every seed ({group.diverged})."
    found = difference(reference.values, group.values)
    if found is None:
        return f"{name}: {_percent(group)}; no seed is common with the reference."
    lost = f" {group.diverged} of {group.diverged + len(group.values)} trials diverged." if group.diverged else ""
    return f"{name}: {_percent(group)} against {_percent(reference)}, {verdict(found)}{lost}"


def verdict(found: Difference) -> str:
    """A difference in words: how much, over how many seeds, whether it exceeds the spread between seeds."""
    points = f"{100 * found.mean:+.2f} points"
    if found.seeds == 1:
        return f"{points} on one seed: without a second seed nobody knows what chance does."
    seeds = f"higher in {found.higher} of {found.seeds} seeds"
    spread = f"the spread between seeds ({100 * found.spread:.2f})"
    if not found.exceeds:
        return f"{points}, {seeds}. That is within {spread}: these trials do not tell them apart."
    if found.interval is None:
        return f"{points}, {seeds}. That exceeds {spread}, but two seeds are too few for an interval."
    interval = f"95 % interval {100 * found.interval[0]:+.2f} to {100 * found.interval[1]:+.2f}"
    if found.settled:
        return f"{points}, {seeds}. That exceeds {spread}; {interval}."
    return f"{points}, {seeds}. That exceeds {spread}, but the {interval} includes 0: more seeds are needed."


def _effects_found(groups: Sequence[Group], study: Study) -> list[str]:
    lines = []
    for effect in effects(groups, study.grid):
        exceeds = abs(effect.mean) > effect.spread
        judged = "" if math.isnan(effect.spread) else (
            f", {'more' if exceeds else 'less'} than the spread between seeds ({100 * effect.spread:.2f})"
        )  # fmt: skip
        inside = "; ".join(f"{100 * gap:+.2f} with {label}" for label, gap in effect.by_context.items())
        line = f"- {effect.key}: `{effect.value}` against `{effect.reference}` is {100 * effect.mean:+.2f} points on "
        line += f"average over {effect.over} settings of the rest{judged}: {inside}."
        if min(effect.by_context.values()) < 0 < max(effect.by_context.values()):
            line += " The sign depends on the rest, so the average says little."
        lines.append(line)
    return ["Each setting by itself, the others held equal:\n\n" + "\n".join(lines)] if lines else []


def _best(groups: Sequence[Group]) -> str:
    """Which variant is highest, and which cannot be told from it."""
    ranked = sorted((group for group in groups if group.values), key=lambda group: -group.mean)
    best = ranked[0]
    if len(ranked) == 1:
        return f"Only `{best.label}` came to its end: {_percent(best)}."
    equal = []
    for group in ranked[1:]:
        gap = difference(group.values, best.values)
        if gap is not None and not gap.exceeds:
            equal.append(f"`{group.label}`")
    text = (
        f"Highest mean: `{best.label}` with {_percent(best)}; lowest: `{ranked[-1].label}` with {_percent(ranked[-1])}."
    )
    if any(len(group.values) < 2 for group in ranked):
        return f"{text} With one seed the order may be chance."
    if equal:
        return f"{text} Within the spread between seeds of the highest: {', '.join(equal)}."
    return f"{text} No other variant is within the spread between seeds of the highest."


def _unfinished(groups: Sequence[Group]) -> str:
    """Which variants were best at their last epoch in every trial: they had not finished learning."""
    done = [group for group in groups if group.values]
    still = [group.label for group in done if all(row["best_epoch"] == row["epochs"] for row in group.rows)]
    if not still:
        return ""
    which = "every variant" if len(still) == len(done) else ", ".join(f"`{label}`" for label in still)
    return (
        f"The last epoch was the best one in all trials of {which}: the figures say how fast they learn, not how far "
        "they get; more epochs may change the order."
    )


def _unsettled(groups: Sequence[Group]) -> str:
    """Where a network learns but does not show it in evaluation, as batch norms with long memories do."""
    lines = []
    for group in groups:
        running, evaluated = group.average("running_accuracy"), group.average("train_accuracy")
        if running - evaluated > _UNSETTLED:
            lines.append(
                f"While training, `{group.label}` had {100 * running:.1f} % of its training images right in the last "
                f"epoch, but {100 * evaluated:.1f} % when it was evaluated. Where there are batch norms, their running "
                "statistics have not settled in so few steps: more steps, or a shorter memory (a smaller "
                "`bn_momentum`), and it shows what it has learnt."
            )
    return "\n\n".join(lines)


def _overfitting(groups: Sequence[Group]) -> str:
    """Where accuracy on the training images runs ahead of that on the test images, and whether more training hurt."""
    gaps = {group.label: group.average("train_accuracy") - group.mean for group in groups if group.values}
    widest, narrowest = max(gaps, key=lambda label: gaps[label]), min(gaps, key=lambda label: gaps[label])
    if widest == narrowest:
        return ""
    return (
        f"Training minus test accuracy, the sign of over-fitting, is largest with `{widest}` "
        f"({100 * gaps[widest]:+.2f} points) and smallest with `{narrowest}` ({100 * gaps[narrowest]:+.2f}). Figures "
        "are of the epoch with the lowest validation loss, not of the last one."
    )


def _cost(groups: Sequence[Group]) -> str:
    """The slowest against the fastest epoch."""
    costs = {group.label: group.average("seconds_per_epoch") for group in groups if group.values}
    slow, fast = max(costs, key=lambda label: costs[label]), min(costs, key=lambda label: costs[label])
    if costs[slow] < 0.1:
        return "An epoch takes less than 0.1 s in all variants."
    if costs[slow] < 1.2 * costs[fast]:
        return f"An epoch takes about {duration(costs[slow])} in all variants."
    return f"Slowest epoch: `{slow}` with {duration(costs[slow])}; fastest: `{fast}` with {duration(costs[fast])}."


def _search_found(groups: Sequence[Group], study: Study) -> list[str]:
    """What a search found; chosen by validation loss, so that the test figure is not the luckiest of many."""
    done = [group for group in groups if group.values]
    ranked = sorted(done, key=lambda group: group.average("valid_loss"))
    best, middle = ranked[0], ranked[len(ranked) // 2]
    text = (
        f"Lowest validation loss of {len(done)} trials: {best.average('valid_loss'):.4f} with `{best.label}`; its test "
        f"accuracy is {100 * best.mean:.2f}. The trial in the middle has {middle.average('valid_loss'):.4f}. One seed "
        f"({study.seeds[0]}): run the best few again as a study with several seeds before believing their order."
    )
    lost = sum(group.diverged for group in groups)
    return [text + (f" {lost} trials diverged." if lost else "")]


def _percent(group: Group) -> str:
    spread = "" if math.isnan(group.spread) else f" +- {100 * group.spread:.2f}"
    return f"{100 * group.mean:.2f}{spread}"


def table_of(groups: Sequence[Group], study: Study) -> str:
    """The variants as a Markdown table; a search is listed from the lowest validation loss on."""
    order = sorted(groups, key=lambda group: group.average("valid_loss")) if study.searched else groups
    lines = ["| variant | seeds | test accuracy | train accuracy | test loss | best epoch | s / epoch | parameters |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for group in order:
        seeds = f"{len(group.values)}" + (f" ({group.diverged} diverged)" if group.diverged else "")
        if not group.values:
            lines.append(f"| {group.label} | {seeds} | - | - | - | - | - | - |")
            continue
        cells = (
            _percent(group),
            f"{100 * group.average('train_accuracy'):.2f}",
            f"{group.average('test_loss'):.4f}",
            f"{group.average('best_epoch'):.1f} of {group.average('epochs'):g}",
            f"{group.average('seconds_per_epoch'):.2f}",
            f"{group.average('parameters'):,.0f}",
        )
        lines.append(f"| {group.label} | {seeds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _write_tables(study: Study, groups: Sequence[Group], rows: Rows, folder: Path) -> None:
    keys = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    head = ["trial", "state", "seed", *keys, *_FIGURES, *_COSTS, "run"]

    def cells(row: Mapping[str, Any]) -> Iterator[Any]:
        for key in head:
            value = row["settings"].get(key, "") if key in keys else row.get(key, "")
            yield text_of(value) if isinstance(value, list) else value

    write_csv(folder / "trials.csv", head, [list(cells(row)) for row in rows])
    write_csv(
        folder / "summary.csv",
        ["variant", "seeds", "diverged", "mean", "spread", *_FIGURES[1:], *_COSTS],
        [
            [
                group.label,
                len(group.values),
                group.diverged,
                *(_cell(value) for value in (group.mean, group.spread)),
                *(_cell(group.average(key)) for key in (*_FIGURES[1:], *_COSTS)),
            ]
            for group in groups
        ],
    )


def _cell(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _write_board(rows: Rows, folder: Path, study: Study) -> None:
    """One TensorBoard run a trial, for the hparams tab: what varied, the seed, and the figures."""
    from competition.record.board import log_hparams

    for row in rows:
        place = folder / f"{row['key']}-seed{row['seed']}"
        if row["state"] != "finished" or place.is_dir():
            continue
        with tensorboard(place) as writer:
            settings = {
                key: text_of(value) if isinstance(value, list) else value for key, value in row["settings"].items()
            }
            log_hparams(writer, {"study": study.name, "seed": row["seed"], **settings}, {k: row[k] for k in _FIGURES})

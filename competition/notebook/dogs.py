"""The dog notebooks' data, pictures and sentences: one line a cell, every number from the run that it speaks of.

from competition.explain import chapter
data, weights = chapter.dogs()
found = chapter.verdicts_of("runs/probe", data)
chapter.show(chapter.top_losses(found, data), "the photos with the highest loss")
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.data.photos.decode import read_photo
from competition.data.source.competition_data import CompetitionData
from competition.data.source.layout import load_data
from competition.errors import DataError
from competition.notebook.display import mode, pick, picture, short, show, tell
from competition.report.html.pages import is_drawing
from competition.report.run.misclassified import Verdicts, confusions, suspected_mislabels, verdicts
from competition.types import Predictions

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from competition.explain.networks.protocol import Backend
    from competition.pictures.figures import Panel
    from competition.types import CVResult, EnsembleResult

__all__ = [
    "blend_findings",
    "breeds",
    "called_wrongly",
    "compared",
    "comparison",
    "contrasts",
    "dogs",
    "few_breeds",
    "findings",
    "most_confused",
    "pick",
    "picture",
    "reliability_figure",
    "sample_photos",
    "short",
    "show",
    "suspects",
    "tell",
    "top_losses",
    "verdicts_of",
]


def dogs(most_breeds: int = 10, most_photos: int = 40, like: str = "") -> tuple[CompetitionData, Path | None]:
    """The competition's data where they can be found, else the embedded sample; and a folder of weights, or None.

    In short mode the real data are cut down to some breeds and photos.

    Args:
        most_breeds: in short mode.
        most_photos: training photos of each breed, in short mode.
        like: part of the names of the breeds that come first then: breeds that look alike are confused.
    """
    from competition.data.sample.competition import draw_sample
    from competition.environment import cache_folder
    from competition.training.backbones.devices import pick_device
    from competition.training.backbones.weight_files import local_folders

    warnings.filterwarnings("ignore")
    try:
        data = load_data()
    except DataError:
        data = load_data(draw_sample(cache_folder() / "sample"))
    mode(f"PyTorch on **{pick_device('auto').type}**")
    share = len(data.train) / len(data.classes)
    tell(f"{len(data.classes)} breeds, {len(data.train):,} training photos: {share:.0f} of each on average.")
    if is_drawing(data):
        tell("**The competition's photos are not here: the embedded sample stands in. It is a drawing.**")
    elif short():
        data = few_breeds(data, most_breeds, most_photos, like)
        tell(f"Of these the short mode takes {len(data.classes)} breeds with {len(data.train)} photos.")
    folders = local_folders()
    if not folders:
        tell("**No pretrained weights are here** (`DOGBREED_WEIGHTS`): networks start from scratch.")
    return data, Path(os.path.commonpath(folders)) if folders else None


def backbone(weights: Path | None) -> str:
    """The backbone that the chapters speak of, or the first where its weights are not at hand; empty without any."""
    from competition.training.backbones.weight_files import fitting, local_files, named

    known = named(local_files(weights)) if weights else {}
    return next((known[file] for file in [*fitting("tf_efficientnetv2_b0", known), *known]), "")


def few_breeds(data: CompetitionData, breeds: int, photos: int, like: str = "") -> CompetitionData:
    """Some breeds, those of a kind first, with at most so many training photos each; five test photos for each."""
    by_kind = sorted(data.classes, key=lambda name: like not in name)
    classes = tuple(sorted(by_kind[:breeds]))
    train = [photo for name in classes for photo in [item for item in data.train if item.breed == name][:photos]]
    return dataclasses.replace(
        data,
        train=tuple(train),
        test=data.test[: 5 * len(classes)],
        classes=classes,
        sample_submission=None,
        layout="Kaggle layout",
    )


def breeds(data: CompetitionData) -> pd.DataFrame:
    """Photos of each breed, fewest first."""
    import pandas as pd

    counts = np.bincount(data.labels, minlength=len(data.classes))
    return pd.DataFrame({"breed": data.classes, "training photos": counts}).sort_values("training photos").head(10)


def sample_photos(data: CompetitionData, count: int = 10) -> Figure:
    """A training photo of some breeds."""
    from competition.pictures.figures import Panel, sheet, wrapped

    chosen = np.linspace(0, len(data.classes) - 1, min(count, len(data.classes))).round().astype(int)
    firsts = [next(photo for photo in data.train if photo.breed == data.classes[number]) for number in chosen]
    panels = [Panel(_pixels(photo.path), _words(str(photo.breed))) for photo in firsts]
    return sheet(wrapped(panels, 5), side=1.9)


def verdicts_of(run: Path | str, data: CompetitionData) -> Verdicts:
    """A run's out-of-fold predictions beside the labels."""
    return verdicts(Predictions.load(Path(run) / "oof.npz"), data)


def compared(results: dict[str, CVResult]) -> pd.DataFrame:
    """Log loss, accuracy and temperature of several runs."""
    import pandas as pd

    rows = {
        name: {
            "photos": len(found.oof),
            "log loss": round(found.log_loss, 4),
            "accuracy": round(found.accuracy, 4),
            "temperature": round(found.temperature, 3),
        }
        for name, found in results.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def comparison(results: dict[str, CVResult]) -> str:
    """Which of some runs has the lowest log loss, and by how much, Markdown."""
    ranked = sorted(results, key=lambda name: results[name].log_loss)
    if len(ranked) < 2:
        return f"Only one model here: **{ranked[0]}**, log loss {results[ranked[0]].log_loss:.4f}."
    best, other = results[ranked[0]], results[ranked[1]]
    return (
        f"**{ranked[0]}** is ahead: log loss {best.log_loss:.4f} against {other.log_loss:.4f}, accuracy "
        f"{best.accuracy:.2%} against {other.accuracy:.2%}, out of fold, on {len(best.oof):,} photos."
    )


def blend_findings(both: EnsembleResult, results: dict[str, CVResult]) -> str:
    """Whether a blend beats the best of its members, Markdown."""
    best = min(results, key=lambda name: results[name].log_loss)
    gain = results[best].log_loss - both.log_loss
    verdict = f"{abs(gain):.4f} {'better' if gain > 0 else 'worse'} than {best} alone"
    return (
        f"Method: **{both.method}**. Log loss **{both.log_loss:.4f}**, {verdict}; accuracy **{both.accuracy:.2%}** "
        f"against {results[best].accuracy:.2%}."
    )


def findings(found: Verdicts) -> str:
    """What the out-of-fold predictions say, Markdown."""
    wrong, total = len(found.wrong), len(found)
    right = total - wrong
    lines = [f"- **{right / total:.1%}** of {total:,} photos are called by their breed. Wrong calls: {wrong}."]
    pairs = confusions(found, 1)
    if pairs:
        names = [_words(found.classes[number]) for number in (pairs[0].a, pairs[0].b)]
        count = len(pairs[0].a_as_b) + len(pairs[0].b_as_a)
        said = f"{count} photo{'' if count == 1 else 's'}"
        lines.append(f"- The pair taken for one another most often: **{names[0]}** and **{names[1]}** ({said}).")
    sure = int((found.probabilities.max(axis=1)[found.wrong] > 0.8).sum())
    lines.append(f"- Wrong calls made with more than 80 % certainty: {sure}.")
    share = found.loss[found.wrong].sum() / max(found.loss.sum(), 1e-12)
    lines.append(f"- The wrong calls make up {share:.0%} of the log loss, which is {found.loss.mean():.4f} in all.")
    return "\n".join(lines)


def most_confused(found: Verdicts, most: int = 8) -> pd.DataFrame:
    """Pairs of breeds taken for one another, most errors first."""
    from competition.record.metrics import confused_pairs

    return confused_pairs(found.probabilities, found.labels, found.classes, most)


def top_losses(found: Verdicts, data: CompetitionData, most: int = 10) -> Figure:
    """The photos with the highest loss: label, call, and both probabilities."""
    from competition.pictures.figures import sheet, wrapped

    rows = np.argsort(-found.loss, kind="stable")[:most]
    return sheet(wrapped([_case(found, data, int(row)) for row in rows], 5), side=2.1)


def called_wrongly(found: Verdicts, data: CompetitionData, most: int = 8) -> Figure:
    """Photos of the pairs that are taken for one another most often, the clearest errors of each."""
    from competition.pictures.figures import sheet

    rows = []
    for pair in confusions(found, 3):
        cases = [*pair.a_as_b, *pair.b_as_a][:most]
        rows.append([_case(found, data, int(row)) for row in cases])
    return sheet(rows, side=2.1)


def contrasts(backend: Backend, found: Verdicts, data: CompetitionData, most: int = 5) -> Figure:
    """The surest wrong calls: the photo, and where it speaks for the call (orange) and where for the label (teal)."""
    from competition.explain.maps.contrast import contrast_maps
    from competition.explain.networks.protocol import square_input
    from competition.pictures.figures import Panel, sheet
    from competition.pictures.overlays import contrast_overlay

    rows = found.wrong[:most] if len(found.wrong) else np.argsort(-found.loss)[:most]
    images = np.stack([square_input(read_photo(data.by_id[found.ids[row]].path), backend.input_shape) for row in rows])
    called = [found.classes[_rival(found, int(row))] for row in rows]
    given = [found.classes[found.labels[row]] for row in rows]
    towards, against = contrast_maps(backend, images, called, given)
    photos = [Panel(image, f"label {_words(name)}") for image, name in zip(images, given, strict=True)]
    maps = [
        Panel(contrast_overlay(image, one, other), f"called {_words(name)}")
        for image, one, other, name in zip(images, towards, against, called, strict=True)
    ]
    return sheet([photos, maps], side=2.2)


def suspects(found: Verdicts, data: CompetitionData, most: int = 5) -> tuple[Figure | None, str]:
    """Photos whose label may be wrong, and a sentence about how many there are; no figure when there is none."""
    from competition.pictures.figures import Panel, sheet

    listed = suspected_mislabels(found).suspects
    if not listed:
        return None, "Confident learning suspects no label."
    panels = [
        Panel(
            _pixels(data.by_id[found.ids[item.row]].path),
            f"label {_words(found.classes[item.given])}",
            f"rather {_words(found.classes[item.suggested])}?",
        )
        for item in listed[:most]
    ]
    text = f"Confident learning suspects {len(listed)} of {len(found):,} labels. Suspected is not wrong: look at them."
    return sheet([panels], side=2.2), text


def reliability_figure(found: Verdicts) -> Figure:
    """How often a call of some certainty is right: a diagonal means that certainty can be trusted."""
    from competition.pictures.figures import curves_figure
    from competition.record.metrics import reliability

    bins = reliability(found.probabilities, found.labels, 10)
    kept = bins.count > 0
    return curves_figure(
        {
            "calls": (bins.confidence[kept].tolist(), bins.accuracy[kept].tolist()),
            "certainty that can be trusted": ([0.0, 1.0], [0.0, 1.0]),
        },
        "certainty of the call",
        "share of right calls",
    )


def _case(found: Verdicts, data: CompetitionData, row: int) -> Panel:
    from competition.pictures.figures import Panel

    given, rival = int(found.labels[row]), _rival(found, row)
    chances = found.probabilities[row]
    return Panel(
        _pixels(data.by_id[found.ids[row]].path),
        f"{_words(found.classes[given])} {chances[given]:.0%}",
        f"called {_words(found.classes[rival])} {chances[rival]:.0%}",
    )


def _rival(found: Verdicts, row: int) -> int:
    """The most probable class other than the label."""
    order = np.argsort(-found.probabilities[row], kind="stable")[:2]
    return int(order[0] if order[0] != found.labels[row] else order[1])


def _pixels(path: Path, side: int = 200) -> np.ndarray:
    """A photo as float32 in [0, 1], reduced."""
    from PIL import Image

    photo = Image.fromarray(read_photo(path, min_side=side))
    photo.thumbnail((side, side))
    return np.asarray(photo, dtype=np.float32) / 255


def _words(name: str) -> str:
    return name.replace("_", " ")

"""A small competition of coloured squares and a run folder of plausible, random predictions: no model needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from competition.data.audit.report import AuditReport, DuplicatePair
from competition.data.folds import make_folds
from competition.data.source.competition_data import CompetitionData, Photo
from competition.files import write_json, write_text
from competition.record.metrics import softmax
from competition.record.run_dir import RunDir
from competition.types import Predictions

NASTY = '<script>alert("x")</script>'
BREEDS = ("chow", "lakeland_terrier", "norwich_terrier", "pug", NASTY, "=cmd|' /C calc'!A0")


def make_photos(root: Path, per_breed: int, breeds: tuple[str, ...] = BREEDS, seed: int = 0) -> CompetitionData:
    """Write small photos of random blocks, ids as Kaggle's; the last two ids are awkward ones."""
    rng = np.random.default_rng(seed)
    photos = []
    for breed in sorted(breeds):
        for _ in range(per_breed):
            photos.append((rng.bytes(16).hex(), breed))
    photos[-1] = ("-50% off & <b>bold</b> #1?", photos[-1][1])
    photos[-2] = ("=1+1", photos[-2][1])
    (root / "train").mkdir(parents=True)
    train = []
    for number, (name, breed) in enumerate(photos):
        path = root / "train" / f"{number}.jpg"
        blocks = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((96, 120), Image.Resampling.BICUBIC).save(path, quality=85)
        train.append(Photo(name, path, breed))
    return CompetitionData(root, root, "Kaggle layout", tuple(train), (), tuple(sorted(breeds)))


def make_kaggle(root: Path, per_breed: int = 4) -> None:
    """The same photos in Kaggle's layout on disk, with ids and breeds that a file name can be."""
    data = make_photos(root, per_breed, breeds=("chow", "lakeland_terrier", "pug"))
    rows = []
    for number, photo in enumerate(data.train):
        photo.path.rename(photo.path.with_name(f"photo{number}.jpg"))
        rows.append(f"photo{number},{photo.breed}")
    write_text(root / "labels.csv", "\n".join(["id,breed", *rows]) + "\n")


def make_probabilities(data: CompetitionData, rng: np.random.Generator, sure: float = 3.0) -> np.ndarray:
    """Probabilities that are mostly right; neighbouring classes are taken for one another more often than others."""
    n, c = len(data.train), len(data.classes)
    logits = rng.normal(size=(n, c))
    logits[np.arange(n), data.labels] += sure
    logits[np.arange(n), (data.labels ^ 1) % c] += sure / 2
    return softmax(logits)


def make_run(folder: Path, data: CompetitionData, seed: int = 0, sure: float = 3.0, n_folds: int = 3) -> RunDir:
    """A run folder as the pipeline leaves it, without models."""
    rng = np.random.default_rng(seed)
    run = RunDir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    a, b, c = data.train[0], data.train[-1], data.train[1]
    pairs = (
        DuplicatePair(a.id, b.id, "train", "train", a.breed, b.breed, "near", 4, 0.987),
        DuplicatePair(a.id, c.id, "train", "train", a.breed, c.breed, "exact", 0, 1.0, mirrored=True),
    )
    audit = AuditReport(pairs=pairs, train_photos=len(data.train), data_digest=data.digest)
    audit.save(folder)
    make_folds(data, n_folds, seed, audit.groups()).save(folder / "folds.csv")
    Predictions(data.train_ids, data.classes, make_probabilities(data, rng, sure)).save(folder / "oof.npz")
    write_json(folder / "config.json", {"engine": "ProbeConfig", "name": "probe", "seed": 42, "backbones": ["tiny"]})
    write_json(
        folder / "manifest.json",
        {"command": "dogbreed run", "versions": {"numpy": "2"}, "steps": {"audit": 0.4, "embed": 12.0}},
    )
    strengths = [10.0**power for power in range(-4, 0)]
    candidates = [
        {"design": how, "strength": s, "log_loss": 0.4 + 0.05 * (np.log10(s) + 2 + shift) ** 2, "accuracy": 0.8}
        for how, shift in (("concat", 0.0), ("average", 0.3))
        for s in strengths
    ]
    write_json(
        folder / "metrics.json",
        {
            "temperature": 1.07,
            "candidates": candidates,
            "folds": [{"index": k, "seconds": 1.5 + k} for k in range(n_folds)],
            "notes": ["pug: 2 photos for 3 folds", "The photos come from ImageNet, so ..."],
        },
    )
    rows = ["fold,epoch,train_loss,valid_loss,accuracy"]
    rows += [f"{k},{e},{2 / (e + 1)},{2.2 / (e + 1) + 0.1 * k},{1 - 0.5 / (e + 1)}" for k in range(3) for e in range(4)]
    write_text(folder / "history.csv", "\n".join(rows) + "\n")
    return run

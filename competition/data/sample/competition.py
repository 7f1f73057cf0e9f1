"""The embedded sample: a small competition in Kaggle's layout, drawn on the spot. Drawings, not photos.

It shows that every part works where nothing can be downloaded; its score says nothing about real dogs. A few defects
are planted, so that the audit and the report have something to show; ``truth.json`` tells them, and where each animal
is.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from competition.data.sample.anatomy import Pose
from competition.data.sample.breeds import BREEDS, Breed
from competition.data.sample.drawing import Painter
from competition.data.sample.scenery import draw_foreground, draw_scene, lit
from competition.errors import DataError, UsageError
from competition.files import digest_of, read_json, temporary_folder, write_csv, write_json, write_text
from competition.locks import only_one_at
from competition.system.disk import require_space
from competition.system_errors import explain_disk_errors

VERSION = 1
_SIZES = ((160, 120), (180, 135), (200, 150), (168, 150), (150, 160))  # width, height in pixels
_OVERSAMPLING = 1.5
_README = """These pictures are DRAWINGS made by a program (dogbreed-kit, seed {seed}), not photos.

The "breeds" are invented. The folder has the layout of Kaggle's Dog Breed Identification, so that every command can be
tried without a download. A score reached here says nothing about real dogs and is no result.

Planted on purpose (see truth.json): one picture that is in train/ twice, slightly changed and under two breeds; one
picture with the wrong breed; one file cut in half.
"""


@dataclass(frozen=True)
class Drawing:
    """One drawn picture.

    Attributes:
        image: uint8 (h, w, 3).
        box: left, top, right, bottom of the animal in pixels.
        ellipse: centre x, centre y, half axes, angle in degrees of the ellipse with the animal's second moments.
        outline: polygon around the animal, pixels; the largest piece where something hides a part.
    """

    image: np.ndarray
    box: tuple[int, int, int, int]
    ellipse: tuple[float, float, float, float, float]
    outline: list[list[int]]


def draw_dog(breed: Breed, rng: np.random.Generator, size: tuple[int, int]) -> Drawing:
    """Draw one dog of a breed somewhere, in some pose and light.

    Args:
        breed: which.
        rng: source of chance; the same state gives the same picture.
        size: width and height in pixels.
    """
    width, height = round(size[0] * _OVERSAMPLING), round(size[1] * _OVERSAMPLING)
    pose = _pose(breed, rng, width, height)
    canvas = draw_scene(
        rng, height, width, horizon=float(np.clip(pose.ground / height - rng.uniform(0.1, 0.35), 0.2, 0.9))
    )
    painter = Painter(canvas, breed, pose, rng)
    painter.paint()
    hidden = draw_foreground(canvas, rng)
    mask = np.where(hidden, 0, painter.mask)
    small = cv2.resize(lit(canvas, rng), size, interpolation=cv2.INTER_AREA)
    return _described(small, cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0.5)


def _pose(breed: Breed, rng: np.random.Generator, width: int, height: int) -> Pose:
    tall = breed.legs + breed.depth + 0.30 + breed.head
    long = breed.length + 0.45 + breed.head + breed.snout
    scale = min(0.92 * height / tall, 0.94 * width / long) * rng.uniform(0.62, 1.0)
    play = width - 0.85 * scale * long
    mirrored = bool(rng.random() < 0.5)
    ahead = 0.5 * (breed.head + breed.snout - 0.10) * scale  # the head reaches further than the tail
    return Pose(
        scale=scale,
        x=width / 2 + (ahead if mirrored else -ahead) + rng.uniform(-0.5, 0.5) * play,
        ground=min(0.97 * height, rng.uniform(0.86, 0.97) * height),
        mirrored=mirrored,
        tilt=float(rng.normal(0, 0.06)),
        gait=float(rng.normal(0, 0.28)),
        sit=float(rng.random() < 0.3) * float(rng.uniform(0.8, 1.1)),
        head=float(np.clip(rng.normal(0.02, 0.25), -0.55, 0.5)),
        wag=float(rng.normal(0, 0.30)),
    )


def _described(image: np.ndarray, mask: np.ndarray) -> Drawing:
    """Add the animal's box, ellipse and outline from its mask, bool (h, w)."""
    whole = mask.astype(np.uint8)
    x, y, width, height = cv2.boundingRect(whole)
    moments = cv2.moments(whole, binaryImage=True)
    area = max(moments["m00"], 1.0)
    centre = moments["m10"] / area, moments["m01"] / area
    spread = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / area
    values, vectors = np.linalg.eigh(spread)
    axes = 2 * np.sqrt(np.maximum(values[::-1], 0))
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    pieces, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = cv2.approxPolyDP(max(pieces, key=cv2.contourArea), 1.0, True)[:, 0] if pieces else np.zeros((0, 2), int)
    ellipse = tuple(round(float(value), 2) for value in (*centre, *axes, angle))
    return Drawing(image, (x, y, x + width, y + height), ellipse, outline.tolist())  # type: ignore[arg-type]


def draw_sample(
    folder: Path | str, seed: int = 0, *, breeds: int = len(BREEDS), train_per_breed: int = 30, test_per_breed: int = 6
) -> Path:
    """Draw the sample competition; a folder that already holds the same one is left as it is.

    Args:
        folder: where to; must not exist, be empty, or hold an earlier sample.
        seed: the same seed gives the same pictures.
        breeds: how many of the drawn breeds, 2 to 12.
        train_per_breed: pictures of each breed in train/, at least 3; the defects are among them.
        test_per_breed: pictures of each breed in test/.

    Returns:
        The folder.

    Raises:
        UsageError: a number is impossible.
        DataError: the folder holds something else.
        StorageError: there is no space.
    """
    if not (2 <= breeds <= len(BREEDS) and train_per_breed >= 3 and test_per_breed >= 0 and seed >= 0):
        raise UsageError(
            f"impossible sample: 2 to {len(BREEDS)} breeds, at least 3 train pictures a breed, seed from 0"
        )
    folder = Path(folder)
    facts = {"version": VERSION, "seed": seed, "breeds": breeds, "train": train_per_breed, "test": test_per_breed}
    if _holds_sample(folder, facts):
        return folder
    with explain_disk_errors(folder), only_one_at(folder):
        if _holds_sample(folder, facts):  # another process has drawn it meanwhile
            return folder
        require_space(folder.parent, breeds * (train_per_breed + test_per_breed) * 16_000, "draw the sample")
        with temporary_folder(folder.parent, f".{folder.name}.") as temporary:
            _draw_all(temporary / "sample", BREEDS[:breeds], facts)
            shutil.rmtree(folder, ignore_errors=True)
            (temporary / "sample").rename(folder)
    return folder


def _holds_sample(folder: Path, facts: dict[str, int]) -> bool:
    """Whether the folder holds this very sample; another sample may be drawn over, anything else may not."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    stored = read_json(folder / "truth.json") if (folder / "truth.json").is_file() else None
    if not isinstance(stored, dict) or "sample" not in stored:
        raise DataError(f"{folder} holds something else: choose an empty or new folder for the sample")
    return bool(stored["sample"] == facts)


def _draw_all(folder: Path, breeds: tuple[Breed, ...], facts: dict[str, int]) -> None:
    """Draw every picture, plant the defects, write the lists."""
    names = [breed.name for breed in breeds]
    truth: dict[str, dict[str, Any]] = {}
    drawings: dict[str, np.ndarray] = {}
    for split, count in (("train", facts["train"]), ("test", facts["test"])):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            for index, breed in enumerate(breeds):
                rng = np.random.default_rng([facts["seed"], split == "test", number, index])
                drawing = draw_dog(breed, rng, _SIZES[int(rng.integers(len(_SIZES)))])
                name = _id(facts["seed"], split, number, index)
                drawings[name] = drawing.image
                _save(folder / split / f"{name}.jpg", drawing.image, int(rng.integers(80, 94)))
                height, width = drawing.image.shape[:2]
                truth[name] = {
                    "split": split,
                    "breed": breed.name,
                    "size": [width, height],
                    "box": drawing.box,
                    "ellipse": drawing.ellipse,
                    "outline": drawing.outline,
                }
    labels = {name: entry["breed"] for name, entry in truth.items() if entry["split"] == "train"}
    defects = _plant(folder, labels, truth, drawings, facts["seed"])
    _write_lists(folder, labels, [name for name, entry in truth.items() if entry["split"] == "test"], names)
    write_json(folder / "truth.json", {"sample": facts, "drawing": True, "defects": defects, "photos": truth})
    write_text(folder / "README.txt", _README.format(seed=facts["seed"]))


def _id(seed: int, *what: object) -> str:
    """Ids look like Kaggle's, and say what they are; their order tells nothing about the breed."""
    return "drawing_" + hashlib.sha256(digest_of([seed, *map(str, what)]).encode()).hexdigest()[:16]


def _save(path: Path, image: np.ndarray, quality: int) -> None:
    Image.fromarray(image).save(path, "JPEG", quality=quality, comment=b"a drawing by dogbreed-kit, not a photo")


def _plant(
    folder: Path,
    labels: dict[str, str],
    truth: dict[str, dict[str, Any]],
    drawings: dict[str, np.ndarray],
    seed: int,
) -> dict[str, Any]:
    """Plant one near duplicate under two breeds, one wrong label and one corrupt file; say which."""
    rng = np.random.default_rng([seed, 2, 0, 0])
    original, wrong, corrupt = (str(name) for name in rng.choice(sorted(labels), 3, replace=False))
    others = sorted(set(labels.values()))

    def another(breed: str) -> str:
        return others[(others.index(breed) + 1 + int(rng.integers(len(others) - 1))) % len(others)]

    copy, changed = _id(seed, "copy"), _changed(drawings[original])
    _save(folder / "train" / f"{copy}.jpg", changed, 70)
    height, width = changed.shape[:2]
    truth[copy] = {"split": "train", "breed": labels[original], "size": [width, height], "copy_of": original}
    labels[copy] = another(labels[original])
    labels[wrong] = another(labels[wrong])
    path = folder / "train" / f"{corrupt}.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
    return {
        "near_duplicate": {"a": original, "b": copy, "breed_a": labels[original], "breed_b": labels[copy]},
        "mislabelled": {"id": wrong, "breed": truth[wrong]["breed"], "labelled": labels[wrong]},
        "corrupt": {"id": corrupt, "split": "train"},
    }


def _changed(image: np.ndarray) -> np.ndarray:
    """A picture as it comes back from the web: smaller, a margin cut off, brighter."""
    height, width = image.shape[:2]
    x, y = max(1, width // 50), max(1, height // 50)
    smaller = cv2.resize(image[y:-y, x:-x], (width * 9 // 10, height * 9 // 10), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(smaller * 1.07 + 4, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return np.asarray(Image.open(buffer))


def _write_lists(folder: Path, labels: dict[str, str], test_ids: list[str], breeds: list[str]) -> None:
    write_csv(folder / "labels.csv", ["id", "breed"], sorted(labels.items()))
    share = repr(1 / len(breeds))
    rows = ([name, *[share] * len(breeds)] for name in sorted(test_ids))
    write_csv(folder / "sample_submission.csv", ["id", *breeds], rows)

"""Photos to measure with, made once from the competition's and kept in the cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from competition.console import say
from competition.data.photos.decode import read_photo
from competition.data.source.competition_data import CompetitionData, Photo
from competition.environment import cache_folder
from competition.files import atomic_path, digest_of
from competition.system.workers import map_in_order

SIZES = {"12 MP": (4000, 3000), "500x375": (500, 375), "224x224": (224, 224)}
_GRAIN = 3.0  # standard deviation of the noise that stands for a sensor's, grey levels


def bench_folder(data: CompetitionData, *what: object) -> Path:
    """Where material made from these data is kept."""
    return cache_folder() / "bench" / f"{what[0]}-{digest_of([data.digest, *map(str, what)])}"


def sized_photos(data: CompetitionData, size: str, count: int, breeds: int = 2) -> list[Photo]:
    """``count`` photos of a size, in class folders: enlarged from the competition's, with a sensor's grain."""
    width, height = SIZES[size]
    folder = bench_folder(data, size)
    chosen = [[photo for photo in data.train if photo.breed == name] for name in data.classes]
    mixed = [
        photo for row in zip(*(group[: 1 + count // len(chosen)] for group in chosen), strict=False) for photo in row
    ]
    made, todo = [], []
    for number, photo in enumerate((mixed * (1 + count // len(mixed)))[:count]):
        breed = f"class{number % breeds}"
        made.append(Photo(f"{number:05d}", folder / breed / f"{number:05d}.jpg", breed))
        if not made[-1].path.is_file():
            todo.append((photo.path, made[-1].path, number))
    for _ in map_in_order(partial(_write_sized, size=(width, height)), todo, chunk=4):
        pass
    return made


def _write_sized(job: tuple[Path, Path, int], size: tuple[int, int]) -> None:
    source, target, seed = job
    picture = Image.fromarray(read_photo(source))
    if picture.size != size:
        enlarged = np.asarray(picture.resize(size, Image.Resampling.BICUBIC), np.float32)
        grain = np.random.default_rng(seed).normal(0, _GRAIN, enlarged.shape).astype(np.float32)
        picture = Image.fromarray(np.clip(enlarged + grain, 0, 255).astype(np.uint8))
    with atomic_path(target) as temporary:
        picture.save(temporary, "JPEG", quality=90)


def many_photos(data: CompetitionData, count: int) -> CompetitionData:
    """``count`` photos: the competition's, then collages of two of them, which no audit takes for duplicates."""
    photos = [*data.train, *data.test]
    if len(photos) < count:
        folder = bench_folder(data, "collages")
        lacking = count - len(photos)
        todo = [number for number in range(lacking) if not (folder / f"{number:05d}.jpg").is_file()]
        if todo:
            say(f"bench: making {len(todo):,} collages in {folder}")
            for _ in map_in_order(partial(_write_collage, tuple(p.path for p in photos), folder), todo):
                pass
        breed = data.classes[0]
        photos += [Photo(f"collage{n:05d}", folder / f"{n:05d}.jpg", breed) for n in range(lacking)]
    kept = tuple(dataclasses.replace(p, breed=p.breed or data.classes[0]) for p in photos[:count])
    return dataclasses.replace(data, train=kept, test=(), sample_submission=None, notes=())


def _write_collage(sources: Sequence[Path], folder: Path, number: int) -> None:
    """The left of one photo's part beside the right of another's, one of them mirrored, colours exchanged."""
    rng = np.random.default_rng([7, number])
    halves = []
    for channel_order in (rng.permutation(3), rng.permutation(3)):
        image = read_photo(sources[int(rng.integers(len(sources)))])
        side = min(image.shape[:2]) * 3 // 5
        top, left = (int(rng.integers(length - side + 1)) for length in image.shape[:2])
        part = image[top : top + side, left : left + side, channel_order]
        halves.append(np.asarray(Image.fromarray(part).resize((112, 224), Image.Resampling.BILINEAR)))
    with atomic_path(folder / f"{number:05d}.jpg") as temporary:
        Image.fromarray(np.concatenate([halves[0], halves[1][:, ::-1]], axis=1)).save(temporary, "JPEG", quality=85)

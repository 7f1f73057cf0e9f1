"""Photos per second from file to augmented batch: the kit, fastai's default, ImageFolder, bare decoding."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from PIL import Image

from competition.data.photos.decode import decode_photo, read_content
from competition.data.photos.photo_cache import PhotoCache
from competition.data.source.competition_data import Photo
from competition.data.source.layout import load_data
from competition.training.photos.augment import make_augment
from competition.training.photos.loader import PhotoFiles, StepSampler, TrainPhotos, train_loader
from tests.benchmarks.material import SIZES, bench_folder, sized_photos
from tests.benchmarks.measure import Claim, Outcome, Setup, figure, in_turn

SIDE = 224
COUNTS = {"12 MP": 24, "500x375": 240, "224x224": 480}
TARGETS = {"12 MP": 6.0, "500x375": 4.0, "224x224": 5.0}


def measure(setup: Setup) -> Outcome:
    """Every size with one process and with two."""
    outcome = Outcome("loader", "decode, resize, augment")
    data = load_data(setup.data)
    for size in SIZES:
        for workers in (0, 2):
            photos = sized_photos(data, size, setup.count(COUNTS[size] * (2 if workers else 1)))
            _one_case(outcome, setup, data, size, photos, workers)
    outcome.claims = list(_claims(outcome))
    outcome.notes += [
        "one process computes on one thread (torch and OpenCV alike), timed by its processor time; with 2 workers the "
        "main process has all threads, timed by the wall clock",
        "'light' and 'medium' are the kit's augmentations, read from the files; 'from the cache' reads the resized "
        "photos of the memory-mapped cache instead, as every epoch of a recipe does; fastai: Resize(224) and "
        "aug_transforms(); ImageFolder: RandomResizedCrop, RandomHorizontalFlip, ToTensor",
        "bare: no augmentation, no batch; reduced decoding to 256 px or more, then a resize to 224",
        *(_profile(sized_photos(data, size, setup.count(COUNTS[size] // 2)), size) for size in SIZES),
    ]
    return outcome


def _one_case(outcome: Outcome, setup: Setup, data: object, size: str, photos: list[Photo], workers: int) -> None:
    import cv2

    threads = setup.threads if workers else 1
    torch.set_num_threads(threads)
    cv2.setNumThreads(0 if threads == 1 else threads)
    batch = min(32, len(photos) // 4)
    cache = PhotoCache.build(photos, 256, bench_folder(data, "cache"))  # type: ignore[arg-type]
    files = PhotoFiles(photos, 256)
    # One process on one thread: its processor time is the wall time of a quiet machine, whatever else runs here.
    clock = time.perf_counter if workers else time.process_time
    ways: dict[str, Callable[[], float]] = {
        "kit, light": _epochs(_kit(files, photos, "light", batch, workers), clock),
        "kit, medium": _epochs(_kit(files, photos, "medium", batch, workers), clock),
        "kit, light, from the cache": _epochs(_kit(cache, photos, "light", batch, workers), clock),
        "fastai": _epochs(_fastai(photos, batch, workers), clock),
        "ImageFolder": _epochs(_image_folder(photos, batch, workers), clock),
    }
    if not workers:
        ways["bare, Pillow"] = lambda: _bare(photos, _by_pillow)
        ways["bare, OpenCV"] = lambda: _bare(photos, _by_opencv)
    case = f"{size}, {'2 workers' if workers else 'one process'}"
    for name, rates in in_turn(ways, setup.rounds).items():
        outcome.figures.append(figure(case, name, "photos/s", rates))


def _profile(photos: Sequence[Photo], size: str) -> str:
    """Where one process' time goes, microseconds of processor time a photo, augmented by ``light``."""
    augment, batch = make_augment("light", SIDE), np.empty((len(photos), SIDE, SIDE, 3), np.uint8)
    torch.set_num_threads(1)
    spent = dict.fromkeys(("read", "decode", "seed", "crop, resize, flip, colour", "into the batch"), 0)
    for warm in (True, False):
        for slot, photo in enumerate(photos):
            marks = [time.thread_time_ns()]
            content = read_content(photo.path)
            marks.append(time.thread_time_ns())
            image = decode_photo(content, photo.id, 256)
            marks.append(time.thread_time_ns())
            rng = np.random.default_rng([0, 0, slot, 1])
            marks.append(time.thread_time_ns())
            image = augment(image, rng)
            marks.append(time.thread_time_ns())
            batch[slot] = image
            marks.append(time.thread_time_ns())
            for name, nanoseconds in zip(spent, np.diff(marks), strict=True):
                spent[name] += 0 if warm else int(nanoseconds)
    parts = ", ".join(f"{name} {nanoseconds / 1000 / len(photos):,.0f}" for name, nanoseconds in spent.items())
    return f"profile, {size}, light, microseconds a photo: {parts}"


def _epochs(loader: Iterable[object], clock: Callable[[], float]) -> Callable[[], float]:
    """Photos per second of one epoch."""

    def once() -> float:
        start, photos = clock(), 0
        for images, *_ in loader:  # type: ignore[misc]
            photos += len(images)
        return photos / (clock() - start)

    return once


def _kit(source: object, photos: Sequence[Photo], name: str, batch: int, workers: int) -> Iterable[object]:
    labels = np.zeros(len(photos), np.int64)
    dataset = TrainPhotos(source, [p.id for p in photos], labels, 0, name)  # type: ignore[arg-type]
    sampler = StepSampler(len(photos), batch, 1, 0)
    sampler.go_to(0, 0, SIDE)
    return train_loader(dataset, sampler, workers, pin=False)


def _fastai(photos: Sequence[Photo], batch: int, workers: int) -> Iterable[object]:
    import pandas as pd
    from fastai.vision.all import ImageDataLoaders, Resize, aug_transforms

    frame = pd.DataFrame([(str(photo.path), photo.breed) for photo in photos], columns=["file", "breed"])
    loaders = ImageDataLoaders.from_df(
        frame, path="/", valid_pct=0.0, item_tfms=Resize(SIDE), batch_tfms=aug_transforms(), bs=batch,
        num_workers=workers, device=torch.device("cpu"), seed=0,
    )  # fmt: skip
    return loaders.train


def _image_folder(photos: Sequence[Photo], batch: int, workers: int) -> Iterable[object]:
    from torchvision import transforms as T  # noqa: N812 - its usual name
    from torchvision.datasets import ImageFolder

    steps = T.Compose([T.RandomResizedCrop(SIDE), T.RandomHorizontalFlip(), T.ToTensor()])
    wanted = {str(photo.path) for photo in photos}
    dataset = ImageFolder(str(photos[0].path.parents[1]), steps, is_valid_file=lambda path: path in wanted)
    return torch.utils.data.DataLoader(dataset, batch, shuffle=True, drop_last=True, num_workers=workers)


def _bare(photos: Sequence[Photo], decode: Callable[[bytes], np.ndarray]) -> float:
    start = time.process_time()
    for photo in photos:
        decode(photo.path.read_bytes())
    return len(photos) / (time.process_time() - start)


def _by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (256, 256))
        small = image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return np.asarray(small)


def _by_opencv(content: bytes) -> np.ndarray:
    import cv2

    width, height = Image.open(io.BytesIO(content)).size
    shrunk = min(width, height) // 256
    flags = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    flag = next((flags[factor] for factor in flags if shrunk >= factor), cv2.IMREAD_COLOR)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def _claims(outcome: Outcome) -> Iterable[Claim]:
    for size, target in TARGETS.items():
        case = f"{size}, one process"
        yield Claim(f"loader, {size}: kit (light) over fastai", outcome.ratio(case, "kit, light", "fastai"), target)
        yield Claim(f"loader, {size}: kit (medium) over fastai", outcome.ratio(case, "kit, medium", "fastai"), target)
    for size in TARGETS:
        case = f"{size}, one process"
        bare = outcome.ratio(case, "kit, light", "bare, Pillow")
        yield Claim(f"loader, {size}: kit (light) over bare Pillow decoding", bare, 0.85)
        bare = outcome.ratio(case, "kit, light", "bare, OpenCV")
        yield Claim(f"loader, {size}: kit (light) over bare OpenCV decoding", bare, 0.85)
        bare = outcome.ratio(case, "kit, light, from the cache", "bare, Pillow")
        yield Claim(f"loader, {size}: kit (light) from its cache over bare Pillow decoding", bare, 0.85)

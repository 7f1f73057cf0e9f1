"""Where this runs: laptop, cluster or Kaggle. The only module that asks; nothing else looks for ``/kaggle``."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

COMPETITION = "dog-breed-identification"


def kaggle_root() -> Path:
    """The folder that holds Kaggle's ``input`` and ``working``; ``DOGBREED_KAGGLE_ROOT`` moves it for dry runs."""
    return Path(os.environ.get("DOGBREED_KAGGLE_ROOT", "/kaggle"))


def on_kaggle() -> bool:
    """Whether this process runs in a Kaggle kernel (or in a simulated one)."""
    return (kaggle_root() / "input").is_dir()


# Folders under ``input`` since 2025, and how deep below them an input lies: competitions/SLUG, datasets/OWNER/SLUG,
# models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION, notebooks/USER/KERNEL. Before, every input was input/SLUG.
_MOUNTS = {"competitions": 1, "datasets": 2, "models": 5, "notebooks": 2}


def mount_of(kind: str, ref: str) -> str:
    """Where Kaggle mounts an input today, relative to ``input``.

    Args:
        kind: ``competitions``, ``datasets``, ``models`` or ``notebooks``.
        ref: how Kaggle names it, as ``owner/slug``; longer ones are cut to what the mount holds.
    """
    return "/".join((kind, *ref.split("/")[: _MOUNTS[kind]]))


def kaggle_inputs() -> list[Path]:
    """The attached inputs of a Kaggle kernel, mounted the present way or the old one, sorted; empty elsewhere."""
    root = kaggle_root() / "input"
    attached = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [found for path in attached for found in _mounted(path, _MOUNTS.get(path.name, 0))]


def is_competition(path: Path) -> bool:
    """Whether a path below ``input`` is of the competition itself, as Kaggle mounts it, rather than of a copy."""
    root = kaggle_root() / "input"
    return any(path.is_relative_to(root / name) for name in (mount_of("competitions", COMPETITION), COMPETITION))


def _mounted(folder: Path, depth: int) -> list[Path]:
    """The inputs ``depth`` levels below; a folder with files of its own is one itself (old slugs are free)."""
    inside = sorted(folder.iterdir()) if depth else []
    if not inside or not all(path.is_dir() for path in inside):
        return [folder]
    return [found for path in inside for found in _mounted(path, depth - 1)]


def folders_below(
    root: Path,
    deepest: int = 9,
    photos: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
) -> Iterator[tuple[Path, frozenset[str]]]:
    """Folders at and below ``root``, nearest first, each with the names in it: to find what may lie anywhere in inputs.

    Links are followed, and every folder is visited once. A folder that starts with 1,000 photos is one of photos: it is
    not read to its end, and nothing in it is visited. Nor are the folders in one that holds more than 1,000: classes.
    (Standard library only: kernels carry the text of this function.)
    """
    waiting, seen = [(root, 0)], set()
    for folder, depth in waiting:  # grows meanwhile
        names, inside = [], []
        with contextlib.suppress(OSError):  # what cannot be read holds nothing for us
            facts = os.stat(folder)  # noqa: PTH116 - thousands of folders
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    names.append(entry.name)
                    photo = entry.name.lower().endswith(photos)
                    if not photo and not entry.name.startswith((".", "__")) and entry.is_dir():
                        inside.append(entry.name)
                    if len(names) == 1000 and not inside and all(name.lower().endswith(photos) for name in names):
                        break
        yield folder, frozenset(names)
        if depth < deepest and len(inside) <= 1000:
            waiting += [(folder / name, depth + 1) for name in sorted(inside)]


def data_candidates(argument: str | Path | None) -> list[tuple[str, Path]]:
    """Where the competition's data may lie, best first, each with the reason it was looked at."""
    if argument is not None:
        return [("--data", Path(argument))]
    named = os.environ.get("DOGBREED_DATA")
    if named:
        return [("DOGBREED_DATA", Path(named))]
    attached = sorted(kaggle_inputs(), key=lambda path: path.name != COMPETITION)
    return [("Kaggle input", path) for path in attached] + [("./data", Path("data"))]


def weights_candidates(argument: str | Path | None) -> list[tuple[str, Path]]:
    """Where pretrained weights may lie, best first: argument, ``DOGBREED_WEIGHTS``, all Kaggle inputs together."""
    if argument is not None:
        return [("--weights", Path(argument))]
    named = os.environ.get("DOGBREED_WEIGHTS")
    if named:
        return [("DOGBREED_WEIGHTS", Path(named))]
    return [("Kaggle input", kaggle_root() / "input")] if on_kaggle() else []


def cache_folder() -> Path:
    """Where extracted archives, resized photos and features are kept between runs (``DOGBREED_CACHE`` moves it)."""
    named = os.environ.get("DOGBREED_CACHE")
    if named:
        return Path(named)
    if on_kaggle():
        return kaggle_root() / "temp" / "dogbreed"
    named = os.environ.get("XDG_CACHE_HOME")
    return _usable(Path(named) if named else _home() / ".cache")


def _home() -> Path:
    """The user's home; one that cannot be there where none is known (a container's numbered user)."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


@lru_cache
def _usable(caches: Path) -> Path:
    """``caches/dogbreed``, or a folder for temporary files where that cannot be written, which is said."""
    wanted = caches / "dogbreed"
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError as error:
        from competition.console import warn

        user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
        instead = Path(tempfile.gettempdir()) / f"dogbreed{user}"
        warn(
            f"{wanted} cannot be written ({error.strerror}): caches go to {instead}, which may be emptied; "
            "DOGBREED_CACHE names a better place"
        )
        return _private(instead)


def _private(folder: Path) -> Path:
    """Make a folder below a place where everybody may write; one that somebody else has put there is not used."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and (folder.is_symlink() or folder.stat().st_uid != os.getuid()):
        return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    return folder


def before_tensorflow() -> None:
    """Call this before anything imports TensorFlow (tensorboard does, where it is installed) in a process with torch.

    triton, which torch's CUDA builds bring along, aborts the process when it is imported after TensorFlow: both
    register the same LLVM options. The other order works. Where there is no triton, nothing happens.
    """
    with contextlib.suppress(ImportError):
        import triton  # type: ignore[import-untyped] # noqa: F401

"""Where this runs: laptop, cluster or Kaggle. The only module that asks; nothing else looks for ``/kaggle``."""

from __future__ import annotations

import contextlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path

COMPETITION = "dog-breed-identification"


def kaggle_root() -> Path:
    """The folder that holds Kaggle's ``input`` and ``working``; ``DOGBREED_KAGGLE_ROOT`` moves it for dry runs."""
    return Path(os.environ.get("DOGBREED_KAGGLE_ROOT", "/kaggle"))


def on_kaggle() -> bool:
    """Whether this process runs in a Kaggle kernel (or in a simulated one)."""
    return (kaggle_root() / "input").is_dir()


def kaggle_inputs() -> list[Path]:
    """The attached inputs of a Kaggle kernel, sorted by name; empty elsewhere."""
    root = kaggle_root() / "input"
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def data_candidates(argument: str | Path | None) -> list[tuple[str, Path]]:
    """Where the competition's data may lie, best first, each with the reason it was looked at."""
    if argument is not None:
        return [("--data", Path(argument))]
    named = os.environ.get("DOGBREED_DATA")
    if named:
        return [("DOGBREED_DATA", Path(named))]
    attached = sorted(kaggle_inputs(), key=lambda path: path.name != COMPETITION)
    # Since 2025 Kaggle also mounts competitions one level deeper, under input/competitions/<slug>.
    deeper = [path / COMPETITION for path in attached if (path / COMPETITION).is_dir()]
    return [("Kaggle input", path) for path in [*deeper, *attached]] + [("./data", Path("data"))]


def weights_candidates(argument: str | Path | None) -> list[tuple[str, Path]]:
    """Where pretrained weights may lie, best first: argument, ``DOGBREED_WEIGHTS``, Kaggle inputs."""
    if argument is not None:
        return [("--weights", Path(argument))]
    named = os.environ.get("DOGBREED_WEIGHTS")
    if named:
        return [("DOGBREED_WEIGHTS", Path(named))]
    return [("Kaggle input", path) for path in kaggle_inputs()]


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

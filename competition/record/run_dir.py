"""Records that every trainer of the kit writes: the run folder, the history, TensorBoard.

A run is a folder (see ``RunDir``). A second start of the same run continues it; another configuration or other data
are refused with the difference named.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.config import Config
from competition.errors import ResumeError
from competition.files import differences, read_json, remove_leftovers, write_json
from competition.locks import only_one
from competition.secret_shapes import command_line
from competition.system.processes import refuse_second_main
from competition.system_errors import explain_disk_errors

if TYPE_CHECKING:
    pass

_VERSIONED = ("torch", "torchvision", "timm", "fastai", "albumentations", "keras", "numpy", "pandas", "scikit-learn")
# Where and how fast it runs may change between two starts of a run; what comes out may not.
_FREE_KEYS = ("device", "workers", "augment_backend")


class RunDir:
    """The folder of one run.

    ``config.json``, ``manifest.json`` (seed, versions, data digest, command, commit, timings), ``history.csv``,
    ``tensorboard/``, ``fold<k>/``, ``oof.npz``, ``test.npz``, ``metrics.json``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def fold(self, index: int) -> Path:
        """Folder of fold ``index``, made when it is lacking."""
        folder = self.path / f"fold{index}"
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` says, including ``engine``.

        Raises:
            ResumeError: this is no run folder.
        """
        path = self.path / "config.json"
        if not path.is_file():
            raise ResumeError(f"{self.path} is not a run folder (no config.json); make one with 'dogbreed run'")
        return dict(read_json(path))

    @property
    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` says; empty for a new run."""
        path = self.path / "manifest.json"
        return dict(read_json(path)) if path.is_file() else {}

    def update_manifest(self, **values: Any) -> None:
        """Add values to ``manifest.json`` atomically."""
        write_json(self.path / "manifest.json", {**self.manifest, **values})

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the run for this process: two starts at once would overwrite each other's work.

        What writers that were killed left here is removed.

        Raises:
            ResumeError: another process holds it.
            UsageError: a worker process of the caller's runs his script again.
        """
        refuse_second_main()
        with only_one(self.path / ".lock", self.path, "choose another --run-dir"):
            remove_leftovers(self.path)
            yield

    def open(self, config: Config, data_digest: str, **facts: Any) -> None:
        """Start the run, or check that this start continues it.

        Args:
            config: the configuration; kept in ``config.json``.
            data_digest: digest of the data's photo list and labels.
            facts: anything else that must be the same for a continuation (weights digest, for example).

        Raises:
            ResumeError: the folder holds a run of another configuration or of other data.
        """
        wanted = {"engine": type(config).__name__, **config.to_dict()}
        fixed = {"data_digest": data_digest, **facts}
        if (self.path / "config.json").is_file():
            if not (self.path / "manifest.json").is_file():
                raise ResumeError(
                    f"{self.path} has lost its manifest.json, so it cannot be continued: choose another --run-dir or "
                    "delete it"
                )
            # A run of an older version lacks the keys that came since: it was made with what they say by default.
            stored = {**{key: value for key, value in type(config)().to_dict().items() if key in wanted}, **self.config}
            self._refuse_other({**wanted, **fixed}, {**stored, **{key: self.manifest.get(key) for key in fixed}})
            return
        write_json(self.path / "manifest.json", {"seed": config.seed, **fixed, **describe_machine()})
        write_json(self.path / "config.json", wanted)

    def _refuse_other(self, wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        def comparable(values: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in values.items() if key not in _FREE_KEYS}

        changed = differences(comparable(stored), comparable(wanted))
        if changed:
            raise ResumeError(
                f"{self.path} holds another run ({'; '.join(changed[:4])}): choose another --run-dir or delete it"
            )


def describe_machine() -> dict[str, Any]:
    """Versions, device, command, commit and time of this process, for the manifest."""
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": {"python": platform.python_version(), **versions},
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "command": command_line(sys.argv),
        "commit": _commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _commit() -> str | None:
    """Commit of the kit's own checkout; None for an installed wheel."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None

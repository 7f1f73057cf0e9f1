"""Records that every trainer of the kit writes: the run folder, the history, TensorBoard.

A run is a folder (see ``RunDir``). A second start of the same run continues it; another configuration or other data
are refused with the difference named.
"""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.config import Config
from competition.errors import ResumeError
from competition.files import (
    csv_line,
    differences,
    explain_disk_errors,
    in_utf8,
    read_json,
    remove_leftovers,
    write_json,
    write_text,
)
from competition.locks import only_one
from competition.secret_shapes import command_line
from competition.system.processes import refuse_second_main

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_VERSIONED = ("torch", "torchvision", "timm", "fastai", "albumentations", "keras", "numpy", "pandas", "scikit-learn")
# Where and how fast it runs may change between two starts of a run; what comes out may not.
_FREE_KEYS = ("device", "workers")


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


class History:
    """Rows of figures over time (an epoch, a step, a trial), kept in memory and as a CSV that is always whole.

    Columns may join later; earlier rows then have an empty cell there.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.is_file():
            with path.open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream, restval="")  # a line cut short has empty cells at its end
                self.rows = [{key: _number(text) for key, text in row.items() if key} for row in reader]

    def append(self, **figures: Any) -> None:
        """Add a row and write the file."""
        self.rows.append(figures)
        self.save()

    def truncate(self, keep: int) -> None:
        """Forget the rows after the first ``keep``: a resumed run writes them again."""
        del self.rows[keep:]
        self.save()

    def column(self, name: str) -> list[Any]:
        """Values of one column, None where a row lacks it."""
        return [row.get(name) for row in self.rows]

    def save(self) -> None:
        """Write the CSV atomically."""
        if self.path is None:
            return
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        table = [columns, *([row.get(key, "") for key in columns] for row in self.rows)]
        write_text(self.path, "".join(f"{csv_line(row)}\n" for row in table))


def _number(text: str) -> Any:
    """The cell as int or float where it is written as one (``001`` and ``1e5`` are names), None where it is empty."""
    if text == "":
        return None
    for kind in (int, float):
        try:
            if str(kind(text)) == text:
                return kind(text)
        except ValueError:
            continue
    return text


@contextmanager
def tensorboard(folder: Path) -> Iterator[SummaryWriter]:
    """Open a TensorBoard writer for the duration of the block; tensorboard is imported here, late."""
    # Where TensorFlow is installed, tensorboard would import it (4 s) to write files that its own stub writes as well.
    # Not where it is loaded already: the stub would take tf.summary's place for the rest of the process.
    if "tensorflow" not in sys.modules:
        sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
    from torch.utils.tensorboard import SummaryWriter

    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with in_utf8(folder) as place:
        with explain_disk_errors(folder):
            writer = SummaryWriter(str(place))
        try:
            yield writer
        finally:
            writer.close()

"""A built kernel executed as Kaggle would: a clean process, ``input`` and ``working``, no network, no checkout.

What the kernel sees is a folder in Kaggle's layout, named by ``DOGBREED_KAGGLE_ROOT``. Only what its metadata attach is
there. It runs in this process's environment, or in an image's (``images/environment.py``). Two things keep the network
away: a network namespace of its own (``unshare``, where the system allows it; it binds compiled code as well), and a
guard in the process (audit hooks), which also hides the checkout and refuses writes to the inputs. Afterwards the
inputs are compared with what they were.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import competition
from competition.console import duration, say
from competition.data.source import archive
from competition.environment import COMPETITION, cache_folder, mount_of
from competition.errors import DataError, KitError, UsageError
from competition.files import read_json, write_text
from competition.locks import only_one_at
from competition.prediction.submission.check import check_submission
from competition.publish.build.bundle import PACKAGES
from competition.publish.build.ipynb import joined, read_notebook
from competition.publish.build.spec import METADATA_FILE
from competition.publish.images.environment import environment_of, hidden_from
from competition.publish.images.image import Image, remedy, whose_versions
from competition.publish.in_kernel import SETTINGS
from competition.publish.output_record import SUBMISSION
from competition.secret_shapes import without_secrets
from competition.system_errors import explain_disk_errors

_KEPT = ("PATH", "LANG", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
         "TF_NUM_INTEROP_THREADS", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")  # fmt: skip
# Magics that only change what a notebook looks like.
_DECORATION = re.compile(r"^\s*%(matplotlib|config|load_ext|reload_ext)\b.*$", re.MULTILINE)


class DryRunError(KitError):
    """The kernel failed in the dry run, or left something else than it should."""


@dataclass(frozen=True)
class DryRun:
    """How a dry run went.

    Attributes:
        working: what the kernel left, as Kaggle would keep it.
        log: everything it printed.
        seconds: wall time.
        isolation: what kept the network away.
        versions: in whose versions it ran.
    """

    working: Path
    log: Path
    seconds: float
    isolation: str
    versions: str


def dry_run(
    folder: Path,
    out: Path,
    inputs: Mapping[str, Path],
    *,
    settings: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = (),
    timeout_seconds: float = 12 * 3600.0,
    echo: bool = True,
    image: Image | None = None,
) -> DryRun:
    """Execute a built kernel.

    Args:
        folder: the built kernel.
        out: where the simulated Kaggle is made; an earlier one there is replaced.
        inputs: by name (``attached``) or as the metadata name them: folders or archives (unpacked first). Those that
            the metadata attach must be there, and lie where Kaggle mounts them; more may be, at ``input/NAME``.
        settings: changes to the kernel's settings.
        outputs: files that it must leave.
        timeout_seconds: it is stopped after that.
        echo: pass on what it prints.
        image: whose Python and versions; None takes this process's.

    Raises:
        UsageError: an attached input is not given, or ``out`` holds something else.
        ResumeError: another dry run works in ``out``.
        DryRunError: it failed, ran too long, changed its inputs, or left no valid result.
    """
    values = dict(read_json(folder / METADATA_FILE))
    inputs = by_name(values, inputs)
    _require_inputs(values, inputs)
    python = Path(sys.executable) if image is None else environment_of(image)
    with only_one_at(out, "choose another --out"):
        return _executed(folder, out, values, inputs, settings or {}, outputs, timeout_seconds, echo, python, image)


def _executed(
    folder: Path,
    out: Path,
    values: Mapping[str, Any],
    inputs: Mapping[str, Path],
    settings: Mapping[str, Any],
    outputs: Sequence[str],
    timeout_seconds: float,
    echo: bool,
    python: Path,
    image: Image | None,
) -> DryRun:
    """Lay everything out, execute, look at what is left; nobody else works in ``out``."""
    root = _fresh(out)
    laid = _lay(inputs, root / "input", _mounts(values))
    code = _script(folder / str(values["code_file"]), root / "src")
    before = _snapshot(laid)
    prefix, isolation = network_namespace()
    environment = _environment(root, laid, settings, image)
    log = out / "log.txt"
    begun = time.monotonic()
    versions = whose_versions(image)
    say(f"dry run of {values['id']} in {root} ({isolation}), {versions}")
    status = _execute([*prefix, str(python), "-u", str(code)], root, environment, log, timeout_seconds, echo)
    seconds = time.monotonic() - begun
    if status:
        reason = _last_line(log)
        told = f"{values['id']} failed ({_how(status, timeout_seconds)}): {reason}{remedy(reason, image)}; see {log}"
        raise DryRunError(told)
    for leftover in ("temp", "tmp", "home"):
        shutil.rmtree(root / leftover, ignore_errors=True)
    _require_unchanged(before, _snapshot(laid))
    submits = values["kernel_type"] == "script" or SUBMISSION in outputs
    _require_outputs(root, outputs, submits and COMPETITION in (values.get("competition_sources") or ()))
    say(f"dry run of {values['id']}: {duration(seconds)}, its files are in {root / 'working'}")
    return DryRun(root / "working", log, seconds, isolation, versions)


def attached(values: Mapping[str, Any]) -> dict[str, str]:
    """Names of the inputs that a kernel's metadata promise, each with the key that promises it.

    The name is the slug; where two inputs have the same one, both are called as the metadata call them.
    """
    return {name: key for name, (key, _) in _promised(values).items()}


_KINDS = {
    "competition_sources": "competitions",
    "dataset_sources": "datasets",
    "kernel_sources": "notebooks",
    "model_sources": "models",
}


def _promised(values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Key and reference of every attached input, by name."""
    items = [(key, str(item)) for key in _KINDS for item in values.get(key) or ()]
    slugs = [item if key == "competition_sources" else item.split("/")[1] for key, item in items]
    return {item[1] if slugs.count(slug) > 1 else slug: item for slug, item in zip(slugs, items, strict=True)}


def _mounts(values: Mapping[str, Any]) -> dict[str, str]:
    """Where Kaggle mounts every attached input, by name, relative to ``input``."""
    return {name: mount_of(_KINDS[key], item) for name, (key, item) in _promised(values).items()}


def by_name(values: Mapping[str, Any], inputs: Mapping[str, Path]) -> dict[str, Path]:
    """The given inputs by name; an attached one may be given as the metadata name it."""
    name_of = {item: name for name, (_, item) in _promised(values).items()}
    return {name_of.get(name, name): path for name, path in inputs.items()}


def _require_inputs(values: Mapping[str, Any], inputs: Mapping[str, Path]) -> None:
    for name, key in attached(values).items():
        if name not in inputs:
            hint = f"say where it lies with --input {name}=FOLDER, or add --small"
            raise UsageError(f"the kernel attaches '{name}' ({key}): {hint}")
    for name, path in inputs.items():
        if not path.exists():
            raise DataError(f"{path}, meant as input '{name}', does not exist")
        if name not in attached(values) and ("/" in name or name in ("", ".", "..", *_KINDS.values())):
            raise UsageError(f"'{name}' is no name of an input")


def _fresh(out: Path) -> Path:
    """An empty simulated Kaggle below ``out``."""
    root = (out / "kaggle").absolute()
    if out.is_dir() and any(out.iterdir()) and not root.is_dir():
        raise UsageError(f"{out} holds something else than an earlier dry run: choose a new folder")
    with explain_disk_errors(out):
        shutil.rmtree(root, ignore_errors=True)
        for name in ("input", "working", "src", "guard", "tmp", "home"):
            (root / name).mkdir(parents=True)
    return root


def _lay(inputs: Mapping[str, Path], where: Path, mounts: Mapping[str, str]) -> dict[str, Path]:
    """Link the inputs into place; an archive is unpacked once, as Kaggle does."""
    laid = {}
    for name, path in inputs.items():
        target = archive.extract(path, cache_folder() / "extracted") if archive.is_archive(path) else path
        laid[name] = target.resolve()
        mount = where / mounts.get(name, name)
        mount.parent.mkdir(parents=True, exist_ok=True)
        mount.symlink_to(laid[name], target_is_directory=True)
    return laid


def _script(code: Path, where: Path) -> Path:
    """The code file on its own, or a notebook's cells one after another."""
    target = where / "script.py"
    if code.suffix != ".ipynb":
        shutil.copyfile(code, target)
        return target
    cells = read_notebook(code.read_text(encoding="utf-8"), code)["cells"]
    parts = [_undecorated(joined(cell)) for cell in cells if cell["cell_type"] == "code"]
    # a cell that is Python has no magic, only perhaps a text with such lines: the packages
    lines = (line for part in parts if not _is_python(part) for line in part.splitlines())
    magic = next((line for line in lines if line.lstrip().startswith(("!", "%"))), None)
    if magic is not None:
        raise UsageError(f"{code} uses '{magic.strip()[:60]}', which needs Jupyter: a dry run executes plain Python")
    text = "\n\n".join(parts)
    write_text(target, f"display = print  # Jupyter brings one\n\n{text}\n")
    return target


def _undecorated(cell: str) -> str:
    return cell if _is_python(cell) else _DECORATION.sub("", cell)


def _is_python(cell: str) -> bool:
    try:
        ast.parse(cell)
    except SyntaxError:
        return False
    return True


def _environment(
    root: Path, laid: Mapping[str, Path], settings: Mapping[str, Any], image: Image | None
) -> dict[str, str]:
    """Nothing of this process's environment but the path and the threads; above all no credential."""
    checkout = Path(competition.__file__).resolve().parents[1]
    shutil.copyfile(Path(__file__).with_name("guard.py"), root / "guard" / "sitecustomize.py")
    places = [str(path) for path in laid.values()]
    own = [checkout] if (checkout / "setup.cfg").is_file() else [checkout / name for name in PACKAGES]
    hidden, left = hidden_from(image, [str(path) for path in own])
    rules = {
        "hidden": hidden,
        "open": [str(root), *left, *places],
        "readonly": [str(root / "input"), *places],
        "parent": os.getpid(),
    }
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    if image is not None:  # programs of that environment, libraries of the system
        kept.pop("LD_LIBRARY_PATH", None)
        own_programs = str(Path(sys.prefix) / "bin")
        places = [place for place in kept.get("PATH", os.defpath).split(os.pathsep) if place != own_programs]
        kept["PATH"] = os.pathsep.join([*(f"{folder}/bin" for folder in left), *places])
    return {
        **kept,
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "PYTHONPATH": str(root / "guard"),
        "DOGBREED_GUARD": json.dumps(rules),
        "DOGBREED_KAGGLE_ROOT": str(root),
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "MPLBACKEND": "Agg",
        "PYTHONUTF8": "1",  # as on Kaggle, whatever this terminal speaks
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **({SETTINGS: json.dumps(dict(settings))} if settings else {}),
        # what the notebooks look at
        **({"DOGBREED_SHORT": "1"} if settings.get("short") else {}),
    }


@lru_cache(maxsize=1)
def network_namespace() -> tuple[tuple[str, ...], str]:
    """How to start a process without network, and in words; without ``unshare`` the guard alone has to do."""
    for options in (("--net",), ("--map-root-user", "--net")):
        command = ("unshare", *options)
        try:
            done = subprocess.run([*command, "true"], capture_output=True, check=False, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            break
        if done.returncode == 0:
            return (*command, "--"), "no network: a network namespace of its own, and the guard"
    return (), "no network: the guard in the process (this system allows no network namespace)"


def _execute(
    command: Sequence[str], root: Path, environment: dict[str, str], log: Path, timeout: float, echo: bool
) -> int:
    """Run to the end; returns the exit status, or -1 after the time limit."""
    process = subprocess.Popen(
        command,
        cwd=root / "working",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    late = threading.Event()

    def stop() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, stop)
    timer.start()
    try:
        assert process.stdout is not None
        with log.open("w", encoding="utf-8") as stream:
            for line in process.stdout:
                line = without_secrets(line)
                stream.write(line)
                stream.flush()
                if echo:
                    say(f"  | {line.rstrip()}")
        status = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return -1 if late.is_set() else status


def _how(status: int, timeout: float) -> str:
    if status == -1:
        return f"stopped after {duration(timeout)}"
    return f"signal {-status}" if status < 0 else f"exit {status}"


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def _snapshot(laid: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    """Size and time of every input file."""
    found = {}
    for name, folder in laid.items():
        for place, _, files in os.walk(folder):
            for file in files:
                facts = os.stat(os.path.join(place, file))  # noqa: PTH118, PTH116 - ten thousands of files
                found[f"{name}:{place}/{file}"] = (facts.st_size, facts.st_mtime_ns)
    return found


def _require_unchanged(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> None:
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise DryRunError(f"the kernel changed {len(changed)} input files, which are read-only on Kaggle: {changed[0]}")


def _require_outputs(root: Path, outputs: Sequence[str], submits: bool) -> None:
    for name in outputs:
        path = root / "working" / name
        if not path.is_file() or path.stat().st_size == 0:
            raise DryRunError(f"the kernel ended well but left no {name}, or an empty one")
    if not submits:
        return
    sample = next((root / "input" / mount_of("competitions", COMPETITION)).glob("**/sample_submission.csv"), None)
    submission = root / "working" / SUBMISSION
    if not submission.is_file():
        raise DryRunError(f"the kernel ended well but left no {SUBMISSION}")
    if sample is not None:
        check_submission(submission, sample).raise_if_invalid()

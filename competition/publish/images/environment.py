"""Environments with an image's Python and versions: made once with pip, kept in the kit's cache, never half used.

An environment counts only with its marker, which is written last and says which list it holds. One without it, or of an
earlier list, is made anew; what pip had fetched lies in pip's own cache, so that it is not fetched twice.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from competition.console import say
from competition.environment import cache_folder
from competition.errors import DataError, KitError
from competition.files import read_json, write_json, write_text
from competition.locks import only_one
from competition.publish.images.image import Image, normal
from competition.system.disk import require_space
from competition.system_errors import explain_disk_errors

MARKER = "dogbreed-image.json"
# Beside what stays, pip unpacks what it fetches.
_WHILE_MAKING = 1.3
_PIP_KEEPS = ("INDEX_URL", "EXTRA_INDEX_URL", "NO_INDEX", "FIND_LINKS", "CERT", "CLIENT_CERT", "TRUSTED_HOST", "PROXY",
              "CACHE_DIR", "NO_CACHE_DIR", "CONFIG_FILE", "DEFAULT_TIMEOUT", "TIMEOUT", "RETRIES")  # fmt: skip
_LARGE = re.compile(r"^\s*Downloading (\S+?)(\.metadata)? \(([\d.]+) (MB|GB)\)")
_PROBE = """
import sys, sysconfig, json
try:
    import venv, ensurepip
    lacks = ""
except ImportError as error:
    lacks = error.name
free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
print(json.dumps([sys.version_info[0], sys.version_info[1], sys.implementation.name, free, lacks]))
"""
_VERSIONS = """
import json, importlib.metadata as metadata
print(json.dumps({item.metadata["Name"]: item.version for item in metadata.distributions() if item.metadata["Name"]}))
"""


def environment_of(image: Image) -> Path:
    """The Python of the image's environment; the first call makes it, which takes minutes.

    Raises:
        KitError: no interpreter of that version, or pip cannot install the list.
        StorageError: no space, or the cache cannot be written.
    """
    folder = cache_folder() / "images" / image.name
    with explain_disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with only_one(folder.parent / f".{image.name}.lock"):
            if not _whole(folder, image):
                _make(folder, image)
    return _python_in(folder)


def _python_in(folder: Path) -> Path:
    return (folder / "bin" / "python").absolute()  # not resolved: the link is what makes it this environment


def _whole(folder: Path, image: Image) -> bool:
    """Whether the environment there is finished, of this list, and as it was made."""
    if not folder.is_dir():
        return False
    try:
        made = read_json(folder / MARKER)
    except DataError:
        say(f"{folder} was not finished: made anew")
        return False
    if not isinstance(made, dict) or made.get("requirements") != list(image.requirements):
        say(f"{folder} holds an earlier list of {image.name}: made anew")
        return False
    wrong = _differs(_python_in(folder), image)
    if wrong:
        say(f"{folder} was changed since ({wrong}): made anew")
    return not wrong


def _differs(python: Path, image: Image) -> str:
    """What an environment has otherwise than the image, in words; empty where nothing is."""
    done = _run([str(python), "-I", "-c", _VERSIONS])
    if done.returncode:
        return "its Python does not start"
    there = {normal(name): version for name, version in json.loads(done.stdout).items()}
    for name, version in image.versions.items():
        found = there.get(normal(name))
        if found is None or found.split("+")[0] != version:
            return f"{name} {found or 'is lacking'}" + (f" for {version}" if found else "")
    more = [name for name in image.lacks if normal(name) in there]
    return f"{more[0]}, which the image lacks, is there" if more else ""


def _make(folder: Path, image: Image) -> None:
    python = find_interpreter(image.python, image.name)
    require_space(folder, int(image.gigabytes * _WHILE_MAKING * 1e9), f"make the environment of {image.name}")
    count = f"{len(image.requirements)} packages in its versions and what they need"
    say(f"making the environment of {image.name}, once: Python {image.python_text}, {count}, about "
        f"{image.gigabytes:.0f} GB in {folder}, some minutes")  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.parent / f"{image.name}.log"
    _step([str(python), "-I", "-m", "venv", str(folder)], log, f"make an environment with {python}")
    wanted = folder / "requirements.txt"
    write_text(wanted, "\n".join(image.requirements) + "\n")
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--prefer-binary"]
    pip = [str(_python_in(folder)), "-I", "-m", "pip", "install", *options, "-r", str(wanted)]
    _step(pip, log, f"install the versions of {image.name} for Python {image.python_text}")
    wrong = _differs(_python_in(folder), image)
    if wrong:
        raise KitError(f"the environment of {image.name} is not as its list says ({wrong}); see {log}")
    write_json(folder / MARKER, {"image": image.name, "requirements": list(image.requirements)})
    say(f"the environment of {image.name} is ready")


def _step(command: Sequence[str], log: Path, what: str) -> None:
    """Run a command to its end, telling of what takes long; everything it prints is in the log.

    Raises:
        KitError: it failed.
    """
    process = subprocess.Popen(
        command, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    said: list[str] = []
    try:
        assert process.stdout is not None
        with log.open("w", encoding="utf-8") as stream:
            for line in process.stdout:
                stream.write(line)
                said.append(line)
                _tell(line)
        status = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if status:
        reasons = [line.strip() for line in said if line.strip()]
        reason = next((line for line in reasons if line.startswith("ERROR")), reasons[-1] if reasons else "no word")
        raise KitError(f"cannot {what}: {' '.join(reason.split())[:300]}; see {log}")


def _tell(line: str) -> None:
    large = _LARGE.match(line)
    if large and (large[4] == "GB" or float(large[3]) >= 50):
        say(f"  fetching {large[1]}, {large[3]} {large[4]}")
    elif line.startswith("Installing collected packages"):
        say(f"  unpacking {line.count(',') + 1} packages")


def _environment() -> dict[str, str]:
    """This process's environment without what would lead pip or Python elsewhere; where packages come from stays."""
    kept = {f"PIP_{name}" for name in _PIP_KEEPS}
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_"))
    }


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=_environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def find_interpreter(python: tuple[int, int], image: str) -> Path:
    """An interpreter of that version: this one, on the path, of pyenv, of uv.

    Args:
        python: major and minor.
        image: for whom, to be told.

    Raises:
        KitError: there is none, or none that can make environments; how to get one is said.
    """
    version = f"{python[0]}.{python[1]}"
    without: dict[Path, str] = {}
    for path in _candidates(version):
        found = _probed(path)
        if found is None or tuple(found[:2]) != python or found[2] != "cpython" or found[3]:
            continue
        if not found[4]:
            return path
        without.setdefault(path, found[4])
    if without:
        path, module = next(iter(without.items()))
        raise KitError(f"{path} cannot make environments (no module {module}): 'apt install python{version}-venv'")
    raise KitError(
        f"{image} has Python {version}, which is not on this machine: get it with 'uv python install {version}', "
        f"'pyenv install {version}' or 'apt install python{version} python{version}-venv'"
    )


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    yield Path(sys.executable)
    for place in os.environ.get("PATH", "").split(os.pathsep):
        if place:
            yield Path(place) / name
    home, variables = Path.home(), os.environ
    data = Path(variables.get("XDG_DATA_HOME") or home / ".local" / "share")
    yield from _newest(Path(variables.get("PYENV_ROOT") or home / ".pyenv") / "versions", f"{version}*/bin/{name}")
    uv = Path(variables.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    yield from _newest(uv, f"cpython-{version}*/bin/{name}")


def _newest(folder: Path, pattern: str) -> list[Path]:
    def number(path: Path) -> list[int]:
        return [int(digits) for digits in re.findall(r"\d+", path.parents[1].name)]

    return sorted(folder.glob(pattern), key=number, reverse=True)


def _probed(path: Path) -> list[Any] | None:
    """What an interpreter says of itself; None when it is none, or a stub of pyenv's that leads nowhere."""
    if not path.is_file() or not os.access(path, os.X_OK):
        return None
    done = _run([str(path), "-I", "-c", _PROBE])
    try:
        found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return None
    return found


def hidden_from(image: Image | None, checkout: Sequence[str]) -> tuple[list[str], list[str]]:
    """Folders that a kernel must not see in a dry run, and those inside them that it may.

    Args:
        image: in whose environment it runs; None for this one.
        checkout: the kit's own folders.
    """
    import site
    import sysconfig

    if image is None:
        return list(checkout), [sys.prefix]
    environment = _python_in(cache_folder() / "images" / image.name).parents[1]
    folders = {Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    folders |= {
        Path(sysconfig.get_path("purelib")),
        Path(sysconfig.get_path("platlib")),
        Path(site.getusersitepackages()),
    }
    mine = sorted(str(path) for path in folders if not path.is_relative_to(environment))
    return [*checkout, *mine], [str(environment)]

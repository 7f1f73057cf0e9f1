"""Software images, Kaggle's and Colab's, as data: which Python, which versions, and what is not there.

An image is a TOML file beside this module, ``FAMILY-YEAR-MONTH.toml``; a family's name alone means its newest list.
``freeze.py`` makes such a file from what ``pip freeze`` prints there.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from competition.errors import DataError, UsageError, nearest

FOLDER = Path(__file__).parent
SUFFIX = ".toml"
# Distributions of the same modules, in other builds: one stands for the other.
SAME = (
    frozenset(("tensorflow", "tensorflow-cpu")),
    frozenset(("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")),
)
# Modules that have another name than what brings them, as far as kernels of this kind use them.
MODULES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "ignite": "pytorch-ignite",
    "IPython": "ipython",
    "PIL": "pillow",
    "pytorch_grad_cam": "grad-cam",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
_NAME = re.compile(r"(?P<family>[a-z][a-z0-9]*)-\d{4}-\d{2}(-\d{2})?")


@dataclass(frozen=True)
class Image:
    """One image's software.

    Attributes:
        name: such as ``kaggle-2026-05``.
        about: where the list comes from.
        python: version of the interpreter, major and minor.
        versions: exact ones, by distribution: what the kit touches.
        lacks: distributions that the kit can use and the image has not.
        others: names of what else is there; their versions play no part.
        gigabytes: what an environment with these versions takes on the disk.
    """

    name: str
    about: str
    python: tuple[int, int]
    versions: Mapping[str, str]
    lacks: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    gigabytes: float = 9.0

    @property
    def python_text(self) -> str:
        """The Python version, as in ``3.12``."""
        return f"{self.python[0]}.{self.python[1]}"

    @property
    def requirements(self) -> tuple[str, ...]:
        """For pip, one exact version each."""
        return tuple(f"{name}=={version}" for name, version in sorted(self.versions.items()))

    @cached_property
    def names(self) -> frozenset[str]:
        """Every distribution that is there, in the normal form."""
        return frozenset(normal(name) for name in (*self.versions, *self.others))

    def has(self, distribution: str) -> bool:
        """Whether the image has a distribution, or one that stands for it."""
        name = normal(distribution)
        return any(names & self.names for names in ({name}, *(group for group in SAME if name in group)))


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def image_names(folder: Path = FOLDER) -> tuple[str, ...]:
    """Names of the lists that the kit brings, oldest first in each family."""
    return tuple(sorted(path.stem for path in folder.glob(f"*{SUFFIX}")))


def find_image(text: str, folder: Path = FOLDER) -> Image:
    """The image of that name, the newest of that family, or the list in that file.

    Args:
        text: ``kaggle-2026-05``, ``kaggle``, or the path of a list (it ends in ``.toml``).
        folder: where lists lie.

    Raises:
        UsageError: there is none; the nearest name is offered.
        DataError: the file is no such list.
    """
    if text.endswith(SUFFIX):
        return read_image(Path(text))
    names = image_names(folder)
    of_family = [name for name in names if family_of(name) == text.casefold()]
    chosen = text.casefold() if text.casefold() in names else of_family[-1] if of_family else None
    if chosen is None:
        known = sorted({family_of(name) for name in names} | set(names))
        raise UsageError(
            f"unknown image '{text}'{nearest(text, known)} Known: {', '.join(known)}, or the path of a list ({SUFFIX})"
        )
    return read_image(folder / f"{chosen}{SUFFIX}")


def family_of(name: str) -> str:
    """``kaggle`` of ``kaggle-2026-05``."""
    return name.split("-")[0]


def check_name(name: str) -> None:
    """Refuse a name that ``find_image`` could not order.

    Raises:
        UsageError: it is not a family and a date.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name of an image: write a family and its month, as in kaggle-2026-05")


def read_image(path: Path) -> Image:
    """Read a list.

    Raises:
        DataError: the file is missing, or is no such list.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        python = tuple(int(part) for part in str(values["python"]).split("."))[:2]
        versions = {str(name): str(version) for name, version in values["versions"].items()}
        image = Image(
            path.stem,
            str(values.get("about", "")),
            (python[0], python[1]),
            versions,
            tuple(values.get("lacks", ())),
            tuple(values.get("others", ())),
            float(values.get("gigabytes", Image.gigabytes)),
        )
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: 'dogbreed kernel image NAME --freeze FILE' makes a list") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, ValueError, TypeError, AttributeError,
            IndexError) as error:  # fmt: skip
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path} is no list of an image ({reason}): make it with 'dogbreed kernel image'") from error
    if not versions:
        raise DataError(f"{path} is no list of an image (it names no versions): make it with 'dogbreed kernel image'")
    return image


def told_versions(versions: Mapping[str, str]) -> str:
    """The few versions that explain most differences, in a line."""
    named = ("torch", "timm", "fastai", "keras", "tensorflow", "numpy", "pandas", "albumentations")
    return ", ".join(f"{name} {versions[name]}" for name in named if name in versions)


def whose_versions(image: Image | None) -> str:
    """In whose versions something runs, in a line: an image's, or those that this process would import."""
    if image is not None:
        return f"in the versions of {image.name}: Python {image.python_text}, {told_versions(image.versions)}"
    found: dict[str, str] = {}
    for item in importlib.metadata.distributions():
        if item.metadata["Name"]:
            found.setdefault(normal(item.metadata["Name"]), item.version)
    python = ".".join(map(str, sys.version_info[:3]))
    return f"in this environment's versions, no image's: Python {python}, {told_versions(found)}"


def remedy(reason: str, image: Image | None) -> str:
    """What to do about a module that a kernel did not find in an image; empty for any other reason to fail."""
    lacking = re.search(r"No module named '(\w+)", reason)
    if lacking is None or image is None:
        return ""
    name = distribution_of(lacking[1], image) or lacking[1]
    return f" - {image.name} has no {name}: bring it as a wheel ('dogbreed kernel dataset --also {name}')"


def distribution_of(module: str, image: Image) -> str | None:
    """The distribution that brings a module; None when that cannot be told.

    Args:
        module: top-level name, as imported.
        image: what it has or lacks under the module's own name is taken for the origin.
    """
    if module in MODULES:
        return MODULES[module]
    if normal(module) in image.names | {normal(name) for name in image.lacks}:
        return normal(module)
    origins = importlib.metadata.packages_distributions().get(module, ())
    return normal(origins[0]) if origins else None

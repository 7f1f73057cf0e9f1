"""The data sets the kit knows by name: where they may lie, and how they are downloaded with a checksum."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from baselines.data import folders as folders
from baselines.data import readers as readers
from competition.console import say
from competition.environment import cache_folder, folders_below, kaggle_root
from competition.errors import DataError, UsageError, nearest
from competition.locks import only_one_at
from competition.system_errors import explain_disk_errors

DIGIT_NAMES = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class Source:
    """A data set that the kit knows by name.

    Attributes:
        about: one line for people.
        folders: names of its folder or archive (without ending), as it is handed around.
        torchvision: name of torchvision's class whose mirrors and checksums serve the download (idx sets).
        url: archive to download, with its MD5 in ``md5``.
        md5: checksum of that archive.
        classes: class names of idx sets.
        coarse: superclasses instead of classes (CIFAR-100).
        get_it: where a person finds it, when the kit cannot download it.
    """

    about: str
    folders: tuple[str, ...] = ()
    torchvision: str = ""
    url: str = ""
    md5: str = ""
    classes: tuple[str, ...] = DIGIT_NAMES
    coarse: bool = False
    get_it: str = ""


_CIFAR = "https://www.cs.toronto.edu/~kriz"
_C100 = ("cifar100", "cifar-100-binary", "cifar100-jpeg")
# MD5 sums as published on the sets' own page; the binary versions, since the others are pickles.
_C100_DOWNLOAD = (f"{_CIFAR}/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")
SOURCES: Mapping[str, Source] = {
    "digits": Source("scikit-learn's 1,797 handwritten digits, 8x8; embedded"),
    "mnist": Source("MNIST, 28x28", ("mnist", "MNIST", "MNIST/raw"), "MNIST"),
    "fashion-mnist": Source(
        "Fashion-MNIST, 28x28", ("fashion-mnist", "FashionMNIST", "FashionMNIST/raw"), "FashionMNIST", classes=_FASHION
    ),
    "cifar10": Source(
        "CIFAR-10, 32x32",
        ("cifar10", "cifar-10", "cifar-10-batches-bin", "cifar-10-binary", "cifar10-jpeg"),
        url=f"{_CIFAR}/cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
    ),
    "cifar100": Source("CIFAR-100, 100 classes, 32x32", _C100, url=_C100_DOWNLOAD[0], md5=_C100_DOWNLOAD[1]),
    "cifar100-coarse": Source(
        "CIFAR-100, 20 superclasses, 32x32", _C100, url=_C100_DOWNLOAD[0], md5=_C100_DOWNLOAD[1], coarse=True
    ),
    "devanagari": Source(
        "DHCD, 46 handwritten Devanagari characters, 32x32",
        ("devanagari", "DevanagariHandwrittenCharacterDataset"),
        get_it="archive.ics.uci.edu, data set 389",
    ),
    "sign-digits": Source(
        "sign language digits, photos", ("sign-digits",), get_it="github.com/ardamavi/Sign-Language-Digits-Dataset"
    ),
}


def find_or_download(name: str, where: str | Path | None, download: bool) -> Path:
    """The folder or file of a data set.

    Args:
        name: a key of ``SOURCES``, a path, or the name of a folder or archive in one of the places.
        where: the only place to look in; left out, the usual ones.
        download: fetch what is not found.

    Raises:
        UsageError: the name is unknown.
        DataError: it is not here and cannot be downloaded.
    """
    if name not in SOURCES and Path(name).exists():
        return Path(name)
    for place in _places(name, _roots(where)):
        if place.exists():
            return place
    if where is not None and _is_set(Path(where)):
        return Path(where)
    found = _deeper(name, kaggle_root() / "input" if where is None else Path(where))
    if len(found) > 1:
        raise DataError(f"{name} is in {found[0]} and in {found[1]}: say which with --data")
    if found:
        return found[0]
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise UsageError(f"unknown data set '{name}'{nearest(name, SOURCES)} Known: {known}; or give a path")
    source = SOURCES[name]
    if download and (source.url or source.torchvision):
        return _download(name, source)
    hint = f" (to be had from {source.get_it})" if source.get_it else ""
    raise DataError(f"{name} is not here{hint}: put it into a folder and name that with --data or DOGBREED_DATASETS")


def _deeper(name: str, root: Path) -> list[Path]:
    """Where a set lies below a folder (Kaggle's inputs); what lies inside another find is the same set."""
    wanted = list(_places(name, [Path()]))
    found: list[Path] = []
    for folder, names in folders_below(root):
        if all(place not in (folder, *folder.parents) for place in found):
            found += [folder / path for path in wanted if path.parts[:1] and path.parts[0] in names][:1]
    return [place for place in found if place.exists()]


def _places(name: str, roots: Sequence[Path]) -> Iterator[Path]:
    """Where a set may lie in these folders, best first."""
    folders = (name, *SOURCES[name].folders) if name in SOURCES else (name,)
    for root in roots:
        for folder in dict.fromkeys(folders):
            yield root / folder
            for suffix in (".zip", ".tar.gz", ".tgz", ".tar", ".npz"):
                yield root / f"{folder}{suffix}"


def _roots(where: str | Path | None) -> list[Path]:
    if where is not None:
        return [Path(where)]
    named = os.environ.get("DOGBREED_DATASETS")
    own = [Path(named)] if named else []
    return [*own, cache_folder() / "datasets", Path("data")]


def _is_set(path: Path) -> bool:
    """Whether the path itself, rather than something in it, is a data set."""
    if path.is_file():
        return True
    return path.is_dir() and bool(
        "train-images" in readers.find_idx(path) or list(path.glob("*.bin")) or "train" in folders.part_folders(path)
    )


def _download(name: str, source: Source) -> Path:
    """Fetch a set into the kit's cache; the folder gets its name only when every checksum fits."""
    from torchvision import datasets
    from torchvision.datasets.utils import download_url

    folder = cache_folder() / "datasets" / source.folders[0]
    partial = folder.with_name(f".{folder.name}.partial")
    if source.torchvision:
        kind = getattr(datasets, source.torchvision)
        wanted = [([mirror + file for mirror in kind.mirrors], md5) for file, md5 in kind.resources]
    else:
        wanted = [([source.url], source.md5)]
    with explain_disk_errors(folder), only_one_at(folder):
        if folder.exists():  # another process has brought it meanwhile
            return folder
        say(f"{name} is not here: downloading it to {folder}")
        partial.mkdir(parents=True, exist_ok=True)
        for urls, md5 in wanted:
            _fetch(name, urls, md5, partial, download_url)
        partial.replace(folder)
    return folder


def _fetch(name: str, urls: list[str], md5: str, folder: Path, download_url: Callable[..., None]) -> None:
    failures = []
    for url in urls:
        try:
            download_url(url, str(folder), md5=md5)  # a file that is there with this checksum is not fetched again
            return
        except (URLError, ConnectionError, TimeoutError, RuntimeError) as error:  # RuntimeError: another checksum
            failures.append(f"{url}: {error}")
    raise DataError(
        f"{name} cannot be downloaded ({failures[0]}): fetch it elsewhere and name its folder with --data or "
        "DOGBREED_DATASETS"
    )

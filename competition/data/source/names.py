"""Names of photos and breeds: ids of files, spellings of a breed, WordNet numbers, names that are not UTF-8."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath

from competition.data.photos.decode import SUFFIXES
from competition.errors import DataError

# Endings that are no part of an id; a JPEG can be called by any of them.
_ENDINGS = (*SUFFIXES, ".heic", ".heif", ".avif", ".jp2", ".jxl")
_WORDNET = re.compile(r"(n\d{8})(?:[-_ ]+(.+))?", re.DOTALL)
_JOINTS = re.compile(r"[\s_\-\u2010-\u2015.'\u2019]+")
_NAMED = 3


def photo_id(file: str) -> str:
    """The id of a photo by its file's name: the name without a photo's ending.

    An ending that is none of a photo's (``beagle.1``) tells two photos apart, so it stays.
    """
    stem, dot, ending = file.rpartition(".")
    return stem if stem and f"{dot}{ending}".casefold() in _ENDINGS else file


def _loosely(name: str) -> str:
    return unicodedata.normalize("NFC", photo_id(name).strip()).casefold()


# How an id of a table and a file's name may belong together, the strictest first.
_SPELLINGS: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (str, photo_id),
    (str, str),  # labels.csv lists file names
    (photo_id, photo_id),  # ... with another ending
    (_loosely, _loosely),  # other capitals, blanks or another Unicode form
    (_loosely, lambda file: _loosely(PurePath(file).stem)),  # a second ending (x.jpeg.1), or one that nobody knows
)


def files_of_ids(ids: Iterable[str], files: Sequence[str], folder: str) -> dict[str, int]:
    """Which file of a folder each id means, as a position in ``files``; ids that mean none are left out.

    Raises:
        DataError: an id means two files equally well.
    """
    found: dict[str, int] = {}
    left = list(ids)
    free = list(range(len(files)))
    for of_id, of_file in _SPELLINGS:
        table: dict[str, list[int]] = {}
        for place in free:
            table.setdefault(of_file(files[place]), []).append(place)
        for name in left:
            places = table.get(of_id(name), ())
            if len(places) > 1:
                both = " and ".join(shown(f"{folder}/{files[place]}") for place in places[:2])
                raise DataError(f"two photos have the id '{shown(name)}' ({both}): rename or remove one")
            if places:
                found[name] = places[0]
        left = [name for name in left if name not in found]
        if not left:
            break
        taken = set(found.values())
        free = [place for place in free if place not in taken]
    return found


def wordnet(name: str) -> tuple[str, str]:
    """WordNet's number in a class name and the name without it: ``n02085620-Chihuahua`` is both of these.

    The number is empty where there is none; a class that is called by its number alone keeps it as its name.
    """
    found = _WORDNET.fullmatch(name)
    return (found[1], found[2] or name) if found else ("", name)


def spelling(breed: str) -> str:
    """What is left of a name without capitals, accents, white space, hyphens, underscores and WordNet's number."""
    plain = unicodedata.normalize("NFKD", wordnet(breed)[1].casefold())
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return _JOINTS.sub("", unicodedata.normalize("NFC", bare)).casefold() or breed


def spelt_alike(breeds: Iterable[str]) -> list[list[str]]:
    """Groups of two or more breeds that differ only in spelling, each sorted."""
    groups: dict[str, list[str]] = {}
    for breed in sorted(set(breeds)):
        groups.setdefault(spelling(breed), []).append(breed)
    return [group for group in groups.values() if len(group) > 1]


def alike_notes(counts: Mapping[str, int], advice: str) -> list[str]:
    """A sentence for each group of breeds that differ only in spelling, with the photos of each.

    Args:
        counts: photos by breed.
        advice: what to do about it.
    """
    notes = []
    for group in spelt_alike(counts):
        listed, photos = " and ".join(map(quoted, group)), " and ".join(f"{counts[breed]:,}" for breed in group)
        notes.append(f"the breeds {listed} differ only in spelling ({photos} photos): {advice}")
    return notes


def quoted(name: str) -> str:
    """A name in quotation marks; what the eye cannot tell apart (another Unicode form, odd blanks) is written out."""
    plain = unicodedata.normalize("NFC", name)
    odd = plain != name or any(letter.isspace() and letter != " " for letter in name)
    return ascii(name) if odd else f"'{shown(name)}'"


def is_text(name: str) -> bool:
    """Whether a file's name is UTF-8; where it is not, Python carries its bytes as lone surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str | PurePath) -> str:
    r"""A name for a message or a page: bytes that are no UTF-8 appear as ``\xe9``."""
    text = str(name)
    return text if is_text(text) else os.fsencode(text).decode("utf-8", "backslashreplace")


def require_text(what: str, names: Iterable[str]) -> None:
    """Refuse names that no CSV, page or other machine could hold.

    Raises:
        DataError: naming the first of them.
    """
    bad = [shown(name) for name in names if not is_text(name)]
    if bad:
        raise DataError(
            f"{len(bad):,} {what} not in UTF-8 (first: {', '.join(bad[:_NAMED])}): rename them, e.g. with convmv"
        )

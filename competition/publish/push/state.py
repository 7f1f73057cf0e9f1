"""How far a push has come: a small JSON beside the fetched files, written whole after every step."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from competition.errors import DataError
from competition.files import digest_of, read_json, write_json

STATE = "push.json"
CHECKED, PUSHING, PUSHED, COMPLETE, FETCHED, SUBMITTED = (
    "checked",
    "pushing",
    "pushed",
    "complete",
    "fetched",
    "submitted",
)
STEPS = (CHECKED, PUSHING, PUSHED, COMPLETE, FETCHED, SUBMITTED)


@dataclass(frozen=True)
class PushState:
    """One push.

    Attributes:
        source: digest of the metadata and the code that were pushed.
        kernel: ``owner/slug``.
        step: the last one of STEPS that is done; ``pushing`` means that the answer never came.
        version: Kaggle's number of the pushed version; 0 while unknown.
        url: where it can be looked at.
        folder: the fetched files, relative to the state's folder; empty before.
        submission: Kaggle's reference of the submission; 0 before.
        kit: digest of the packages that the pushed code carries; empty without any.
    """

    source: str
    kernel: str
    step: str = CHECKED
    version: int = 0
    url: str = ""
    folder: str = ""
    submission: int = 0
    kit: str = ""

    def reached(self, step: str) -> bool:
        """Whether this step is done."""
        return STEPS.index(self.step) >= STEPS.index(step)


class StateFile:
    """The file, and every change to it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / STATE

    def read(self) -> PushState | None:
        """What is known; None before the first push.

        Raises:
            DataError: the file was changed by hand into something else.
        """
        if not self.path.is_file():
            return None
        values = read_json(self.path)
        known = {item.name for item in fields(PushState)}
        if not isinstance(values, dict) or set(values) != known or values["step"] not in STEPS:
            raise DataError(f"{self.path} is no record of a push: delete it, and the push starts anew")
        return PushState(**values)

    def write(self, state: PushState, **changes: Any) -> PushState:
        """Write the state with some values changed, and return it."""
        state = replace(state, **changes)
        write_json(self.path, asdict(state))
        return state


def source_digest(folder: Path) -> str:
    """Digest of what a push would send: the metadata's meaning and the code's bytes.

    Raises:
        DataError: the folder is no kernel.
    """
    metadata = read_metadata(folder)
    code = folder / str(metadata.get("code_file") or "")
    if not code.is_file():
        raise DataError(f"{folder}: its code file '{metadata.get('code_file')}' is missing")
    return digest_of({"metadata": metadata, "code": code.read_bytes().hex()})


def read_metadata(folder: Path) -> dict[str, Any]:
    """``kernel-metadata.json`` of a folder.

    Raises:
        DataError: it is missing, or no JSON object, or has no id.
    """
    values = read_json(folder / "kernel-metadata.json")
    if not isinstance(values, dict) or not isinstance(values.get("id"), str):
        raise DataError(f'{folder / "kernel-metadata.json"} is no kernel\'s metadata: it has no "id"')
    return values


def same_code(one: str, other: str) -> bool:
    """Whether two code files say the same; notebooks are compared by their cells, since the client rewrites them."""
    if one.strip() == other.strip():
        return True
    try:
        return _cells(one) == _cells(other)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _cells(text: str) -> list[tuple[str, str]]:
    return [(str(cell["cell_type"]), "".join(cell["source"]).strip()) for cell in json.loads(text)["cells"]]

"""``submissions/ledger.csv``: one row per written submission, and what the leaderboard said about it later."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from competition.errors import DataError, UsageError
from competition.files import digest_of_file, require_writable, text_of_cell, write_csv
from competition.locks import only_one_at

DEFAULT = Path("submissions") / "ledger.csv"
_NUMBERS = ("oof_log_loss", "interval_low", "interval_high", "public_score", "private_score")
_LISTS = ("members", "weights", "config_digests", "sent")
_SEPARATOR = ";"


@dataclass(frozen=True)
class Entry:
    """One written submission.

    Attributes:
        file: name or path relative to the ledger's folder; never an absolute one.
        digest: SHA-256 of the file's content, first 16 hex digits.
        written: UTC, ISO 8601.
        rows: test photos in it.
        method: ``run`` for a single run, otherwise how the members were combined.
        members: names of the runs.
        weights: of the members, in the same order.
        config_digests: of the members' configurations, in the same order.
        commit: of the kit, empty when it is not known.
        oof_log_loss: out of fold (nested for a blend), nats; NaN when it is not known.
        interval_low: expected score, lower end of the 95 % interval, nats.
        interval_high: upper end.
        public_score: log loss on the public leaderboard, NaN until it is known.
        private_score: log loss on the private one.
        note: anything worth remembering.
        sent: when it was sent to Kaggle, UTC, ISO 8601; more than once only on request.
    """

    file: str
    digest: str
    written: str = ""
    rows: int = 0
    method: str = "run"
    members: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    config_digests: tuple[str, ...] = ()
    commit: str = ""
    oof_log_loss: float = math.nan
    interval_low: float = math.nan
    interval_high: float = math.nan
    public_score: float = math.nan
    private_score: float = math.nan
    note: str = ""
    sent: tuple[str, ...] = ()

    def cells(self) -> list[str]:
        """The row as it stands in the CSV."""
        return [_cell(getattr(self, name)) for name in HEADER]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: None for a number that is not known."""
        values = dataclasses.asdict(self)
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


HEADER = tuple(field.name for field in dataclasses.fields(Entry))


class Ledger:
    """The ledger file. Every change is made under a lock and appears whole."""

    def __init__(self, path: Path | str = DEFAULT) -> None:
        self.path = Path(path)

    def entries(self) -> tuple[Entry, ...]:
        """All rows, in the order of writing; none when there is no ledger yet.

        Raises:
            DataError: the file is no ledger.
        """
        if not self.path.is_file():
            return ()
        try:
            # A run's folder may be called by bytes that are no UTF-8; they go through as they are.
            with self.path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
                reader = csv.DictReader(stream)
                lacking = {"file", "digest"} - set(reader.fieldnames or ())
                if lacking:
                    raise DataError(f"{self.path} is no ledger: no column {', '.join(sorted(lacking))}")
                return tuple(self._entry(row, reader.line_num) for row in reader)
        except (UnicodeDecodeError, csv.Error, ValueError) as error:
            raise DataError(f"{self.path} cannot be read as a ledger: {error}") from error

    def _entry(self, row: dict[str, str], line: int) -> Entry:
        """A row that is cut short or too long is refused: it would be written back as another one."""
        if None in row or not row.get("file") or not row.get("digest"):  # type: ignore[comparison-overlap]
            what = "more cells than the header" if None in row else "no file or no digest"  # type: ignore[comparison-overlap]
            raise DataError(f"{self.path}, line {line}: {what}; mend or remove the line")
        return _entry(row)

    def require_usable(self) -> None:
        """Check before long work that its end can be written down.

        Raises:
            DataError: the file is no ledger.
            StorageError: it cannot be written.
        """
        require_writable(self.path)
        self.entries()

    def add(self, entry: Entry) -> tuple[Entry, ...]:
        """Append a row, unless the same file with the same content has one already.

        Returns:
            Earlier rows with the same content under *another* name: byte-identical submissions.
        """
        with self._alone():
            known = self.entries()
            alike = tuple(old for old in known if old.digest == entry.digest)
            if not any(old.file == entry.file for old in alike):
                self._save([*known, entry])
            return tuple(old for old in alike if old.file != entry.file)

    def score(self, file: Path | str, public: float | None = None, private: float | None = None) -> Entry:
        """Write down what the leaderboard said; the row is found by the file's content, else by its name.

        Raises:
            UsageError: a score is no log loss, or no row fits.
        """
        changes = {"public_score": public, "private_score": private}
        changes = {name: value for name, value in changes.items() if value is not None}
        for name, value in changes.items():
            if value is None or not math.isfinite(value) or value < 0:
                raise UsageError(f"{name.replace('_', ' ')} {value} is no log loss: expected a number of 0 or more")
        with self._alone():
            known = list(self.entries())
            row = self._row_of(known, Path(file))
            known[row] = dataclasses.replace(known[row], **changes)  # type: ignore[arg-type]
            self._save(known)
            return known[row]

    def _row_of(self, known: Sequence[Entry], file: Path) -> int:
        if file.is_file():
            digest = digest_of_file(file)
            rows = [row for row, entry in enumerate(known) if entry.digest == digest]
            rows = [row for row in rows if known[row].file == self.name_of(file)] or rows
        else:
            rows = [row for row, entry in enumerate(known) if str(file) == entry.file]
            rows = rows or [row for row, entry in enumerate(known) if str(file) == Path(entry.file).name]
            files = list(dict.fromkeys(known[row].file for row in rows))
            if len(files) > 1:
                raise UsageError(f"{self.path} has {len(files)} files '{file}': name one in full, as {files[-1]}")
            rows = rows or [row for row, entry in enumerate(known) if entry.digest.startswith(str(file))]
        if not rows:
            raise UsageError(f"{self.path} has no row for '{file}': see 'dogbreed submission list'")
        return rows[-1]

    def annotate(self, entry: Entry, note: str) -> Entry:
        """Give a row that is there another note."""
        return self._changed(entry, lambda row: dataclasses.replace(row, note=note))

    def sent(self, entry: Entry, moment: str) -> Entry:
        """Write down that the file of a row that is there was sent to Kaggle, and when."""
        return self._changed(entry, lambda row: dataclasses.replace(row, sent=(*row.sent, moment)))

    def sent_on(self, day: str) -> int:
        """How many submissions were sent on a day (``2026-11-26``, UTC)."""
        return sum(moment.startswith(day) for entry in self.entries() for moment in entry.sent)

    def _changed(self, entry: Entry, change: Callable[[Entry], Entry]) -> Entry:
        with self._alone():
            known = list(self.entries())
            rows = [row for row, old in enumerate(known) if (old.file, old.digest) == (entry.file, entry.digest)]
            if not rows:
                raise UsageError(f"{self.path} has no row for '{entry.file}': see 'dogbreed submission list'")
            known[rows[-1]] = change(known[rows[-1]])
            self._save(known)
            return known[rows[-1]]

    def known(self, file: Path) -> Entry | None:
        """The row of this very file: the same name and the same content.

        Raises:
            DataError: the file is missing.
        """
        name, digest = self.name_of(file), digest_of_file(file)
        return next((entry for entry in self.entries() if (entry.file, entry.digest) == (name, digest)), None)

    def name_of(self, file: Path) -> str:
        """How the ledger calls a file: relative to where the ledger's folder lies, else the bare name."""
        home = self.path.resolve().parent.parent
        resolved = file.resolve()
        return resolved.relative_to(home).as_posix() if resolved.is_relative_to(home) else resolved.name

    def find(self, entry: Entry) -> Path | None:
        """Where the entry's file lies now, if it is still there with the same content."""
        for candidate in (self.path.resolve().parent.parent / entry.file, self.path.parent / entry.file):
            if candidate.is_file() and digest_of_file(candidate) == entry.digest:
                return candidate
        return None

    def _save(self, entries: Sequence[Entry]) -> None:
        write_csv(self.path, HEADER, [entry.cells() for entry in entries])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two commands that end at once both get their row."""
        with only_one_at(self.path):
            yield


def now() -> str:
    """The time in UTC as the ledger writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return _SEPARATOR.join(re.sub(r"[\\;]", r"\\\g<0>", _cell(item)) for item in value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _entry(row: dict[str, str]) -> Entry:
    """Read a row; columns that are lacking keep their default, unknown ones are ignored."""
    values: dict[str, object] = {}
    for name in HEADER:
        text = text_of_cell(row.get(name) or "")
        if not text:
            continue
        if name in _LISTS:
            parts = tuple(
                re.sub(r"\\([\\;])", r"\1", part) for part in re.findall(r"(?:^|;)((?:\\.|[^;])*)", text, re.DOTALL)
            )
            values[name] = tuple(map(float, parts)) if name == "weights" else parts
        elif name in _NUMBERS:
            values[name] = float(text)
        else:
            values[name] = int(text) if name == "rows" else text
    return Entry(**values)  # type: ignore[arg-type]

"""A table that grows by a row an epoch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.files import csv_line, write_text

if TYPE_CHECKING:
    pass


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

"""The benchmarks' results as files: one JSON a part, one Markdown table of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from competition.console import duration
from competition.files import digest_of, read_json, write_json, write_text
from tests.benchmarks.measure import Claim, short

ROOT = Path(__file__).resolve().parents[2]


def source_digest() -> str:
    """Digest of the kit's and the benchmarks' sources: figures of other sources are not kept."""
    paths = [*sorted((ROOT / "competition").rglob("*.py")), *sorted((ROOT / "tests" / "benchmarks").glob("*.py"))]
    return digest_of([[path.name, path.read_text(encoding="utf-8")] for path in paths])


def save(folder: Path, result: dict[str, Any]) -> None:
    """Write one part's result."""
    write_json(folder / f"{result['part']}.json", result)


def stored(folder: Path, part: str, key: str) -> dict[str, Any] | None:
    """One part's result, when it was measured with the same sources and settings (``key``)."""
    path = folder / f"{part}.json"
    found: dict[str, Any] | None = read_json(path) if path.is_file() else None
    return found if found is not None and found.get("key") == key else None


def everything(folder: Path, order: Sequence[str]) -> list[dict[str, Any]]:
    """All results there are, in the given order."""
    return [read_json(folder / f"{part}.json") for part in order if (folder / f"{part}.json").is_file()]


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """The promises, then all figures, then what must be known about them."""
    lines = ["# Benchmarks", "", *_machine(results), "", "## What was promised", ""]
    lines += grid(["what", "measured", "target", "met"], [_claim(item).cells() for item in _claims(results)])
    lines += ["", "## Cost of each part", ""]
    costs = [[r["title"], duration(r["seconds"]), f"{r['peak_memory_mb']:,.0f} MB"] for r in results]
    lines += grid(["part", "time", "largest process"], costs)
    for result in results:
        lines += ["", f"## {result['title'][0].upper()}{result['title'][1:]}", ""]
        lines += grid(["case", "way", "median", "smallest to largest"], map(_row, result["figures"]))
        lines += ["", *(f"- {note}" for note in result["notes"])]
    return "\n".join(lines).rstrip() + "\n"


def summary(results: Sequence[dict[str, Any]]) -> str:
    """The promises in columns, for a terminal."""
    rows = [["what", "measured", "target", "met"], *(_claim(item).cells() for item in _claims(results))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def write_table(folder: Path, order: Sequence[str]) -> Path:
    """Write ``bench.md`` of all results that are there."""
    path = folder / "bench.md"
    write_text(path, markdown(everything(folder, order)))
    return path


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    body = [["", *row, ""] for row in [list(head), ["---"] * len(head), *map(list, rows)]]
    return [" | ".join(cells).strip() for cells in body]


def _claims(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [claim for result in results for claim in result["claims"]]


def _claim(stored: dict[str, Any]) -> Claim:
    return Claim(**{key: value for key, value in stored.items() if key != "met"})


def _row(figure: dict[str, Any]) -> list[str]:
    span = f"{short(figure['low'])} to {short(figure['high'])}" if figure["repeats"] > 1 else "once"
    return [figure["case"], figure["way"], f"{short(figure['median'])} {figure['unit']}", span]


def _machine(results: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each machine and day that the results come from."""
    lines = []
    for result in results:
        m = result["machine"]
        versions = ", ".join(f"{name} {value}" for name, value in m["versions"].items())
        line = f"{m['processor']}, {m['cores']} cores, {m['memory_gb']} GB, Python {m['python']}, {versions}"
        if line not in lines:
            lines.append(line)
    loads = ", ".join(f"{result['part']} {result['machine']['load_before']}" for result in results)
    when = sorted({result["when"][:10] for result in results})
    return [*lines, "", f"Measured {' and '.join(when)}; load of the machine as each part began: {loads}."]

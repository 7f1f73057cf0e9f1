"""What stands on the pages: their commands, snippets, links and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(ROOT / name / "README.md" for name in ("kernels", "notebooks", "submissions")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
OWN = ("dogbreed", "baselines")
PROGRAMS = (*OWN, "make", "pip", "pytest", "python", "bash", "tensorboard", "torchrun", "accelerate", "pre-commit")
# What a command may say that it needs, so that no test runs it.
NEEDS = ("Kaggle", "a GPU", "real data", "time", "the internet", "a checkout", "files of yours")


@dataclass(frozen=True)
class Block:
    """An indented or fenced block.

    Attributes:
        page: path relative to the checkout.
        line: where it begins, from 1.
        language: what the fence says; empty for an indented block.
        text: without indentation.
    """

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command of a block.

    Attributes:
        where: page and line.
        words: as a shell would split it.
        needs: what the page says that it needs; empty when a test has to run it.
    """

    where: str
    words: tuple[str, ...]
    needs: str

    def __str__(self) -> str:
        return f"{self.where}: {' '.join(self.words)}"


def name_of(page: Path) -> str:
    """Path relative to the checkout."""
    return page.relative_to(ROOT).as_posix()


@cache
def blocks() -> tuple[Block, ...]:
    """All blocks of all pages."""
    return tuple(block for page in PAGES for block in blocks_of(name_of(page), page.read_text(encoding="utf-8")))


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """The blocks of a page's text, fenced ones first."""
    lines = text.splitlines()
    fenced = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    taken: set[int] = set()
    for found in fenced:
        at = text.count("\n", 0, found.start())
        taken.update(range(at, text.count("\n", 0, found.end()) + 1))
        yield Block(page, at + 2, found[1], found[2])
    number = 0
    while number < len(lines):
        opens = lines[number].startswith("    ") and number not in taken and (not number or not lines[number - 1])
        end = number + 1
        while opens and end < len(lines) and (lines[end].startswith("    ") or not lines[end]):
            end += 1
        if opens:
            yield Block(page, number + 1, "", "\n".join(line[4:] for line in lines[number:end]).rstrip())
        number = end


def commands() -> tuple[Command, ...]:
    """The commands of all blocks that are neither Python nor plain text."""
    return tuple(found for block in blocks() if block.language in ("", "bash") for found in commands_of(block))


def commands_of(block: Block) -> Iterator[Command]:
    """The commands of a block; a comment on a line of its own speaks for those below it, up to an empty line."""
    needs, kept, at = "", "", block.line
    for number, line in enumerate(block.text.splitlines(), block.line):
        if not line.strip():
            needs = ""
        elif line.startswith("#"):
            needs = line[1:].strip()
        else:
            at, kept = (at if kept else number), kept + line.removesuffix("\\")
            if not line.endswith("\\"):
                command, _, comment = kept.partition(" #")
                for part in command.split("&&"):
                    yield Command(f"{block.page}:{at}", tuple(shlex.split(part)), _need(comment) or _need(needs))
                kept = ""


def _need(comment: str) -> str:
    found = re.match(r"\s*needs (.*)", comment)
    return found[1] if found else ""


def inline(page: Path) -> Iterator[str]:
    """The texts in backticks on a page, outside its blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        if not line.startswith("    "):
            yield from re.findall(r"`([^`]+)`", line)


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Target and anchor of each link and picture of a page that stays in the checkout."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        yield path, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}

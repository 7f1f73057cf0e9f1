"""The pages say only what is there: commands, options, paths, links, messages, and in lines that can be read."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import baselines
import competition
from baselines.contract.config import FitConfig
from competition.recipes import list_recipes, recipe
from tests.docs.pages import (
    NEEDS,
    OWN,
    PAGES,
    PROGRAMS,
    ROOT,
    Block,
    Command,
    anchors,
    blocks,
    blocks_of,
    commands,
    commands_of,
    inline,
    links,
    name_of,
)  # fmt: skip

DOCS = ROOT / "docs"


@cache
def tree(program: str) -> Any:
    """The command line of that name."""
    module = __import__(f"{'competition' if program == 'dogbreed' else program}.cli", fromlist=["app"])
    return typer.main.get_command(module.app)


def resolve(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The command (or group) that the words name, and the words after it."""
    found, rest = tree(words[0]), list(words[1:])
    while rest and hasattr(found, "commands"):
        if rest[0] not in found.commands:
            raise AssertionError(f"'{' '.join(words)}': there is no command '{rest[0]}'")
        found, rest = found.commands[rest[0]], rest[1:]
    return found, rest


def leaves(command: Any, path: str) -> Iterator[str]:
    """The full names of all commands below."""
    if not hasattr(command, "commands"):
        yield path
        return
    for name, below in command.commands.items():
        yield from leaves(below, f"{path} {name}")


def check(command: Command) -> None:
    """Fail unless the command could start: program, command, options and settings are those that exist."""
    program, words = command.words[0], command.words
    if program in OWN:
        found, rest = resolve(words)
        values = found.make_context(words[-1], rest).params
        _check_settings(words, values)
    elif program == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif program == "pip":
        assert set(_extras(words[-1])) <= set(_setup()["options.extras_require"]), command
    elif program == "python" and words[1] == "-m":
        _check_module(words[2], [word for word in words[3:] if word.startswith("--")])
    elif program in ("python", "bash"):
        assert (ROOT / words[1]).is_file(), command
    elif program == "pytest":
        assert all((ROOT / word).exists() for word in words[1:] if "/" in word), command
    else:
        assert program in PROGRAMS, command


def _check_settings(words: Sequence[str], values: dict[str, Any]) -> None:
    settings = values.get("settings") or ()
    if words[0] == "dogbreed" and "recipe" in values:
        recipe(values["recipe"] if values["recipe"] != "RECIPE" else "smoke", *settings)
    elif words[:2] == ("baselines", "train"):
        FitConfig().override(settings)


def _check_module(name: str, options: Sequence[str]) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None, name
    assert spec.origin is not None, name
    text = Path(spec.origin).read_text(encoding="utf-8")
    shared = (ROOT / "tests/benchmarks/material.py").read_text(encoding="utf-8")
    assert not [option for option in options if f'"{option}"' not in text + shared], name


@cache
def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _extras(what: str) -> list[str]:
    found = re.search(r"\[(.+)\]", what)
    return found[1].split(",") if found else []


@pytest.mark.parametrize("command", commands(), ids=str)
def test_every_command_could_start(command: Command) -> None:
    check(command)


@pytest.mark.parametrize("command", commands(), ids=str)
def test_every_command_is_run_or_says_what_it_needs(command: Command) -> None:
    assert command.words[0] in PROGRAMS, "no command: let the block be fenced as text"
    if command.needs:
        assert command.needs.startswith(NEEDS), f"'needs {command.needs}': say one of {', '.join(NEEDS)} first"
    else:  # test_commands.py runs those of the kit; make, pip and the bare pytest are what CI does
        assert command.words[0] in (*OWN, "make", "pip") or command.words == ("pytest",)


@pytest.mark.parametrize(
    "words",
    ["dogbreed runn", "dogbreed run --dta x", "dogbreed run --recipe prob", "dogbreed run --set sed=1",
     "baselines train --set lrr=1", "dogbreed predict", "make nothing", "pip install .[nothing]",
     "python -m tests.benchmarks.ablation --nothing x", "bash .ci/nothing", "dogbreed kernel dry-run"],
)  # fmt: skip
def test_a_wrong_command_would_be_seen(words: str) -> None:
    with pytest.raises(BaseException, match=r".*"):  # typer's own errors are no subclass of anything public
        check(Command("here", tuple(words.split()), ""))


def test_commands_are_found_in_both_kinds_of_blocks() -> None:
    text = "a\n\n    dogbreed run \\\n        --folds 0   # needs a GPU\n    make test\n\n"
    text += "```bash\n# needs Kaggle\npip install .\n\npytest\n```\n"
    found = [command for block in blocks_of("page", text) for command in commands_of(block)]
    assert [(command.where, " ".join(command.words), command.needs) for command in found] == [
        ("page:9", "pip install .", "Kaggle"),
        ("page:11", "pytest", ""),
        ("page:3", "dogbreed run --folds 0", "a GPU"),
        ("page:5", "make test", ""),
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_within_sentences_exist(page: Path) -> None:
    for text in inline(page):
        words = text.split()
        if words[0] in OWN and len(words) > 1:
            before = [word for word in words[1:2] if word.startswith("--")]
            found, rest = resolve([words[0], *words[1 + len(before) :]])
            known = {option for parameter in found.params for option in parameter.opts + parameter.secondary_opts}
            asked = {word.partition("=")[0] for word in rest if word.startswith("--")}
            assert asked <= known, f"`{text}`"
            assert set(before) <= {"--debug", "--help"}, f"`{text}`"
            if "--recipe" in rest:
                assert rest[rest.index("--recipe") + 1] in list_recipes(), f"`{text}`"
        elif words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)


def test_the_page_of_commands_has_all_of_them() -> None:
    told = {text for text in inline(DOCS / "commands.md") if text.split()[0] in OWN}
    for program in OWN:
        every = set(leaves(tree(program), program))
        lacking = {name for name in every if not any(text == name or text.startswith(f"{name} ") for text in told)}
        assert not lacking


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), f"{path} does not exist"
        if anchor:
            assert anchor in anchors(target), f"{path} has no heading '{anchor}': {sorted(anchors(target))}"


def test_every_picture_is_shown() -> None:
    shown = {(page.parent / path).resolve() for page in PAGES for path, _ in links(page) if path.endswith(".png")}
    assert shown == set((DOCS / "images").glob("*.png"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_are_short(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert not [number for number, line in enumerate(lines, 1) if len(line) > 120]
    assert page.name != "README.md" or page.parent != ROOT or len(lines) <= 150


def test_the_address_of_no_repository_is_named() -> None:
    assert not [name_of(page) for page in PAGES if "github.com/dogbreed" in page.read_text(encoding="utf-8")]


def test_readme_keeps_its_two_commands_and_its_warning() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "    make demo " in text
    assert "    make test " in text
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "come from ImageNet, and so do the weights" in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_on_the_pages_exist(page: Path) -> None:
    rooms = ("competition/", "baselines/", "tests/", "docs/", "notebooks/", "kernels/", ".ci/")
    for text in inline(page):
        if text.startswith(rooms) and not re.search(r"[*<{\s]", text):
            assert (ROOT / text).exists(), f"{text} does not exist"


def test_the_architecture_names_every_room_and_where_its_paths_lead() -> None:
    named = set(inline(DOCS / "ARCHITECTURE.md"))
    rooms = [path for path in (ROOT / "competition").iterdir() if (path / "__init__.py").exists()]
    assert {f"competition/{path.name}/" for path in rooms} <= named
    assert {f"baselines/{name}/" for name in ("torch_nets", "keras_nets", "numpy_nets", "specs")} <= named


def test_every_recipe_is_told() -> None:
    assert set(list_recipes()) <= set(inline(DOCS / "fine-tuning.md"))


def test_the_python_interface_has_every_public_name() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    told = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    public = {f"{package.__name__}.{name}" for package in (competition, baselines) for name in package.__all__}
    assert public - {"competition.__version__"} <= set(told)
    for name in told:
        home, _, last = name.rpartition(".")
        assert importlib.util.find_spec(name) if last.islower() and _is_module(name) else _has(home, last), name


def _is_module(name: str) -> bool:
    return (ROOT / f"{name.replace('.', '/')}.py").is_file()


def _has(home: str, name: str) -> bool:
    return hasattr(__import__(home, fromlist=[name]), name)


@cache
def _texts_of_the_kit() -> str:
    """Every constant text of both packages; what a placeholder parts stays apart."""
    files = [path for package in ("competition", "baselines") for path in (ROOT / package).rglob("*.py")]
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return "\0".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_the_messages_of_the_trouble_page_are_those_of_the_kit() -> None:
    rows = re.findall(r"^\| (`.+?) \| ", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    messages = [part for row in rows for part in re.findall(r"`([^`]+)`", row)]
    assert len(messages) > 30
    assert not [text for text in messages if text not in _texts_of_the_kit()]


def test_environment_variables_are_those_of_the_kit() -> None:
    told = {text for text in inline(DOCS / "data.md") if text.startswith("DOGBREED_")}
    read = set(re.findall(r"DOGBREED_\w+", _texts_of_the_kit()))
    assert told <= read | {"DOGBREED_SHARED"}


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "python"], ids=lambda b: b.page)
def test_snippets_import_what_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] in ("competition", "baselines")
        ):
            for alias in node.names:
                assert _has(node.module, alias.name), f"{node.module}.{alias.name}"

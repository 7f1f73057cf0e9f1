"""What a kernel's own code says about itself, read without running it: downloads, paths, settings, results."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from competition.publish.build.spec import KAGGLE_PYTHON

Keywords = dict[str, Any]


def _always(_: Keywords) -> bool:
    return True


def _asks(name: str) -> Callable[[Keywords], bool]:
    return lambda keywords: bool(keywords.get(name))


# Calls that fetch something, by the end of their dotted name, and when they do.
_FETCHING: tuple[tuple[re.Pattern[str], Callable[[Keywords], bool]], ...] = (
    (re.compile(r"(^|\.)(urlopen|urlretrieve|hf_hub_download|snapshot_download|download_url|get_file)$"), _always),
    (re.compile(r"^(requests|httpx)\.(get|post|request|Session)$"), _always),
    (re.compile(r"^(torch\.hub|kagglehub|gdown|wget)\.\w+$"), _always),
    (re.compile(r"(^|\.)from_pretrained$"), _always),
    (re.compile(r"^timm\.create_model$"), _asks("pretrained")),
    (re.compile(r"(^|\.)(vision_learner|cnn_learner|unet_learner)$"), lambda keys: keys.get("pretrained", True)),
    (re.compile(r"^(torchvision\.)?models\.\w+$"), lambda keys: bool(keys.get("weights") or keys.get("pretrained"))),
    (re.compile(r"^(torchvision\.)?datasets\.\w+$"), _asks("download")),
    (re.compile(r"(^|\.)applications\.(\w+\.)?[A-Z]\w+$"), lambda keys: keys.get("weights", "imagenet") == "imagenet"),
    (re.compile(r"(^|\.)keras\.datasets\.\w+\.load_data$"), _always),
)
_SHELL = re.compile(r"\b(pip3?\s+install|conda\s+install|curl\s|wget\s|git\s+clone|apt(-get)?\s+install)")
_MAGIC = re.compile(r"^\s*[!%].*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"^(/(home|Users|root|mnt|content)/|~/|[A-Za-z]:[\\/])")
_WRITING = re.compile(
    r"(^|\.)(to_csv|to_parquet|to_json|write_text|write_bytes|mkdir|savez?|savefig|imwrite|copy2?|move)$"
)


@dataclass(frozen=True)
class Scan:
    """What was found, each with its line.

    Attributes:
        downloads: calls and shell commands that need the network.
        elsewhere: paths of somebody's own machine.
        input_writes: writes below Kaggle's inputs, which are read-only.
        modules: top-level names of imported modules.
        relative: whether there are relative imports.
        texts: all string constants.
        calls: last names of called functions.
        settings: literal arguments of ``settings(...)``, ``recipe(...)`` and ``load_dataset(...)``.
    """

    downloads: tuple[tuple[int, str], ...]
    elsewhere: tuple[tuple[int, str], ...]
    input_writes: tuple[tuple[int, str], ...]
    modules: frozenset[str]
    relative: bool
    texts: tuple[str, ...]
    calls: frozenset[str]
    settings: dict[str, Any]


def without_magics(code: str) -> tuple[str, str]:
    """A notebook's code with its shell and magic lines made comments, and those lines."""
    return _MAGIC.sub("pass", code), "\n".join(_MAGIC.findall(code))


def scan(code: str, shell: str = "", python: tuple[int, int] = KAGGLE_PYTHON) -> Scan:
    """Read a kernel's own code.

    Args:
        code: Python.
        shell: shell and magic lines of a notebook.
        python: version whose syntax it must be (or the one that runs this, where that is older).

    Raises:
        SyntaxError: it is not Python of that version.
    """
    tree = ast.parse(code, feature_version=min(python, sys.version_info[:2]))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    texts = [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    shells = [(number, line) for number, line in enumerate(shell.splitlines(), 1) if _fetches_by_shell(line)]
    return Scan(
        downloads=(*_downloads(calls), *_shell_texts(tree, texts), *shells),
        elsewhere=tuple((line, text) for line, text in texts if _ELSEWHERE.match(text)),
        input_writes=tuple(_input_writes(calls)),
        modules=frozenset(_modules(tree)),
        relative=any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in ast.walk(tree)),
        texts=tuple(text for _, text in texts),
        calls=frozenset(_dotted(call).rsplit(".", 1)[-1] for call in calls),
        settings=_settings(calls),
    )


def _dotted(call: ast.Call) -> str:
    try:
        return ast.unparse(call.func)
    except (ValueError, RecursionError):
        return ""


def _keywords(call: ast.Call) -> Keywords:
    """Keyword arguments; what is no literal counts as given and true."""
    return {word.arg: _literal(word.value) for word in call.keywords if word.arg}


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return ast.unparse(node)


def _downloads(calls: list[ast.Call]) -> Iterator[tuple[int, str]]:
    for call in calls:
        name = _dotted(call)
        if any(form.search(name) and when(_keywords(call)) for form, when in _FETCHING):
            yield call.lineno, f"{name}(...)"


def _shell_texts(tree: ast.Module, texts: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Commands in one text, or in a list of words as ``subprocess`` takes them."""
    yield from ((line, text) for line, text in texts if _fetches_by_shell(text))
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple):
            words = [item.value for item in node.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            if len(words) > 1 and _fetches_by_shell(" ".join(words)):
                yield node.lineno, " ".join(words)


def _fetches_by_shell(text: str) -> bool:
    return bool(_SHELL.search(text)) and "--no-index" not in text and len(text) < 2000


def _input_writes(calls: list[ast.Call]) -> Iterator[tuple[int, str]]:
    for call in calls:
        name, arguments = _dotted(call), [_literal(item) for item in call.args]
        texts = [item for item in arguments if isinstance(item, str)]
        mode = str(_keywords(call).get("mode", arguments[1] if len(arguments) > 1 else "r"))
        writes = bool(_WRITING.search(name)) or (name.endswith("open") and set(mode) & set("wax+"))
        if writes and any("/kaggle/input" in text for text in (*texts, name)):
            yield call.lineno, f"{name}(...)"


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _settings(calls: list[ast.Call]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for call in calls:
        name = _dotted(call).rsplit(".", 1)[-1]
        if name == "settings":
            found.update(_keywords(call))
        elif name in ("recipe", "load_dataset") and call.args and isinstance(call.args[0], ast.Constant):
            key = "dataset" if name == "load_dataset" else "recipe"
            texts = [item.value for item in call.args[1:] if isinstance(item, ast.Constant)]
            if key not in found and key == "recipe" and texts:
                found.setdefault("overrides", texts)
            found.setdefault(key, call.args[0].value)
    return found

"""Which modules a kernel would import, late ones inside the kit included: followed from call to call, without running.

A name that is used counts as called, a class with all of its methods. An import that is guarded (``try`` with
``ImportError``, ``suppress``, ``TYPE_CHECKING``) is none: that code does without.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

Place = tuple[str, str]  # a module and a name in it; an empty name is what runs when it is imported
_FORGIVING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_IMPORTERS = {"import_module", "__import__"}


@dataclass(frozen=True)
class Reached:
    """An import from outside of the kit.

    Attributes:
        module: top-level name.
        within: the kit's module that holds the import; empty for the kernel's own code.
        line: where it stands.
    """

    module: str
    within: str
    line: int


@dataclass
class _Uses:
    """What a piece of code uses.

    Attributes:
        imports: modules and their lines.
        bound: what local names stand for: a module, and a name in it or nothing.
        names: dotted names that are read.
        patterns: of modules imported by a computed name.
    """

    imports: list[tuple[str, int]] = field(default_factory=list)
    bound: dict[str, Place] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    patterns: list[re.Pattern[str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Module:
    """A module taken apart: what runs at its import, and its functions, classes and values by name."""

    top: _Uses
    parts: Mapping[str, _Uses]
    homes: Mapping[str, str]  # names that a lazy package loads on demand, and their modules


class _Reader(ast.NodeVisitor):
    """Collects what code uses; annotations are not evaluated and do not count."""

    def __init__(self) -> None:
        self.uses = _Uses()

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.uses.imports.append((alias.name, node.lineno))
            whole = alias.asname is not None
            self.uses.bound[alias.asname or alias.name.split(".")[0]] = (
                alias.name if whole else alias.name.split(".")[0],
                "",
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and not node.level:
            self.uses.imports.append((node.module, node.lineno))
            for alias in node.names:
                self.uses.bound[alias.asname or alias.name] = (node.module, alias.name)

    def visit_Try(self, node: ast.Try) -> None:
        caught = [handler.type for handler in node.handlers]
        forgiving = any(kind is None or _FORGIVING & {word.id for word in _words(kind)} for kind in caught)
        for part in (*(() if forgiving else node.body), *node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_With(self, node: ast.With) -> None:
        text = " ".join(ast.unparse(item.context_expr) for item in node.items)
        if not ("suppress" in text and "Import" in text):
            self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for part in node.orelse:
                self.visit(part)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        defaults = [*node.args.defaults, *(item for item in node.args.kw_defaults if item is not None)]
        for part in (*node.decorator_list, *defaults, *node.body):
            self.visit(part)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        self.uses.names.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        inner, words = node.value, [node.attr]
        while isinstance(inner, ast.Attribute):
            words.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self.uses.names.add(".".join([inner.id, *reversed(words)]))
        else:
            self.visit(inner)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rsplit(".", 1)[-1]
        if called in _IMPORTERS and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                self.uses.imports.append((name.value, node.lineno))
            elif isinstance(name, ast.JoinedStr):
                texts = [
                    re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"\w+" for part in name.values
                ]
                self.uses.patterns.append(re.compile("".join(texts)))
        self.generic_visit(node)


def _words(node: ast.expr) -> list[ast.Name]:
    return [part for part in ast.walk(node) if isinstance(part, ast.Name)]


def _read(*nodes: ast.AST) -> _Uses:
    reader = _Reader()
    for node in nodes:
        reader.visit(node)
    return reader.uses


@lru_cache(maxsize=1024)
def _module(content: bytes) -> _Module:
    top: list[ast.AST] = []
    parts: dict[str, list[ast.AST]] = {}
    homes: dict[str, str] = {}
    for node in ast.parse(content).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            parts.setdefault(node.name, []).append(node)
            top += node.decorator_list
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for word in (word for target in targets for word in _words(target)):
                parts.setdefault(word.id, []).append(node)
            homes |= _homes(node.value)
        else:
            top.append(node)
    return _Module(_read(*top), {name: _read(*nodes) for name, nodes in parts.items()}, homes)


def _homes(value: ast.expr | None) -> dict[str, str]:
    """The entries of a table from texts to texts, such as a lazy package keeps of its names."""
    if not isinstance(value, ast.Dict):
        return {}
    pairs = [
        (key.value, item.value)
        for key, item in zip(value.keys, value.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(item, ast.Constant)
    ]
    return {key: item for key, item in pairs if isinstance(key, str) and isinstance(item, str)}


class _Walk:
    """A walk from the kernel's own code through the kit's files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = {
            name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): content
            for name, content in files.items()
            if name.endswith(".py")
        }
        self._seen: set[Place] = set()
        self._todo: list[Place] = []

    def run(self, own: str) -> Iterator[Reached]:
        """Everything from outside that is reached."""
        yield from self._follow("", _read(ast.parse(own)), {})
        while self._todo:
            module, name = self._todo.pop()
            read = _module(self._files[module])
            uses = read.parts[name] if name else read.top
            yield from self._follow(module, uses, read.parts)

    def _follow(self, module: str, uses: _Uses, parts: Mapping[str, _Uses]) -> Iterator[Reached]:
        for name, line in uses.imports:
            if name in self._files:
                self._load(name)
            elif name.split(".")[0] not in sys.stdlib_module_names:
                yield Reached(name.split(".")[0], module, line)
        for home, name in uses.bound.values():  # from a package import one of its modules
            if name and f"{home}.{name}" in self._files:
                self._load(f"{home}.{name}")
        for pattern in uses.patterns:
            for name in filter(pattern.fullmatch, self._files):
                self._load(name)
                for part in _module(self._files[name]).parts:
                    self._add((name, part))
        for dotted in uses.names:
            first, *rest = dotted.split(".")
            target = uses.bound.get(first)
            if target is not None:
                self._resolve(*target, rest)
            elif first in parts:
                self._add((module, first))
            elif module in self._files and first in _module(self._files[module]).top.bound:
                self._resolve(*_module(self._files[module]).top.bound[first], rest)

    def _resolve(self, module: str, name: str, rest: list[str]) -> None:
        """Follow ``module.name.rest`` as far as it lies in the kit."""
        words = [name, *rest] if name else rest
        while words and f"{module}.{words[0]}" in self._files:
            module, words = f"{module}.{words[0]}", words[1:]
        if module not in self._files:
            return
        self._load(module)
        read = _module(self._files[module])
        if not words:
            return
        if words[0] in read.parts:
            self._add((module, words[0]))
        elif words[0] in read.top.bound and read.top.bound[words[0]] != (module, words[0]):
            self._resolve(*read.top.bound[words[0]], words[1:])
        elif words[0] in read.homes:
            home = read.homes[words[0]]
            self._resolve(home if home in self._files else f"{module}.{home}", words[0], words[1:])

    def _load(self, module: str) -> None:
        """What runs at the import of a module: its own top and that of the packages around it."""
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name in self._files:
                self._add((name, ""))

    def _add(self, place: Place) -> None:
        if place not in self._seen:
            self._seen.add(place)
            self._todo.append(place)


def reached(own: str, files: Mapping[str, bytes]) -> tuple[Reached, ...]:
    """Modules from outside that a kernel would import.

    Args:
        own: its own code, Python.
        files: the kit's files by their path, as a kernel carries them.

    Raises:
        SyntaxError: ``own`` is not Python.
    """
    first: dict[tuple[str, str], Reached] = {}
    for item in _Walk(files).run(own):
        first.setdefault((item.module, item.within), item)
    return tuple(sorted(first.values(), key=lambda item: (item.within, item.line)))

"""The arrows of the house: who may import whom, and where frameworks may appear."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "data": set(),
    "training": {"data"},
    "prediction": {"data", "training"},
    "explain": {"data", "training", "prediction"},
    "publish": {"data", "training", "prediction"},
}
FRAMEWORKS = {"torch", "torchvision", "fastai", "timm", "keras", "tensorflow", "albumentations", "pytorch_grad_cam"}
FRAMEWORK_FREE = ["competition/cli", "competition/data", "competition/recipes", "competition/prediction"]
FRAMEWORK_FREE += ["baselines/cli", "baselines/specs", "baselines/numpy_nets"]


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Names of the modules that a file imports; type-checking blocks are skipped, they cost nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else _walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node but type-checking blocks and what is in them."""
    for child in ast.iter_child_nodes(node):
        if not _only_for_types(child):
            yield child
            yield from _walk(child)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_lies_below_them(room: str) -> None:
    forbidden = set(ROOMS) - ROOMS[room] - {room} | {"cli", "pipeline"}
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(f"competition/{room}")
        for name in imports(path)
        if name.startswith("competition.") and name.split(".")[1] in forbidden
    ]
    assert not found, "\n".join(found)


def test_the_pipeline_never_imports_the_baselines() -> None:
    found = [str(path) for path in files("competition") for name in imports(path) if name.split(".")[0] == "baselines"]
    assert not found


@pytest.mark.parametrize("folder", FRAMEWORK_FREE)
def test_these_rooms_know_no_framework(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(folder)
        for name in imports(path)
        if name.split(".")[0] in FRAMEWORKS
    ]
    assert not found, "\n".join(found)


# Everything else in the room speaks to a model through the protocol.
EXPLAIN_FRAMEWORK = {
    "torch": {"torch_backend", "torch_engine", "torch_hooks", "torch_layers", "probe_network", "run_backend"},
    "keras": {"keras_backend", "keras_layers"},
}


def test_explanations_know_no_framework_but_in_the_adapters() -> None:
    for path in files("competition/explain"):
        used = {name.split(".")[0] for name in imports(path)} & FRAMEWORKS
        if path.stem in EXPLAIN_FRAMEWORK["torch"]:
            assert used <= {"torch", "pytorch_grad_cam"}, f"{path.name}: {used}"
        elif path.stem in EXPLAIN_FRAMEWORK["keras"]:
            assert used <= {"keras", "tensorflow"}, f"{path.name}: {used}"
        else:
            assert not used, f"{path.name}: {used}"


def test_configurations_and_types_know_no_framework() -> None:
    for name in ("config", "types", "errors", "files", "console", "environment", "pipeline"):
        assert not {item.split(".")[0] for item in imports(ROOT / f"competition/{name}.py")} & FRAMEWORKS, name


def test_nets_of_different_frameworks_never_meet() -> None:
    every = {"torch_nets", "keras_nets", "numpy_nets"}
    kinds = {kind: every - {kind} for kind in every}
    for kind, others in kinds.items():
        found = [
            f"{path.name} imports {name}"
            for path in files(f"baselines/{kind}")
            for name in imports(path)
            if any(f"baselines.{other}" in name for other in others)
        ]
        assert not found


def test_the_baselines_load_a_framework_only_when_they_use_it() -> None:
    heavy = {*FRAMEWORKS, "matplotlib", "sklearn", "optuna", "plotly"}
    own = ("torch_nets", "keras_nets")
    late = (
        "transfer.py",
        "experiments_optuna.py",
    )  # the second is imported by a study that runs, where Optuna is there
    shared = [path for path in files("baselines") if path.parent.name not in own and path.name not in late]
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in shared
        for name in imports(path, top_level_only=True)
        if name.split(".")[0] in heavy or any(name.startswith(f"baselines.{kind}") for kind in own)
    ]
    assert not found, "\n".join(found)
    commands = [name for path in files("baselines/cli") for name in imports(path, top_level_only=True)]
    assert {name.split(".")[0] for name in commands} <= {*sys.stdlib_module_names, "typer", "baselines", "competition"}

"""The arrows of the house: who may import whom, how full a room may be, and where frameworks may appear."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What each room of competition/ may import beside the ground, which is the files at its root.
ROOMS = {
    "system": set(),
    "data": {"system"},
    "pictures": {"data"},
    "record": {"data", "pictures", "system"},
    "recipes": set(),
    "training": {"data", "pictures", "record", "system"},
    "prediction": {"data", "record", "training"},
    "explain": {"data", "pictures", "record", "training"},
    "report": {"data", "explain", "pictures", "record", "training"},
    "notebook": {"data", "explain", "pictures", "record", "report", "training"},
    "publish": {"data", "prediction", "recipes", "system", "training"},
}
ROOF = {"cli", "pipeline"}  # of the root: what everything may be used by, and nothing below may use
MOST_FILES = 13
FRAMEWORKS = {"torch", "torchvision", "fastai", "timm", "keras", "tensorflow", "albumentations", "pytorch_grad_cam"}
FRAMEWORK_FREE = ["competition/cli", "competition/data", "competition/recipes", "competition/prediction"]
FRAMEWORK_FREE += ["competition/report", "competition/system", "competition/pictures"]
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


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def all_imports() -> dict[str, set[str]]:
    """Of every file of both packages: the files of them that it imports, late imports as well."""
    paths = {module_of(path): path for package in ("competition", "baselines") for path in files(package)}
    graph = {}
    for module, path in paths.items():
        found = {name for name in imports(path) if name in paths}
        # 'from a.b import c' also names a.b: where c is a file, that file is meant
        graph[module] = {name for name in found if not any(other.startswith(f"{name}.") for other in found)} - {module}
    return graph


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def folder_of(module: str, folders: set[str]) -> str:
    """The folder that a file lies in; the files at the root of a package stand for themselves."""
    above = module.rpartition(".")[0]
    return module if module in folders or "." not in above else above


def test_a_planted_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not circle({"a": {"b", "c"}, "b": {"c"}})


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert not circle(all_imports())


def test_no_folder_imports_itself_by_way_of_others() -> None:
    graph = all_imports()
    folders = {module.rpartition(".")[0] for module in graph}
    between: dict[str, set[str]] = {}
    for module, used in graph.items():
        own = folder_of(module, folders)
        between.setdefault(own, set()).update({folder_of(name, folders) for name in used} - {own})
    assert not circle(between)


def test_no_room_is_crowded() -> None:
    rooms = Counter(path.parent.relative_to(ROOT) for name in ("competition", "baselines") for path in files(name))
    assert not {str(room): count for room, count in rooms.items() if count - 1 > MOST_FILES}  # without __init__


def test_every_room_has_its_arrows() -> None:
    assert {path.name for path in (ROOT / "competition").iterdir() if (path / "__init__.py").is_file()} == {
        *ROOMS,
        "cli",
    }


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_lies_below_them(room: str) -> None:
    forbidden = set(ROOMS) - ROOMS[room] - {room} | ROOF
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(f"competition/{room}")
        for name in imports(path)
        if name.startswith("competition.") and name.split(".")[1] in forbidden
    ]
    assert not found, "\n".join(found)


def test_the_ground_imports_no_room() -> None:
    found = [
        f"{path.name} imports {name}"
        for path in sorted((ROOT / "competition").glob("*.py"))
        if path.stem not in {*ROOF, "__init__", "__main__"}
        for name in imports(path)
        if name.startswith("competition.") and name.split(".")[1] in {*ROOMS, *ROOF}
    ]
    assert not found, "\n".join(found)


# Tests of the whole house, of pages and of speed, and those that speak to a stand-in of Kaggle, mirror nothing.
NO_MIRRORS = {"house", "docs", "benchmarks", "stand_in"}


def test_tests_mirror_the_tree() -> None:
    """``tests/a/test_b.py`` and ``tests/a/test_b_from_another_side.py`` are about ``competition/a/b.py``."""
    lost = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        inside = path.relative_to(ROOT / "tests")
        if NO_MIRRORS & set(inside.parts):
            continue
        folder = ROOT / (inside.parent if inside.parts[0] == "baselines" else Path("competition") / inside.parent)
        name = path.stem.removeprefix("test_")
        names = {item.stem for item in folder.iterdir() if item.suffix == ".py" or (item / "__init__.py").is_file()}
        if not any(name == other or name.startswith(f"{other}_") for other in names):
            lost.append(str(inside))
    assert not lost


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
    "torch": {"torch_backend", "grad_cam_package", "torch_hooks", "torch_layers", "probe_network", "open_run"},
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
    late = ("transfer.py", "search_optuna.py")  # the second is imported by a study that runs, where Optuna is there
    shared = [path for path in files("baselines") if not set(own) & set(path.parts) and path.name not in late]
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in shared
        for name in imports(path, top_level_only=True)
        if name.split(".")[0] in heavy or any(name.startswith(f"baselines.{kind}") for kind in own)
    ]
    assert not found, "\n".join(found)
    commands = [name for path in files("baselines/cli") for name in imports(path, top_level_only=True)]
    assert {name.split(".")[0] for name in commands} <= {*sys.stdlib_module_names, "typer", "baselines", "competition"}


def test_what_docstrings_point_at_is_there() -> None:
    """``module.name`` in a docstring or comment is a name of that module, wherever the file has moved."""
    paths = {module_of(path): path for package in ("competition", "baselines") for path in files(package)}
    homes: dict[str, set[str]] = {}
    for module, path in paths.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                homes.setdefault(node.name, set()).update(module.split(".")[-2:])  # a folder speaks for its files
    lost = [
        f"{path.relative_to(ROOT)}: {module}.{name}"
        for path in paths.values()
        for module, name in re.findall(r"``(?:\w+\.)*([a-z_]\w*)\.(\w+)(?:\(\))?``", path.read_text(encoding="utf-8"))
        if name in homes and module not in homes[name] | {"competition", "baselines", "model"}
        if not any(f"{other}.".endswith(f".{module}.{name}.") for other in paths)  # a folder's file
    ]
    assert not lost, "\n".join(lost)

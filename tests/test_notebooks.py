"""The committed notebooks are those of their sources, executed, without noise, and define next to nothing."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat", reason="the extra [notebooks] is not installed")
pytest.importorskip("jupytext", reason="the extra [notebooks] is not installed")
pytest.importorskip("nbclient", reason="the extra [notebooks] is not installed")

HERE = Path(__file__).resolve().parents[1] / "notebooks"
STUDIES = {
    "lenet_pytorch", "lenet_keras", "vgg16_pytorch", "vgg16_keras", "resnet8_pytorch", "resnet8_keras",
    "dog_breeds_transfer_learning", "what_convnets_learn", "inspect_misclassified_breeds", "from_perceptron_to_mlp",
    "autoencoders_and_gan",
}  # fmt: skip
SOURCES = sorted(path for path in HERE.glob("*.py") if path.name != "build.py")


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """``notebooks/build.py``, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("notebooks_build", HERE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_study_has_a_source() -> None:
    assert {path.stem for path in SOURCES} == STUDIES


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def stored(source: Path) -> Any:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def test_the_notebook_is_that_of_its_source(source: Path, build: ModuleType) -> None:
    assert not build.differing_cells(build.read_source(source), source.with_suffix(".ipynb"))


def test_it_was_executed_whole_and_left_no_noise(source: Path) -> None:
    code = [cell for cell in stored(source).cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    noise = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not noise, noise[0][:400]
    long = [output.text for output in outputs if output.output_type == "stream" and output.text.count("\n") > 60]
    assert not long, long[0][:400]


def test_it_is_small_and_its_pictures_are_pictures(source: Path, build: ModuleType) -> None:
    assert source.with_suffix(".ipynb").stat().st_size <= build.MOST_BYTES
    for cell in stored(source).cells:
        for output in cell.get("outputs", []):
            encoded = output.get("data", {}).get("image/png")
            if encoded:
                picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
                assert min(picture.size) >= 40


def test_it_defines_no_long_function_and_names_no_place_of_a_machine(source: Path) -> None:
    code = "\n".join(
        line for line in source.read_text(encoding="utf-8").splitlines() if not line.startswith(("#", "%", "!"))
    )
    for node in ast.walk(ast.parse(code)):
        assert not isinstance(node, ast.ClassDef), f"line {node.lineno}: code cells call the kit"
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 6, f"{node.name} is longer than five lines"
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert "/root/" not in text
    assert "/home/" not in text
    assert "/tmp/" not in text


def test_overwritten_lines_and_escapes_are_tidied(build: ModuleType) -> None:
    assert build._last_states("10%\r20%\rdone\r\n\x1b[1mnext\x1b[0m\n") == "done\nnext\n"


def test_a_changed_cell_is_found(build: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text("# %% [markdown]\n# # Title\n\n# %%\nprint(1)\n")
    build.write(build.read_source(source), tmp_path / "a.ipynb")
    assert build.differing_cells(build.read_source(source), tmp_path / "a.ipynb") == []
    source.write_text("# %% [markdown]\n# # Title\n\n# %%\nprint(2)\n")
    assert build.differing_cells(build.read_source(source), tmp_path / "a.ipynb") == ["a.ipynb, cell 2"]
    assert build.differing_cells(build.read_source(source), tmp_path / "b.ipynb") == ["b.ipynb is missing"]


def test_pictures_get_smaller(build: ModuleType) -> None:
    stream = io.BytesIO()
    Image.effect_noise((200, 200), 60).convert("RGB").resize((400, 400), Image.Resampling.BICUBIC).save(stream, "PNG")
    encoded = base64.b64encode(stream.getvalue()).decode()
    smaller = build.small_png(encoded)
    assert len(smaller) < len(encoded)
    assert Image.open(io.BytesIO(base64.b64decode(smaller))).size == (400, 400)

"""The committed notebooks are those of their sources, executed, without noise, and define next to nothing."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat", reason="the extra [notebooks] is not installed")
pytest.importorskip("jupytext", reason="the extra [notebooks] is not installed")
pytest.importorskip("nbclient", reason="the extra [notebooks] is not installed")

HERE = Path(__file__).resolve().parents[2] / "notebooks"
STUDIES = (
    "lenet_pytorch", "lenet_keras", "vgg16_pytorch", "vgg16_keras", "resnet8_pytorch", "resnet8_keras",
    "dog_breeds_transfer_learning", "what_convnets_learn", "inspect_misclassified_breeds", "from_perceptron_to_mlp",
    "autoencoders_and_gan",
)  # fmt: skip


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


@pytest.fixture(params=STUDIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def stored(name: str) -> Any:
    return nbformat.read(HERE / f"{name}.ipynb", as_version=4)


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def test_every_study_has_a_source(build: ModuleType) -> None:
    assert {source.name for source in build.sources([])} == set(STUDIES)
    assert [source.name for source in build.sources(["lenet", "lenet_keras"])] == ["lenet_pytorch", "lenet_keras"]
    with pytest.raises(SystemExit, match="no notebook is called lenett"):
        build.sources(["lenett"])


def test_the_notebook_is_that_of_its_source(name: str, build: ModuleType) -> None:
    (source,) = build.sources([name])
    assert not build.differing_cells(build.read_source(source), source.notebook)


@pytest.fixture
def published(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout whose owner has said where it lives."""
    (tmp_path / "setup.cfg").write_text("[metadata]\nversion = 1.2.3\nurl = https://github.com/some-one/kit/\n")
    monkeypatch.setattr(build, "SETUP", tmp_path / "setup.cfg")


def test_texts_are_complete_and_no_address_is_assumed(name: str) -> None:
    texts = [cell.source for cell in stored(name).cells if cell.cell_type == "markdown"]
    assert not [text for text in texts if re.search(r"\$[a-z_]+", text)]
    assert texts[0].startswith("# ")
    assert "\n\n\n" not in texts[0]
    whole = (HERE / f"{name}.ipynb").read_text()
    assert not [part for part in ("github", "git+http", "colab.research") if part in whole]
    assert not [cell.source for cell in code_of(stored(name)) if "pip" in cell.source.split()]


def test_with_an_address_the_badges_open_this_notebook_at_its_tag(
    name: str, build: ModuleType, published: None
) -> None:
    (source,) = build.sources([name])
    first, *cells = build.read_source(source).cells
    assert first.source.count("https://colab.research.google.com/github/some-one/kit/blob/v1.2.3/notebooks/") == 1
    assert first.source.count("src=https://github.com/some-one/kit/blob/v1.2.3/notebooks/") == 1
    assert set(re.findall(r"/notebooks/(\w+)\.ipynb", first.source)) == {name}
    (install,) = [cell.source for cell in cells if "pip" in cell.source]
    assert "@ git+https://github.com/some-one/kit@v1.2.3" in install
    again = build.with_outputs_of(build.read_source(source), source.notebook)  # needs no execution
    assert [cell.outputs for cell in code_of(again)][1:] == [cell.outputs for cell in code_of(stored(name))]


def test_an_address_elsewhere_has_no_badges_and_a_strange_one_is_refused(build: ModuleType, published: None) -> None:
    (source,) = build.sources(["vgg16_keras"])
    build.SETUP.write_text("[metadata]\nversion = 1\nurl = https://git.example.org/a/kit.git\n")
    cells = build.read_source(source).cells
    assert "colab" not in cells[0].source
    assert "[keras] @ git+https://git.example.org/a/kit@v1" in cells[1].source
    for url in ("http://github.com/a/b", "github.com/a/b", "https://me:pw@h/a", 'https://h/a"; evil', "https://host"):
        build.SETUP.write_text(f"[metadata]\nversion = 1\nurl = {url}\n")
        with pytest.raises(SystemExit, match="is no address of a repository"):
            build.home()


def test_nothing_in_the_tree_names_a_repository_of_ours() -> None:
    root, assumed = HERE.parent, "dogbreed-kit/" + "dogbreed-kit"
    for folder in ("competition", "baselines", "kernels", "notebooks", "docs", "tests"):
        for path in (root / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".ipynb", ".toml", ".json", ".html", ".cfg"):
                assert assumed not in path.read_text(encoding="utf-8"), path
    assert not [path for path in root.glob("*.*") if path.is_file() and assumed.encode() in path.read_bytes()]


@pytest.mark.parametrize("study", ["lenet", "vgg16", "resnet8"])
def test_a_script_for_two_frameworks_gives_each_its_own_cells(study: str, build: ModuleType) -> None:
    told = {}
    for source in build.sources([study]):
        cells = build.read_source(source).cells
        told[source.framework] = {cell.source for cell in cells}
        assert [cell for cell in cells if f'\nFRAMEWORK = "{source.framework}"\n' in cell.source]
    only_torch, only_keras = told["pytorch"] - told["keras"], told["keras"] - told["pytorch"]
    assert "state_dict" in "".join(only_torch)
    assert "Keras" not in "".join(text for text in only_torch if "state_dict" in text and "assert" in text)
    assert "get_layer" in "".join(only_keras)
    assert len(told["pytorch"] & told["keras"]) > 20


def install_cell(build: ModuleType, name: str) -> str:
    (source,) = build.sources([name])
    return next(cell.source for cell in build.read_source(source).cells if "pip" in cell.source)


@pytest.mark.parametrize(("study", "wanted"), [("lenet_pytorch", "dogbreed-kit @"), ("lenet_keras", "[keras] @")])
def test_the_kit_is_installed_only_where_it_is_missing(
    study: str, wanted: str, build: ModuleType, published: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def pip(command: list[str], **_: object) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(returncode=int(len(calls) > 1))

    monkeypatch.setattr("subprocess.run", pip)
    cell = compile(install_cell(build, study), "cell", "exec")
    exec(cell, {})
    assert not calls
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    exec(cell, {})
    assert calls[0][1:4] == ["-m", "pip", "install"]
    assert wanted in calls[0][-1]
    with pytest.raises(SystemExit, match="could not be installed: is the internet on"):
        exec(cell, {})


def test_every_picture_has_a_caption(name: str) -> None:
    for cell in code_of(stored(name)):
        for shown, after in pairwise([*cell.outputs, None]):
            if "image/png" in shown.get("data", {}):
                caption = after.get("data", {}).get("text/markdown", "") if after is not None else ""
                assert re.fullmatch(r"\*[^*\n]+\*", caption), cell.source


def test_it_says_first_in_which_mode_it_ran_and_last_how_long(name: str) -> None:
    said = [
        output.data["text/markdown"]
        for cell in code_of(stored(name))
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]
    assert re.search(r"\*\*(short|full) mode\*\*\.$", said[0])
    assert said[-1].startswith("All of this took ")


def test_it_was_executed_whole_and_left_no_noise(name: str) -> None:
    code = code_of(stored(name))
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    noise = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not noise, noise[0][:400]
    long = [output.text for output in outputs if output.output_type == "stream" and output.text.count("\n") > 60]
    assert not long, long[0][:400]


def test_of_many_epochs_a_few_are_shown(build: ModuleType) -> None:
    lines = [f"epoch {number}/30: loss {number}" for number in range(1, 31)]
    shown = build.fewer_epochs("\n".join(["begun", *lines, "done"])).split("\n")
    assert shown == ["begun", lines[0], "...", lines[9], "...", lines[19], "...", lines[29], "done"]
    few = "\n".join(f"epoch {number}/20: loss {number}" for number in range(1, 21))
    assert build.fewer_epochs(few) == few


def test_it_is_small_and_its_pictures_are_pictures(name: str, build: ModuleType) -> None:
    assert (HERE / f"{name}.ipynb").stat().st_size <= build.MOST_BYTES
    for cell in stored(name).cells:
        for output in cell.get("outputs", []):
            encoded = output.get("data", {}).get("image/png")
            if encoded:
                picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
                assert min(picture.size) >= 40


def test_it_defines_no_long_function_and_names_no_place_of_a_machine(name: str) -> None:
    code = "\n".join(re.sub(r"^[%!].*$", "", cell.source, flags=re.MULTILINE) for cell in code_of(stored(name)))
    for node in ast.walk(ast.parse(code)):
        assert not isinstance(node, ast.ClassDef), f"line {node.lineno}: code cells call the kit"
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 6, f"{node.name} is longer than five lines"
    text = (HERE / f"{name}.ipynb").read_text(encoding="utf-8")
    for place in ("root", "home", "tmp"):
        assert f"/{place}/" not in text


def test_overwritten_lines_and_escapes_are_tidied(build: ModuleType) -> None:
    assert build._last_states("10%\r20%\rdone\r\n\x1b[1mnext\x1b[0m\n") == "done\nnext\n"


def test_a_changed_cell_is_found(build: ModuleType, tmp_path: Path) -> None:
    source = build.Source(tmp_path / "a.py")
    source.script.write_text("# %% [markdown]\n# # Title\n\n# %%\nprint(1)\n")
    build.write(build.read_source(source), source.notebook)
    assert build.differing_cells(build.read_source(source), source.notebook) == []
    source.script.write_text("# %% [markdown]\n# # Title\n\n# %%\nprint(2)\n")
    assert build.differing_cells(build.read_source(source), source.notebook) == ["a.ipynb, cell 2"]
    assert build.differing_cells(build.read_source(source), tmp_path / "b.ipynb") == ["b.ipynb is missing"]


def test_texts_change_without_execution_and_code_does_not(build: ModuleType, tmp_path: Path) -> None:
    source = build.Source(tmp_path / "a.py")
    source.script.write_text("# %% [markdown]\n# # Title\n\n# %%\n1 + 1\n")
    made = build.read_source(source)
    made.cells[1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    build.write(made, source.notebook)
    source.script.write_text("# %% [markdown]\n# # Another\n\n# %%\n1 + 1\n")
    changed = build.with_outputs_of(build.read_source(source), source.notebook)
    assert changed.cells[0].source == "# Another"
    assert changed.cells[1].outputs[0].data["text/plain"] == "2"
    source.script.write_text("# %% [markdown]\n# # Another\n\n# %%\n1 + 2\n")
    with pytest.raises(SystemExit, match="must be executed"):
        build.with_outputs_of(build.read_source(source), source.notebook)


def test_pictures_get_smaller(build: ModuleType) -> None:
    stream = io.BytesIO()
    Image.effect_noise((200, 200), 60).convert("RGB").resize((400, 400), Image.Resampling.BICUBIC).save(stream, "PNG")
    encoded = base64.b64encode(stream.getvalue()).decode()
    smaller = build.small_png(encoded)
    assert len(smaller) < len(encoded)
    assert Image.open(io.BytesIO(base64.b64decode(smaller))).size == (400, 400)

"""Make the notebooks from their sources: ``python notebooks/build.py [NAME ...] [--short] [--check]``.

A source is a jupytext percent script. ``what_convnets_learn.py`` gives the notebook of its name; a script with a cell
tagged ``parameters`` gives one for each framework (``lenet.py``: ``lenet_pytorch.ipynb`` and ``lenet_keras.ipynb``):
``FRAMEWORK`` is set in that cell, cells tagged with the name of one framework go into its notebook only. A cell with
``part="NAME"`` stands for the cells of ``parts/NAME.py``, and ``$NAME`` in a text for ``parts/NAME.md``, ``$notebook``
(its name), ``$in_framework``, ``$other`` (the notebook of the other framework) or ``$extra`` (what pip is to install).
Badges and the part ``install`` appear only where ``setup.cfg`` says where the kit lives (``url``), pinned to its tag.

Notebooks are executed here, and their pictures compressed. ``--check`` executes into a temporary folder and fails where
the committed notebook's cells are not those of its source; outputs are not compared, they depend on the machine.

``DOGBREED_SHORT=1`` (set by ``--short``) is what the notebooks themselves look at: fewer epochs, fewer images.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import hashlib
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

HERE = Path(__file__).resolve().parent
SETUP = HERE.parent / "setup.cfg"
INSTALL = "install"  # the part that needs an address
PARTS = HERE / "parts"
# How a title calls a framework, and what pip installs beside the kit's own dependencies.
FRAMEWORKS = {"pytorch": ("PyTorch", ""), "keras": ("Keras 3 on TensorFlow", "[keras]")}
MOST_BYTES = 4_000_000
SECONDS_PER_CELL = 3600
MOST_EPOCHS = 20  # of a training that are all shown
# What TensorFlow's C++ side writes to standard error before Python can ask it to be quiet.
_NATIVE_LOG = re.compile(r"^(WARNING: All log messages before absl|[IWE]\d{4} |\d{4}-\d\d-\d\d .*\b[IWE] )")
_EPOCH = re.compile(r"epoch (\d+)/(\d+): ")
_PROGRESS = re.compile(r"\r|\x1b\[[0-9;?]*[A-Za-z]")


def home() -> dict[str, str]:
    """Where the kit lives in public: ``url``, ``tag`` and, on GitHub, ``repository``; empty where nobody has said.

    Raises:
        SystemExit: the address in setup.cfg is none that pip and a browser could fetch safely.
    """
    settings = configparser.ConfigParser()
    settings.read(SETUP, encoding="utf-8")
    url = settings.get("metadata", "url", fallback="").strip().rstrip("/").removesuffix(".git")
    if url and not re.fullmatch(r"https://[\w.\-]+(/[\w.\-]+)+", url):
        raise SystemExit(f"{SETUP.name}: url '{url}' is no address of a repository: expected https://HOST/OWNER/NAME")
    on_github = re.fullmatch(r"https://github\.com/([\w.\-]+/[\w.\-]+)", url)
    return {
        "url": url,
        "tag": f"v{settings.get('metadata', 'version')}",
        "repository": on_github[1] if on_github else "",
    }


@dataclass(frozen=True)
class Source:
    """A notebook to be made.

    Attributes:
        script: the percent script.
        framework: of ``FRAMEWORKS`` where the script is for all of them, else empty.
    """

    script: Path
    framework: str = ""

    @property
    def name(self) -> str:
        """Of the notebook."""
        return f"{self.script.stem}_{self.framework}" if self.framework else self.script.stem

    @property
    def notebook(self) -> Path:
        """Where it is written, beside its script."""
        return self.script.with_name(f"{self.name}.ipynb")

    @property
    def words(self) -> dict[str, str]:
        """What ``$name`` stands for in the texts."""
        title, extra = FRAMEWORKS.get(self.framework, ("", ""))
        other = next(key for key in FRAMEWORKS if key != self.framework)
        own = {"notebook": self.name, "in_framework": title, "extra": extra, "other": f"{self.script.stem}_{other}"}
        own |= home()
        texts = {path.stem: path.read_text(encoding="utf-8").strip() for path in PARTS.glob("*.md")}
        if not own["repository"]:
            texts["badges"] = ""
        return own | {name: Template(text).substitute(own) for name, text in texts.items()}


def sources(names: list[str]) -> list[Source]:
    """The notebooks asked for, by their names or by a script's name; all of them when none is named.

    Raises:
        SystemExit: there is none of that name.
    """
    found: dict[str, list[Source]] = {}
    for script in sorted(HERE.glob("*.py")):
        if script.name == Path(__file__).name:
            continue
        for source in sources_of(script):
            found[source.name] = [source]
            if source.framework:
                found.setdefault(script.stem, []).append(source)
    unknown = [name for name in names if name not in found]
    if unknown:
        raise SystemExit(f"no notebook is called {unknown[0]}; there are: {', '.join(found)}")
    chosen = names or [name for name, (first, *_) in found.items() if first.name == name]
    return list(dict.fromkeys(source for name in chosen for source in found[name]))


def sources_of(script: Path) -> list[Source]:
    """The notebooks that a script gives."""
    parametrised = re.search(r'^# %% tags=\["parameters"\]$', script.read_text(encoding="utf-8"), re.MULTILINE)
    return [Source(script, framework) for framework in FRAMEWORKS] if parametrised else [Source(script)]


def read_source(source: Source) -> Any:
    """The notebook that a source stands for, without outputs; cell ids follow from content and place."""
    words = source.words
    notebook = nbformat.v4.new_notebook(cells=list(_cells(source.script, source.framework)))
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.source = Template(cell.source).safe_substitute(words)
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\n{3,}", "\n\n", cell.source)  # where badges are not
        cell["id"] = hashlib.sha256(f"{number}\n{cell.source}".encode()).hexdigest()[:12]
        cell.metadata = {}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _cells(script: Path, framework: str) -> Iterator[Any]:
    """A script's cells with its parts in their places, without those of the other framework."""
    for cell in jupytext.read(script, fmt="py:percent").cells:
        tags = set(cell.metadata.get("tags", ()))
        if cell.metadata.get("part") == INSTALL and not home()["url"]:
            continue
        if "part" in cell.metadata:
            yield from _cells(PARTS / f"{cell.metadata['part']}.py", framework)
        elif framework in tags or not tags & FRAMEWORKS.keys():
            if "parameters" in tags:
                cell.source = re.sub(r"^FRAMEWORK = .*$", f'FRAMEWORK = "{framework}"', cell.source, flags=re.MULTILINE)
            yield cell


def execute(source: Source, *, short: bool) -> tuple[Any, float]:
    """The executed notebook and the seconds it took.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = read_source(source)
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "DOGBREED_NOTEBOOK": "1"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "NO_ALBUMENTATIONS_UPDATE": "1"}
    # Small networks lose a hundredfold where threads spin for cores that other programs use.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(HERE.parent), os.environ.get("PYTHONPATH")) if part
    )
    if short:
        environment["DOGBREED_SHORT"] = "1"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        client = NotebookClient(
            notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute(env=environment)
        places = private_places(folder)
    for cell in notebook.cells:
        _tidy(cell, places)
    return notebook, time.monotonic() - begun


def private_places(working_folder: str) -> dict[str, str]:
    """Folders of this machine and what a reader sees in their stead, longest first."""
    names = {"DOGBREED_DATA": "DATA", "DOGBREED_DATASETS": "DATASETS", "DOGBREED_WEIGHTS": "WEIGHTS"}
    found = {os.environ[key]: shown for key, shown in names.items() if os.environ.get(key)}
    found |= {os.environ.get("DOGBREED_CACHE", str(Path.home() / ".cache" / "dogbreed")): "CACHE"}
    found |= {working_folder: ".", str(HERE.parent): ".", tempfile.gettempdir(): "TMP", str(Path.home()): "~"}
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _tidy(cell: Any, places: dict[str, str]) -> None:
    """Outputs as a reader wants them: no times of execution, pictures small, streams joined and without escapes."""
    cell.metadata = {}
    if cell.cell_type != "code":
        return
    cell.outputs = [output for output in _joined(cell.outputs) if not _is_native_log(output)]
    for output in cell.outputs:
        if output.output_type == "stream":
            output.text = fewer_epochs(_without(places, _last_states(output.text)))
            continue
        data = output.get("data", {})
        for kind in ("text/plain", "text/markdown", "text/html"):
            if kind in data:
                data[kind] = _without(places, data[kind])
        output["metadata"] = {}
        if "image/png" in data:
            data["image/png"] = small_png(data["image/png"])
            data.pop("text/plain", None)  # '<Figure size 1200x400 with 3 Axes>' tells nobody anything


def fewer_epochs(text: str) -> str:
    """A training's lines without most of its epochs where there are many: the first, every tenth and the last stay."""
    lines, kept = text.split("\n"), []
    for line in lines:
        found = _EPOCH.match(line)
        number, total = map(int, found.groups()) if found else (0, 0)
        if total <= MOST_EPOCHS or number in (1, total) or number % 10 == 0:
            kept.append(line)
        elif kept and kept[-1] != "...":
            kept.append("...")
    return "\n".join(kept)


def _is_native_log(output: Any) -> bool:
    """Whether an output is nothing but lines of TensorFlow's C++ side."""
    if output.output_type != "stream" or output.name != "stderr":
        return False
    return all(_NATIVE_LOG.match(line) for line in output.text.splitlines() if line.strip())


def _without(places: dict[str, str], text: str) -> str:
    for place, shown in places.items():
        text = text.replace(place, shown)
    return text


def _joined(outputs: list[Any]) -> list[Any]:
    """Consecutive pieces of one stream as one."""
    kept: list[Any] = []
    for output in outputs:
        if kept and output.output_type == "stream" == kept[-1].output_type and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def _last_states(text: str) -> str:
    """What a terminal would show in the end: of a line that was overwritten, its last state."""
    lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    return "\n".join(_PROGRESS.sub("", line) for line in lines)


def small_png(encoded: str) -> str:
    """A picture with at most 256 colours, or as it was where that is smaller; base64 in and out."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    stream = io.BytesIO()
    picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.FLOYDSTEINBERG).save(
        stream, "PNG", optimize=True
    )
    smaller = base64.b64encode(stream.getvalue()).decode()
    return smaller if len(smaller) < len(encoded) else encoded


def differing_cells(notebook: Any, stored: Path) -> list[str]:
    """What the committed notebook lacks or has otherwise than its source."""
    if not stored.is_file():
        return [f"{stored.name} is missing"]
    other = nbformat.read(stored, as_version=4)
    ours, theirs = ([(cell.cell_type, cell.source) for cell in item.cells] for item in (notebook, other))
    if len(ours) != len(theirs):
        return [f"{stored.name} has {len(theirs)} cells, its source {len(ours)}"]
    return [f"{stored.name}, cell {i}" for i, (a, b) in enumerate(zip(ours, theirs, strict=True), 1) if a != b]


def with_outputs_of(notebook: Any, stored: Path) -> Any:
    """The notebook with the outputs of a committed one whose code is the same: only texts were changed.

    The cell that installs the kit may come, go or change: where the kit is there, it does nothing and prints nothing.

    Raises:
        SystemExit: other code was changed, so it must be executed.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    before = [cell for cell in nbformat.read(stored, as_version=4).cells if cell.cell_type == "code"]
    first = (PARTS / f"{INSTALL}.py").read_text(encoding="utf-8").splitlines()[1]
    kept, executed = ([cell for cell in cells if not cell.source.startswith(first)] for cells in (code, before))
    if [cell.source for cell in kept] != [cell.source for cell in executed]:
        raise SystemExit(f"{stored.name}: its code was changed too, so it must be executed")
    for cell, old in zip(kept, executed, strict=True):
        cell.outputs = old.outputs
    for number, cell in enumerate(code, 1):
        cell.execution_count = number
    return notebook


def write(notebook: Any, path: Path) -> None:
    """Write a notebook whole or not at all.

    Raises:
        SystemExit: it is larger than a repository should hold.
    """
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > MOST_BYTES:
        raise SystemExit(f"{path.name} would be {len(text.encode()) / 1e6:.1f} MB: fewer or smaller pictures, please")
    nbformat.validate(notebook)
    temporary = path.with_suffix(".ipynb.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _built(source: Source, *, short: bool, keep: bool) -> list[str]:
    """Execute one notebook and, with ``keep``, write it; what failed."""
    try:
        notebook, seconds = execute(source, short=short)
    except CellExecutionError as error:
        return [f"{source.name}: {str(error)[-2000:]}"]
    print(f"{source.name}: {seconds:.0f} s", flush=True)
    if keep:
        write(notebook, source.notebook)
    return []


def main() -> int:
    """Parse, build each notebook, say what it took; 1 when one failed or is stale."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", help="which notebooks; all by default")
    parser.add_argument("--short", action="store_true", help="short mode: a laptop without a GPU, CI")
    parser.add_argument("--check", action="store_true", help="execute, write nothing, fail where a notebook is stale")
    parser.add_argument("--stale-only", action="store_true", help="with --check: compare cells, execute nothing")
    parser.add_argument("--texts", action="store_true", help="take over changed texts, keep outputs, execute nothing")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks executed at a time, each on its share of cores")
    chosen = parser.parse_args()
    failures: list[str] = []
    wanted = sources(chosen.names)
    if chosen.check:
        failures += [line for source in wanted for line in differing_cells(read_source(source), source.notebook)]
    if chosen.texts:
        for source in wanted:
            write(with_outputs_of(read_source(source), source.notebook), source.notebook)
    elif not chosen.stale_only:
        if chosen.jobs > 1:
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // chosen.jobs)))
        with ThreadPoolExecutor(max(1, chosen.jobs)) as pool:
            tasks = [pool.submit(_built, source, short=chosen.short, keep=not chosen.check) for source in wanted]
            failures += [line for task in tasks for line in task.result()]
    for failure in failures:
        print(f"error: {failure} (make it with: python notebooks/build.py)", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())

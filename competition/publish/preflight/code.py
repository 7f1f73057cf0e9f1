"""Traps in a kernel's code: what fails on Kaggle after minutes or hours, seen before the push without running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition import recipes
from competition.config import Config, ProbeConfig, TrainConfig
from competition.environment import COMPETITION
from competition.errors import DataError, UsageError
from competition.publish.build import bundle
from competition.publish.build.ipynb import read_notebook
from competition.publish.build.kernels import KernelCode, read_code
from competition.publish.build.secrets import secrets_in
from competition.publish.images.image import Image
from competition.publish.preflight.code_scan import Scan, scan, without_magics
from competition.publish.preflight.finding import Finding
from competition.publish.preflight.imports import check_imports

# Kaggle refuses a source beyond a mebibyte (recalled, not documented); what the client adds as JSON counts too.
CODE_LIMIT = 1_000_000


@dataclass(frozen=True)
class Code:
    """A code file, its metadata, and what is known of it."""

    path: Path
    values: Mapping[str, Any]
    parts: KernelCode
    found: Scan

    @property
    def name(self) -> str:
        """For findings."""
        return self.path.name

    @property
    def internet(self) -> bool:
        """Whether the network is there."""
        return self.values.get("enable_internet") is not False

    def attached(self, *keys: str) -> bool:
        """Whether anything is attached under one of these keys."""
        return any(self.values.get(key) for key in keys)


def check_code(
    path: Path,
    values: Mapping[str, Any],
    image: Image,
    current: bool,
    weights: tuple[str, ...] | None,
    wheels: tuple[str, ...] | None = None,
) -> Iterator[Finding]:
    """Everything that can be seen in the code file.

    Args:
        path: the code file.
        values: the kernel's metadata.
        image: the software there.
        current: compare the packages it carries with those of this kit.
        weights: names of the backbones in the attached dataset; None when its content is not known.
        wheels: distributions in the attached dataset, likewise.
    """
    size = path.stat().st_size
    if size > CODE_LIMIT:
        problem = f"{size:,} bytes, Kaggle refuses more than {CODE_LIMIT:,}"
        yield Finding("code-size", path.name, problem, "carry fewer packages, or build with --mode wheels")
    yield from _notebook_form(path)
    try:
        parts = read_code(path)
    except DataError as error:
        yield Finding("unreadable", path.name, str(error), "build the kernel again")
        return
    yield from _secrets(path, parts)
    plain, shell = without_magics(parts.own) if path.suffix == ".ipynb" else (parts.own, "")
    try:
        code = Code(path, values, parts, scan(plain, shell, image.python))
    except SyntaxError as error:
        yield Finding("syntax", path.name, f"no Python {image.python_text}: {error.msg}", "mend the source")
        return
    for rule in (_packages, _own_files, _paths, _downloads, _configuration, _submission):
        yield from rule(code)
    if code.parts.packages is not None:
        yield from _carried(code, current)
    yield from _weights(code, weights)
    files = parts.packages.files if parts.packages is not None else None
    beside = frozenset(item.stem for item in path.parent.glob("*.py") if item != path)
    yield from check_imports(path.name, plain, parts.own, files, beside, code.internet, wheels, image)


def _notebook_form(path: Path) -> Iterator[Finding]:
    if path.suffix != ".ipynb":
        return
    try:
        whole = read_notebook(path.read_text(encoding="utf-8"), path)
    except (DataError, UnicodeDecodeError):
        return  # told as unreadable
    spec = (whole.get("metadata") or {}).get("kernelspec") or {}
    if not spec.get("name"):
        yield Finding("kernelspec", path.name, "a notebook without a kernelspec fails on the server", "build it again")
    if whole.get("nbformat") != 4:
        yield Finding(
            "nbformat", path.name, f"nbformat {whole.get('nbformat')}, Kaggle takes 4", "save it as version 4"
        )


def _secrets(path: Path, parts: KernelCode) -> Iterator[Finding]:
    """In the text without the embedded packages (base 85 is noise), and in every packed file."""
    files = {path.name: parts.own.encode()}
    if parts.packages is not None:
        files |= {f"{path.name}: {name}": content for name, content in parts.packages.files.items()}
    for name, content in files.items():
        for told in secrets_in(name.rsplit(": ", 1)[-1], content):
            yield Finding("secret", name, f"it holds {told}", "take it out, and make a new one: it may have been seen")


def _packages(code: Code) -> Iterator[Finding]:
    wanted = code.found.modules & set(bundle.PACKAGES)
    carried = code.parts.packages
    if carried is None:
        if wanted and not code.attached("dataset_sources"):
            problem = f"it imports {', '.join(sorted(wanted))}, carries no packages and has no dataset with the wheel"
            yield Finding("no-kit", code.name, problem, "build it with --mode bundle, or attach the dataset")
        return
    lacking = sorted(name for name in wanted if f"{name}/__init__.py" not in carried.files)
    if lacking:
        yield Finding("no-kit", code.name, f"it imports {lacking[0]}, which it does not carry", "add it to 'packages'")


def _own_files(code: Code) -> Iterator[Finding]:
    beside = {path.stem for path in code.path.parent.glob("*.py") if path != code.path}
    for name in sorted(code.found.modules & beside):
        problem = f"it imports {name}.py from its folder, but only {code.name} is uploaded"
        yield Finding("sibling", code.name, problem, "move that code into the source or into the kit")
    if code.found.relative:
        yield Finding("sibling", code.name, "a relative import has no package on Kaggle", "import from the kit")


def _paths(code: Code) -> Iterator[Finding]:
    for line, path in code.found.elsewhere[:3]:
        problem = f"line {line} of its own code names a place of another machine ({path[:60]})"
        yield Finding("local-path", code.name, problem, "use the attached inputs and working()")
    for line, call in code.found.input_writes[:3]:
        problem = f"line {line} of its own code writes to the inputs, which are read-only ({call})"
        yield Finding("input-write", code.name, problem, "write to working()")


def _downloads(code: Code) -> Iterator[Finding]:
    if code.internet:
        return
    for line, what in code.found.downloads[:3]:
        problem = f"line {line} of its own code needs the network, which is off ({what[:60]})"
        yield Finding("offline-download", code.name, problem, "attach it as a dataset, or set internet = true")
    dataset = code.found.settings.get("dataset")
    if isinstance(dataset, str) and dataset != "digits" and not code.attached("dataset_sources"):
        problem = f"the data set '{dataset}' would be downloaded, and the network is off"
        yield Finding("offline-download", code.name, problem, "attach it as a dataset, or set internet = true")


def _config(code: Code) -> Config | None:
    """The configuration that the code's literal settings name; None when they name none."""
    name, overrides = code.found.settings.get("recipe"), code.found.settings.get("overrides")
    if not isinstance(name, str):
        return None
    return recipes.recipe(name, *(overrides if isinstance(overrides, list) else ()))


def _configuration(code: Code) -> Iterator[Finding]:
    try:
        config = _config(code)
    except UsageError as error:
        yield Finding("config", code.name, f"its settings are refused: {error}", "mend the source")
        return
    gpu = bool(code.values.get("enable_gpu"))
    if isinstance(config, TrainConfig) and config.needs_gpu and not gpu:
        yield Finding("needs-gpu", code.name, f"recipe '{config.name}' refuses to start on a CPU", "set gpu = true")
    if isinstance(config, Config) and config.device == "cpu" and gpu:
        problem = "a GPU is asked for, but the configuration says device=cpu"
        yield Finding("gpu-unused", code.name, problem, "set gpu = false", blocking=False)


def _backbones(code: Code) -> tuple[str, ...] | None:
    """Backbones whose weights it needs; empty means any, None means none at all."""
    try:
        config = _config(code)
    except UsageError:
        return None
    if isinstance(config, ProbeConfig):
        return config.backbones
    if isinstance(config, TrainConfig) and (config.pretrained or config.head_from != "fresh"):
        return (config.backbone,)
    return None


def _weights(code: Code, there: tuple[str, ...] | None) -> Iterator[Finding]:
    wanted = _backbones(code)
    if wanted is None or (code.internet and wanted):
        return
    if not code.attached("dataset_sources", "model_sources", "kernel_sources"):
        problem = f"it needs pretrained weights ({', '.join(wanted) or 'any'}), and none are attached"
        yield Finding("weights", code.name, problem, "attach the dataset that 'dogbreed kernel dataset' makes")
    elif there is not None:
        lacking = [name for name in wanted if name not in there] if wanted else ([] if there else ["any backbone"])
        for name in lacking:
            problem = f"the attached dataset has no weights of {name} (it has {', '.join(there) or 'none'})"
            yield Finding("weights", code.name, problem, "make the dataset again with --weights")


def _submission(code: Code) -> Iterator[Finding]:
    if COMPETITION not in (code.values.get("competition_sources") or ()):
        reads = any(COMPETITION in text for text in code.found.texts) or "deliver" in code.found.calls
        if reads:
            problem = "it works on the competition's data, which are not attached"
            yield Finding("no-competition", code.name, problem, f"add {COMPETITION} to competition_sources")
        return
    if code.values.get("kernel_type") == "notebook":
        return  # it may be there to be read; one that submits names submission.csv among its outputs
    named = any("submission.csv" in text for text in code.found.texts)
    if not named and "deliver" not in code.found.calls:
        problem = "the competition is attached, but nothing writes submission.csv"
        yield Finding("no-submission", code.name, problem, "call deliver(...) or write working() / 'submission.csv'")


def _carried(code: Code, current: bool) -> Iterator[Finding]:
    carried = code.parts.packages
    assert carried is not None
    if carried.digest != code.parts.digest:
        yield Finding("damaged", code.name, "its packages do not have the digest it states", "build the kernel again")
    elif current:
        names = sorted({name.split("/")[0] for name in carried.files} & set(bundle.PACKAGES))
        if bundle.pack(names).digest != carried.digest:
            problem = "the packages it carries are not those of this kit"
            yield Finding("stale", code.name, problem, "build the kernel again")

"""Images: their lists, a list from a freeze, an environment made once and never half used, a dry run in it.

The environments here hold one small package, from a folder instead of an index.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from competition.errors import DataError, KitError, StorageError, UsageError
from competition.publish.build.spec import KAGGLE_PYTHON
from competition.publish.dry_run.dry_run import DryRunError, dry_run
from competition.publish.images import environment as making
from competition.publish.images.environment import MARKER, environment_of, find_interpreter
from competition.publish.images.freeze import from_freeze, list_text, used
from competition.publish.images.image import FOLDER, Image, find_image, image_names, read_image

Built = Callable[..., Path]
HERE = (sys.version_info[0], sys.version_info[1])
TINY = Image("kaggle-2000-01", "a test", HERE, {"tiny-package": "1.5"}, ("simplejpeg",), (), 0.05)


# ---- lists


@pytest.mark.parametrize("name", image_names())
def test_the_lists_of_the_kit_are_whole(name: str) -> None:
    image = find_image(name)
    assert {"torch", "torchvision", "timm", "fastai", "keras", "tensorflow", "numpy", "pandas"} <= image.versions.keys()
    assert not [item for item in image.lacks if image.has(item)]
    assert {item for item in used() if not image.has(item)} == set(image.lacks)
    assert list_text(image) == (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def test_what_kaggles_and_colabs_images_are() -> None:
    kaggle, colab = find_image("kaggle"), find_image("colab")
    assert (kaggle.python, kaggle.versions["torch"], kaggle.versions["fastcore"]) == ((3, 12), "2.10.0", "1.12.42")
    assert (colab.python, colab.versions["torch"], colab.versions["fastcore"]) == ((3, 13), "2.11.0", "2.2.12")
    assert kaggle.lacks == ("grad-cam", "simplejpeg")
    assert colab.lacks == ("grad-cam", "optuna", "simplejpeg")
    assert kaggle.python == KAGGLE_PYTHON
    assert kaggle.has("tensorflow-cpu")
    assert kaggle.has("Scikit_Learn")


def test_a_family_means_its_newest_list(tmp_path: Path) -> None:
    for month, torch in (("2026-05", "2.10"), ("2027-01", "2.20"), ("2026-11", "2.15")):
        (tmp_path / f"kaggle-{month}.toml").write_text(f'python = "3.12"\n[versions]\ntorch = "{torch}"\n')
    assert find_image("Kaggle", tmp_path).name == "kaggle-2027-01"
    assert find_image("kaggle-2026-11", tmp_path).versions == {"torch": "2.15"}
    assert find_image(str(tmp_path / "kaggle-2026-05.toml")).versions == {"torch": "2.10"}


@pytest.mark.parametrize("name", image_names())
def test_installing_the_kit_replaces_nothing_of_an_image(name: str) -> None:
    """What setup.cfg asks for admits the image's versions; upper bounds only where a break is known."""
    import configparser

    from packaging.requirements import Requirement

    options = configparser.ConfigParser()
    options.read(Path(__file__).parents[3] / "setup.cfg")
    extras = options["options.extras_require"]
    lines = [
        options["options"]["install_requires"],
        *(extras[extra] for extra in ("keras", "kaggle", "explain", "fast")),
    ]
    asked = [Requirement(line) for text in lines for line in text.splitlines() if line and not line.startswith("#")]
    image = find_image(name)
    refused = [str(item) for item in asked if image.versions.get(item.name, "") not in item.specifier
               and item.name in image.versions]  # fmt: skip
    assert refused == []
    assert len([item for item in asked if item.name in image.versions]) > 20
    assert [item.name for item in asked if "<" in str(item.specifier)] == ["albumentations"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("kagle", "unknown image 'kagle' - did you mean 'kaggle'?"),
        ("kaggle-2026-50", "did you mean 'kaggle-2026-05'"),
        ("colaboratory", "did you mean 'colab'"),
        ("", "unknown image ''. Known: colab, "),
        ("../kaggle-2026-05", "unknown image"),
    ],
)
def test_an_unknown_image_is_told_with_the_nearest(asked: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_image(asked)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist: 'dogbreed kernel image NAME --freeze FILE' makes a list"),
        ("[versions]\ntorch = '2.10'\n", "it has no 'python'"),
        ("python = '3.12'\n", "it has no 'versions'"),
        ("python = '3'\n[versions]\ntorch = '2.10'\n", "is no list of an image"),
        ("python = 'x.y'\n[versions]\ntorch = '2.10'\n", "is no list of an image"),
        ("python = '3.12'\nversions = 3\n", "is no list of an image"),
        ("python = '3.12'\n[versions]\n", "it names no versions"),
        ("torch==2.10\n", "is no list of an image"),
    ],
)
def test_a_file_that_is_no_list(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "kaggle-2026-11.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- a list from a freeze

FREEZE = """\
Python 3.12.13
# a comment
Torch==2.10.0+cu128
timm == 1.0.26
numpy===2.0.2 ; python_version > '3'
opencv-python==4.13.0.92
fastai @ https://somewhere/fastai-2.8.7-py3-none-any.whl#sha256=00
bigframes @ file:///tmp/build
-e git+https://somewhere/thing.git@00#egg=some_thing
--extra-index-url https://somewhere
Markup.Safe_Like==1.0
tensorflow==2.20.0

"""


def test_a_freeze_becomes_a_list(tmp_path: Path) -> None:
    path = tmp_path / "freeze.txt"
    path.write_text(FREEZE)
    image = from_freeze(path, "kaggle-2026-11")
    assert image.python == (3, 12)
    assert dict(image.versions) == {
        "torch": "2.10.0", "timm": "1.0.26", "numpy": "2.0.2", "fastai": "2.8.7", "tensorflow": "2.20.0"
    }  # fmt: skip
    assert image.others == ("bigframes", "markup-safe-like", "opencv-python", "some-thing")
    assert {"grad-cam", "optuna", "simplejpeg", "pandas"} <= set(image.lacks)
    assert not {"torch", "tensorflow-cpu", "opencv-python-headless"} & set(image.lacks)
    written = tmp_path / "kaggle-2026-11.toml"
    written.write_text(list_text(image))
    assert read_image(written) == image


@pytest.mark.parametrize(
    ("text", "python", "said"),
    [
        ("torch\nnumpy\n", "3.12", "names no version in its 2 entries: bring what 'pip freeze' prints"),
        ("", "3.12", "names no version in its 0 entries"),
        ("timm==1.0.26\ntorch\n", "3.12", "line 2: torch has no version; write torch==VERSION"),
        ("torch @ file:///tmp/torch\ntimm==1.0\n", "3.12", "line 1: torch has no version"),
        ("torch==2.10.0\n", "", "does not say which Python it is of: add --python 3.12"),
        ("torch==2.10.0\n", "3.12.x", "--python 3.12.x is impossible"),
        ("torch==2.10.0\n", "2.7", "--python 2.7 is impossible"),
    ],
)
def test_a_freeze_that_says_too_little(tmp_path: Path, text: str, python: str, said: str) -> None:
    path = tmp_path / "freeze.txt"
    path.write_text(text)
    with pytest.raises(KitError) as caught:
        from_freeze(path, "kaggle-2026-11", python)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_freeze_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as text"):
        from_freeze(tmp_path / "nowhere.txt", "kaggle-2026-11")
    (tmp_path / "freeze.txt").write_bytes(b"torch==2.10\xff\n")
    with pytest.raises(DataError, match="cannot be read as text"):
        from_freeze(tmp_path / "freeze.txt", "kaggle-2026-11")


# ---- an environment


def wheel(folder: Path, name: str, version: str) -> None:
    """A package of one module, as pip takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as target:
        for path, text in files.items():
            target.writestr(path, text)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels in place of an index, and a cache of the test's own."""
    wheel(tmp_path / "shop", "tiny_package", "1.5")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shop"))
    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(making, "require_space", lambda *arguments, **rest: None)
    return tmp_path / "shop"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the finished environment of TINY; tests that change it copy it."""
    place = tmp_path_factory.mktemp("ready")
    wheel(place / "shop", "tiny_package", "1.5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(place / "shop"))
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("PIP_TARGET", str(place / "elsewhere"))
        patch.setenv("DOGBREED_CACHE", str(place / "cache"))
        environment_of(TINY)
    assert not (place / "elsewhere").exists()
    return place / "cache"


def test_an_environment_is_made_once(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOGBREED_CACHE", str(ready))
    python = environment_of(TINY)
    assert python == ready / "images" / "kaggle-2000-01" / "bin" / "python"
    assert "making" not in capsys.readouterr().err
    assert making._differs(python, TINY) == ""
    assert json.loads((python.parents[1] / MARKER).read_text())["requirements"] == ["tiny-package==1.5"]


def test_what_is_unfinished_changed_or_of_another_list_is_made_anew(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []
    monkeypatch.setattr(making, "_make", lambda folder, image: made.append(folder.name))
    folder = making.cache_folder() / "images" / TINY.name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    environment_of(TINY)
    assert "was not finished: made anew" in capsys.readouterr().err
    (folder / MARKER).write_text(json.dumps({"requirements": ["tiny-package==1.4"]}))
    environment_of(TINY)
    assert "holds an earlier list of kaggle-2000-01" in capsys.readouterr().err
    (folder / MARKER).write_text(json.dumps({"requirements": ["tiny-package==1.5"]}))
    environment_of(TINY)
    assert "was changed since (tiny-package is lacking): made anew" in capsys.readouterr().err
    (folder / MARKER).write_text("{")
    environment_of(TINY)
    assert len(made) == 4


def test_an_interrupted_installation_is_never_used(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = making._step

    def interrupted(command: list[str], log: Path, what: str) -> None:
        if "pip" in command:
            raise KeyboardInterrupt
        steps(command, log, what)

    monkeypatch.setattr(making, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment_of(TINY)
    folder = making.cache_folder() / "images" / TINY.name
    assert (folder / "bin" / "python").exists()
    assert not (folder / MARKER).exists()
    (folder / "half-a-package.py").touch()
    monkeypatch.setattr(making, "_step", steps)
    python = environment_of(TINY)
    assert not (folder / "half-a-package.py").exists()
    assert making._differs(python, TINY) == ""


def test_what_pip_cannot_install_is_one_line_and_leaves_no_marker(shop: Path) -> None:
    image = dataclasses.replace(TINY, versions={"tiny-package": "9.9"})
    with pytest.raises(KitError) as caught:
        environment_of(image)
    said = str(caught.value)
    assert said.startswith(f"cannot install the versions of kaggle-2000-01 for Python {image.python_text}: ERROR: ")
    assert "tiny-package==9.9" in said
    assert "\n" not in said
    assert (making.cache_folder() / "images" / "kaggle-2000-01.log").stat().st_size
    assert not (making.cache_folder() / "images" / TINY.name / MARKER).exists()


def test_what_the_image_lacks_must_not_come_along(shop: Path) -> None:
    wheel(shop, "simplejpeg", "1.9")
    image = dataclasses.replace(TINY, versions={"tiny-package": "1.5", "simplejpeg": "1.9"})
    with pytest.raises(KitError, match="simplejpeg, which the image lacks, is there"):
        environment_of(image)


def test_no_space_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path / "cache"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3_000_000_000))
    with pytest.raises(StorageError, match="no space to make the environment of kaggle-2026-05: "):
        environment_of(dataclasses.replace(find_image("kaggle"), python=HERE))
    assert not (tmp_path / "cache" / "images" / "kaggle-2026-05").exists()


# ---- interpreters


def interpreter(path: Path, answer: str, fails: bool = False) -> Path:
    """A program that answers as a Python would when it is asked what it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {int(fails)}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any interpreter."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    return tmp_path


GOOD = '[3, 99, "cpython", false, ""]'


def test_no_interpreter_is_one_line_that_says_how_to_get_one(nowhere: Path) -> None:
    interpreter(nowhere / "bin" / "python3.99", "pyenv: python3.99: command not found", fails=True)  # pyenv's stub
    with pytest.raises(KitError) as caught:
        find_interpreter((3, 99), "kaggle-2099-01")
    assert str(caught.value) == (
        "kaggle-2099-01 has Python 3.99, which is not on this machine: get it with 'uv python install 3.99', "
        "'pyenv install 3.99' or 'apt install python3.99 python3.99-venv'"
    )


@pytest.mark.parametrize(
    "place",
    [
        "bin/python3.99",
        "home/.pyenv/versions/3.99.4/bin/python3.99",
        "home/.local/share/uv/python/cpython-3.99.1-linux-x86_64-gnu/bin/python3.99",
    ],
)
def test_interpreters_are_found_where_they_lie(nowhere: Path, place: str) -> None:
    wanted = interpreter(nowhere / place, GOOD)
    assert find_interpreter((3, 99), "kaggle-2099-01") == wanted


def test_the_newest_that_serves_is_taken(nowhere: Path) -> None:
    versions = nowhere / "home" / ".pyenv" / "versions"
    interpreter(versions / "3.99.2" / "bin" / "python3.99", GOOD)
    newest = interpreter(versions / "3.99.10" / "bin" / "python3.99", GOOD)
    interpreter(versions / "3.99.11t" / "bin" / "python3.99", GOOD.replace("false", "true"))  # free-threaded: no wheels
    interpreter(versions / "3.99.12" / "bin" / "python3.99", GOOD.replace("cpython", "pypy"))
    interpreter(versions / "3.99.13" / "bin" / "python3.99", GOOD.replace("99", "98"))
    assert find_interpreter((3, 99), "kaggle-2099-01") == newest


def test_an_interpreter_without_venv_is_told(nowhere: Path) -> None:
    path = interpreter(nowhere / "bin" / "python3.99", GOOD.replace('""', '"ensurepip"'))
    with pytest.raises(KitError) as caught:
        find_interpreter((3, 99), "kaggle-2099-01")
    said = str(caught.value)
    assert said == f"{path} cannot make environments (no module ensurepip): 'apt install python3.99-venv'"


# ---- a dry run in it

SEEING = """
import os, shutil, sys, importlib.util
import tiny_package
print("version", tiny_package.VERSION, sys.version_info[:2])
print("python", shutil.which("python") == sys.executable, "LD_LIBRARY_PATH" in os.environ)
names = ("numpy", "pytest", "hypothesis", "tests", "planted")
print("there", [name for name in names if importlib.util.find_spec(name)])
"""


def test_a_kernel_in_an_image_sees_that_and_nothing_of_the_developers(
    built: Built, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "planted.py").touch()
    monkeypatch.setenv("DOGBREED_CACHE", str(ready))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "mine"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "mine"))
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "user"))
    monkeypatch.chdir(Path(__file__).parents[3])
    here = next(path for path in sys.path if (Path(path) / "numpy").is_dir())
    reading = f"""
try:
    open({str(Path(here) / "numpy" / "__init__.py")!r})
    print("read")
except FileNotFoundError:
    print("hidden")
"""
    done = dry_run(built(SEEING + reading), tmp_path / "out", {}, echo=False, image=TINY)
    lines = done.log.read_text().splitlines()[1:]
    assert lines == [f"version 1.5 {HERE}", "python True False", "there []", "hidden"]
    assert done.versions.startswith("in the versions of kaggle-2000-01: Python ")


def test_without_an_image_it_says_in_whose_versions_it_ran(built: Built, tmp_path: Path) -> None:
    import torch

    done = dry_run(built(), tmp_path / "out", {}, echo=False)
    assert done.versions.startswith("in this environment's versions, no image's: Python ")
    assert f"torch {torch.__version__.split('+')[0]}" in done.versions


def test_an_import_that_only_fails_late_is_one_line_with_the_remedy(
    built: Built, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOGBREED_CACHE", str(ready))
    source = "def late():\n    import pytorch_grad_cam\nprint('hours of training')\nlate()\n"
    with pytest.raises(DryRunError) as caught:
        dry_run(built(source), tmp_path / "out", {}, echo=False, image=TINY)
    said = str(caught.value)
    assert "No module named 'pytorch_grad_cam' - kaggle-2000-01 has no grad-cam: bring it as a wheel" in said
    assert "--also grad-cam" in said
    assert "\n" not in said


# ---- the commands


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from competition.cli import main

    def run(*arguments: Any) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dogbreed", "kernel", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out + said.err

    code, text = run("image")
    assert code == 0
    assert "kaggle-2026-05: Python 3.12, torch 2.10.0" in text
    assert "lacks grad-cam, simplejpeg" in text
    (tmp_path / "freeze.txt").write_text(FREEZE)
    out = tmp_path / "kaggle-2026-11.toml"
    code, text = run("image", "kaggle-2026-11", "--freeze", tmp_path / "freeze.txt", "--out", out)
    assert code == 0
    assert f"use it with: dogbreed kernel dry-run NAME --image {out}" in text
    assert read_image(out).versions["torch"] == "2.10.0"
    code, text = run("image", "My Image", "--freeze", tmp_path / "freeze.txt")
    assert code == 2
    assert "write a family and its month, as in kaggle-2026-05" in text
    code, text = run("dry-run", "probe-cpu", "--image", "kagle")
    assert code == 2
    assert "did you mean 'kaggle'" in text
    code, text = run("check", "probe-cpu", "--image", "collab")
    assert code == 2
    assert "did you mean 'colab'" in text

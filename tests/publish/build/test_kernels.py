"""Kernels are built from a specification: metadata in full, reproducible code files, staleness that is noticed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import pytest

from competition.errors import DataError, UsageError
from competition.publish.build import kernels
from competition.publish.build.bundle import Bundle
from competition.publish.build.secrets import CredentialError
from competition.publish.build.spec import KernelSpec, find_kernel, list_kernels, load_spec, slug_of
from competition.publish.preflight.metadata import KEYS
from tests.publish.build.test_bundle import KAGGLE_JSON
from tests.publish.conftest import Write

ROOT = Path(__file__).resolve().parents[3] / "kernels"


@pytest.mark.parametrize(
    "title",
    ["Probe CPU", "LeNet PyTorch", "  Été à Köln! ", "a--b__c", "Don't stop", "VGG16 (Keras), v2", "x.y/z", "100 %"],
)
def test_slugs_are_those_of_kaggles_client(title: str) -> None:
    slugify = pytest.importorskip("slugify").slugify
    assert slug_of(title) == slugify(title)


def test_every_kernel_of_the_repository_reads_and_carries_the_kit(tmp_path: Path, small_kit: None) -> None:
    specs = list_kernels(ROOT)
    names = {"train-cv", "infer-submit", "probe-cpu"}
    names |= {f"{net}-{framework}" for net in ("lenet", "vgg16", "resnet8") for framework in ("pytorch", "keras")}
    assert names <= {spec.slug for spec in specs}
    for spec in specs:
        made = kernels.build(spec, tmp_path / spec.slug, "bundle", "someone")
        assert kernels.read_code(made.code).packages.digest == made.digest


def test_the_repository_s_kernels_are_up_to_date_and_build_the_same_twice() -> None:
    assert kernels.stale(ROOT) == ()


@pytest.mark.parametrize("spec", [spec for spec in list_kernels(ROOT) if spec.kind == "script"], ids=lambda s: s.slug)
def test_the_repository_keeps_nothing_built_of_a_script(spec: KernelSpec) -> None:
    assert {path.name for path in spec.folder.iterdir()} == {"kernel.toml", "source.py"}


def test_metadata_leave_nothing_to_a_default(write_kernel: Write) -> None:
    spec = write_kernel(gpu=True, competition=True, weights=True, kernels=["other-kernel"])
    values = kernels.metadata(spec, "someone")
    assert set(values) == set(KEYS)
    assert values["id"] == "someone/some-kernel"
    assert values["machine_shape"] == "NvidiaTeslaT4"
    assert values["enable_internet"] is False
    assert values["is_private"] is True
    assert values["competition_sources"] == ["dog-breed-identification"]
    assert values["dataset_sources"] == ["someone/dogbreed-kit-offline"]
    assert values["kernel_sources"] == ["someone/other-kernel"]
    plain = kernels.metadata(write_kernel(slug="plain-kernel"), "someone")
    assert (plain["enable_gpu"], plain["machine_shape"], plain["dataset_sources"]) == (False, "", [])


@pytest.mark.parametrize("owner", ["", "two words", "a/b", "x"])
def test_an_impossible_owner_is_refused(write_kernel: Write, owner: str) -> None:
    with pytest.raises(UsageError, match="no Kaggle user name"):
        kernels.metadata(write_kernel(), owner)


def test_an_impossible_mode_is_refused(write_kernel: Write) -> None:
    with pytest.raises(UsageError, match="bundle or wheels"):
        kernels.metadata(write_kernel(), "someone", "zip")


def test_the_code_file_is_its_own_code_after_the_loader(built: Callable[..., Path]) -> None:
    folder = built("print('mine')\n")
    parts = kernels.read_code(folder / "some-kernel.py")
    assert parts.own == "print('mine')\n"
    assert "competition/__init__.py" in parts.packages.files
    compile((folder / "some-kernel.py").read_text(), "kernel", "exec")


def test_wheels_mode_carries_no_packages(built: Callable[..., Path]) -> None:
    folder = built("print('mine')\n", mode="wheels")
    parts = kernels.read_code(folder / "some-kernel.py")
    assert (parts.own, parts.packages, parts.digest) == ("print('mine')\n", None, "")
    assert (folder / "some-kernel.py").stat().st_size < 5000


def test_a_percent_script_becomes_a_notebook_with_a_kernelspec(built: Callable[..., Path]) -> None:
    source = "# ---\n# jupyter: x\n# ---\nx = 1\n\n# %% [markdown]\n# # Title\n# text\n\n# %%\nprint(x)\n"
    folder = built(source, kind="notebook")
    notebook = json.loads((folder / "some-kernel.ipynb").read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown", "code", "code", "markdown", "code"]
    assert notebook["cells"][2]["source"] == "x = 1"
    assert notebook["cells"][3]["source"] == "# Title\ntext"
    assert kernels.read_code(folder / "some-kernel.ipynb").own == "x = 1\n\nprint(x)"
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(folder / "some-kernel.ipynb", as_version=4))


def test_an_ipynb_elsewhere_becomes_a_kernel_without_its_outputs(
    write_kernel: Write, small_kit: None, tmp_path: Path
) -> None:
    cell = {"cell_type": "code", "source": ["a = 1\n", "a"], "outputs": [{"data": "secret"}], "metadata": {}}
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "study.ipynb").write_text(json.dumps({"cells": [cell], "nbformat": 4}))
    folder = write_kernel().folder
    (folder / "kernel.toml").write_text(
        'title = "Some kernel"\nabout = "x"\nkind = "notebook"\nsource = "../study.ipynb"\n'
    )
    made = kernels.build(load_spec(folder), tmp_path / "built", "bundle", "someone")
    assert kernels.read_code(made.code).own == "a = 1\na"
    assert "secret" not in made.code.read_text()


def test_stale_files_of_a_notebook_are_named(write_kernel: Write, tmp_path: Path) -> None:
    spec = write_kernel(kind="notebook")
    assert len(kernels.stale(tmp_path / "kernels")) == 2
    kernels.refresh(spec)
    assert kernels.stale(tmp_path / "kernels") == ()
    (spec.folder / "source.py").write_text("print('changed')\n")
    (stale,) = kernels.stale(tmp_path / "kernels")
    assert stale.endswith("some-kernel.ipynb is not what its sources give")


def test_a_script_whose_builds_differ_is_named(
    write_kernel: Write, small_kit: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, small, builds = write_kernel(), kernels.pack, iter(range(9))
    kernels.refresh(spec)
    assert {path.name for path in spec.folder.iterdir()} == {"kernel.toml", "source.py"}
    assert kernels.stale(tmp_path / "kernels") == ()
    monkeypatch.setattr(kernels, "pack", lambda names: Bundle({**small(names).files, "now": bytes([next(builds)])}))
    (unlike,) = kernels.stale(tmp_path / "kernels")
    assert unlike.endswith("kernels/some-kernel: two builds gave two kinds of some-kernel.py")


def test_a_folder_with_a_space_works(tmp_path: Path, small_kit: None) -> None:
    folder = tmp_path / "my kernels" / "some-kernel"
    folder.mkdir(parents=True)
    (folder / "kernel.toml").write_text('title = "Some kernel"\nabout = "x"\n')
    (folder / "source.py").write_text("print(1)\n")
    assert kernels.build(load_spec(folder), tmp_path / "built here").code.is_file()
    assert kernels.stale(tmp_path / "my kernels") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "Other"\nabout = "x"', "resolves to 'other', the folder is 'some-kernel'"),
        ('title = "Some kernel"\nabout = "x"\ngpus = true', "unknown key 'gpus' - did you mean 'gpu'"),
        ('title = "Some kernel"\nabout = "x"\ngpu = "yes"', "'gpu' is 'yes', expected bool"),
        ('title = "Some kernel"\nabout = "x"\npackages = ["os", "competition"]', "packages must be"),
        ('title = "Some kernel"\nabout = "x"\nkind = "rmarkdown"', "neither script nor notebook"),
        ('title = "Some kernel"\nabout = "x"\nsource = "other.py"', "source other.py is missing"),
        ('title = "Some kernel"', "'about' is lacking"),
        ("title = ", "is not TOML"),
    ],
)
def test_bad_specifications_are_told_in_one_line(write_kernel: Write, text: str, message: str) -> None:
    folder = write_kernel().folder
    (folder / "kernel.toml").write_text(text)
    with pytest.raises((UsageError, DataError)) as caught:
        load_spec(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_kernels_and_folders_are_told(write_kernel: Write, tmp_path: Path) -> None:
    write_kernel()
    with pytest.raises(UsageError, match="did you mean 'some-kernel'"):
        find_kernel("some-kernal", tmp_path / "kernels")
    with pytest.raises(DataError, match="does not exist"):
        list_kernels(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no kernels"):
        list_kernels(tmp_path / "empty")


def test_a_future_import_in_the_source_is_refused(built: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="leave it out"):
        built("from __future__ import annotations\n")


def test_a_credential_in_the_source_stops_the_build(built: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(CredentialError):
        built(f"login = {KAGGLE_JSON.decode()}\n")
    assert not (tmp_path / "built").exists()


def test_the_command_builds_and_checks(
    write_kernel: Write,
    small_kit: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from competition.cli import main

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dogbreed", "kernel", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return int(caught.value.code or 0), told.out + told.err

    write_kernel(kind="notebook")
    monkeypatch.chdir(tmp_path)
    assert call("build", "--check") == (1, ANY)
    status, told = call("build", "some-kernel", "--owner", "someone")
    assert (status, "someone/some-kernel" in told) == (0, True)
    assert (tmp_path / "build/kernels/some-kernel/some-kernel.ipynb").is_file()
    assert call("build", "--check") == (0, ANY)
    assert call("check", "--folder", "build/kernels/some-kernel") == (0, ANY)
    status, told = call("check", "--folder", "kernels/some-kernel")
    assert (status, "placeholder" in told) == (1, True)
    assert call("check") == (0, ANY)
    assert call("check", "some-kernal")[0] == 2
    assert "needs" not in call("list")[1]
    assert call("dry-run", "some-kernel", "--input", "nowhere")[0] == 2

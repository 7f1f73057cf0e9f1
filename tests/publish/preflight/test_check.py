"""Every known trap of a push is planted once and found by its rule; a clean kernel passes without a finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from competition.publish.build import kernels
from competition.publish.build.spec import list_kernels
from competition.publish.preflight import check
from competition.publish.preflight import code as preflight_code
from competition.publish.preflight.check import check_all, check_kernel
from competition.publish.preflight.finding import Finding
from tests.publish.build.test_bundle import PLANTED
from tests.publish.conftest import Write

Built = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[3] / "kernels"
SUBMITTING = "open('submission.csv')\n"


def rules(found: tuple[Finding, ...]) -> set[str]:
    return {finding.rule for finding in found}


def only(folder: Path, **options: Any) -> Finding:
    """The single finding."""
    (finding,) = check_kernel(folder, **options)
    return finding


def change(folder: Path, **values: Any) -> Path:
    """Change metadata; None takes a key out."""
    path = folder / "kernel-metadata.json"
    stored = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in stored.items() if value is not None}))
    return folder


def test_a_clean_kernel_passes_without_a_finding(built: Built) -> None:
    assert check_kernel(built("import competition\n")) == ()
    assert check_kernel(built("print(1)\n", kind="notebook", slug="some-notebook")) == ()


def test_overrides_beside_a_recipe_count(built: Built) -> None:
    folder = built("from competition import recipe\nrecipe('smoke', 'device=cpu')\n", gpu=True)
    assert [finding.rule for finding in check_kernel(folder)] == ["gpu-unused"]
    assert check_kernel(built("from competition import recipe\nrecipe('smoke', 'device=auto')\n", gpu=True)) == ()


def test_a_notebook_may_read_the_competition_without_submitting(built: Built) -> None:
    assert check_kernel(built("print(1)\n", kind="notebook", competition=True)) == ()


def test_the_repository_s_kernels_pass_without_a_finding(tmp_path: Path, small_kit: None) -> None:
    specs = list_kernels(ROOT)
    for mode in kernels.MODES:
        folders = [kernels.build(spec, tmp_path / mode / spec.slug, mode, "someone").folder for spec in specs]
        assert check_all(specs, folders) == ()


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("implicit-key", {"enable_internet": None}),
        ("implicit-key", {"machine_shape": None}),
        ("unknown-key", {"enable_gpus": True}),
        ("wrong-type", {"enable_internet": "false"}),
        ("id", {"id": "some-kernel"}),
        ("owner", {"id": "your-kaggle-name/some-kernel"}),
        ("owner", {"id": "INSERT_NAME/some-kernel"}),
        ("length", {"id": "someone/abcd", "title": "abcd"}),
        ("length", {"id": "someone/" + "a" * 51, "title": "a" * 51}),
        ("title-slug", {"title": "Some other kernel"}),
        ("title-slug", {"id": "someone/Some-Kernel"}),
        ("language", {"language": "r"}),
        ("kernel-type", {"kernel_type": "notebook"}),
        ("kernel-type", {"kernel_type": "program"}),
        ("code-file", {"code_file": "nothing.py"}),
        ("pinning", {"docker_image_pinning_type": "newest"}),
        ("source-form", {"competition_sources": ["competitions/dog-breed-identification"]}),
        ("source-form", {"dataset_sources": ["just-a-slug"]}),
        ("source-form", {"dataset_sources": ["https://www.kaggle.com/datasets/a/b"]}),
        ("source-form", {"kernel_sources": ["someone/abc"]}),
        ("source-form", {"model_sources": ["timm/efficientnet"]}),
        ("gpu-and-tpu", {"enable_gpu": True, "enable_tpu": True, "machine_shape": "NvidiaTeslaT4"}),
        ("shape", {"machine_shape": "NvidiaT4", "enable_gpu": True}),
        ("p100", {"enable_gpu": True}),
        ("p100", {"enable_gpu": True, "machine_shape": "NvidiaTeslaP100"}),
        ("gpu-off", {"machine_shape": "NvidiaTeslaT4"}),
        ("public", {"is_private": False}),
    ],
)
def test_traps_of_the_metadata(built: Built, rule: str, values: dict[str, Any]) -> None:
    source = SUBMITTING if "competition_sources" in values else "print(1)\n"
    found = check_kernel(change(built(source), **values))
    assert rules(found) == {rule}
    assert all(finding.fix and finding.where.startswith("kernel-metadata.json ") for finding in found)


def test_a_code_file_outside_of_the_folder(built: Built) -> None:
    folder = built()
    (folder.parent / "outside.py").write_text("print(1)\n")
    assert only(change(folder, code_file="../outside.py")).rule == "code-file"


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_metadata_that_are_missing_or_no_json(built: Built, text: str | None) -> None:
    path = built() / "kernel-metadata.json"
    path.unlink() if text is None else path.write_text(text)
    assert only(path.parent).rule == "metadata"


@pytest.mark.parametrize(
    ("rule", "source", "values"),
    [
        ("offline-download", "import requests\nrequests.get('https://example.org')\n", {}),
        ("offline-download", "import timm\ntimm.create_model('resnet18', pretrained=True)\n", {}),
        ("offline-download", "from torchvision import models\nmodels.resnet18(weights='DEFAULT')\n", {}),
        ("offline-download", "import keras\nkeras.applications.VGG16()\n", {}),
        ("offline-download", "import torch\ntorch.hub.load('a/b', 'c')\n", {}),
        ("offline-download", "from torchvision import datasets\ndatasets.MNIST('.', download=True)\n", {}),
        ("offline-download", "import subprocess\nsubprocess.run(['pip', 'install', 'timm'])\n", {}),
        ("offline-download", "import os\nos.system('git clone https://example.org/x')\n", {}),
        ("offline-download", "load_dataset('mnist')\n", {}),
        ("local-path", "open('/home/me/data.csv')\n", {}),
        ("local-path", "open('C:\\\\Users\\\\me\\\\data.csv')\n", {}),
        ("input-write", "open('/kaggle/input/x/new.csv', 'w')\n", {}),
        ("input-write", "frame.to_csv('/kaggle/input/new.csv')\n", {}),
        ("sibling", "import helpers\n", {}),
        ("sibling", "from . import helpers\n", {}),
        ("syntax", "print(1\n", {}),
        ("syntax", "!pip list\n", {}),
        ("config", "settings(recipe='prob', overrides=[])\n", {}),
        ("config", "settings(recipe='smoke', overrides=['epoch=3'])\n", {}),
        ("weights", "settings(recipe='probe', overrides=[])\n", {}),
        ("weights", "recipe('effnetv2_b0_224_cpu')\n", {}),
        ("needs-gpu", "settings(recipe='effnetv2_b0_224', overrides=[])\n", {"weights": True}),
        ("gpu-unused", "settings(recipe='smoke', overrides=['device=cpu'])\n", {"gpu": True}),
        ("no-submission", "print(1)\n", {"competition": True}),
        ("no-competition", "deliver(None)\n", {}),
        ("no-kit", "import baselines\n", {}),
    ],
)
def test_traps_of_the_code(built: Built, rule: str, source: str, values: dict[str, Any]) -> None:
    folder = built(source, **values)
    (folder / "helpers.py").write_text("")
    finding = only(folder)
    assert finding.rule == rule
    assert finding.blocking is (rule != "gpu-unused")
    assert finding.fix


def test_what_needs_the_network_is_fine_where_it_is_on(built: Built) -> None:
    source = "import timm\ntimm.create_model('resnet18', pretrained=True)\nload_dataset('mnist')\n"
    assert check_kernel(built(source, internet=True)) == ()


def test_what_only_looks_like_a_download_is_fine(built: Built) -> None:
    source = "import timm\ntimm.create_model('resnet18')\nmodels.resnet18()\nos.system('pip install --no-index x')\n"
    assert check_kernel(built(source)) == ()


def test_a_magic_of_a_notebook_is_read_as_shell(built: Built) -> None:
    finding = only(built("# %%\nimport os\n!pip install timm\n", kind="notebook"))
    assert (finding.rule, "pip install timm" in finding.problem) == ("offline-download", True)


def test_a_notebook_without_a_kernelspec(built: Built) -> None:
    folder = built(kind="notebook")
    path = folder / "some-kernel.ipynb"
    notebook = json.loads(path.read_text())
    path.write_text(json.dumps({**notebook, "metadata": {}}))
    assert only(folder).rule == "kernelspec"
    path.write_text(json.dumps({**notebook, "nbformat": 3}))
    assert only(folder).rule == "nbformat"
    path.write_text("{}")
    assert only(folder).rule == "unreadable"


def test_a_code_file_over_the_limit(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = built()
    size = (folder / "some-kernel.py").stat().st_size
    monkeypatch.setattr(preflight_code, "CODE_LIMIT", size)
    assert check_kernel(folder) == ()
    monkeypatch.setattr(preflight_code, "CODE_LIMIT", size - 1)
    assert only(folder).rule == "code-size"


def test_the_kit_as_it_is_fits_in_a_code_file(tmp_path: Path) -> None:
    spec = next(spec for spec in list_kernels(ROOT) if "baselines" in spec.packages)
    made = kernels.build(spec, tmp_path, "bundle", "someone")
    assert made.code.stat().st_size < 0.7 * preflight_code.CODE_LIMIT


def test_a_code_file_that_is_no_utf8(built: Built) -> None:
    folder = built()
    (folder / "some-kernel.py").write_bytes(b"print('\xe9')\n")
    assert only(folder).rule == "unreadable"


def test_packages_that_are_stale_or_damaged(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = built()
    path = folder / "some-kernel.py"
    text = path.read_text()
    digest = kernels.read_code(path).digest
    path.write_text(text.replace(digest, "0" * 64))
    assert only(folder).rule == "damaged"
    path.write_text(text)
    monkeypatch.setattr(
        preflight_code.bundle, "pack", lambda names: kernels.Bundle({"competition/__init__.py": b"new"})
    )
    assert only(folder).rule == "stale"
    assert check_kernel(folder, current=False) == ()


def test_a_kernel_of_wheels_mode_needs_the_dataset(built: Built) -> None:
    folder = built("import competition\n", mode="wheels")
    assert check_kernel(folder) == ()
    assert only(change(folder, dataset_sources=[])).rule == "no-kit"


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize("place", ["code", "packages", "beside"])
def test_a_planted_credential_is_found_in_everything_that_would_be_uploaded(
    built: Built, what: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = built()
    path = folder / "some-kernel.py"
    planted = b"# " + PLANTED[what] + b"\n"
    if place == "code":
        path.write_bytes(path.read_bytes() + planted)
    elif place == "beside":
        (folder / "notes.txt").write_bytes(planted)
    else:
        carried = kernels.Bundle({"competition/__init__.py": planted})
        spec = replace(list_kernels(folder.parents[1] / "kernels")[0])
        path.write_text(kernels.code_text(spec, carried))
    found = check_kernel(folder, current=False)
    assert rules(found) == {"secret"}
    assert all(PLANTED[what].decode() not in str(finding) for finding in found)


def test_a_name_that_is_a_credential_is_found(built: Built) -> None:
    folder = built()
    (folder / "kaggle.json").write_text("{}")
    assert only(folder).rule == "secret"


def test_a_cost_beyond_the_session_is_found(built: Built) -> None:
    folder = built()
    assert check_kernel(folder, cost_seconds=10 * 3600) == ()
    assert only(folder, cost_seconds=11 * 3600).rule == "time-limit"
    on_tpu = change(folder, enable_tpu=True, machine_shape="TpuV38")
    assert only(on_tpu, cost_seconds=9 * 3600).rule == "time-limit"
    assert check.SESSION_SECONDS == 12 * 3600


def test_two_kernels_of_one_title_are_found(write_kernel: Write, small_kit: None, tmp_path: Path) -> None:
    specs = [write_kernel(slug=slug) for slug in ("some-kernel", "other-kernel")]
    folders = [kernels.build(spec, tmp_path / spec.slug, "bundle", "someone").folder for spec in specs]
    assert check_all(specs, folders) == ()
    change(folders[1], id="someone/some-kernel", title="some kernel")
    assert [finding.rule for _, finding in check_all(specs, folders)] == ["taken"] * 4


def test_a_syntax_newer_than_kaggles_python_is_found(built: Built) -> None:
    folder = built("match 1:\n    case 1:\n        pass\n")
    assert check_kernel(folder) == ()
    assert only(folder, python=(3, 9)).rule == "syntax"


def test_a_finding_says_where_what_and_how_in_one_line(built: Built) -> None:
    text = str(only(change(built(), is_private=False)))
    assert text.startswith("kernel-metadata.json is_private: the kernel would be published: write true")
    assert "\n" not in text

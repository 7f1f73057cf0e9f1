"""The offline dataset: what it holds, what it refuses, and that a kernel runs from it without carrying the kit."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from competition.errors import KitError, UsageError, WeightsError
from competition.publish.build.kernels import build
from competition.publish.build.secrets import CredentialError
from competition.publish.build.spec import DATASET
from competition.publish.dry_run.dry_run import dry_run
from competition.publish.preflight.check import check_all, check_kernel
from competition.publish.preflight.dataset import backbones_in, check_dataset
from competition.publish.preflight.finding import Finding
from competition.publish.push import offline_dataset
from competition.publish.push.offline_dataset import BuiltDataset, build_dataset, weight_folders
from tests.publish.build.test_bundle import PLANTED
from tests.publish.conftest import Write


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text('{"architecture": "test_resnet"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> BuiltDataset:
    """One real dataset for all tests; making the wheel takes seconds."""
    pytest.importorskip("setuptools")
    pytest.importorskip("wheel")
    return build_dataset(tmp_path_factory.mktemp("made") / "dataset", [weights], "someone")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A clean folder to plant traps in, with a wheel in name only."""
    folder = tmp_path / "dataset"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "dogbreed_kit-0.1.0-py3-none-any.whl").write_bytes(b"wheel")
    (folder / "weights" / "tiny").mkdir(parents=True)
    (folder / "weights" / "tiny" / "config.json").write_text('{"architecture": "test_resnet"}')
    (folder / "weights" / "tiny" / "model.safetensors").write_bytes(b"weights")
    (folder / "dataset-metadata.json").write_text(json.dumps(dict(offline_dataset._metadata("someone"))))
    return folder


def only(folder: Path, **options: object) -> Finding:
    (finding,) = check_dataset(folder, **options)
    return finding


def test_the_dataset_holds_the_wheel_the_weights_and_private_metadata(made: BuiltDataset) -> None:
    assert made.findings == ()
    assert made.ref == f"someone/{DATASET}"
    assert [name.split("-")[0] for name in made.wheels] == ["dogbreed_kit"]
    assert made.weights == ("tiny",)
    metadata = json.loads((made.folder / "dataset-metadata.json").read_text())
    assert metadata["isPrivate"] is True
    assert backbones_in(made.folder) == ("tiny", "test_resnet")
    with zipfile.ZipFile(made.folder / "wheels" / made.wheels[0]) as wheel:
        names = wheel.namelist()
    assert "competition/report/html/templates/base.html" in names
    assert not [name for name in names if name.startswith(("tests", "runs", "build"))]


def test_the_same_checkout_gives_the_same_wheel(made: BuiltDataset, tmp_path: Path) -> None:
    with zipfile.ZipFile(made.folder / "wheels" / made.wheels[0]) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_kernel_runs_from_the_dataset_alone(made: BuiltDataset, write_kernel: Write, tmp_path: Path) -> None:
    spec = write_kernel("import competition\nprint('version', competition.__version__, competition.__file__)\n")
    kernel = build(spec, tmp_path / "built", "wheels", "someone")
    assert check_all([spec], [kernel.folder], dataset=made.folder) == ()
    done = dry_run(kernel.folder, tmp_path / "out", {DATASET: made.folder}, echo=False)
    assert f"version 0.1.0 {tmp_path}" in done.log.read_text()


def test_a_clean_dataset_has_no_finding(dataset: Path) -> None:
    assert check_dataset(dataset) == ()


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("dataset-id", {"id": "no-owner-just-a-slug"}),
        ("owner", {"id": f"your-kaggle-name/{DATASET}"}),
        ("dataset-length", {"id": "someone/abc", "title": "abc"}),
        ("title-slug", {"title": "Another title"}),
        ("dataset-license", {"licenses": []}),
        ("dataset-subtitle", {"subtitle": "too short"}),
        ("public", {"isPrivate": False}),
    ],
)
def test_traps_of_the_dataset_s_metadata(dataset: Path, rule: str, values: dict[str, object]) -> None:
    path = dataset / "dataset-metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    assert {finding.rule for finding in check_dataset(dataset)} - {"dataset-length", "title-slug"} <= {rule}
    assert rule in {finding.rule for finding in check_dataset(dataset)}


def test_a_dataset_without_metadata(dataset: Path) -> None:
    (dataset / "dataset-metadata.json").unlink()
    assert only(dataset).rule == "dataset-metadata"


def test_a_dataset_over_the_limit(dataset: Path) -> None:
    size = sum(path.stat().st_size for path in dataset.rglob("*") if path.is_file())
    assert check_dataset(dataset, limit_bytes=size) == ()
    assert only(dataset, limit_bytes=size - 1).rule == "dataset-size"


def test_an_empty_file(dataset: Path) -> None:
    (dataset / "weights" / "tiny" / "model.safetensors").write_bytes(b"")
    assert only(dataset).rule == "empty-file"


@pytest.mark.parametrize(
    ("name", "python", "fits"),
    [
        ("x-1.0-py3-none-any.whl", (3, 12), True),
        ("x-1.0-py2.py3-none-any.whl", (3, 12), True),
        ("x-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", (3, 12), True),
        ("x-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", (3, 12), True),
        ("x-1.0-cp39-abi3-manylinux2014_x86_64.whl", (3, 12), True),
        ("x-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", (3, 12), False),
        ("x-1.0-cp313-abi3-manylinux2014_x86_64.whl", (3, 12), False),
        ("x-1.0-cp312-cp312-macosx_11_0_arm64.whl", (3, 12), False),
        ("x-1.0-cp312-cp312-win_amd64.whl", (3, 12), False),
        ("x-1.0-cp312-cp312-manylinux_2_28_aarch64.whl", (3, 12), False),
        ("x-1.0-py2-none-any.whl", (3, 12), False),
    ],
)
def test_wheels_for_another_python_or_machine(dataset: Path, name: str, python: tuple[int, int], fits: bool) -> None:
    (dataset / "wheels" / name).write_bytes(b"wheel")
    assert [finding.rule for finding in check_dataset(dataset, python=python)] == ([] if fits else ["wheel-python"])


def test_missing_and_misnamed_wheels(dataset: Path) -> None:
    assert only(dataset, needed=("some.package",)).rule == "wheel-missing"
    (dataset / "wheels" / "some_package-2.0-py3-none-any.whl").write_bytes(b"wheel")
    assert check_dataset(dataset, needed=("some.package",)) == ()
    (dataset / "wheels" / "broken.whl").write_bytes(b"wheel")
    assert only(dataset).rule == "wheel-name"
    (dataset / "wheels" / "broken.whl").unlink()
    next((dataset / "wheels").glob("dogbreed*")).unlink()
    assert only(dataset).rule == "wheel-missing"


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_credential_in_a_dataset_is_found(dataset: Path, what: str) -> None:
    (dataset / "notes.md").write_bytes(PLANTED[what])
    assert only(dataset).rule == "secret"


def test_a_credential_by_name_in_a_dataset_is_found(dataset: Path) -> None:
    (dataset / "wheels" / "kaggle.json").write_text("{}")
    assert only(dataset).rule == "secret"


def test_a_kernel_whose_backbone_the_dataset_lacks(dataset: Path, write_kernel: Write, small_kit: None) -> None:
    spec = write_kernel("recipe('effnetv2_b0_224_cpu')\n", weights=True)
    folder = build(spec, dataset.parent / "built", "bundle", "someone").folder
    assert check_kernel(folder) == ()
    (finding,) = check_kernel(folder, dataset=dataset)
    assert (finding.rule, "tf_efficientnetv2_b0" in finding.problem) == ("weights", True)
    (dataset / "weights" / "tiny").rename(dataset / "weights" / "tf_efficientnetv2_b0")
    assert check_kernel(folder, dataset=dataset) == ()


def test_a_trap_of_the_dataset_is_told_once(dataset: Path, write_kernel: Write, small_kit: None) -> None:
    specs = [write_kernel(slug=slug, weights=True) for slug in ("some-kernel", "other-kernel")]
    folders = [build(spec, dataset.parent / spec.slug, "bundle", "someone").folder for spec in specs]
    (dataset / "empty.txt").touch()
    assert [(path, finding.rule) for path, finding in check_all(specs, folders, dataset=dataset)] == [
        (dataset, "empty-file")
    ]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="something else"):
        build_dataset(tmp_path, [weights])
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_folders_without_weights_are_refused(tmp_path: Path, weights: Path) -> None:
    assert weight_folders([weights, weights.parent]) == [weights, weights]
    with pytest.raises(WeightsError, match="timm's local-directory form"):
        weight_folders([tmp_path])
    with pytest.raises(WeightsError, match="timm's local-directory form"):
        build_dataset(tmp_path / "out", [tmp_path])


def test_a_credential_beside_the_weights_is_not_copied(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "leaky"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_bytes(PLANTED["a Kaggle key"])
    monkeypatch.setattr(offline_dataset, "_kit_wheel", lambda root, out: None)
    with pytest.raises(CredentialError):
        build_dataset(tmp_path / "out", [folder])
    assert not (tmp_path / "out").exists()


def test_what_pip_cannot_do_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_dataset, "_kit_wheel", lambda root, out: None)
    with pytest.raises(UsageError, match="no requirement that pip knows"):
        build_dataset(tmp_path / "out", also=["not a name"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(KitError, match="pip cannot fetch surely-absent") as caught:
        build_dataset(tmp_path / "out", also=["surely-absent"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()

"""Imports that an image lacks: the kernel's own, and late ones in the kit, told with the remedy; no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from competition.publish.images.image import Image, find_image
from competition.publish.preflight.check import check_kernel
from competition.publish.preflight.reached import reached

Built = Callable[..., Path]
KIT = {
    "competition/__init__.py": """
_HOME = {"run": "competition.pipeline"}
def __getattr__(name): ...
""",
    "competition/pipeline.py": """
from typing import TYPE_CHECKING
from competition.tools import helper as aid
if TYPE_CHECKING:
    import only_for_types
def run():
    return aid()
def another():
    import never_called
def optional(x: annotation_only.Thing = None):
    try:
        import guarded
    except ImportError:
        pass
def handled():
    import contextlib
    with contextlib.suppress(ImportError):
        import suppressed
""",
    "competition/tools.py": """
from competition import deep
def helper():
    return deep.Worker()
""",
    "competition/deep.py": """
import numpy
class Worker:
    def late(self):
        from lightgbm.basic import Booster
def unused():
    import unused_too
""",
    "competition/nets/one.py": "def make():\n    import by_pattern\n",
    "competition/registry.py": """
import importlib
def load(name):
    return importlib.import_module(f"competition.nets.{name}")
def fixed():
    return importlib.import_module("by_name")
""",
}


def modules(own: str) -> set[str]:
    return {item.module for item in reached(own, {name: text.encode() for name, text in KIT.items()})}


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ("import os, torch\nfrom PIL import Image\n", {"torch", "PIL"}),
        ("from competition import run\nrun()\n", {"numpy", "lightgbm"}),
        ("import competition\ncompetition.run()\n", {"numpy", "lightgbm"}),
        ("import competition.pipeline as p\np.run()\n", {"numpy", "lightgbm"}),
        ("from competition.pipeline import another\n", {"numpy"}),
        ("from competition.pipeline import another\nanother()\n", {"numpy", "never_called"}),
        ("from competition.pipeline import optional, handled\noptional()\nhandled()\n", {"numpy"}),
        ("from competition.deep import unused\n", {"numpy"}),
        ("def f():\n    from competition.deep import unused\n    return unused()\n", {"numpy", "unused_too"}),
        ("from competition.registry import load\nload('one')\n", {"by_pattern"}),
        ("from competition import registry\nregistry.fixed()\n", {"by_name"}),
        ("try:\n    import mine\nexcept ImportError:\n    mine = None\n", set()),
        ("try:\n    import mine\nexcept ValueError:\n    pass\n", {"mine"}),
        ("try:\n    pass\nfinally:\n    import mine\n", {"mine"}),
        ("async def f():\n    import mine\n", {"mine"}),
        ("x = lambda: __import__('mine.deep')\n", {"mine"}),
    ],
)
def test_what_a_kernel_reaches(own: str, found: set[str]) -> None:
    assert modules(own) == found


def test_a_late_import_is_told_with_its_place() -> None:
    files = {name: text.encode() for name, text in KIT.items()}
    (item,) = [item for item in reached("from competition import run\nrun()\n", files) if item.module == "lightgbm"]
    assert (item.within, item.line) == ("competition.deep", 5)


def imports(folder: Path, image: str | Image = "kaggle", **options: Path) -> list[str]:
    there = find_image(image) if isinstance(image, str) else image
    found = [
        finding for finding in check_kernel(folder, image=there, current=False, **options) if finding.rule == "import"
    ]
    return [f"{finding.problem}; {finding.fix}; {finding.blocking}" for finding in found]


def test_an_import_that_the_image_lacks_is_told_with_the_remedy(built: Built) -> None:
    source = "import torch, cv2, sklearn, json\ndef late():\n    import pytorch_grad_cam.metrics\nlate()\n"
    (told,) = imports(built(source))
    assert told == (
        "line 3 of its own code imports pytorch_grad_cam, and kaggle-2026-05 has no grad-cam; "
        "make the dataset with --also grad-cam and build with --mode wheels, or set internet = true and pip install "
        "grad-cam first; True"
    )
    (told,) = imports(built(source, internet=True))
    assert "or pip install grad-cam first" in told
    assert imports(built("import optuna, tensorflow, imagehash\n")) == []
    (told,) = imports(built("import optuna, tensorflow\n"), "colab")
    assert "colab-2026-08 has no optuna" in told


def test_what_the_kernel_brings_itself_is_not_told(built: Built, tmp_path: Path) -> None:
    installing = "import subprocess\nsubprocess.run(['pip', 'install', 'grad_cam'])\nimport pytorch_grad_cam\n"
    assert imports(built(installing, internet=True)) == []
    notebook = "# %%\n!pip install -q grad-cam==1.5.7\n\n# %%\nimport pytorch_grad_cam\n"
    assert imports(built(notebook, kind="notebook", slug="some-notebook", internet=True)) == []
    other = "# %%\n!pip install -q grad-camera\n\n# %%\nimport pytorch_grad_cam\n"
    assert len(imports(built(other, kind="notebook", slug="some-notebook", internet=True))) == 1
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "grad_cam-1.5.7-py3-none-any.whl").touch()
    folder = built("import pytorch_grad_cam\n", mode="wheels")
    assert imports(folder, dataset=tmp_path / "data") == []
    assert len(imports(built("import pytorch_grad_cam\n"), dataset=tmp_path / "data")) == 1  # bundle: no wheel is used


def test_a_module_that_the_list_does_not_know_is_a_note(built: Built) -> None:
    (told,) = imports(built("import nobody_knows_this\n"))
    assert told.startswith(
        "line 1 of its own code imports nobody_knows_this, which the list of kaggle-2026-05 does not"
    )
    assert told.endswith("False")


@pytest.mark.parametrize("lacking", ["optuna"])
def test_a_late_import_of_the_kit_is_told_where_a_call_leads_to_it(built: Built, lacking: str) -> None:
    """With the kit's own files: the wheels mode carries none, so they are those that would be in the wheel."""
    source = "from competition.training.sweep.one_fold import sweep_recipe\n\nsweep_recipe(*range(4), trials=1)\n"
    found = imports(built("print(1)\n", mode="wheels"), "colab")
    assert found == []
    from competition.publish.build import bundle

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "pack", _whole)
        (told,) = imports(built(source, mode="wheels"), "colab")
        assert "what it calls imports optuna late (competition/training/" in told
        assert "--also optuna" in told
        assert imports(built(source, mode="wheels"), "kaggle") == []
        quiet = "from baselines.studies.run import run_study\nrun_study(None)\n"  # does without Optuna
        assert imports(built(quiet, mode="wheels"), "colab") == []


def _whole(packages: object, root: Path | None = None) -> object:
    from competition.publish.build.bundle import Bundle

    place = Path(__file__).parents[3]
    paths = [path for name in ("competition", "baselines") for path in (place / name).rglob("*.py")]
    return Bundle({path.relative_to(place).as_posix(): path.read_bytes() for path in paths})


def test_the_syntax_is_that_of_the_images_python(built: Built) -> None:
    old = replace(find_image("kaggle"), python=(3, 9))
    assert [finding.rule for finding in check_kernel(built("match 1:\n    case 1: pass\n"), image=old)] == ["syntax"]

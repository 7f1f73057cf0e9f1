"""An exported notebook needs nothing but itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from competition.errors import DataError, UsageError
from competition.publish.build import export
from competition.publish.build.ipynb import joined

ROOT = Path(__file__).resolve().parents[3]


def code_of(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [joined(cell) for cell in cells if cell["cell_type"] == "code"]


def alone(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code where the checkout is out of reach: without ``site``, an editable installation is not found."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DOGBREED", "PYTHON"))}
    # The tests' environment may read an image's through a .pth file, which is not followed without site.
    installed = os.pathsep.join(path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"})
    environment |= {"PYTHONPATH": installed, "DOGBREED_SHORT": "1", "MPLBACKEND": "Agg"}
    environment |= {"HOME": str(folder), "DOGBREED_CACHE": str(folder / "cache"), "NO_ALBUMENTATIONS_UPDATE": "1"}
    command = [sys.executable, "-S", "-"]  # from standard input: a command line holds no half megabyte
    return subprocess.run(command, input=code, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_an_exported_notebook_runs_in_an_empty_folder(tmp_path: Path) -> None:
    assert alone("import competition", tmp_path).returncode == 1  # it is really out of reach
    path = export.export_notebook("from_perceptron_to_mlp", tmp_path / "mine.ipynb")
    (tmp_path / "empty").mkdir()
    where = "\nimport competition; print('kit at', competition.__file__)"
    done = alone("\n\n".join(code_of(path)) + where, tmp_path / "empty")
    assert done.returncode == 0, done.stderr[-3000:]
    assert str(ROOT) not in done.stdout + done.stderr
    assert "dogbreed-kit-" in done.stdout.rsplit("kit at", 1)[1]


def test_every_notebook_can_be_exported(tmp_path: Path) -> None:
    for name in export.notebooks():
        path = export.export_notebook(name, tmp_path)
        assert path == tmp_path / f"{name}.ipynb"
        whole = json.loads(path.read_text(encoding="utf-8"))
        assert not any(cell["outputs"] for cell in whole["cells"] if cell["cell_type"] == "code")
        assert "KIT_PACKAGES" in code_of(path)[0]
        assert not [code for code in code_of(path)[1:] if "git+" in code]
    assert len(list(tmp_path.iterdir())) == 11


def test_what_is_no_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"called 'lenet_pytorh' - did you mean 'lenet_pytorch'\? There are: "):
        export.export_notebook("lenet_pytorh")
    with pytest.raises(UsageError, match=r"ends in \.ipynb, or a folder"):
        export.export_notebook("lenet_pytorch", tmp_path / "x.txt")
    with pytest.raises(UsageError, match="choose another place"):
        export.export_notebook("lenet_pytorch", ROOT / "notebooks")
    monkeypatch.setattr("competition.__file__", str(tmp_path / "site-packages" / "competition" / "__init__.py"))
    with pytest.raises(DataError, match="not part of an installed kit, start in its checkout"):
        export.export_notebook("lenet_pytorch")

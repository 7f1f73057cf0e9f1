"""Dry runs: only the attached inputs, read-only; no network, no checkout, no environment; the result is looked at.

The kernels of the repository on small data, and the probe on the real photos, are slow (``pytest -m slow``).
``DOGBREED_PROBE_RUN`` names a finished ``dogbreed run`` to compare with (default ``runs/probe``).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competition.errors import DataError, KitError, ResumeError, SubmissionError, UsageError
from competition.publish.build.spec import find_kernel, list_kernels
from competition.publish.dry_run import dry_run as module
from competition.publish.dry_run import guard as kernel_guard
from competition.publish.dry_run.dry_run import DryRunError, dry_run
from competition.publish.dry_run.rehearsal import rehearse, tiny_dataset

Built = Callable[..., Path]
CHECKOUT = Path(__file__).resolve().parents[3]
KERNELS = CHECKOUT / "kernels"


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "photo.txt").write_text("a photo")
    return {"photos": folder}


def run(folder: Path, out: Path, inputs: dict[str, Path] | None = None, **options: object) -> str:
    """What a kernel printed in its dry run."""
    done = dry_run(folder, out, inputs or {}, echo=False, **options)
    return done.log.read_text()


def test_a_kernel_sees_kaggles_layout_and_its_own_packages(
    built: Built, tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "planted-key")
    monkeypatch.setenv("DOGBREED_WEIGHTS", "somewhere")
    source = """
import os, sys, pathlib
import competition
root = pathlib.Path(os.environ["DOGBREED_KAGGLE_ROOT"])
print("packages", competition.VALUE, pathlib.Path(competition.__file__).is_relative_to(root))
print("inputs", sorted(path.name for path in (root / "input").iterdir()), (root / "input/photos/photo.txt").read_text())
print("here", pathlib.Path.cwd() == root / "working")
print("secrets", [name for name in os.environ if "KEY" in name or name == "DOGBREED_WEIGHTS"])
(root / "working" / "result.txt").write_text("done")
"""
    done = dry_run(built(source), tmp_path / "out", inputs, outputs=["result.txt"], echo=False)
    lines = done.log.read_text().splitlines()
    assert lines[1:] == ["packages 7 True", "inputs ['photos'] a photo", "here True", "secrets []"]
    assert (done.working / "result.txt").read_text() == "done"


@pytest.mark.parametrize("namespace", [True, False])
@pytest.mark.parametrize(
    "asking",
    [
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=5)",
        "import socket; socket.getaddrinfo('example.org', 80)",
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', "
        "\"import socket; socket.getaddrinfo('example.org', 80)\"], check=True)",
    ],
)
def test_there_is_no_network_with_a_namespace_or_without(
    built: Built, tmp_path: Path, asking: str, namespace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not namespace:
        monkeypatch.setattr(module, "network_namespace", lambda: ((), "the guard"))
    source = f"try:\n    {asking}\nexcept Exception as error:\n    print('refused', type(error).__name__)\n"
    assert "refused" in run(built(source), tmp_path / "out")


def test_compiled_code_has_no_network_either(built: Built, tmp_path: Path) -> None:
    if not module.network_namespace()[0]:
        pytest.skip("this system allows no network namespace")
    source = "import os\nprint('devices', os.popen('cat /proc/net/dev').read().count(':'))\n"
    assert "devices 1" in run(built(source), tmp_path / "out")  # the loopback, which is down


def test_the_checkout_is_not_there(built: Built, tmp_path: Path) -> None:
    source = f"""
import os, subprocess, sys
for what in (lambda: open({str(CHECKOUT / "setup.cfg")!r}), lambda: os.listdir({str(CHECKOUT)!r})):
    try:
        what()
    except FileNotFoundError:
        print("hidden")
child = "import tests.publish.conftest"
print("child", subprocess.run([sys.executable, "-c", child], stderr=subprocess.DEVNULL).returncode)
"""
    assert run(built(source), tmp_path / "out").splitlines()[1:] == ["hidden", "hidden", "child 1"]


@pytest.mark.parametrize(
    ("hidden", "left", "path", "gone"),
    [
        ("/code/kit", "/code/kit/.venv", "/code/kit/setup.cfg", True),
        ("/code/kit", "/code/kit/.venv", "/code/kit/.venv/lib/numpy.py", False),
        ("/env/site/competition", "/env", "/env/site/competition/files.py", True),
        ("/env/site/competition", "/env", "/env/site/competitions.py", False),
        ("/code/kit", "/elsewhere", "/code/kitten", False),
    ],
)
def test_the_innermost_folder_decides_what_is_hidden(
    hidden: str, left: str, path: str, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_guard, "_HIDDEN", (hidden,))
    monkeypatch.setattr(kernel_guard, "_OPEN", (left,))
    assert kernel_guard._hidden(path) is gone


def test_a_kernel_that_carries_no_kit_does_not_find_the_installed_one(built: Built, tmp_path: Path) -> None:
    folder = built("import competition\n", mode="wheels")
    with pytest.raises(DryRunError, match="carries no packages"):
        run(folder, tmp_path / "out", {"dogbreed-kit-offline": tmp_path})


def test_writing_to_the_inputs_is_refused_and_noticed(built: Built, tmp_path: Path, inputs: dict[str, Path]) -> None:
    writing = "import os\nopen(os.environ['DOGBREED_KAGGLE_ROOT'] + '/input/photos/new.txt', 'w')\n"
    with pytest.raises(DryRunError, match="read-only"):
        run(built(writing), tmp_path / "out", inputs)
    around = f"import os\nos.system('echo more >> {inputs['photos'] / 'photo.txt'}')\n"
    with pytest.raises(DryRunError, match="changed 1 input files"):
        run(built(around), tmp_path / "out", inputs)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('no photos')\n", r"exit 1\): ValueError: no photos"),
        ("import os\nos.kill(os.getpid(), 9)\n", "signal 9"),
        ("import time\ntime.sleep(60)\n", "stopped after 2.0 s"),
        ("print(1)\n", "left no result.txt"),
        ("open('result.txt', 'w')\n", "or an empty one"),
    ],
)
def test_a_kernel_that_fails_is_told_in_one_line(built: Built, tmp_path: Path, source: str, message: str) -> None:
    seconds = 2.0 if "sleep" in source else 300.0
    with pytest.raises(DryRunError, match=message) as caught:
        run(built(source), tmp_path / "out", outputs=["result.txt"], timeout_seconds=seconds)
    assert "\n" not in str(caught.value)


def test_a_submission_is_checked_against_the_sample(built: Built, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "sample_submission.csv").write_text("id,beagle,pug\na,0.5,0.5\n")
    writing = "open('submission.csv', 'w').write('id,beagle,pug\\na,0.5,{}\\n')\n"
    given = {"dog-breed-identification": data}
    assert run(built(writing.format("0.5"), competition=True), tmp_path / "out", given)
    assert run(built(writing.format("0.9"), competition=True), tmp_path / "out", given)  # Kaggle rescales rows
    with pytest.raises(SubmissionError, match="NaN"):
        run(built(writing.format("nan"), competition=True), tmp_path / "out", given)
    with pytest.raises(DryRunError, match=r"left no submission\.csv"):
        run(built("print(1)\n", competition=True), tmp_path / "out", given)


def test_what_is_attached_must_be_given_and_exist(built: Built, tmp_path: Path) -> None:
    folder = built(weights=True, kernels=["train-cv"])
    with pytest.raises(UsageError, match="--input dogbreed-kit-offline=FOLDER"):
        run(folder, tmp_path / "out", {"train-cv": tmp_path})
    with pytest.raises(DataError, match="does not exist"):
        run(folder, tmp_path / "out", {"train-cv": tmp_path, "dogbreed-kit-offline": tmp_path / "nowhere"})


def test_what_is_attached_lies_where_kaggle_mounts_it(built: Built, tmp_path: Path, inputs: dict[str, Path]) -> None:
    source = """
import os, pathlib
root = pathlib.Path(os.environ["DOGBREED_KAGGLE_ROOT"]) / "input"
print("found", sorted(path.parent.relative_to(root).as_posix() for path in root.glob("*/*/*/photo.txt")))
"""
    given = {"someone/train-cv": inputs["photos"], "dogbreed-kit-offline": inputs["photos"]}
    log = run(built(source, weights=True, kernels=["train-cv"]), tmp_path / "out", given)
    assert "found ['datasets/someone/dogbreed-kit-offline', 'notebooks/someone/train-cv']" in log


def test_a_folder_of_something_else_is_not_cleared(built: Built, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="something else"):
        run(built(), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years"


def test_settings_reach_the_kernel_and_unknown_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from competition.publish import in_kernel

    monkeypatch.setenv(in_kernel.SETTINGS, json.dumps({"epochs": 1}))
    assert in_kernel.settings(epochs=20, seed=3) == {"epochs": 1, "seed": 3}
    with pytest.raises(UsageError, match="no setting 'epochs' - did you mean 'epoch'"):
        in_kernel.settings(epoch=20)
    monkeypatch.setenv(in_kernel.SETTINGS, "{")
    with pytest.raises(UsageError, match="is not JSON"):
        in_kernel.settings(epochs=20)


def test_notebooks_run_cell_by_cell_but_without_magics(built: Built, tmp_path: Path) -> None:
    folder = built("# %%\n%matplotlib inline\nx = 3\n\n# %%\ndisplay('x is', x)\n", kind="notebook")
    assert "x is 3" in run(folder, tmp_path / "out")
    with pytest.raises(UsageError, match="needs Jupyter"):
        run(built("# %%\n%timeit 1\n", kind="notebook"), tmp_path / "out")


def test_texts_that_look_like_magics_are_none(built: Built, tmp_path: Path) -> None:
    """Lines of the embedded packages begin with any sign of base 85."""
    folder = built('# %%\ntext = """\n%config x\n!ls\n"""\nprint(text.split())\n', kind="notebook")
    assert "['%config', 'x', '!ls']" in run(folder, tmp_path / "out")


def test_a_notebook_is_asked_for_its_short_mode(built: Built, tmp_path: Path) -> None:
    folder = built("# %%\nimport os\nprint('short', os.environ.get('DOGBREED_SHORT'))\n", kind="notebook")
    assert "short 1" in run(folder, tmp_path / "one", settings={"short": True})
    assert "short None" in run(folder, tmp_path / "two")


@pytest.mark.skipif(sys.platform != "linux", reason="the system ends the kernel's process")
def test_a_killed_dry_run_takes_its_kernel_along(built: Built, tmp_path: Path) -> None:
    folder = built("import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(60)\n")
    code = "import sys; from pathlib import Path; from competition.publish.dry_run.dry_run import dry_run; "
    code += "dry_run(Path(sys.argv[1]), Path(sys.argv[2]), {}, echo=False)"
    starter = subprocess.Popen([sys.executable, "-c", code, str(folder), str(tmp_path / "out")])
    log = tmp_path / "out" / "log.txt"
    pid = _waited(lambda: log.is_file() and next(iter(re.findall(r"pid (\d+)", log.read_text())), ""))
    with pytest.raises(ResumeError, match="out is in use by another process: wait for it or choose another --out"):
        run(folder, tmp_path / "out")  # which would empty the folder that the first works in
    starter.kill()
    starter.wait()
    assert _waited(lambda: not _alive(int(pid)))


def _waited(for_what: Callable[[], object], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := for_what()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def _alive(pid: int) -> bool:
    """Whether it runs; one that ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_one_finished_run_must_be_attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from competition.publish.in_kernel import attached_run

    monkeypatch.setenv("DOGBREED_KAGGLE_ROOT", str(tmp_path))
    for name in ("one", "two"):
        folder = tmp_path / "input" / "train-cv" / name
        folder.mkdir(parents=True)
        for file in ("metrics.json", "config.json"):
            (folder / file).touch()
    with pytest.raises(DataError, match="found: none"):
        attached_run()
    (tmp_path / "input" / "train-cv" / "one" / "oof.npz").touch()
    assert attached_run() == tmp_path / "input" / "train-cv" / "one"
    (tmp_path / "input" / "train-cv" / "two" / "oof.npz").touch()
    with pytest.raises(DataError, match=r"found: .*one, .*two"):
        attached_run()


@pytest.fixture
def few_photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Kaggle's layout with 24 small pictures of two breeds to train on, and four to predict."""
    from PIL import Image

    folder = tmp_path / "few"
    lines = {"labels.csv": ["id,breed"], "sample_submission.csv": ["id,beagle,pug"]}
    for index in range(28):
        part, name = ("train", f"photo{index:02d}") if index < 24 else ("test", f"photo{index:02d}")
        (folder / part).mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(picture).resize((64, 64)).save(folder / part / f"{name}.jpg")
        if part == "train":
            lines["labels.csv"].append(f"{name},{('beagle', 'pug')[index % 2]}")
        else:
            lines["sample_submission.csv"].append(f"{name},0.5,0.5")
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n")
    return folder


def test_the_probe_kernel_gives_the_submission_of_dogbreed_run(tmp_path: Path, few_photos: Path) -> None:
    """On noise and with a tiny network; the slow test below does it with the real ones."""
    from competition import recipe, run

    weights = tiny_dataset(tmp_path / "weights")
    overrides = ["views=identity", "n_folds=2", "device=cpu", "strengths=0.1,0.01"]
    given = {"dog-breed-identification": few_photos, "dogbreed-kit-offline": weights}
    spec = find_kernel("probe-cpu", KERNELS)
    done = rehearse(spec, tmp_path / "dry", given, settings={"overrides": overrides}, echo=False)
    result = run(few_photos, recipe("probe", *overrides), tmp_path / "run", weights=weights)
    assert result.submission is not None
    assert (done.working / "submission.csv").read_bytes() == result.submission.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", [spec.slug for spec in list_kernels(KERNELS)])
def test_every_kernel_of_the_repository_runs_on_small_data(name: str, tmp_path: Path) -> None:
    spec = find_kernel(name, KERNELS)
    if "keras" in name:
        pytest.importorskip("keras")
    done = rehearse(spec, tmp_path, small=True)
    assert all((done.working / output).stat().st_size for output in spec.outputs)
    assert spec.kind == "notebook" or (done.working / "outputs.json").is_file()


@pytest.mark.timeout(3600)
@pytest.mark.slow
@pytest.mark.shared
def test_the_probe_kernel_on_the_real_photos_gives_the_submission_of_dogbreed_run(shared: Path, tmp_path: Path) -> None:
    """About ten minutes on two cores: the kernel computes the features anew."""
    from competition.prediction.submission.write import read_submission

    finished = Path(os.environ.get("DOGBREED_PROBE_RUN", CHECKOUT / "runs" / "probe"))
    if not (finished / "submission.csv").is_file():
        pytest.skip("no finished run: dogbreed run --recipe probe --run-dir runs/probe")
    given = {
        "dog-breed-identification": shared / "data" / "dog-breed-identification.zip",
        "dogbreed-kit-offline": shared / "weights",
    }
    done = rehearse(find_kernel("probe-cpu", KERNELS), tmp_path, given)
    sample = next((done.working.parent / "input").glob("*/sample_submission.csv"))
    mine, theirs = (read_submission(folder / "submission.csv", sample) for folder in (done.working, finished))
    np.testing.assert_allclose(mine.probabilities, theirs.probabilities, atol=1e-6)


def test_errors_of_this_room_are_the_kits() -> None:
    assert issubclass(DryRunError, KitError)

"""Every command of the kit on the pages that does not say what it needs is run, in order, on a small drawn competition.

The words in capitals (DATA, WEIGHTS, RUN, PHOTO) are paths that exist where the commands run.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from competition.data.sample.competition import draw_sample
from competition.data.source.layout import load_data
from tests.docs.pages import OWN, ROOT, Block, Command, blocks, commands
from tests.docs.test_pages import tree
from tests.training.conftest import save_local_dir

SMALL = {"breeds": 3, "train_per_breed": 12, "test_per_breed": 3}
# Breeds that the drawn competition has, for those that the pages speak of.
STAND_INS = {
    "BREED": "drawn_bearded_terrier",
    "OTHER_BREED": "drawn_brindle_bulldog",
    "malamute": "drawn_bearded_terrier",
    "pug": "drawn_brindle_bulldog",
}


def _to_run() -> list[Command]:
    """Each command once, in the order of the site: what a page makes, later pages use."""
    site = re.findall(r"[\w./-]+\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    order = {f"docs/{page}": number for number, page in enumerate(site)} | {"README.md": -1}
    every = [command for command in commands() if command.words[0] in OWN and not command.needs]
    every.sort(key=lambda command: order.get(command.where.partition(":")[0], len(order)))
    first: dict[tuple[str, ...], Command] = {}
    for command in every:
        first.setdefault(command.words, command)
    return list(first.values())


RUN = _to_run()


def _zip(folder: Path, archive: Path, *parts: str) -> None:
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (not parts or path.relative_to(folder).parts[0] in parts):
                target.write(path, path.relative_to(folder))


def _class_folders(data: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as target:
        for photo in load_data(data).train:
            target.write(photo.path, f"train/{photo.breed}/{photo.path.name}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the paths of the pages exist."""
    folder = tmp_path_factory.mktemp("pages")
    draw_sample(folder / "DATA", **SMALL)
    save_local_dir(folder / "WEIGHTS" / "tiny")
    (folder / "data").mkdir()
    _zip(folder / "DATA", folder / "dog-breed-identification.zip")
    os.link(folder / "dog-breed-identification.zip", folder / "data" / "dog-breed-identification.zip")
    _zip(folder / "DATA", folder / "OTHER.zip", "test", "sample_submission.csv")
    _class_folders(folder / "DATA", folder / "dogs-vs-cats.zip")
    photo = load_data(folder / "DATA").test[0].path
    for name in ("PHOTO", "dog.jpg"):
        shutil.copy(photo, folder / name)
    for name in ("kernels", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "RUN").symlink_to(folder / "runs" / "smoke")
    return folder


def _stand_in(text: str) -> str:
    return re.sub(rf"\b({'|'.join(STAND_INS)})\b", lambda found: STAND_INS[found[0]], text)


def start(words: Sequence[str]) -> None:
    """Run a command of the kit in this process; a failure is an exception or an exit code."""
    code = tree(words[0]).main([_stand_in(word) for word in words[1:]], prog_name=words[0], standalone_mode=False)
    assert not code


@pytest.mark.parametrize("command", RUN, ids=str)
def test_it_runs(command: Command, house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    for module in ("competition.pipeline", "competition.data.sample.competition"):  # the embedded sample, smaller
        monkeypatch.setattr(f"{module}.draw_sample", partial(draw_sample, **SMALL))
    start(command.words)
    for flag, value in zip(command.words, command.words[1:], strict=False):
        if flag in ("--out", "--run-dir"):
            assert Path(value).exists(), f"{command} left no {value}"


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "python"], ids=lambda b: b.page)
def test_the_snippets_run(block: Block, house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    exec(compile(_stand_in(block.text), block.page, "exec"), {"__name__": "__main__"})


def test_a_command_that_fails_would_be_seen(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    with pytest.raises(Exception, match="nowhere"):
        start(("dogbreed", "report", "nowhere"))


def test_the_demo_is_among_them() -> None:
    assert ("dogbreed", "demo") in [command.words for command in RUN]
    assert len(RUN) > 40

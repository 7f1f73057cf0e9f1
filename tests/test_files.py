"""Files appear whole or not at all; digests are of values, not of luck."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from competition.errors import DataError, StorageError, UsageError, nearest
from competition.files import (
    atomic_path,
    csv_cell,
    differences,
    digest_of,
    distinct_names,
    read_arrays,
    read_json,
    read_npz,
    text_of_cell,
    write_arrays,
    write_json,
    write_npz,
)
from competition.recipes import recipe


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"a": 1})

    def interrupted() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read_json(target) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no space left while writing"), atomic_path(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_objects_are_never_pickled(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="pickle"):
        write_npz(tmp_path / "a.npz", bad=np.array([{}], dtype=object))
    np.savez(tmp_path / "evil.npz", bad=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        read_npz(tmp_path / "evil.npz")


def test_half_a_json_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(DataError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_cells_that_a_spreadsheet_would_run_are_neutralised(start: str) -> None:
    assert csv_cell(f"{start}1+1") == f"'{start}1+1"
    assert csv_cell("pug") == "pug"
    assert text_of_cell(csv_cell(f"{start}1+1")) == f"{start}1+1"
    assert text_of_cell("'tis") == "'tis"


def test_digests_ignore_the_order_of_keys_and_see_values() -> None:
    assert digest_of({"a": 1, "b": (2, 3)}) == digest_of({"b": [2, 3], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_differences_are_named() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == ["b: 2 -> 3", "c: None -> 4"]


def test_the_nearest_name_is_offered_and_nonsense_is_not() -> None:
    assert nearest("prob", ["probe", "smoke"]) == " - did you mean 'probe'?"
    assert nearest("xyzzy", ["probe", "smoke"]) == "."
    assert nearest("xyzzy", ["probe", "smoke"], "") == ""
    with pytest.raises(UsageError, match=r"unknown recipe 'xyzzy'\. Known: birds, "):
        recipe("xyzzy")


def test_the_same_arrays_and_texts_give_the_same_bytes(tmp_path: Path) -> None:
    """The safetensors library orders a header's texts anew every time."""
    arrays = {"b": np.arange(3, dtype=np.float32), "a": np.ones((2, 2))}
    texts = {"framework": "keras", "model": 'l\u00e9net "5"', "order": '["b", "a"]', "z": "/\x01"}
    for number in range(12):
        write_arrays(tmp_path / f"{number}.safetensors", arrays, texts)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    stored, header = read_arrays(tmp_path / "0.safetensors")
    assert header == texts
    np.testing.assert_array_equal(stored["b"], arrays["b"])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["r/probe", "r/ft"], ["probe", "ft"]),
        (["a/x/probe", "b/x/probe", "c/ft"], ["a/x/probe", "b/x/probe", "ft"]),
        (["fold0/best", "fold1/best"], ["fold0/best", "fold1/best"]),
        (["a/1", "a/2", "b/best"], ["a/1", "a/2", "best"]),
        (["a/b", "a/../a/b"], ["b", "b"]),
        (["/", "/a"], ["", "a"]),
    ],
)
def test_the_shortest_end_of_a_path_that_tells_it_apart_is_its_name(paths: list[str], names: list[str]) -> None:
    assert distinct_names([Path(path) for path in paths], meaningless=r"\d+") == names

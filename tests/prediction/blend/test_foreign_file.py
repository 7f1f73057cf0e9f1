"""Files of predictions that another program saved: each kind read, each way to be broken told in one line."""

from __future__ import annotations

import gzip
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from competition.errors import KitError, SubmissionError, UsageError
from competition.prediction.blend.foreign_file import Table, read_table

IDS, BREEDS = ("p1", "p2", "p3"), ("basset", "chow")
VALUES = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
MOST = 1 << 20


def lines(extra: str = "") -> str:
    rows = [f"{name},{a},{b}" for name, (a, b) in zip(IDS, VALUES.tolist(), strict=True)]
    return "\n".join(["id,basset,chow", *rows]) + "\n" + extra


def same(table: Table) -> None:
    assert table.ids == IDS
    assert table.columns == BREEDS
    np.testing.assert_array_equal(table.values, VALUES)


def refused(path: Path, kind: type[KitError] = SubmissionError) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(kind) as caught:
        read_table(path, MOST)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_csv_plain_and_packed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeff" + lines(), encoding="utf-8")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(lines().encode()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.csv", lines())
    for name in ("a.csv", "a.csv.gz", "a.zip"):
        same(read_table(tmp_path / name, MOST))


def test_npz_as_the_kit_writes_it_and_with_folds(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, ids=np.array(IDS), classes=np.array(BREEDS), preds=VALUES, folds=np.array([0, 1, 1]))
    table = read_table(path, MOST)
    same(table)
    assert table.folds == ("0", "1", "1")
    assert not table.half


def test_npy_takes_its_ids_from_the_files_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "oof.npy", VALUES.astype(np.float16))
    assert "np.save('oof_ids.npy', np.array(ids))" in refused(tmp_path / "oof.npy")
    np.save(tmp_path / "oof_ids.npy", np.array(IDS).astype("S"))
    assert read_table(tmp_path / "oof.npy", MOST).columns == ()
    (tmp_path / "oof_classes.txt").write_text("\n".join(BREEDS))
    table = read_table(tmp_path / "oof.npy", MOST)
    same(table)
    assert table.half


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is optional")
    import pyarrow
    import pyarrow.parquet

    columns = {
        "chow": VALUES[:, 1],
        "__index_level_0__": [0, 1, 2],
        "id": IDS,
        "basset": VALUES[:, 0],
        "fold": [0, 1, 1],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet", MOST)
    assert table.columns == ("chow", "basset")
    np.testing.assert_array_equal(table.values, VALUES[:, ::-1])
    assert table.folds == ("0", "1", "1")
    pyarrow.parquet.write_table(pyarrow.table({**columns, "breed": ["a", "b", "c"]}), tmp_path / "b.parquet")
    assert "'breed' hold no numbers" in refused(tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 cut off")
    assert "cannot be read as Parquet" in refused(tmp_path / "c.parquet")


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert "pip install pyarrow, or save it as CSV" in refused(tmp_path / "a.parquet", UsageError)


def test_the_fold_column_and_an_index_are_no_breeds(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",id,basset,kfold,chow\n0,p1,0.25,a,0.75\n1,p2,0.5,b,0.5\n2,p3,1,b,0\n")
    table = read_table(path, MOST, "kfold")
    same(table)
    assert table.folds == ("a", "b", "b")


def test_an_empty_cell_is_nan(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,basset,chow\np1,,nan\n")
    assert np.isnan(read_table(tmp_path / "a.csv", MOST).values).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("id;basset;chow\np1;0,5;0,5\n", "separated by semicolons: save it with commas"),
        ("Id,basset,chow\np1,0.5,0.5\n", "there is no column 'id' - rename 'Id'"),
        ("id,basset,chow,chow\np1,0.5,0.5,0.5\n", "column 'chow' appears more than once"),
        ("id,basset,chow\np1,0.5\n", "line 2: 2 cells where the header has 3"),
        ("id,basset,chow\np1,50%,50%\n", "line 2: a row with a percentage: '50%' (write 0.5 for 50 %)"),
        ("id,basset,chow\np1,beagle,0.5\n", "line 2: a row with a cell that is no number: 'beagle'"),
        ('id,basset,chow\np1,"0,5","0,5"\n', "a decimal comma: write 0.5"),
    ],
)
def test_what_is_wrong_with_a_csv_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert told in refused(tmp_path / "a.csv")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ids=np.array(IDS, dtype=object), preds=VALUES)
    np.save(tmp_path / "b.npy", VALUES)
    np.save(tmp_path / "b_ids.npy", np.array(IDS, dtype=object))
    for name in ("a.npz", "b.npy"):
        with pytest.raises(SubmissionError, match=r"pickled objects, which are not read: save ids and breeds as np\."):
            read_table(tmp_path / name, MOST)
    (tmp_path / "c.pkl").write_bytes(b"\x80\x04.")
    assert "predictions are read from .csv, .gz, .zip, .npz, .npy, .parquet" in refused(tmp_path / "c.pkl", UsageError)


def test_what_is_wrong_with_arrays_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", ids=np.array(IDS))
    np.savez(tmp_path / "two.npz", ids=np.array(IDS), oof=VALUES, test=VALUES)
    np.savez(tmp_path / "bare.npz", oof=VALUES)
    np.savez(tmp_path / "short.npz", ids=np.array(IDS[:2]), oof=VALUES)
    np.savez(tmp_path / "folds.npz", ids=np.array(IDS), oof=VALUES, folds=np.array([0, 1]))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:100])
    assert "no table of numbers" in refused(tmp_path / "none.npz")
    assert "2 tables of numbers (oof, test): save the one that counts" in refused(tmp_path / "two.npz")
    assert "has no ids (it holds oof): save them as ids=..." in refused(tmp_path / "bare.npz")
    assert "has shape (3, 2) (float64), while there are 2 ids" in refused(tmp_path / "short.npz")
    assert "2 folds for 3 ids" in refused(tmp_path / "folds.npz")
    assert "cannot be read as .npz" in refused(tmp_path / "cut.npz")


def test_a_file_that_is_not_there_or_far_too_large(tmp_path: Path) -> None:
    assert "is missing" in refused(tmp_path / "a.csv")
    assert "is a folder" in refused(tmp_path)
    np.savez_compressed(tmp_path / "bomb.npz", ids=np.array(IDS), oof=np.zeros((3, 1 << 20)))
    np.save(tmp_path / "large.npy", np.zeros((3, 1 << 16)))
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(lines("\n" * (2 << 20)).encode()))
    assert "while these photos take less than 1 MB" in refused(tmp_path / "bomb.npz")
    assert "while these photos take less than 1 MB" in refused(tmp_path / "large.npy")
    assert "more than 1 MB" in refused(tmp_path / "bomb.csv.gz")

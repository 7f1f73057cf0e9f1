"""Data sets: formats, where they are found, what is split off, and what bad files are answered."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines import load_dataset
from baselines.data import sources as sources
from baselines.data.readers import read_idx
from competition.errors import DataError, PhotoError, UsageError


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape) + array.tobytes()


@pytest.fixture
def mnist_like(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for start, count in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 6, 6), dtype=np.uint8)
        (folder / f"{start}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{start}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    return folder


def draw(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for part, count in (("train", 10), ("test", 3)):
        for number in range(count):
            draw(root / part / "cat" / f"{number}.png", (200, number, 0))
            draw(root / part / "dog" / f"{number}.png", (0, number, 200))
    return root


# -- the embedded set -------------------------------------------------------------------------------------------------


def test_digits_need_no_file_and_the_split_is_seeded() -> None:
    data, again, other = (load_dataset(seed=seed) for seed in (1, 1, 2))
    assert data.train.images.shape[1:] == (8, 8, 1)
    assert len(data.train) + len(data.valid) + len(data.test) == 1797
    assert data.digest == again.digest != other.digest
    assert data.classes == tuple("0123456789")
    assert data.train.images.max() == 255
    for part in (data.valid, data.test):  # stratified: every class, about equally often
        counts = np.bincount(part.labels)
        assert counts.min() >= 0.8 * counts.max()


def test_no_image_is_in_two_parts() -> None:
    data = load_dataset("digits")
    rows = np.concatenate([part.images.reshape(len(part), -1) for part in (data.train, data.valid, data.test)])
    assert len(np.unique(rows, axis=0)) == 1797  # the set has no duplicates, so a shared image would show


def test_normalised_training_images_have_mean_0_and_deviation_1() -> None:
    data = load_dataset("digits")
    values = data.normalised(data.train.images)
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=1e-4)
    assert values.std() == pytest.approx(1, abs=1e-4)
    assert data.mean[0] == pytest.approx(float((data.train.images / 255).mean()), abs=1e-6)


def test_statistics_are_computed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from baselines.data import datasets

    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path))
    first = load_dataset("digits").mean
    monkeypatch.setattr(datasets, "_statistics", lambda images: pytest.fail("computed again"))
    assert load_dataset("digits").mean == first


def test_resizing_keeps_labels_and_raises_the_size() -> None:
    data, large = load_dataset("digits"), load_dataset("digits", image_size=32)
    assert large.image_size == 32
    np.testing.assert_array_equal(large.train.labels, data.train.labels)
    small = large.train.images[:5].reshape(5, 8, 4, 8, 4, 1).mean(axis=(2, 4))
    assert np.abs(small - data.train.images[:5]).mean() < 20


# -- idx --------------------------------------------------------------------------------------------------------------


def test_idx_folder(mnist_like: Path) -> None:
    data = load_dataset("mnist", mnist_like.parent, valid_fraction=0.25)
    assert (len(data.train), len(data.valid), len(data.test)) == (30, 10, 20)
    assert data.num_classes == 10
    np.testing.assert_array_equal(np.bincount(data.valid.labels), np.ones(10))
    named = load_dataset("mnist", mnist_like, valid_fraction=0.25)  # the set itself instead of its parent
    assert named.digest == data.digest


def test_idx_pixels_and_labels_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "train-images"
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path.write_bytes(idx(values))
    np.testing.assert_array_equal(read_idx(path), values)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda raw: raw[:-5], r"promises 40 bytes, 35 are there"),
        (lambda raw: raw + b"x", r"promises 40 bytes, 41 are there"),
        (lambda raw: b"\x89PNG" + raw, "no idx file"),
        (lambda raw: b"", "starts with nothing"),
        (lambda raw: raw[:6], "truncated"),
    ],
)
def test_damaged_idx_is_one_clear_line(mnist_like: Path, damage, says: str) -> None:
    path = mnist_like / "train-labels-idx1-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=says) as caught:
        load_dataset("mnist", mnist_like)
    assert "train-labels-idx1-ubyte" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_gzip_is_one_clear_line(mnist_like: Path) -> None:
    path = mnist_like / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="truncated or damaged"):
        load_dataset("mnist", mnist_like)


def test_fewer_labels_than_images_is_refused(mnist_like: Path) -> None:
    (mnist_like / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(39, dtype=np.uint8)))
    with pytest.raises(DataError, match="40 images but 39 labels"):
        load_dataset("mnist", mnist_like)


def test_a_label_beyond_the_classes_is_refused(mnist_like: Path) -> None:
    (mnist_like / "train-labels-idx1-ubyte").write_bytes(idx(np.full(40, 10, dtype=np.uint8)))
    with pytest.raises(DataError, match="label 10 is no class"):
        load_dataset("mnist", mnist_like)


def test_a_missing_idx_file_is_named(mnist_like: Path) -> None:
    (mnist_like / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="lacks the idx file of test-labels"):
        load_dataset("mnist", mnist_like)


# -- CIFAR's binary records -------------------------------------------------------------------------------------------


def cifar_records(rng: np.random.Generator, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and the records that hold them; labels (n, label bytes)."""
    images = rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    return images, np.concatenate([labels, images.transpose(0, 3, 1, 2).reshape(len(labels), -1)], axis=1)


def test_cifar10_binary(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    labels = (np.arange(20, dtype=np.uint8) % 10)[:, None]
    images, records = cifar_records(rng, labels)
    for number in (1, 2):
        records.tofile(folder / f"data_batch_{number}.bin")
    records.tofile(folder / "test_batch.bin")
    data = load_dataset("cifar10", tmp_path)
    assert len(data.train) + len(data.valid) == 40
    np.testing.assert_array_equal(data.test.images, images)
    np.testing.assert_array_equal(data.test.labels, labels[:, 0])
    assert data.classes[:2] == ("airplane", "automobile")


def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    fine = np.repeat(np.arange(100, dtype=np.uint8), 2)
    labels = np.stack([fine // 5, fine], axis=1)
    _, records = cifar_records(rng, labels)
    records.tofile(folder / "train.bin")
    records.tofile(folder / "test.bin")
    (folder / "coarse_label_names.txt").write_text("\n".join(f"super{number}" for number in range(20)) + "\n")
    data, coarse = load_dataset("cifar100", tmp_path), load_dataset("cifar100-coarse", tmp_path)
    assert (data.num_classes, coarse.num_classes) == (100, 20)
    np.testing.assert_array_equal(data.test.labels, fine)
    np.testing.assert_array_equal(coarse.test.labels, fine // 5)
    assert coarse.classes[3] == "super3"


def test_truncated_cifar_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "data_batch_1.bin").write_bytes(bytes(3073 * 2 - 1))
    (tmp_path / "cifar10" / "test_batch.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match=r"data_batch_1.bin is truncated.*6,145 bytes are no multiple of 3,073"):
        load_dataset("cifar10", tmp_path)


# -- npz --------------------------------------------------------------------------------------------------------------


def test_npz_of_keras_names(tmp_path: Path, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (12, 5, 5), dtype=np.uint8)
    labels = np.arange(12) % 3
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels[:, None])
    data = load_dataset(str(path))
    assert data.num_classes == 3
    np.testing.assert_array_equal(data.test.images[..., 0], images)
    np.testing.assert_array_equal(data.test.labels, labels)


def test_npz_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, x_train=np.array([{}], dtype=object), y_train=np.zeros(1))
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(str(path))


def test_npz_of_floats_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "floats.npz"
    np.savez(path, x_train=np.zeros((4, 5, 5)), y_train=np.array([0, 0, 1, 1]))
    with pytest.raises(DataError, match="float64, expected uint8"):
        load_dataset(str(path))


# -- class folders ----------------------------------------------------------------------------------------------------


def test_images_are_known_by_their_bytes_and_the_rest_is_told(tmp_path: Path, rng: np.random.Generator, capfd) -> None:
    for part, names in (("train", ("a.jpg", "b.JPG", "c.jfif", "d", "e.png.1")), ("test", ("a.jpe",))):
        for breed in ("eel", "Eel ", "cod"):
            folder = tmp_path / "set" / "inner" / part / breed
            folder.mkdir(parents=True)
            for name in names:
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name, "PNG" if "png" in name else "JPEG")
    (tmp_path / "set" / "README.md").write_text("beside the folder")
    (tmp_path / "set" / "inner" / "train" / "cod" / "notes.txt").write_text("x")
    (tmp_path / "set" / "inner" / "train" / "cod" / "._a.jpg").write_text("x")
    data = load_dataset(str(tmp_path / "set"), valid_fraction=0.2)
    assert (len(data.train) + len(data.valid), len(data.test)) == (15, 3)
    said = capfd.readouterr().err
    assert "left out, 2 files: 1 hidden (train/cod/._a.jpg); 1 not a photo (train/cod/notes.txt)" in said
    assert "the breeds 'Eel ' and 'eel' differ only in spelling (6 and 6 photos): rename the folders" in said
    (tmp_path / "set" / "inner" / "test" / "cod").rename(tmp_path / "set" / "inner" / "test" / "COD")
    with pytest.raises(DataError, match="spells 'COD' and 'cod' for one class"):
        load_dataset(str(tmp_path / "set"))


def test_class_folders(class_folders: Path) -> None:
    data = load_dataset(str(class_folders))
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.valid), len(data.test)) == (18, 2, 6)
    assert (data.test.images[data.test.labels == 0][:, 0, 0, 0] == 200).all()
    assert (data.test.images[data.test.labels == 1][:, 0, 0, 2] == 200).all()


def test_a_zip_of_class_folders_in_a_wrapping_folder(class_folders: Path, tmp_path: Path) -> None:
    archive = tmp_path / "wrapped.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in class_folders.rglob("*.png"):
            zipped.write(path, f"outer/{path.relative_to(class_folders)}")
    assert load_dataset(str(archive)).digest == load_dataset(str(class_folders)).digest
    assert load_dataset("wrapped", tmp_path).digest == load_dataset(str(class_folders)).digest


def test_class_folders_without_parts_are_split(class_folders: Path) -> None:
    data = load_dataset(str(class_folders / "train"))
    assert (len(data.train), len(data.valid), len(data.test)) == (14, 2, 4)


def test_decoded_images_are_kept_and_a_change_is_seen(class_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from baselines.data import folders as dataset_folders

    first = load_dataset(str(class_folders))
    real = dataset_folders.read_photo
    monkeypatch.setattr(dataset_folders, "read_photo", lambda *given: pytest.fail("decoded again"))
    assert load_dataset(str(class_folders)).digest == first.digest
    monkeypatch.setattr(dataset_folders, "read_photo", real)
    draw(class_folders / "train" / "cat" / "new.png", (1, 2, 3))
    assert len(load_dataset(str(class_folders)).train) == len(first.train) + 1


def test_grey_sets_come_with_one_channel(tmp_path: Path) -> None:
    for number in range(4):
        for name, value in (("a", 10), ("b", 240)):
            draw(tmp_path / "grey" / name / f"{number}.png", (value, value, value))
    assert load_dataset(str(tmp_path / "grey")).in_channels == 1


def test_an_empty_class_is_named(class_folders: Path) -> None:
    (class_folders / "train" / "eel").mkdir()
    (class_folders / "test" / "eel").mkdir()
    with pytest.raises(DataError, match=r"class folder .*eel holds no image"):
        load_dataset(str(class_folders))


def test_a_class_that_one_part_lacks_is_named(class_folders: Path) -> None:
    draw(class_folders / "train" / "eel" / "1.png", (0, 0, 0))
    with pytest.raises(DataError, match="test lacks 'eel'"):
        load_dataset(str(class_folders))


def test_images_of_several_sizes_need_a_size(class_folders: Path) -> None:
    draw(class_folders / "train" / "cat" / "wide.png", (0, 0, 0), size=(20, 10))
    with pytest.raises(DataError, match=r"wide.png is 20x10 px .* 8x8 px.*image_size"):
        load_dataset(str(class_folders))
    assert load_dataset(str(class_folders), image_size=6).train.images.shape[1:] == (6, 6, 3)


def test_a_broken_image_is_named(class_folders: Path) -> None:
    path = class_folders / "train" / "cat" / "3.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(PhotoError, match=r"3\.png"):
        load_dataset(str(class_folders))


def test_one_class_is_none(tmp_path: Path) -> None:
    draw(tmp_path / "one" / "a" / "1.png", (0, 0, 0))
    with pytest.raises(DataError, match="at least two"):
        load_dataset(str(tmp_path / "one" / "a"))


def test_a_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    draw(tmp_path / "few" / "a" / "1.png", (0, 0, 0))
    draw(tmp_path / "few" / "b" / "1.png", (0, 0, 9))
    with pytest.raises(DataError, match="too few"):
        load_dataset(str(tmp_path / "few"))


# -- names, places, downloads -----------------------------------------------------------------------------------------


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'cifar100'"):
        load_dataset("cifar-100", download=False)


def test_a_set_that_is_nowhere_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mnist is not here: put it into a folder"):
        load_dataset("mnist", tmp_path, download=False)
    with pytest.raises(DataError, match=r"devanagari is not here \(to be had from archive.ics.uci.edu"):
        load_dataset("devanagari", tmp_path)


@pytest.mark.parametrize("values", [{"valid_fraction": 0}, {"valid_fraction": 0.9}, {"image_size": 0}])
def test_impossible_values_are_refused(values: dict) -> None:
    with pytest.raises(UsageError, match="impossible"):
        load_dataset("digits", **values)


def test_the_environment_names_a_place(mnist_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOGBREED_DATASETS", str(mnist_like.parent))
    assert load_dataset("mnist", download=False).source == str(mnist_like)


@pytest.fixture
def mirror(mnist_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Torchvision downloads MNIST from this machine, after a first mirror that is gone; yields its checksums."""
    from torchvision import datasets

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *given) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(mnist_like))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}/"
    resources = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in sorted(mnist_like.iterdir())]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{here}gone/", here])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path / "cache"))
    yield resources
    server.shutdown()
    server.server_close()


def test_a_download_is_checked_and_kept(mirror, mnist_like: Path, tmp_path: Path, monkeypatch) -> None:
    data = load_dataset("mnist", tmp_path / "empty")
    assert data.digest == load_dataset("mnist", mnist_like).digest
    monkeypatch.chdir(tmp_path / "cache")
    assert load_dataset("mnist", download=False).digest == data.digest


def test_a_download_with_another_checksum_is_refused_and_not_used_later(mirror, tmp_path: Path, monkeypatch) -> None:
    right = mirror[-1]
    mirror[-1] = (right[0], "0" * 32)
    with pytest.raises(DataError, match="mnist cannot be downloaded"):
        load_dataset("mnist", tmp_path / "empty")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="mnist is not here"):
        load_dataset("mnist", tmp_path / "empty", download=False)
    mirror[-1] = right
    assert len(load_dataset("mnist", tmp_path / "empty").test) == 20


def test_two_downloads_at_once_are_one(mirror, tmp_path: Path, monkeypatch, capsys) -> None:
    """The second waits, and then finds what the first has brought."""
    found = []
    fetch = sources._fetch

    def slowly(*given) -> None:
        time.sleep(0.2)
        found.append(given[0])
        fetch(*given)

    monkeypatch.setattr(sources, "_fetch", slowly)
    threads = [threading.Thread(target=load_dataset, args=("mnist", tmp_path / "empty")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(mirror)
    assert "mnist is in use by another process: waiting for it" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in (tmp_path / "cache" / "datasets").iterdir()] == ["mnist"]


def test_decoded_images_that_are_damaged_are_decoded_again_and_that_is_said(
    class_folders: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path / "cache"))
    first = load_dataset(str(class_folders), image_size=8)
    (stored,) = (tmp_path / "cache" / "datasets" / "decoded").glob("*.npz")
    stored.write_bytes(stored.read_bytes()[:-100])
    assert load_dataset(str(class_folders), image_size=8).digest == first.digest
    assert "is damaged: its images are decoded again" in " ".join(capsys.readouterr().err.split())


def test_every_source_has_a_way_to_get_it() -> None:
    for name, source in sources.SOURCES.items():
        assert name == "digits" or source.torchvision or (source.url and len(source.md5) == 32) or source.get_it


# -- the real files ---------------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize(("name", "train"), [("mnist", 60_000), ("fashion-mnist", 20_000)])
def test_the_real_idx_sets(shared: Path, name: str, train: int) -> None:
    data = load_dataset(name, shared / "data")
    assert (len(data.train) + len(data.valid), len(data.test)) == (train, 10_000)
    assert data.image_size == 28
    if name == "mnist":  # the known mean and deviation of the whole training part
        assert data.mean[0] == pytest.approx(0.1307, abs=5e-4)
        assert data.std[0] == pytest.approx(0.3081, abs=5e-4)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "sizes", "side", "channels", "classes"),
    [
        ("cifar10", (12_000, 2_000), 32, 3, 10),
        pytest.param("devanagari", (18_400, 4_600), 32, 1, 46, marks=pytest.mark.slow),
        pytest.param("sign-digits", None, 64, 3, 10, marks=pytest.mark.slow),
    ],
)
def test_the_real_class_folders(shared: Path, name: str, sizes, side: int, channels: int, classes: int) -> None:
    data = load_dataset(name, shared / "data", image_size=side)
    assert (data.image_size, data.in_channels, data.num_classes) == (side, channels, classes)
    if sizes:
        assert (len(data.train) + len(data.valid), len(data.test)) == sizes
        assert len(np.unique(np.bincount(data.test.labels))) == 1

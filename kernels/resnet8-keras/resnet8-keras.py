"""ResNet8 Keras: ResNet-8 of the CIFAR kind, from scratch on CIFAR-10, in Keras: history, curves, confusion matrix and metrics.json.

Made by 'dogbreed kernel build resnet8-keras' from source.py: change that file, not this one.
"""

# ---- how the kit gets here; the kernel's own code is at the end ----
import base64
import contextlib  # noqa: F401 - for the kit's folders_below
import hashlib
import io
import lzma
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path


def folders_below(
    root: Path,
    deepest: int = 9,
    photos: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
) -> Iterator[tuple[Path, frozenset[str]]]:
    """Folders at and below ``root``, nearest first, each with the names in it: to find what may lie anywhere in inputs.

    Links are followed, and every folder is visited once. A folder that starts with 1,000 photos is one of photos: it is
    not read to its end, and nothing in it is visited. Nor are the folders in one that holds more than 1,000: classes.
    (Standard library only: kernels carry the text of this function.)
    """
    waiting, seen = [(root, 0)], set()
    for folder, depth in waiting:  # grows meanwhile
        names, inside = [], []
        with contextlib.suppress(OSError):  # what cannot be read holds nothing for us
            facts = os.stat(folder)  # noqa: PTH116 - thousands of folders
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    names.append(entry.name)
                    photo = entry.name.lower().endswith(photos)
                    if not photo and not entry.name.startswith((".", "__")) and entry.is_dir():
                        inside.append(entry.name)
                    if len(names) == 1000 and not inside and all(name.lower().endswith(photos) for name in names):
                        break
        yield folder, frozenset(names)
        if depth < deepest and len(inside) <= 1000:
            waiting += [(folder / name, depth + 1) for name in sorted(inside)]


def load_kit(packages: str, digest: str) -> str:
    """Make the kit's packages importable and return where they came from.

    Args:
        packages: a zip, xz-compressed, in base 85; empty when the kernel carries none.
        digest: SHA-256 of the zip.

    Raises:
        SystemExit: the packages are damaged, or there is no kit at all.
    """
    if packages.strip():
        return _from_text(packages, digest)
    inputs = Path(os.environ.get("DOGBREED_KAGGLE_ROOT", "/kaggle")) / "input"
    try:
        for folder, names in folders_below(inputs):
            if any(name.startswith("dogbreed_kit-") and name.endswith(".whl") for name in names):
                return _from_wheels(folder)
        import competition
    except ImportError:
        raise SystemExit(
            "this kernel carries no packages and no dataset with the kit's wheel is attached: "
            "build it with 'dogbreed kernel build', or attach what 'dogbreed kernel build --mode wheels' makes"
        ) from None
    return str(Path(competition.__file__).parent.parent)


def _from_text(packages: str, digest: str) -> str:
    raw = lzma.decompress(base64.b85decode("".join(packages.split())))
    if hashlib.sha256(raw).hexdigest() != digest:
        raise SystemExit("the packages in this kernel are damaged: build it again")
    os.environ["DOGBREED_KIT_DIGEST"] = digest
    folder = Path(tempfile.mkdtemp(prefix="dogbreed-kit-"))
    with zipfile.ZipFile(io.BytesIO(raw)) as source:
        for name in source.namelist():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(source.read(name))
    return _first(folder)


def _from_wheels(folder: Path) -> str:
    """Install without an index and without looking for dependencies: the image has them, in versions of its own."""
    target = Path(tempfile.mkdtemp(prefix="dogbreed-kit-"))
    names = [str(path) for path in sorted(folder.glob("*.whl"))]
    options = ["--no-index", "--no-deps", "--quiet", "--no-compile", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *names], check=True)
    return _first(target)


def _first(folder: Path) -> str:
    """Put a folder before all others, for this process and for those it starts."""
    sys.path.insert(0, str(folder))
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{known}" if known else str(folder)
    return str(folder)


KIT_DIGEST = ""
KIT_PACKAGES = """
"""
print(f"kit: {load_kit(KIT_PACKAGES, KIT_DIGEST)}")

# ---- the kernel's own code ----
from baselines import create_model, fit, load_dataset
from competition.publish.in_kernel import leave_metrics, settings, working

# An attached data set is taken first; what is not attached is downloaded with its checksum.
chosen = settings(
    dataset="cifar10", image_size=None, epochs=60, batch_size=128, augment=["crop", "flip"], weight_decay=5e-4, seed=42
)
data = load_dataset(chosen.pop("dataset"), image_size=chosen.pop("image_size"), seed=chosen["seed"])
model = create_model(
    "resnet8",
    framework="keras",
    num_classes=data.num_classes,
    in_channels=data.in_channels,
    image_size=data.image_size,
)
result = fit(model, data, run_dir=working() / "run", optimiser="nesterov", schedule="cosine", **chosen)
leave_metrics(result.metrics)

"""TensorBoard's embedding projector: features as points, each with its photo, breed and prediction."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.errors import DataError
from competition.files import atomic_path, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

MAX_DIMENSIONS = 128
_SPRITE_LIMIT = 8192  # pixels a side; browsers refuse larger textures
_CONFIG = "projector_config.pbtxt"


def log_projector(
    writer: SummaryWriter,
    features: np.ndarray,
    ids: Sequence[str],
    labels: Sequence[str],
    thumbnails: np.ndarray | Callable[[str], np.ndarray] | None = None,
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
    name: str = "features",
    most: int = 2000,
    thumbnail_side: int = 40,
) -> None:
    """Write features for the projector tab into the writer's folder; the same name again replaces what was there.

    SummaryWriter.add_embedding would print to standard output and forget the other embeddings of a reopened run. More
    than ``most`` points are thinned evenly through the breeds, and features of more than 128 dimensions are reduced to
    their principal components: a browser must load them.

    Args:
        writer: where to.
        features: (n, d).
        ids: photo ids, length n.
        labels: breed names, length n.
        thumbnails: uint8 (n, h, w, 3), or a function from photo id to a uint8 image (h, w, 3), called for the kept
            points only (``PhotoCache.__getitem__`` is one).
        extra: further columns by name (predicted breed, loss), each of length n.
        name: of the embedding.
        most: points at most.
        thumbnail_side: pixels.

    Raises:
        DataError: the lengths disagree or there is no point.
    """
    columns = {"breed": labels, "id": ids, **(extra or {})}
    _check_lengths(features, thumbnails, columns)
    keep = thin(labels, most)
    folder = Path(writer.get_logdir()) / re.sub(r"[^\w.-]", "_", name)
    points = reduce_dimensions(np.asarray(features, np.float32)[keep])
    # As text: tensorboard takes a binary file for text when its bytes happen to be valid UTF-8, and fails.
    write_text(folder / "tensors.tsv", "".join("\t".join(f"{x:.5g}" for x in point) + "\n" for point in points))
    write_text(folder / "metadata.tsv", _table({key: [values[i] for i in keep] for key, values in columns.items()}))
    if thumbnails is not None:
        tiles = (thumbnails(ids[i]) if callable(thumbnails) else thumbnails[i] for i in keep)
        side = min(thumbnail_side, _SPRITE_LIMIT // math.ceil(math.sqrt(len(keep))))
        _write_sprite(folder / "sprite.png", tiles, len(keep), side)
        _register(folder, name, points.shape, side)
    else:
        _register(folder, name, points.shape, None)


def _check_lengths(
    features: np.ndarray,
    thumbnails: np.ndarray | Callable[[str], np.ndarray] | None,
    columns: Mapping[str, Sequence[str]],
) -> None:
    lengths = {"features": len(features), **{key: len(values) for key, values in columns.items()}}
    if thumbnails is not None and not callable(thumbnails):
        lengths["thumbnails"] = len(thumbnails)
    if len(set(lengths.values())) != 1 or not len(features):
        told = ", ".join(f"{count} {key}" for key, count in lengths.items())
        raise DataError(f"the projector needs as many of each and at least one, got {told}")


def thin(labels: Sequence[str], most: int) -> np.ndarray:
    """Indices, ascending, of at most ``most`` points, taken evenly through the points sorted by label."""
    order = np.argsort(np.asarray(labels), kind="stable")
    if len(order) <= most:
        return np.arange(len(order))
    return np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(int)])


def reduce_dimensions(features: np.ndarray, dimensions: int = MAX_DIMENSIONS) -> np.ndarray:
    """Features in their first principal components, (n, min(dimensions, n)); untouched when d is small enough.

    The eigenvectors of the (n, n) matrix of inner products are used: n is limited here, d is not.
    """
    if features.shape[1] <= dimensions:
        return features
    centred = features.astype(np.float64) - features.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    largest = np.argsort(values)[::-1][:dimensions]
    return (vectors[:, largest] * np.sqrt(np.maximum(values[largest], 0))).astype(np.float32)


def _table(columns: Mapping[str, Sequence[str]]) -> str:
    # Tabs and line ends would tear the row; escaped they can be read back, and other names stay as they are.
    escapes = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
    cells = ((str(text).translate(escapes) or "-" for text in row) for row in zip(*columns.values(), strict=True))
    lines = ["\t".join(columns), *map("\t".join, cells)]
    return "\n".join(lines) + "\n"


def _write_sprite(path: Path, tiles: object, count: int, side: int) -> None:
    """One picture of all thumbnails, row by row; the projector wants it square."""
    from PIL import Image

    columns = math.ceil(math.sqrt(count))
    sprite = Image.new("RGB", (columns * side, columns * side), "white")
    for index, tile in enumerate(tiles):  # type: ignore[arg-type, var-annotated]
        row, column = divmod(index, columns)
        sprite.paste(Image.fromarray(tile).resize((side, side), Image.Resampling.BILINEAR), (column * side, row * side))
    with atomic_path(path) as temporary:
        sprite.save(temporary, format="PNG")


def _register(folder: Path, name: str, shape: tuple[int, ...], thumbnail_side: int | None) -> None:
    """Add or replace the embedding in the run's projector_config.pbtxt; paths in it are relative to that file."""
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

    path = folder.parent / _CONFIG
    config = ProjectorConfig()
    if path.is_file():
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    others = [info for info in config.embeddings if info.tensor_name != name]
    info = EmbeddingInfo(
        tensor_name=name,
        tensor_path=f"{folder.name}/tensors.tsv",
        tensor_shape=shape,
        metadata_path=f"{folder.name}/metadata.tsv",
    )
    if thumbnail_side is not None:
        info.sprite.image_path = f"{folder.name}/sprite.png"
        info.sprite.single_image_dim.extend([thumbnail_side, thumbnail_side])
    write_text(path, text_format.MessageToString(ProjectorConfig(embeddings=[*others, info])))

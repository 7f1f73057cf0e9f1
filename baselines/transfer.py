"""Grey images through a network pretrained on colour photos: three ways to feed it, measured side by side.

A pretrained network wants three channels; Fashion-MNIST and Devanagari have one. Nothing forbids the transfer: the
first convolution is linear, so a grey image repeated three times gives what the *sum* of its kernels over the
channels gives on the single channel. Both are here, with the same network untrained beside them as the floor.

    python -m baselines transfer fashion-mnist --data DATA --weights WEIGHTS --backbone tf_efficientnetv2_b0
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from baselines.data.datasets import Dataset, Part
from competition.console import progress, say
from competition.errors import UsageError, require_known
from competition.files import write_csv, write_json
from competition.record.metrics import accuracy, log_loss, softmax
from competition.training.backbones.create import create_model
from competition.training.backbones.devices import pick_device, pick_precision
from competition.training.backbones.find import BackboneRef, find_backbones
from competition.training.probe.logistic import Problems, solve

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class TransferRow:
    """What one way of feeding the network gave.

    Attributes:
        way: ``repeat``, ``sum`` or ``untrained``.
        strength: L2 penalty chosen on the validation part.
        valid_accuracy: of the linear probe on frozen features.
        test_accuracy: on the test part, looked at once.
        test_log_loss: in nats.
        seconds: features and fit.
    """

    way: str
    strength: float
    valid_accuracy: float
    test_accuracy: float
    test_log_loss: float
    seconds: float


def repeated(backbone: BackboneRef, channels: int) -> nn.Module:
    """The network as it is; grey images are repeated to three channels."""
    return nn.Sequential(_Repeat(3 // channels), _Normalise(backbone.spec.mean, backbone.spec.std), _frozen(backbone))


def summed(backbone: BackboneRef, channels: int) -> nn.Module:
    """The first convolution summed over its input channels (timm's ``in_chans=1``), statistics averaged likewise."""
    if channels != 1:
        raise UsageError("'sum' adapts a network to grey images; these have colour: use --way repeat")
    from timm.models import adapt_input_conv

    network = _frozen(backbone)
    name, first = next((name, item) for name, item in network.named_modules() if isinstance(item, nn.Conv2d))
    # in_channels is only a label once the weight is replaced, but padding code of some backbones reads it.
    first.weight = nn.Parameter(adapt_input_conv(1, first.weight.data))
    first.in_channels = 1
    say(f"{backbone.name}: {name} takes one channel now")
    mean, std = float(np.mean(backbone.spec.mean)), float(np.mean(backbone.spec.std))
    return nn.Sequential(_Normalise((mean,), (std,)), network)


def untrained(backbone: BackboneRef, channels: int) -> nn.Module:
    """The same architecture with random weights: what its structure alone is worth."""
    torch.manual_seed(0)
    network = create_model(backbone, 0, pretrained=False).eval()
    return nn.Sequential(_Repeat(3 // channels), _Normalise(backbone.spec.mean, backbone.spec.std), network)


WAYS: dict[str, Callable[[BackboneRef, int], nn.Module]] = {
    "repeat": repeated,
    "sum": summed,
    "untrained": untrained,
}

_MEANING = {
    "repeat": "repeated to three channels, pretrained weights",
    "sum": "by a first convolution summed over its channels, pretrained weights",
    "untrained": "repeated, random weights",
}


def _frozen(backbone: BackboneRef) -> nn.Module:
    return create_model(backbone, 0).eval()


class _Repeat(nn.Module):
    """(n, c, h, w) to (n, times * c, h, w)."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.repeat(1, self.times, 1, 1)


class _Normalise(nn.Module):
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


def transfer(
    data: Dataset,
    backbone: str,
    *,
    ways: Sequence[str] = ("repeat", "sum", "untrained"),
    weights: Path | str | None = None,
    image_size: int = 96,
    batch_size: int = 128,
    device: str = "auto",
    out: Path | None = None,
) -> tuple[TransferRow, ...]:
    """Feature extraction from small images: frozen features, then logistic regression, for each way of feeding them.

    Args:
        data: a data set of ``load_dataset``, grey or colour.
        backbone: timm name, or the name of a folder of ``weights``.
        ways: keys of ``WAYS``.
        weights: folder of pretrained weights.
        image_size: side in pixels that the images are enlarged to (bicubic) before they enter the network.
        batch_size: images per forward pass.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        out: folder for ``transfer.csv`` and ``transfer.json``; None writes nothing.

    Raises:
        UsageError: an unknown way, or ``sum`` for colour images.
        WeightsError: the weights are missing or damaged.
    """
    for way in ways:
        require_known("way", way, WAYS)
    (found,) = find_backbones([backbone], weights)
    rows = []
    for way in ways:
        begun = time.monotonic()
        network = WAYS[way](found, data.in_channels)
        features = {
            name: _features(network, part, image_size, batch_size, device, f"{way}: {name}")
            for name, part in (("train", data.train), ("valid", data.valid), ("test", data.test))
        }
        rows.append(_probe(way, features, data, begun))
        say(f"{way}: test accuracy {rows[-1].test_accuracy:.4f}, log loss {rows[-1].test_log_loss:.4f}")
    if out is not None:
        facts = {"data": data.name, "backbone": found.name, "image_size": image_size}
        write_json(out / "transfer.json", {**facts, "rows": [vars(row) for row in rows]})
        write_csv(out / "transfer.csv", vars(rows[0]), [vars(row).values() for row in rows])
    return tuple(rows)


def table_of(rows: Sequence[TransferRow]) -> str:
    """The rows as a Markdown table."""
    lines = ["| images reach the network | test accuracy | test log loss | seconds |", "|---|---|---|---|"]
    lines += [
        f"| {_MEANING[row.way]} | {row.test_accuracy:.4f} | {row.test_log_loss:.4f} | {row.seconds:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


@torch.inference_mode()
def _features(network: nn.Module, part: Part, side: int, batch: int, device: str, label: str) -> np.ndarray:
    """Pooled features, float32 (n, d)."""
    place = pick_device(device)
    precision = pick_precision("auto", place)
    network = network.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = []
    with progress(label, len(part), "images") as ticker:
        for first in range(0, len(part), batch):
            images = torch.from_numpy(part.images[first : first + batch]).to(place).permute(0, 3, 1, 2).float() / 255
            images = functional.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp_(0, 1)
            with torch.autocast(place.type, dtype=precision, enabled=precision != torch.float32):
                found.append(network(images.contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
            ticker.advance(len(images))
    return np.concatenate(found)


def _probe(way: str, features: dict[str, np.ndarray], data: Dataset, begun: float) -> TransferRow:
    """Logistic regression from strong to weak penalty; the validation part chooses."""
    mean, spread = features["train"].mean(0), features["train"].std(0) + 1e-6
    inputs = {
        name: torch.from_numpy(np.c_[(values - mean) / spread, np.ones(len(values))].astype(np.float32))
        for name, values in features.items()
    }
    count = len(data.train)
    problems = Problems(
        inputs["train"], torch.from_numpy(data.train.labels), torch.full((count, 1), 1 / count), data.num_classes
    )
    point, best = problems.start(), None
    for strength in STRENGTHS:
        point = solve(problems, strength, point).coefficients
        chances = softmax((inputs["valid"] @ point).numpy())
        loss = log_loss(chances, data.valid.labels)
        if best is None or loss < best[0]:
            best = (loss, strength, point.clone(), accuracy(chances, data.valid.labels))
    assert best is not None
    tested = softmax((inputs["test"] @ best[2]).numpy())
    return TransferRow(
        way=way,
        strength=best[1],
        valid_accuracy=best[3],
        test_accuracy=accuracy(tested, data.test.labels),
        test_log_loss=log_loss(tested, data.test.labels),
        seconds=time.monotonic() - begun,
    )

"""What is printed at the end of an epoch and of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from competition.console import duration


def epoch_line(row: Mapping[str, Any], total: int) -> str:
    """One epoch as a line for the screen."""
    return (
        f"epoch {row['epoch']}/{total}: loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}, validation "
        f"loss {row['valid_loss']:.4f}, accuracy {row['valid_accuracy']:.4f}, rate {row['rate']:.2g}, "
        f"{row['images_per_second']:,.0f} images/s, {duration(row['seconds'])}"
    )


def summary_line(metrics: Mapping[str, Any]) -> str:
    """A finished run as a line for the screen."""
    test, valid = metrics["test"], metrics["valid"]
    top5 = f", top-5 {test['top5']:.4f}" if test.get("top5") is not None else ""
    return (
        f"test accuracy {test['accuracy']:.4f}{top5}, loss {test['loss']:.4f} (validation {valid['accuracy']:.4f}, "
        f"{valid['loss']:.4f}; best of {metrics['epochs']} epochs: {metrics['best_epoch']}), "
        f"{duration(metrics['seconds'])}"
    )

"""Where a network computes, and how precisely."""

from __future__ import annotations

import torch

from competition.errors import UsageError


def pick_device(wanted: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device; of several (see ``spread_devices``) the first.

    Raises:
        UsageError: a GPU was asked for and there is none, or the name means nothing.
    """
    wanted = wanted.split(",")[0].strip()
    if wanted in ("auto", "all"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{wanted}': use auto, all, cpu, cuda, cuda:N or a list of those") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU here: use --device cpu (slower) or run where there is one")
    return device


def spread_devices(wanted: str) -> tuple[str, ...]:
    """The devices that folds are spread over: ``all`` GPUs, a list (``cuda:0,cuda:1``), or the one there is.

    Raises:
        UsageError: one of them does not exist.
    """
    names = tuple(part.strip() for part in wanted.split(",") if part.strip())
    if names == ("all",):
        names = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or ("cpu",)
    for name in names:
        device = pick_device(name)
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise UsageError(f"there is no {name}: this machine has {torch.cuda.device_count()} GPUs")
    return names


def device_here(wanted: str) -> str:
    """The device that a run was made on where this machine has it, else ``auto``: it may be used on another machine."""
    try:
        spread_devices(wanted)
    except UsageError:
        return "auto"
    return wanted


def pick_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Turn ``auto`` into half precision where the device computes faster in it, float32 elsewhere.

    On a CPU bfloat16 is chosen only where the processor multiplies it natively (measured on two Zen 4 cores with
    channels-last memory: 143 against 69 photos/s for EfficientNetV2-B0).
    """
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32

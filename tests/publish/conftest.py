"""Kernels small enough to build and to run in a moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from competition.publish.build import bundle, kernels
from competition.publish.build.bundle import Bundle
from competition.publish.build.kernels import build
from competition.publish.build.spec import KernelSpec, load_spec

Write = Callable[..., KernelSpec]
SMALL_KIT = {
    "competition/__init__.py": b"VALUE = 7\n",
    "baselines/__init__.py": b"",
}


@pytest.fixture
def small_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels carry a few bytes instead of the kit: packing that takes half a second and changes while one works."""

    def pack(packages: Iterable[str], root: Path | None = None) -> Bundle:
        return Bundle({f"{name}/__init__.py": SMALL_KIT[f"{name}/__init__.py"] for name in packages})

    monkeypatch.setattr(kernels, "pack", pack)
    monkeypatch.setattr(bundle, "pack", pack)


@pytest.fixture
def write_kernel(tmp_path: Path) -> Write:
    """Write a kernel's folder below ``kernels/`` and return its specification."""

    def write(source: str = "print('hello')\n", slug: str = "some-kernel", **values: Any) -> KernelSpec:
        folder = tmp_path / "kernels" / slug
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"title": slug.replace("-", " "), "about": "A kernel for a test.", **values}
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        (folder / "kernel.toml").write_text(text)
        (folder / settings.get("source", "source.py")).write_text(source)
        return load_spec(folder)

    return write


@pytest.fixture
def built(tmp_path: Path, write_kernel: Write, small_kit: None) -> Callable[..., Path]:
    """Write and build a kernel; returns the folder that would be pushed."""

    def make(source: str = "print('hello')\n", mode: str = "bundle", **values: Any) -> Path:
        spec = write_kernel(source, **values)
        return build(spec, tmp_path / "built" / spec.slug, mode, "someone").folder

    return make

"""Traps in ``kernel-metadata.json``: what Kaggle's client lets through and the server renames, drops or misreads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from competition.environment import COMPETITION
from competition.errors import nearest
from competition.publish.build.spec import GPU_SHAPE, METADATA_FILE, OWNER, slug_of
from competition.publish.preflight.finding import Finding

# The accelerators that the documentation of Kaggle's client lists (docs/kernels.md, February 2026).
_GPUS = ("TeslaP100", "TeslaT4Highmem", "TeslaA100", "L4", "L4X1", "H100", "RtxPro6000")
SHAPES = (GPU_SHAPE, *(f"Nvidia{name}" for name in _GPUS), "Tpu1VmV38", "TpuV38", "TpuV5E8", "TpuV6E8")
KEYS = {
    "id": str,
    "title": str,
    "code_file": str,
    "language": str,
    "kernel_type": str,
    "is_private": bool,
    "enable_gpu": bool,
    "enable_tpu": bool,
    "enable_internet": bool,
    "machine_shape": str,
    "dataset_sources": list,
    "competition_sources": list,
    "kernel_sources": list,
    "model_sources": list,
    "keywords": list,
    "docker_image_pinning_type": str,
}
_MORE_KEYS = ("id_no", "docker_image")
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_SOURCES = {
    "dataset_sources": (re.compile(rf"{_NAME}/{_NAME}(/\d+)?"), "owner/slug"),
    "kernel_sources": (re.compile(rf"{_NAME}/[A-Za-z0-9][A-Za-z0-9-]{{4,}}(/\d+)?"), "owner/slug, slug of 5 or more"),
    "model_sources": (re.compile(rf"({_NAME}/){{2}}[A-Za-z0-9]+/[A-Za-z0-9._-]+/\d+"),
                      "owner/model/framework/variation/version"),
    "competition_sources": (re.compile(r"[a-z0-9][a-z0-9-]*"), f"the bare slug, as in {COMPETITION}"),
}  # fmt: skip


def check_metadata(values: Mapping[str, Any], folder: Path, *, placeholder_ok: bool = False) -> Iterator[Finding]:
    """Everything that can be seen in the metadata alone.

    Args:
        values: the metadata.
        folder: where they lie.
        placeholder_ok: whether the account may still be the placeholder.
    """
    yield from _keys(values)
    yield from _names(values, placeholder_ok)
    yield from _kind(values, folder)
    yield from _sources(values)
    yield from _machine(values)
    if values.get("is_private") is False:
        yield found("public", "is_private", "the kernel would be published", "write true; publish it by hand on Kaggle")


def found(rule: str, key: str, problem: str, fix: str, *, blocking: bool = True) -> Finding:
    """A finding about a key of the metadata."""
    return Finding(rule, f"{METADATA_FILE} {key}".strip(), problem, fix, blocking)


def _keys(values: Mapping[str, Any]) -> Iterator[Finding]:
    for key in values:
        if key not in KEYS and key not in _MORE_KEYS:
            yield found("unknown-key", key, "Kaggle ignores this key", f"remove it{nearest(key, KEYS, '')}")
    for key, kind in KEYS.items():
        if key not in values:
            problem = "not written, so a default of Kaggle or of its client decides"
            yield found("implicit-key", key, problem, "write it out, or build the kernel again")
        elif not isinstance(values[key], kind):
            yield found("wrong-type", key, f"{values[key]!r} is no {kind.__name__}", f"write a {kind.__name__}")


def _names(values: Mapping[str, Any], placeholder_ok: bool) -> Iterator[Finding]:
    ref, title = str(values.get("id", "")), str(values.get("title", ""))
    owner, _, slug = ref.partition("/")
    if not owner or not slug or "/" in slug:
        yield found("id", "id", f"'{ref}' is not owner/slug", "write the account's name, a slash, the slug")
        return
    if "INSERT" in ref or (owner == OWNER and not placeholder_ok):
        yield found("owner", "id", f"'{owner}' is a placeholder", "build with --owner and your Kaggle user name")
    for key, text in (("title", title), ("id", slug)):
        if not 5 <= len(text) <= 50:
            yield found("length", key, f"'{text}' has {len(text)} characters", "use 5 to 50")
    if slug != slug_of(title):
        problem = f"the title '{title}' resolves to '{slug_of(title)}', so Kaggle would rename '{slug}'"
        yield found("title-slug", "title", problem, "let the title resolve to the slug")


def _kind(values: Mapping[str, Any], folder: Path) -> Iterator[Finding]:
    name, kind = str(values.get("code_file", "")), values.get("kernel_type")
    if values.get("language") != "python":
        yield found("language", "language", f"'{values.get('language')}' is not what the code is", "write python")
    if kind not in ("script", "notebook"):
        yield found("kernel-type", "kernel_type", f"'{kind}' is refused", "write script or notebook")
    elif Path(name).suffix != {"script": ".py", "notebook": ".ipynb"}[kind]:
        yield found("kernel-type", "code_file", f"'{name}' is no {kind}", "a script is .py, a notebook .ipynb")
    if not name or not (folder / name).is_file():
        yield found("code-file", "code_file", f"'{name}' does not exist", "build the kernel again")
    elif (folder / name).resolve().parent != folder.resolve():
        yield found("code-file", "code_file", f"'{name}' lies outside of the kernel's folder", "put it inside")
    pinning = values.get("docker_image_pinning_type")
    if pinning not in (None, "original", "latest"):
        yield found("pinning", "docker_image_pinning_type", f"'{pinning}' is refused", "write original or latest")


def _sources(values: Mapping[str, Any]) -> Iterator[Finding]:
    for key, (form, told) in _SOURCES.items():
        for item in values.get(key) or ():
            if not isinstance(item, str) or not form.fullmatch(item):
                yield found("source-form", key, f"'{item}' is dropped with a mere message", f"write {told}")


def _machine(values: Mapping[str, Any]) -> Iterator[Finding]:
    gpu, tpu, shape = values.get("enable_gpu"), values.get("enable_tpu"), values.get("machine_shape")
    if gpu and tpu:
        yield found("gpu-and-tpu", "enable_tpu", "both accelerators are asked for", "choose one")
    if shape and shape not in SHAPES:
        yield found(
            "shape", "machine_shape", f"'{shape}' is not known{nearest(str(shape), SHAPES, '')}", f"use {GPU_SHAPE}"
        )
    if gpu and (not shape or shape == "NvidiaTeslaP100"):
        problem = "enable_gpu alone gives a P100, which current torch builds do not support"
        yield found("p100", "machine_shape", problem, f"write {GPU_SHAPE}")
    if str(shape).startswith("Nvidia") and not gpu:
        yield found("gpu-off", "enable_gpu", f"{shape} is asked for, but no GPU", "set enable_gpu, or empty the shape")

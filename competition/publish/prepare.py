"""From a kernel's name to a folder that can be pushed, and its check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from competition.publish.kernel_spec import METADATA_FILE, OWNER, find_kernel


def prepare(name: str, kernels: Path, mode: str = "bundle", owner: str = OWNER) -> Path:
    """Build the kernel of that name anew; a folder with metadata of its own is taken as it is.

    Args:
        name: of a kernel, or the path of a folder.
        kernels: the folder of kernels.
        mode: ``bundle`` or ``wheels``.
        owner: name of the Kaggle account.

    Raises:
        UsageError: there is no such kernel.
        KitError: it cannot be built.
    """
    from competition.publish.kernels import BUILD, build

    if (Path(name) / METADATA_FILE).is_file() and len(Path(name).parts) > 1:
        return Path(name)
    spec = find_kernel(name, kernels)
    return build(spec, BUILD / spec.slug, mode, owner).folder


@dataclass(frozen=True)
class Stop:
    """A finding of the preflight, as a line."""

    line: str
    blocking: bool

    def __str__(self) -> str:
        return self.line


def check(folder: Path) -> Sequence[Stop]:
    """Run the preflight on a folder."""
    from competition.publish.preflight import check_kernel

    return [Stop(str(finding), finding.blocking) for finding in check_kernel(folder)]

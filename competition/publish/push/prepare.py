"""From a kernel's name to a folder that can be pushed, and its check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from competition.publish.build.spec import METADATA_FILE, OWNER, find_kernel
from competition.publish.preflight.finding import Finding


@dataclass(frozen=True)
class Prepared:
    """A built folder, and what its specification says of the cost (seconds; 0 when it was not measured)."""

    folder: Path
    cost_seconds: float = 0.0
    rehearsal: bool = False

    def check(self) -> Sequence[Finding]:
        """Everything the preflight knows. A rehearsal needs no account."""
        from competition.publish.preflight.check import check_kernel

        return check_kernel(self.folder, cost_seconds=self.cost_seconds, placeholder_ok=self.rehearsal)


def prepare(name: str, kernels: Path, mode: str = "bundle", owner: str = "") -> Prepared:
    """Build the kernel of that name anew; a folder with metadata of its own is taken as it is.

    Args:
        name: of a kernel, or the path of a folder.
        kernels: the folder of kernels.
        mode: ``bundle`` or ``wheels``.
        owner: name of the Kaggle account; empty for a rehearsal.

    Raises:
        UsageError: there is no such kernel.
        KitError: it cannot be built.
    """
    from competition.publish.build.kernels import BUILD, build

    rehearsal = not owner
    if (Path(name) / METADATA_FILE).is_file() and len(Path(name).parts) > 1:
        return Prepared(Path(name), rehearsal=rehearsal)
    spec = find_kernel(name, kernels)
    return Prepared(build(spec, BUILD / spec.slug, mode, owner or OWNER).folder, spec.cost_seconds, rehearsal)

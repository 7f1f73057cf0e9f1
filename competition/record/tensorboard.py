"""A TensorBoard writer whose files go on where a killed run left them."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from competition.files import in_utf8
from competition.system_errors import explain_disk_errors

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@contextmanager
def tensorboard(folder: Path) -> Iterator[SummaryWriter]:
    """Open a TensorBoard writer for the duration of the block; tensorboard is imported here, late."""
    # Where TensorFlow is installed, tensorboard would import it (4 s) to write files that its own stub writes as well.
    # Not where it is loaded already: the stub would take tf.summary's place for the rest of the process.
    if "tensorflow" not in sys.modules:
        sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
    from torch.utils.tensorboard import SummaryWriter

    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with in_utf8(folder) as place:
        with explain_disk_errors(folder):
            writer = SummaryWriter(str(place))
        try:
            yield writer
        finally:
            writer.close()

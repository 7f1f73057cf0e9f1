"""What a fold of fine-tuning shows in TensorBoard beside its curves: pictures while it trains, a summary at its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from competition.config import TrainConfig
from competition.data.photos.decode import read_photo
from competition.data.source.competition_data import CompetitionData
from competition.record.board import log_batch_images, log_confused, log_graph, log_hparams
from competition.record.projector import log_projector
from competition.record.tensorboard import tensorboard
from competition.training.engine.callbacks import KitCallback
from competition.types import FoldResult

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_THUMBNAIL = 40


class FoldPictures(KitCallback):
    """Writes the model's graph once, and a batch after augmentation (before mixup) whenever the side has changed.

    Args:
        writer: TensorBoard's, or None: then nothing is written.
    """

    order, run_valid = 1, False  # before mixup

    def __init__(self, writer: SummaryWriter | None) -> None:
        self.writer = writer
        self.side = 0

    def before_train(self) -> None:
        """Draw the model, before the epoch's clock starts: tracing it takes seconds."""
        learn = self.learn
        if self.writer is None or self.side or learn.state.total_steps or learn.config.compile:
            return
        side = learn.config.image_size
        log_graph(self.writer, learn.plain_model, torch.zeros(1, 3, side, side))

    def before_batch(self) -> None:
        """Show the photos as the loader gave them."""
        images = self.learn.xb[0]
        if self.writer is None or images.shape[-1] == self.side:
            return
        self.side = images.shape[-1]
        log_batch_images(self.writer, self.learn.prepare.undone(images), self.learn.epoch + 1)


def log_fold_end(
    folder: Path, config: TrainConfig, result: FoldResult, data: CompetitionData, projector: bool = True
) -> None:
    """Write hparams with final metrics, the most confused breeds, and the validation photos for the projector.

    The points of the projector are the log-probabilities of the photos: a linear picture of what the last layer sees.

    Args:
        folder: TensorBoard's, of this fold.
        config: the recipe.
        result: of this fold.
        data: photos and labels.
        projector: write the points and their thumbnails too.
    """
    valid = result.valid.aligned_to(result.valid.ids, data.classes)
    labels = data.labels_of(valid.ids)
    predicted = [data.classes[column] for column in valid.probabilities.argmax(axis=1)]
    with tensorboard(folder) as writer:
        log_hparams(writer, config.to_dict(), {"log_loss": result.log_loss, "accuracy": result.accuracy})
        log_confused(writer, valid.probabilities, labels, data.classes)
        if projector:
            log_projector(
                writer,
                valid.log_probabilities,
                valid.ids,
                [data.classes[label] for label in labels],
                lambda name: read_photo(data.by_id[name].path, _THUMBNAIL),
                extra={"predicted": predicted},
                name="log_probabilities",
            )

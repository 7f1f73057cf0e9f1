"""What a fold's training leaves for people: history.csv, TensorBoard, lines on the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.console import Ticker, duration, say
from competition.record.history import History
from competition.training.engine.callbacks import KitCallback
from competition.training.engine.checkpointing import Keeper
from competition.training.engine.fit_state import Best, Score
from competition.training.engine.schedule import rate_factor

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EpochHook = Callable[[dict[str, Any]], None]


class Bookkeeper:
    """Closes each epoch: picks the better weights, writes the row, saves, decides whether to go on.

    Args:
        keeper: writes the checkpoints.
        history: of this fold.
        writer: TensorBoard, or None.
        ticker: progress over photos.
        hooks: called with each row; what they raise ends the training (a pruned trial, for example).
    """

    def __init__(
        self,
        keeper: Keeper,
        history: History,
        writer: SummaryWriter | None,
        ticker: Ticker,
        hooks: Sequence[EpochHook] = (),
    ) -> None:
        self.keeper, self.history, self.writer, self.ticker, self.hooks = keeper, history, writer, ticker, hooks

    def close_epoch(self, learn: Any) -> None:
        """Record the epoch that has just been validated.

        Args:
            learn: the ``StepLearner``; its configuration has ``patience``.

        Raises:
            CancelFitException: there was no better epoch for ``patience`` epochs.
        """
        from fastai.callback.core import CancelFitException

        state = learn.state
        kind = min(learn.scores, key=lambda name: learn.scores[name].criterion)
        if state.best is None or self._is_better(learn.scores[kind], state.best):
            self.keeper.keep_best(learn, kind)
            state.stale = 0
        else:
            state.stale += 1
        row = self._row(learn, kind)
        state.begin_epoch()
        if learn.config.patience and state.stale >= learn.config.patience and state.epoch < learn.total_epochs:
            state.stopped = f"no better epoch for {state.stale} epochs"
        if learn.is_main:
            self.history.truncate(state.epoch - 1)
            self.history.append(**row)
            self._show(learn, row)
        self.keeper.save(learn)
        self.keeper.stop_if_asked(learn)
        for hook in self.hooks:
            hook(row)
        if state.stopped:
            say(f"stopped early: {state.stopped}")
            raise CancelFitException

    def _is_better(self, score: Score, best: Best) -> bool:
        """Whether the epoch that was just validated beats the best one."""
        return score.criterion < best.criterion

    def _row(self, learn: Any, kind: str) -> dict[str, Any]:
        state, clock = learn.state, learn.clock
        row: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "phase": "frozen" if state.epoch < learn.config.freeze_epochs else "all",
            "side": learn.side_of(state.epoch),
            "train_loss": state.loss_sum / max(state.seen, 1),
            "log_loss": learn.scores[kind].log_loss,
            "accuracy": learn.scores[kind].accuracy,
        }
        for name, score in learn.scores.items():
            row |= {f"log_loss_{name}": score.log_loss, f"accuracy_{name}": score.accuracy}
            if score.calibrated_log_loss is not None:
                row[f"calibrated_log_loss_{name}"] = score.calibrated_log_loss
        return row | {
            "better": kind,
            **_rates(learn),
            "gradient_norm": state.gradient_norm,
            "images_per_second": clock.photos * learn.scale / max(learn.train_seconds, 1e-9),
            "waiting": clock.waiting / max(learn.train_seconds, 1e-9),
            "seconds": clock.seconds,
        }

    def _show(self, learn: Any, row: dict[str, Any]) -> None:
        both = ", ".join(f"{name} {score.log_loss:.4f}" for name, score in learn.scores.items())
        say(
            f"epoch {row['epoch']}/{learn.total_epochs}: training loss {row['train_loss']:.4f}, validation log loss "
            f"{both}, accuracy {row['accuracy']:.4f}, {row['images_per_second']:.0f} photos/s, "
            f"{duration(row['seconds'])}"
        )
        if self.writer is not None:
            from competition.record.board import log_epoch

            log_epoch(self.writer, row)


def _rates(learn: Any) -> dict[str, float]:
    """Rates of the head and of the layer nearest the input in the epoch's last step, from the schedule itself."""
    steps = learn.sampler.steps
    factor = rate_factor(learn.config, learn.state.epoch + (steps - 1) / steps)
    peaks = dict(zip((str(group["name"]) for group in learn.optimiser.param_groups), learn.peaks, strict=True))
    names = sorted(peaks, key=lambda name: (name.startswith("head"), name))
    return {"rate_head": peaks[names[-1]] * factor, "rate_input": peaks[names[0]] * factor}


class Progress(KitCallback):
    """Moves the bar, says once what the rest will cost, and writes figures by step to TensorBoard.

    Args:
        ticker: over photos.
        writer: TensorBoard, or None.
        every: steps between two rows of figures.
    """

    order, run_valid = 80, False

    def __init__(self, ticker: Ticker, writer: SummaryWriter | None, every: int = 20) -> None:
        self.ticker, self.writer, self.every = ticker, writer, every
        self.told = False

    def after_batch(self) -> None:
        """Count the photos of the chunk; at step borders, tell."""
        learn = self.learn
        self.ticker.advance(round(len(learn.xb[0]) * learn.scale))
        if not learn.last_chunk:
            return
        if not self.told and learn.is_main and learn.clock.seconds > 15:
            self.told = True
            left = (learn.total_epochs - learn.state.epoch) * learn.sampler.steps - learn.state.step
            rate = learn.clock.photos * learn.scale / learn.clock.seconds
            photos = left * learn.sampler.per_step
            say(f"{rate:.0f} photos/s: about {duration(photos / rate)} of training left, validation not counted")
        if self.writer is not None and learn.state.total_steps % self.every == 1:
            self._write(self.writer)

    def _write(self, writer: SummaryWriter) -> None:
        from competition.record.board import log_step

        learn = self.learn
        learn.settle_losses()
        row = {
            "train_loss": float(learn.loss.detach()),
            "gradient_norm": learn.state.gradient_norm,
            "images_per_second": learn.clock.photos * learn.scale / max(learn.clock.seconds, 1e-9),
            "waiting": learn.clock.waiting / max(learn.clock.seconds, 1e-9),
        }
        rates = {f"rate_{group['name']}": group["lr"] for group in learn.optimiser.param_groups if decays(group)}
        log_step(writer, learn.state.total_steps, row | rates)


def decays(group: dict[str, Any]) -> bool:
    """Whether a group of parameters is the one that speaks for its layer (its twin without decay has the same rate)."""
    return not str(group["name"]).endswith("no-decay")


def open_history(path: Path, epochs_done: int) -> History:
    """The fold's history, cut back to the epochs that the checkpoint knows."""
    history = History(path)
    if len(history.rows) > epochs_done:
        history.truncate(epochs_done)
    return history

"""The learning-rate range test (Smith, arXiv:1506.01186): fastai's ``lr_find``, without its pickled temporary file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastai.callback.schedule import LRFinder, ParamScheduler, SchedExp, valley
from fastai.learner import Recorder

from competition.config import TrainConfig
from competition.data.source.competition_data import CompetitionData
from competition.errors import DataError
from competition.files import atomic_path
from competition.record.run_dir import RunDir
from competition.training.finetune.callbacks import Rates
from competition.training.finetune.fit_fold import make_learner
from competition.training.finetune.fold_job import Head, build_model, check_job, choose_device
from competition.training.finetune.fold_learner import FoldLearner
from competition.types import Fold


@dataclass(frozen=True)
class RateRange:
    """Smoothed training loss (nats) against the peak rate ``lr``; every group keeps its share of it.

    ``suggestion`` is fastai's *valley*: the rate a third into the longest descent.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float


class _Sweep(LRFinder):
    """Raises all rates together; the learner is thrown away afterwards, so nothing is saved to be put back."""

    def __init__(self, peaks: list[float], lr: float, lowest: float, highest: float, steps: int) -> None:
        super().__init__(lowest, highest, steps)
        self._shares = [peak / lr for peak in peaks]
        rise = SchedExp(lowest, highest)
        self.scheds = {"lr": lambda position: [share * rise(position) for share in self._shares]}
        self.asked: list[float] = []

    def before_fit(self) -> None:
        ParamScheduler.before_fit(self)
        self.best_loss = float("inf")

    def before_batch(self) -> None:
        position = self.train_iter / self.num_it
        self._update_val(position)
        self.asked.append(self.opt.hypers[-1]["lr"] / self._shares[-1])

    def after_fit(self) -> None:
        """Nothing to put back."""


def lr_find(
    data: CompetitionData,
    fold: Fold,
    config: TrainConfig,
    run: RunDir,
    *,
    weights: Path | str | None,
    head: Head | None = None,
    steps: int = 100,
    lowest: float = 1e-7,
    highest: float = 1.0,
) -> RateRange:
    """Train a throw-away model over ``steps`` batches while the rate rises, and see where the loss falls fastest.

    Args:
        data: photos and labels.
        fold: whose training photos are used.
        config: the recipe; the head's rate keeps its ratio to ``lr``.
        run: only for the name of the fold's folder; nothing is written.
        weights: folder of weights.
        head: as in ``fit_fold``.
        steps: batches at most, 6 or more; it ends early once the loss is four times the best.
        lowest: rate at the start.
        highest: rate at the end.

    Raises:
        DataError: the loss was not a number before five batches were over.
    """
    job = check_job(data, fold, config, run, weights, head)
    model = build_model(job)
    learn = make_learner(job, model, choose_device(config, model, len(fold.train_ids)))
    try:
        return _sweep(learn, config, steps, lowest, highest)
    finally:
        learn.dls.close()


def _sweep(learn: FoldLearner, config: TrainConfig, steps: int, lowest: float, highest: float) -> RateRange:
    learn.remove_cbs([callback for callback in learn.cbs if isinstance(callback, Rates)])
    learn.validates = False
    learn.on_epoch = lambda learner: learner.state.begin_epoch()
    sweep, recorder = _Sweep(learn.peaks, config.lr, lowest, highest, steps), Recorder(add_time=False)
    learn.logger = _silent
    learn.add_cbs([recorder, sweep])
    # The range test sees the part that trains, not the frozen epochs; a batch is a step here.
    learn.state.epoch = config.freeze_epochs
    learn.fit(config.freeze_epochs + -(-steps // max(1, learn.sampler.steps)) + 1, lr=learn.peaks)
    losses = np.array([float(loss) for loss in recorder.losses])
    rates = np.array(sweep.asked[: len(losses)])
    finite = np.isfinite(losses)
    if finite.sum() < 5:
        raise DataError("the range test saw too few finite losses: start lower or check the photos")
    rates, losses = rates[finite], losses[finite]
    suggestion, _ = valley(list(rates), list(losses), len(losses))
    return RateRange(rates, losses, float(suggestion))


def _silent(*_: Any) -> None:
    """Fastai's recorder prints a row; the kit says what it has to say itself."""


def plot_rates(found: RateRange, path: Path) -> Path:
    """Draw the loss against the rate, the suggestion marked, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, linewidth=1.6)
    axes.axvline(found.suggestion, color="tab:orange", linestyle="--", label=f"suggestion: lr={found.suggestion:.2g}")
    axes.set(xscale="log", xlabel="peak learning rate (lr)", ylabel="smoothed training loss (nats)")
    axes.set_title("Learning-rate range test")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return path

"""Fine-tuning by fastai's documented way, by a bare PyTorch loop and by the kit (``bench_training``), as a part."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from competition.data.source.layout import load_data
from competition.record.run_dir import RunDir
from competition.training.backbones.find import find_backbones
from competition.training.finetune.fit_fold import make_learner
from competition.training.finetune.fold_job import build_model, check_job
from competition.training.sweep.one_fold import open_fold
from tests.benchmarks import bench_training as side_by_side
from tests.benchmarks.measure import Claim, Outcome, Setup, figure

BREEDS, PHOTOS, EPOCHS, BATCH = 12, 30, 3, 16


def measure(setup: Setup) -> Outcome:
    """One fold of a few breeds each way, then single steps on one batch."""
    outcome = Outcome("step", "training")
    torch.set_num_threads(setup.threads)
    refs = sorted(find_backbones((), setup.weights), key=lambda ref: "efficientnet" not in ref.name)
    weights = Path(str(refs[0].folder))
    photos = setup.count(PHOTOS, 5)
    with tempfile.TemporaryDirectory() as folder:
        found = side_by_side.compare(
            setup.data, weights, breeds=BREEDS, photos=photos, epochs=EPOCHS, batch=BATCH, precision="auto",
            folder=Path(folder),
        )  # fmt: skip
        steps = _single_steps(setup, weights, Path(folder))
    case = f"{BREEDS} breeds x {photos} photos, {EPOCHS} epochs"
    for way in ("kit", "bare", "fastai"):
        outcome.figures.append(figure(case, way, "photos/s", [found[way]["photos_per_second"]]))
        outcome.figures.append(figure(case, f"{way}, log loss of the fold", "", [found[way]["log_loss"]]))
        outcome.figures.append(figure(case, f"{way}, accuracy of the fold", "", [found[way]["accuracy"]]))
    for way, seconds in steps.items():
        outcome.figures.append(figure("one step, one thread", way, "processor s", [seconds]))
    plain, head = found["fastai"], found["probe's head"]["seconds"]
    outcome.claims += [
        Claim("training: the kit's step over the bare step", steps["kit"] / steps["bare"], 1.05, False),
        Claim(
            "training: photos/s of the kit over fastai",
            found["kit"]["photos_per_second"] / plain["photos_per_second"],
            1.8,
        ),
        Claim("training: log loss of the kit over fastai", found["kit"]["log_loss"] / plain["log_loss"], 0.5, False),
    ]
    outcome.notes += [
        f"{weights.name}, batches of {BATCH}; kit and bare loop in the precision that 'auto' picks, "
        "fastai in its float32",
        f"the head of the kit starts from the probe's solution ({head:.0f} s, not counted), "
        "the others' from chance; fastai spends one of its epochs frozen",
        "photos/s: of all epochs but the first, in which fastai's body is frozen and the others' readers start",
        "single steps: median processor time in float32 on the same batch, in turn",
    ]
    return outcome


def _single_steps(setup: Setup, weights: Path, folder: Path) -> dict[str, float]:
    config = side_by_side.recipe(weights.name, EPOCHS, BATCH, "float32")
    data = side_by_side.few(load_data(setup.data), BREEDS, setup.count(PHOTOS, 5))
    one = open_fold(data, config, RunDir(folder / "steps"), 0, weights)
    job = check_job(one.prepared.usable, one.fold, config, RunDir(folder / "steps"), weights, one.head)
    learn = make_learner(job, build_model(job), torch.device("cpu"))
    learn.plain_model.train()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (BATCH, config.image_size, config.image_size, 3)).astype(np.uint8)
    return side_by_side.step_times(
        config, images, rng.integers(0, BREEDS, BATCH), learn, max(3, round(8 * setup.scale))
    )

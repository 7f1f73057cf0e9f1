"""The learner: what the network sees, what trains at which rate, what ends a training."""

from __future__ import annotations

import csv
import dataclasses
import multiprocessing

import numpy as np
import pytest
import torch

from competition.errors import ResumeError, TrainingError, UsageError, WeightsError
from competition.files import read_json, read_npz
from competition.record.history import History
from competition.record.metrics import log_loss, softmax
from competition.record.run_dir import RunDir
from competition.training.backbones.create import load_weights
from competition.training.engine.callbacks import KitCallback
from competition.training.engine.schedule import rate_factor
from competition.training.finetune import fit_fold as session
from competition.training.finetune.fit_fold import fit_fold, make_learner
from competition.training.finetune.fold_job import build_model, check_job, choose_device
from competition.training.finetune.fold_result import merged
from competition.training.finetune.parameter_groups import layer_numbers, parameter_groups, trainable_names
from competition.training.photos.predict_views import predict_views
from tests.training.small_fold import CLASSES, SIDE, small_config, small_data, small_fold

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path / "run")


def job_of(data, run, **changes):
    return check_job(data, small_fold(data), small_config(**changes), run, None, None)


def learner_of(data, run, callbacks=(), **changes):
    job = job_of(data, run, **changes)
    return make_learner(job, build_model(job), CPU, callbacks=callbacks)


class Spy(KitCallback):
    """Keeps what the first callback sees of each batch."""

    order = -100

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def before_batch(self) -> None:
        self.seen.append(self.learn.xb[0].clone())


def test_the_network_sees_photos_normalised_exactly_once(data, run, monkeypatch):
    spy = Spy()
    inputs: list[torch.Tensor] = []
    loaded: list[torch.Tensor] = []
    learn = learner_of(data, run, [spy], epochs=1, ema_decay=0.0)
    prepare = learn.prepare
    monkeypatch.setattr(learn, "prepare", lambda images: loaded.append(images.clone()) or prepare(images))
    learn.plain_model.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    learn.run_epochs()
    spec = job_of(data, run).backbone.spec
    assert spec.mean != (0.0, 0.0, 0.0)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    for raw, given in zip(loaded, spy.seen, strict=True):
        assert raw.dtype == torch.uint8
        expected = ((raw.float() / 255 - mean) / std).permute(0, 3, 1, 2)
        torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)
        assert (prepare.undone(given) == raw.numpy()).all()
    assert all(torch.equal(given, seen) for given, seen in zip(inputs, spy.seen, strict=True))


def test_fastai_adds_no_normalisation_of_its_own(data, run):
    learn = learner_of(data, run)
    assert not [callback for callback in learn.cbs if "Normalize" in type(callback).__name__]
    for loader in learn.dls.loaders:
        assert isinstance(loader, torch.utils.data.DataLoader)
        assert not hasattr(loader, "after_batch")  # fastai's own would carry transforms there


def test_the_state_dict_is_timms_own(data, run):
    import timm

    learn = learner_of(data, run)
    assert set(learn.model.state_dict()) == set(timm.create_model("test_resnet", num_classes=3).state_dict())


def test_batches_do_not_depend_on_the_number_of_workers(data, run):
    def batches(workers: int) -> list[torch.Tensor]:
        learn = learner_of(data, run, workers=workers, augment="strong")
        learn.sampler.go_to(3, 1, SIDE)
        return [batch[0] for batch in learn.dls.train]

    alone, two = batches(0), batches(2)
    assert len(alone) == 3
    assert all(torch.equal(a, b) for a, b in zip(alone, two, strict=True))


def test_the_processes_that_read_end_with_the_fold(data, run, monkeypatch):
    made = []
    monkeypatch.setattr(session, "make_learner", lambda *given: made.append(make_learner(*given)) or made[0])
    fit_fold(data, small_fold(data), small_config(workers=2, epochs=1), run, weights=None)
    assert made  # and so everything that holds the loaders is still there
    assert not multiprocessing.active_children()


def test_halving_the_batch_changes_neither_photos_nor_augmentation(data, run):
    learn = learner_of(data, run, batch_size=8)
    learn.sampler.go_to(1, 0, SIDE)
    whole = torch.cat([batch[0] for batch in learn.dls.train])
    assert learn.sampler.halve()
    halves = [batch[0] for batch in learn.dls.train]
    assert {len(part) for part in halves} == {4}
    assert torch.equal(torch.cat(halves), whole)


def test_accumulated_steps_equal_one_large_step(data, run, tmp_path):
    plain = {"drop_rate": 0.0, "drop_path_rate": 0.0, "freeze_norm": True, "epochs": 1, "ema_decay": 0.0}
    models = []
    for number, (batch, accumulate) in enumerate([(8, 1), (2, 4), (3, 3)]):
        learn = learner_of(data, RunDir(tmp_path / str(number)), batch_size=batch, accumulate=accumulate, **plain)
        if batch == 3:  # nine photos in a step otherwise
            learn.sampler.per_step = 8
        learn.run_epochs()
        models.append(torch.cat([p.detach().flatten() for p in learn.plain_model.parameters()]))
    torch.testing.assert_close(models[0], models[1], rtol=1e-3, atol=2e-5)
    torch.testing.assert_close(models[0], models[2], rtol=1e-3, atol=2e-5)


def test_layer_decay_lowers_the_rate_towards_the_input(data, run):
    learn = learner_of(data, run, layer_decay=0.5, lr=1.0e-2, head_lr=7e-2)
    numbers = layer_numbers(learn.plain_model)
    deepest = max(numbers.values())
    assert deepest >= 2
    rate_of = {}
    for group, peak in zip(learn.optimiser.param_groups, learn.peaks, strict=True):
        for parameter in group["params"]:
            rate_of[id(parameter)] = peak
    for name, parameter in learn.plain_model.named_parameters():
        expected = 1e-2 * 0.5 ** (deepest - numbers[name]) if name in numbers else 7e-2
        assert rate_of[id(parameter)] == pytest.approx(expected), name
    assert {name for name in dict(learn.plain_model.named_parameters()) if name not in numbers} == {
        "fc.weight",
        "fc.bias",
    }


def test_norms_and_biases_have_no_weight_decay(data, run):
    learn = learner_of(data, run, weight_decay=0.1)
    decays = {id(p): group["weight_decay"] for group in learn.optimiser.param_groups for p in group["params"]}
    for name, parameter in learn.plain_model.named_parameters():
        assert decays[id(parameter)] == (0.1 if parameter.ndim > 1 else 0.0), name


def test_frozen_epochs_train_the_head_alone_and_keep_the_norms(data, run):
    learn = learner_of(data, run, freeze_epochs=1, epochs=0, ema_decay=0.0)
    before = {name: tensor.clone() for name, tensor in learn.plain_model.state_dict().items()}
    learn.run_epochs()
    changed = {name for name, tensor in learn.plain_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(("unfreeze", "trains"), [("head", 0), ("1", 1), ("2", 2)])
def test_the_last_layer_groups_train(data, run, unfreeze, trains):
    learn = learner_of(data, run, unfreeze=unfreeze, epochs=1)
    numbers = layer_numbers(learn.plain_model)
    names = trainable_names(learn.plain_model, unfreeze)
    levels = {numbers[name] for name in names if name in numbers}
    assert levels == set(sorted(set(numbers.values()))[len(set(numbers.values())) - trains :])
    before = {name: p.detach().clone() for name, p in learn.plain_model.named_parameters()}
    learn.run_epochs()
    changed = {name for name, p in learn.plain_model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == names


def test_more_layer_groups_than_there_are_is_an_error(data, run):
    with pytest.raises(UsageError, match="layer groups"):
        learner_of(data, run, unfreeze="99")


def test_schedules_rise_fall_and_begin_anew_after_the_frozen_epochs():
    config = small_config(schedule="cosine", freeze_epochs=2, epochs=4, warmup_epochs=1, final_lr=0.1)
    assert rate_factor(config, 0) == pytest.approx(0.1)
    assert rate_factor(config, 0.5) == pytest.approx(0.5)
    assert rate_factor(config, 1) == pytest.approx(1)
    assert rate_factor(config, 1.999) == pytest.approx(0.1, abs=1e-3)
    assert rate_factor(config, 2.5) == pytest.approx(0.5)
    assert rate_factor(config, 3) == pytest.approx(1)
    assert rate_factor(config, 4.5) == pytest.approx(0.55)
    assert rate_factor(config, 6) == pytest.approx(0.1)
    cycle = dataclasses.replace(config, schedule="one_cycle", freeze_epochs=0)
    assert rate_factor(cycle, 0) == pytest.approx(1 / 25)
    assert rate_factor(cycle, 1) == pytest.approx(1)
    constant = dataclasses.replace(config, schedule="constant", freeze_epochs=0)
    assert [rate_factor(constant, done) for done in (0.5, 1, 3.9)] == pytest.approx([0.5, 1, 1])


def test_the_rates_follow_the_schedule_step_by_step(data, run):
    rates: list[float] = []

    class Watch(KitCallback):
        order, run_valid = 65, False

        def before_batch(self) -> None:
            rates.append(self.learn.optimiser.param_groups[-1]["lr"])

    learn = learner_of(data, run, [Watch()], epochs=2, warmup_epochs=0.5)
    learn.on_epoch = lambda learner: learner.state.begin_epoch()
    learn.run_epochs()
    expected = [learn.peaks[-1] * rate_factor(learn.config, step / 4) for step in range(8)]
    assert rates == pytest.approx(expected)


def test_progressive_sizes_reach_the_network(data, run):
    sides: list[int] = []

    class Watch(KitCallback):
        order = 65

        def before_batch(self) -> None:
            sides.append((self.learn.training, self.learn.xb[0].shape[2]))

    result = fit_fold(
        data, small_fold(data), small_config(progressive=(16, 24), epochs=2), run, weights=None, callbacks=[Watch()]
    )
    assert {side for training, side in sides if training} == {16, 24}
    assert {side for training, side in sides if not training} == {SIDE}
    assert [row["side"] for row in History(run / "fold0/history.csv").rows] == [16, 24]
    assert np.isfinite(result.log_loss)


def test_what_a_fold_leaves(data, run):
    config = small_config(views=("identity", "hflip", "large"), epochs=3)
    fold = small_fold(data)
    result = fit_fold(data, fold, config, run, weights=None)
    folder = run / "fold0"
    assert not (folder / "state").exists()
    stored = read_npz(folder / "valid_views.npz")
    assert stored["logits"].shape == (3, 12, 3)
    assert stored["logits"].dtype == np.float32
    assert tuple(stored["ids"]) == fold.valid_ids
    assert read_npz(folder / "test_views.npz")["logits"].shape == (3, 6, 3)
    labels = np.array([CLASSES.index(str(photo.breed)) for photo in data.train])[::4]
    expected = (softmax(stored["logits"][0]) + softmax(stored["logits"][1])) / 2
    np.testing.assert_allclose(result.valid.probabilities, expected)
    assert result.log_loss == pytest.approx(log_loss(expected, labels))
    assert result.test is not None
    assert result.test.ids == data.test_ids
    with (folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    best = min(float(row["log_loss"]) for row in rows)
    assert min(min(float(row["log_loss_raw"]), float(row["log_loss_ema"])) for row in rows) == best
    # The stored weights are those of the best epoch: they give the validation log loss of its row again.
    job = check_job(data, fold, config, run, None, None)
    model = build_model(job)
    load_weights(model, folder / "model.safetensors")
    logits = predict_views(model, job.backbone.spec, job.photos(fold.valid_ids), ["identity"], SIDE)
    assert log_loss(softmax(logits[0]), labels) == pytest.approx(best, rel=1e-5)


def test_a_finished_fold_is_read_back_not_trained_again(data, run, monkeypatch):
    first = fit_fold(data, small_fold(data), small_config(), run, weights=None)
    monkeypatch.setattr(session, "train_fold", lambda *_, **__: pytest.fail("trained again"))
    second = fit_fold(data, small_fold(data), small_config(workers=1), run, weights=None)
    assert second.log_loss == first.log_loss
    np.testing.assert_array_equal(second.valid.probabilities, first.valid.probabilities)
    with pytest.raises(ResumeError, match="epochs: 2 -> 3"):
        fit_fold(data, small_fold(data), small_config(epochs=3), run, weights=None)


def test_without_test_photos(data, run):
    result = fit_fold(data, small_fold(data), small_config(epochs=1), run, weights=None, test=False)
    assert result.test is None
    assert not (run / "fold0/test_views.npz").exists()


def test_test_photos_asked_for_later_do_not_train_again(data, run, tmp_path, monkeypatch):
    config = small_config(epochs=1)
    expected = fit_fold(data, small_fold(data), config, RunDir(tmp_path / "at once"), weights=None)
    fit_fold(data, small_fold(data), config, run, weights=None, test=False)
    monkeypatch.setattr(session, "train_fold", lambda *_, **__: pytest.fail("trained again"))
    later = fit_fold(data, small_fold(data), config, run, weights=None)
    assert later.test.ids == expected.test.ids
    np.testing.assert_allclose(later.test.probabilities, expected.test.probabilities, atol=1e-6)


def test_interpolated_weights_lie_on_the_way_and_the_best_are_kept(data, run):
    learn = learner_of(data, run, interpolate=(0.25,), epochs=1)
    start = {name: tensor.clone() for name, tensor in learn.plain_model.state_dict().items()}
    learn.run_epochs()
    assert learn.kinds == ("raw", "ema", "start-to-0.25")
    average, between = (learn.candidate(kind).state_dict() for kind in ("ema", "start-to-0.25"))
    moved = [name for name in start if not torch.equal(start[name], average[name])]
    assert moved
    for name in moved:
        if start[name].is_floating_point():
            expected = 0.75 * start[name] + 0.25 * average[name]
            torch.testing.assert_close(between[name], expected, rtol=1e-5, atol=1e-6)
    assert set(learn.scores) == set(learn.kinds)


def test_a_run_keeps_whichever_weights_have_the_lowest_calibrated_log_loss(data, run):
    result = fit_fold(data, small_fold(data), small_config(interpolate=(0.5,)), run, weights=None)
    rows = History(run / "fold0/history.csv").rows
    found = {(row[f"calibrated_log_loss_{kind}"], kind) for row in rows for kind in ("raw", "ema", "start-to-0.5")}
    stored = read_json(run / "fold0/result.json")
    assert stored["weights"] == min(found)[1]
    assert result.index == 0


def test_log_loss_means_the_same_with_and_without_shares_of_the_way(data, run, tmp_path):
    learn = learner_of(data, run, interpolate=(0.25,), epochs=1)
    learn.run_epochs()
    for score in learn.scores.values():
        assert score.log_loss == log_loss(score.probabilities, score.labels)
        assert score.criterion == score.calibrated_log_loss < score.log_loss
    plain = learner_of(data, RunDir(tmp_path / "plain"), interpolate=(), epochs=1)
    plain.run_epochs()
    assert plain.scores["raw"].criterion == plain.scores["raw"].log_loss == learn.scores["raw"].log_loss


class MemoryLimit(KitCallback):
    """A device on which no more than ``photos`` fit."""

    order, run_valid = 1, False

    def __init__(self, photos: int) -> None:
        self.photos = photos

    def before_batch(self) -> None:
        if len(self.learn.xb[0]) > self.photos:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_out_of_memory_halves_the_batch_and_goes_on(data, tmp_path, capsys):
    plain = {"drop_rate": 0.0, "drop_path_rate": 0.0, "freeze_norm": True, "ema_decay": 0.0}
    config, fold = small_config(batch_size=8, **plain), small_fold(data)
    small = fit_fold(data, fold, config, RunDir(tmp_path / "a"), weights=None, callbacks=[MemoryLimit(3)])
    text = " ".join(capsys.readouterr().err.split())
    assert "batch 8 -> 4, now 2 passes per step" in text
    assert "batch 4 -> 2, now 4 passes per step" in text
    large = fit_fold(data, fold, config, RunDir(tmp_path / "b"), weights=None)
    assert small.log_loss == pytest.approx(large.log_loss, rel=1e-3)


def test_not_even_one_photo_fits(data, run):
    with pytest.raises(TrainingError, match="single photo"):
        fit_fold(data, small_fold(data), small_config(), run, weights=None, callbacks=[MemoryLimit(0)])


class Poison(KitCallback):
    """Makes the loss NaN from a given step on."""

    order, run_valid = 9, False

    def before_batch(self) -> None:
        if self.learn.state.total_steps >= 6:
            self.learn.xb = (self.learn.xb[0] * float("nan"),)


def test_a_nan_loss_stops_the_fold_and_keeps_the_last_good_checkpoint(data, run):
    with pytest.raises(TrainingError, match=r"became nan in epoch 2.*last good checkpoint is kept"):
        fit_fold(data, small_fold(data), small_config(), run, weights=None, callbacks=[Poison()], save_every=0)
    index = read_json(run / "fold0/state/index.json")
    assert index["checkpoints"][0]["file"].startswith("step-0000006")
    result = fit_fold(data, small_fold(data), small_config(), run, weights=None)  # without the poison it goes on
    assert np.isfinite(result.log_loss)


def test_early_stopping(data, run, capsys):
    # a rate below float32's resolution: no epoch can be better than the first
    config = small_config(epochs=12, patience=1, lr=1e-30, head_lr=1e-30, ema_decay=0.0, freeze_norm=True)
    fit_fold(data, small_fold(data), config, run, weights=None)
    assert len(History(run / "fold0/history.csv").rows) < 12
    assert "stopped early: no better epoch" in " ".join(capsys.readouterr().err.split())


def test_mixed_batches_and_sgd_and_half_precision(data, run):
    config = small_config(
        mixup=0.4, cutmix=1.0, optimiser="sgd", precision="bfloat16", channels_last=True, schedule="one_cycle", lr=0.02
    )
    result = fit_fold(data, small_fold(data), config, run, weights=None)
    assert np.isfinite(result.log_loss)


def test_the_probes_head_is_where_training_starts(data, run, rng):
    weight, bias = rng.normal(size=(3, 512)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    job = job_of(data, run)
    width = job.backbone.num_features
    job = dataclasses.replace(job, head=(weight[:, :width], bias), config=_with_head(job.config))
    model = build_model(job)
    head = model.get_classifier()
    np.testing.assert_array_equal(head.weight.detach().numpy(), weight[:, :width])
    np.testing.assert_array_equal(head.bias.detach().numpy(), bias)


def _with_head(config):
    """The configuration with head_from=probe, without the weights that it would need."""
    other = dataclasses.replace(config)
    object.__setattr__(other, "head_from", "probe")
    return other


def test_a_missing_or_misshapen_head_is_refused(data, run):
    config = _with_head(small_config())
    with pytest.raises(UsageError, match="needs the probe's solution"):
        fit_fold(data, small_fold(data), config, run, weights=None)
    with pytest.raises(WeightsError, match="7 features"):
        fit_fold(data, small_fold(data), config, run, weights=None, head=(np.zeros((3, 7)), np.zeros(3)))


def test_a_recipe_that_needs_a_gpu_says_what_the_cpu_would_cost(data, run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    job = job_of(data, run, device="auto", needs_gpu=True)
    model = build_model(job)
    with pytest.raises(UsageError, match=r"needs a GPU .* on this CPU a fold takes about .*--device cpu"):
        choose_device(job.config, model, 36)
    assert choose_device(small_config(device="cpu", needs_gpu=True), model, 36) == CPU
    with pytest.raises(UsageError, match="no GPU here"):
        choose_device(small_config(device="cuda"), model, 36)


def test_a_size_that_the_backbone_refuses(data, run):
    with pytest.raises(UsageError, match="cannot take images of 50 px"):
        fit_fold(
            data,
            small_fold(data),
            small_config(backbone="test_vit", image_size=160, progressive=(50,)),
            run,
            weights=None,
        )


def test_merged_takes_identity_and_hflip_only(rng):
    logits = rng.normal(size=(3, 4, 5))
    expected = (softmax(logits[0]) + softmax(logits[2])) / 2
    np.testing.assert_allclose(merged(logits, ["identity", "large", "hflip"]), expected)


def test_groups_hold_every_parameter_once(data, run):
    job = job_of(data, run)
    model = build_model(job)
    held = [id(p) for group in parameter_groups(model, job.config) for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_the_estimate_is_told_even_when_the_first_batch_takes_long(data, run, capsys, monkeypatch):
    from competition.training.engine import step_learner

    monkeypatch.setattr(step_learner.Clock, "seconds", property(lambda _: 16.0))
    fit_fold(data, small_fold(data), small_config(epochs=1, batch_size=36), run, weights=None)
    assert "2 photos/s: about 0.0 s of training left" in " ".join(capsys.readouterr().err.split())

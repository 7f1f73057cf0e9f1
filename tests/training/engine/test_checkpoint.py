from __future__ import annotations

import numpy as np
import pytest
import torch

from competition.errors import ResumeError
from competition.training.engine.checkpoint import (
    Checkpoint,
    CheckpointStore,
    pack_optimiser,
    rng_state,
    set_rng_state,
    unpack_optimiser,
)

IDENTITY = {"config": {"lr": 0.1, "sizes": (1, 2)}, "data": "abc"}
CPU = torch.device("cpu")


def checkpoint(value: float, **files: str) -> Checkpoint:
    return Checkpoint({"w": torch.full((3, 2), value)}, {"epoch": int(value), "nested": [1, None]}, files)


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "state", IDENTITY)


def test_there_is_none_at_first(store):
    assert store.load() is None


def test_the_newest_comes_back_whole(store):
    store.save("a", checkpoint(1))
    store.save("b", checkpoint(2))
    loaded = store.load()
    assert loaded.facts == {"epoch": 2, "nested": [1, None]}
    assert torch.equal(loaded.tensors["w"], torch.full((3, 2), 2.0))


def test_two_are_kept_and_the_others_removed(store):
    for name in "abcd":
        store.save(name, checkpoint(1))
    assert sorted(path.name for path in store.folder.glob("*.safetensors")) == ["c.safetensors", "d.safetensors"]


def test_no_temporary_file_is_left(store):
    store.save("a", checkpoint(1))
    assert not [path.name for path in store.folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("damage", ["cut", "flip", "delete"])
def test_a_damaged_newest_falls_back_to_the_one_before(store, damage, capsys):
    store.save("a", checkpoint(1))
    path = store.save("b", checkpoint(2))
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    assert store.load().facts["epoch"] == 1
    assert "going on from the checkpoint before it" in " ".join(capsys.readouterr().err.split())


def test_both_damaged_is_an_error_that_says_what_to_do(store):
    for name in "ab":
        path = store.save(name, checkpoint(1))
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ResumeError, match="delete that folder"):
        store.load()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"format": 99, "checkpoints": [], "identity": {}}'])
def test_a_damaged_index_is_an_error(store, text):
    store.save("a", checkpoint(1))
    (store.folder / "index.json").write_text(text)
    with pytest.raises(ResumeError):
        store.load()


def test_another_configuration_is_refused_with_the_difference(store):
    store.save("a", checkpoint(1))
    other = CheckpointStore(store.folder, {"config": {"lr": 0.2, "sizes": (1, 2)}, "data": "abc"})
    with pytest.raises(ResumeError, match=r"lr: 0\.1 -> 0\.2"):
        other.load()


def test_other_data_are_refused(store):
    store.save("a", checkpoint(1))
    with pytest.raises(ResumeError, match="data: 'abc' -> 'xyz'"):
        CheckpointStore(store.folder, {**IDENTITY, "data": "xyz"}).load()


def test_the_best_weights_are_kept_while_either_checkpoint_relies_on_them(store):
    first = store.write_file("best-1", {"w": torch.ones(2)})
    store.save("a", checkpoint(1, best=first))
    second = store.write_file("best-2", {"w": torch.zeros(2)})
    store.save("b", checkpoint(2, best=second))
    assert (store.folder / first).is_file()
    store.save("c", checkpoint(3, best=second))
    assert not (store.folder / first).is_file()
    assert torch.equal(store.read_file(store.load().files["best"])["w"], torch.zeros(2))


def test_a_checkpoint_whose_best_weights_are_damaged_is_not_used(store):
    store.save("a", checkpoint(1))
    best = store.write_file("best", {"w": torch.ones(2)})
    store.save("b", checkpoint(2, best=best))
    (store.folder / best).write_bytes(b"")
    assert store.load().facts["epoch"] == 1


def test_a_failed_write_leaves_the_old_checkpoint(store, monkeypatch):
    store.save("a", checkpoint(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(Exception, match="no space left"):
        store.save("b", checkpoint(2))
    monkeypatch.undo()
    assert store.load().facts["epoch"] == 1


def test_random_states_come_back():
    import random

    tensors, facts = rng_state(CPU)
    expected = (torch.rand(3), np.random.rand(3), random.random())  # noqa: NPY002
    set_rng_state(tensors, facts, CPU)
    again = (torch.rand(3), np.random.rand(3), random.random())  # noqa: NPY002
    assert torch.equal(expected[0], again[0])
    assert (expected[1] == again[1]).all()
    assert expected[2] == again[2]


@pytest.mark.parametrize("kind", [torch.optim.AdamW, lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)])
def test_an_optimiser_goes_on_exactly_where_it_was(kind):
    def weights() -> torch.nn.Parameter:
        return torch.nn.Parameter(torch.linspace(-1, 1, 24).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last))

    def step(parameter: torch.nn.Parameter, optimiser: torch.optim.Optimizer, times: int) -> None:
        for _ in range(times):
            optimiser.zero_grad()
            (parameter**3).sum().backward()
            optimiser.step()

    whole = weights()
    step(whole, kind([whole], lr=0.01), 6)
    first = weights()
    optimiser = kind([first], lr=0.01)
    step(first, optimiser, 3)
    tensors, groups = pack_optimiser(optimiser)
    second = torch.nn.Parameter(first.detach().clone())
    fresh = kind([second], lr=0.5)
    unpack_optimiser(fresh, tensors, groups)
    step(second, fresh, 3)
    assert torch.equal(second, whole)

"""An epoch of the NumPy MLP against the same epoch of a plain PyTorch loop on the processor; MNIST as its goal.

    pytest -m slow -s tests/benchmarks/bench_numpy_mlp.py

Both get the same normalised batches of 128 in memory and do the same arithmetic (784-256-128-10, ReLU, Adam). Epochs
alternate, so that a busy machine is busy for both; the median of each is compared. Threads are the environment's
(``OMP_NUM_THREADS``).
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

SIZES, BATCH, IMAGES, ROUNDS = (784, 256, 128, 10), 128, 12_800, 5


@pytest.mark.slow
def test_an_epoch_of_numpy_against_an_epoch_of_torch() -> None:
    import torch

    from baselines.numpy_nets.mlp import MLP
    from baselines.numpy_nets.optimisers import create_optimiser

    if os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((IMAGES, 784), dtype=np.float32), rng.integers(0, 10, IMAGES)
    net = MLP(SIZES)
    mine = create_optimiser("adam", net.theta.size)
    layers = [torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128), torch.nn.ReLU()]
    theirs = torch.nn.Sequential(*layers, torch.nn.Linear(128, 10))
    steps = torch.optim.Adam(theirs.parameters(), 1e-3)
    tensors = torch.from_numpy(x), torch.from_numpy(y)

    def numpy_epoch() -> None:
        for at in range(0, IMAGES, BATCH):
            net.loss_and_gradient(x[at : at + BATCH], y[at : at + BATCH])
            mine.update(net.theta, net.gradient, 1e-3)

    def torch_epoch() -> None:
        for at in range(0, IMAGES, BATCH):
            loss = torch.nn.functional.cross_entropy(theirs(tensors[0][at : at + BATCH]), tensors[1][at : at + BATCH])
            steps.zero_grad()
            loss.backward()
            steps.step()

    times: dict[str, list[float]] = {"numpy": [], "torch": []}
    for number in range(ROUNDS + 1):
        for name, epoch in (("numpy", numpy_epoch), ("torch", torch_epoch)):
            start = time.perf_counter()
            epoch()
            if number:  # the first is warm-up
                times[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    ratio = medians["numpy"] / medians["torch"]
    rates = ", ".join(f"{name} {IMAGES / value:,.0f} images/s" for name, value in medians.items())
    print(f"\n{rates}: an epoch of NumPy takes {ratio:.2f} times that of PyTorch ({torch.get_num_threads()} threads)")
    assert ratio < 2, "the NumPy MLP has become much slower than a plain PyTorch loop"


@pytest.mark.slow
@pytest.mark.shared
def test_mnist_is_learnt(shared, tmp_path) -> None:
    from baselines import fit, load_dataset
    from baselines.numpy_nets.mlp import MLP

    data = load_dataset("mnist", shared / "data")
    start = time.monotonic()
    result = fit(MLP((784, 256, 128, 10)), data, run_dir=tmp_path / "run", epochs=6, optimiser="adam")
    print(f"\nMNIST: test accuracy {result.accuracy:.4f} in {time.monotonic() - start:.0f} s")
    assert result.accuracy >= 0.97

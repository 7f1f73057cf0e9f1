"""A trained baseline behind the explanation protocol: every method of ``competition.explain`` works on its run.

backend = open_backend(Path("runs/baselines/resnet8-keras-cifar10"))
maps = cam(backend, images, class_target(backend.classes, names), method="gradcam")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from baselines.training.run_folder import ModelCard, stored_model
from competition.errors import UsageError
from competition.explain.networks.protocol import Backend


def open_backend(run: Path | str, *, model: Any = None, device: str = "auto") -> Backend:
    """Open a run's network with its best weights, in evaluation mode.

    Args:
        run: the run's folder.
        model: the network itself, needed where it is not a registered one.
        device: where PyTorch computes: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ResumeError: this is no run of a baseline.
        WeightsError: the weights are missing, damaged or of another model.
        UsageError: the network is of neither PyTorch nor Keras, or of one's own and not given.
    """
    folder = Path(run)
    card = ModelCard.load(folder)
    network = stored_model(folder, card, model)
    shape = (card.image_size, card.image_size, card.channels)
    if card.framework == "keras":
        from competition.explain.networks.keras_backend import KerasBackend

        return KerasBackend(network, card.classes, card.mean, card.std, shape)
    if card.framework != "pytorch":
        raise UsageError(f"{folder} holds a {card.framework} network: explanations need PyTorch or Keras")
    from competition.explain.networks.torch_backend import TorchBackend
    from competition.training.backbones.devices import pick_device

    return TorchBackend(network.eval(), card.classes, card.mean, card.std, shape, pick_device(device))

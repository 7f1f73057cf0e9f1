"""Multi-layer perceptron: the network without convolutions that the others are measured against."""

from __future__ import annotations

from torch import nn

from baselines.specs.mlp import MLPSpec
from baselines.torch_nets.layers import ACTIVATIONS, batch_norm_dense, initialise


class MLP(nn.Sequential):
    """Dense layers ``fc1`` ... over the flattened image; the last gives the logits."""

    def __init__(self, spec: MLPSpec, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        features = in_channels * image_size * image_size
        self.add_module("flatten", nn.Flatten())
        for number, width in enumerate(spec.hidden, start=1):
            self.add_module(f"fc{number}", nn.Linear(features, width, bias=not spec.batch_norm))
            if spec.batch_norm:
                self.add_module(f"bn{number}", batch_norm_dense(spec, width))
            self.add_module(f"act{number}", ACTIVATIONS[spec.activation]())
            self.add_module(f"drop{number}", nn.Dropout(spec.dropout))
            features = width
        self.add_module(f"fc{len(spec.hidden) + 1}", nn.Linear(features, num_classes))
        initialise(self, spec.initialisation)

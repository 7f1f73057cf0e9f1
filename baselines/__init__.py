"""From-scratch networks in PyTorch and Keras; importing this package loads no framework.

from baselines import create_model
model = create_model("resnet8", framework="keras", num_classes=10)
"""

from __future__ import annotations

from baselines.datasets import Dataset, list_datasets, load_dataset
from baselines.registry import ModelInfo, create_model, list_models

__all__ = ["Dataset", "ModelInfo", "create_model", "list_datasets", "list_models", "load_dataset"]

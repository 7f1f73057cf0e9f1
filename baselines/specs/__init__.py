"""Architecture tables that both frameworks read: widths, kernels, strides, and where each number comes from.

A specification is a frozen dataclass; ``baselines.registry`` gives each registered name its row. No framework is
imported here.
"""

from baselines.specs.alexnet import ALEXNET_BIASES_OF_ONE, ALEXNET_SMALL_CONVS, AlexNetSpec, Conv, alexnet_side
from baselines.specs.base import ACTIVATIONS, INITS, BatchNorm, Spec, initial_range
from baselines.specs.googlenet import (
    AUX_DROPOUT,
    AUX_FILTERS,
    AUX_HEADS,
    AUX_LOSS_WEIGHT,
    AUX_UNITS,
    INCEPTION_TABLE,
    GoogLeNetSpec,
    Inception,
    LocalNorm,
    googlenet_aux_side,
)
from baselines.specs.lenet import LENET_C3_TABLE, LeNetSpec, lenet_codes, lenet_padding
from baselines.specs.mlp import MLPSpec
from baselines.specs.resnet import ResNetSpec, cifar_resnet
from baselines.specs.vgg import VGG_DEPTHS, VGGSpec, vgg_side
from baselines.specs.xception import XceptionSpec

__all__ = [
    "ACTIVATIONS",
    "ALEXNET_BIASES_OF_ONE",
    "ALEXNET_SMALL_CONVS",
    "AUX_DROPOUT",
    "AUX_FILTERS",
    "AUX_HEADS",
    "AUX_LOSS_WEIGHT",
    "AUX_UNITS",
    "INCEPTION_TABLE",
    "INITS",
    "LENET_C3_TABLE",
    "VGG_DEPTHS",
    "AlexNetSpec",
    "BatchNorm",
    "Conv",
    "GoogLeNetSpec",
    "Inception",
    "LeNetSpec",
    "LocalNorm",
    "MLPSpec",
    "ResNetSpec",
    "Spec",
    "VGGSpec",
    "XceptionSpec",
    "alexnet_side",
    "cifar_resnet",
    "googlenet_aux_side",
    "initial_range",
    "lenet_codes",
    "lenet_padding",
    "vgg_side",
]

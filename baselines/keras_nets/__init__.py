"""The from-scratch networks in Keras, one architecture a file; input float32 (n, h, w, c), output logits.

Every model is one flat functional model. A layer's name is the dotted path of the PyTorch module that does the same,
so weights are copied by name (``baselines.port``) and a Grad-CAM target is called the same in both frameworks.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec

# TensorFlow tells of the processor's instructions on every start; errors are still shown.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# TensorFlow and Triton (which torchvision loads) carry an LLVM each; the process aborts when TensorFlow's comes first.
if find_spec("triton") is not None:
    import_module("triton")

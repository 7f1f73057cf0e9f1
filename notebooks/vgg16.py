# %% [markdown]
# # VGG-16 in $in_framework
#
# $badges
#
# What does depth buy? VGG asked it in the plainest way: nothing but convolutions of 3 x 3, thirteen of them, and dense layers at the
# end. And can such a network be trained at all without batch normalisation, on small images?
#
# $modes

# %% part="install"

# %% tags=["parameters"]
from baselines import create_model, fit
from baselines.notebook import study as chapter

FRAMEWORK = "pytorch"
chapter.begin(FRAMEWORK)

# %% [markdown]
# ## The data first

# %%
data = chapter.limited(chapter.load("cifar100", "cifar10"), images=2000)

# %% part="data"

# %% [markdown]
# ## The network
#
# Simonyan and Zisserman, *Very deep convolutional networks for large-scale image recognition*, ICLR 2015, column D: thirteen
# convolutions and three dense layers. Two convolutions of 3 x 3 see as much as one of 5 x 5, with fewer weights and one more
# non-linearity between them. For images of 32 pixels the dense layers need not be wide, and batch normalisation follows every
# convolution, as in most VGGs trained today.

# %%
# In short mode the sixteen layers have fewer channels and no dropout: the full ones need a GPU to be trained in minutes.
model = create_model(
    "vgg16_bn_small",
    FRAMEWORK,
    num_classes=data.num_classes,
    in_channels=data.in_channels,
    image_size=data.image_size,
    widths=chapter.pick((64, 128, 256, 512, 512), (12, 24, 48, 64, 64)),
    hidden=chapter.pick((512, 512), (64, 64)),
    dropout=chapter.pick(0.5, 0.0),
)
chapter.layers(model)
assert chapter.learning_layers(model) == 16, "thirteen convolutions and three dense layers"

# %% [markdown]
# How far a signal gets through so many layers is decided by its first weights. Here they are drawn after He et al. (2015): normally,
# with a variance of 2 divided by the number of inputs of a unit, which is what ReLU needs to keep the size of a signal.

# %% [markdown] tags=["pytorch"]
# PyTorch's own default for a convolution has a sixth of that variance, so the kit draws the weights itself.

# %% tags=["pytorch"]
from torch import nn

own, default = model.state_dict()["conv3_3.weight"], nn.Conv2d(64, 64, 3).weight
inputs = own[0].numel()
assert abs(own.var() * inputs - 2) < 0.2
assert abs(default.var() * 9 * 64 - 2 / 6) < 0.02
chapter.weights(model)

# %% [markdown] tags=["keras"]
# Keras' own default is `glorot_uniform`: where a layer has as many outputs as inputs, half of that variance.

# %% tags=["keras"]
import keras
import numpy as np

own = np.asarray(model.get_layer("conv3_3").kernel)
default = np.asarray(keras.initializers.GlorotUniform(seed=0)((3, 3, 64, 64)))
inputs = own[..., 0].size
assert abs(own.var() * inputs - 2) < 0.2
assert abs(default.var() * 9 * 64 - 2 / 2) < 0.1
chapter.weights(model)

# %% part="training"

# %%
result = fit(
    model,
    data,
    run_dir=f"runs/vgg16-{FRAMEWORK}",
    epochs=chapter.pick(60, 8),
    batch_size=chapter.pick(128, 32),
    optimiser="nesterov",
    lr=chapter.pick(0.05, 0.02),
    weight_decay=5e-4,
    schedule="one_cycle",
    augment=chapter.pick(("crop", "flip"), ("flip",)),
)
chapter.figures(result)

# %% part="numbers"

# %% [markdown]
# ## What it has learnt
#
# The first filters look at colour and edges. Follow the channels down: the maps shrink from the size of the image to a few
# pixels, and what remains is no longer where something is but what it is.

# %% part="learnt"

# %% [markdown]
# ## An experiment: with batch normalisation, without it, and without it from Glorot's weights

# %% part="study"

# %%
from baselines.studies.study import Study

study = Study(
    "vgg-normalisation",
    variants=({"batch_norm": True}, {"batch_norm": False}, {"batch_norm": False, "init": "xavier"}),
    fixed={
        "epochs": chapter.pick(6, 3),
        "batch_size": chapter.pick(64, 16),
        "widths": chapter.pick((16, 32, 64, 64, 64), (8, 16, 32, 32, 32)),
        "hidden": (64, 64),
        "dropout": 0.0,
        "lr": 0.01,
        "optimiser": "nesterov",
    },
    seeds=chapter.pick((0, 1, 2, 3, 4), (0, 1)),
    model="vgg16_bn_small",
    framework=FRAMEWORK,
    dataset=data.name,
    image_size=data.image_size,
    train_images=chapter.pick(8000, 800),
)

# %% part="report"

# %% [markdown]
# ## What to try next
#
# - Where CIFAR-100 is at hand, put the full mode's result beside those in `docs/results/baselines.md`.
# - Put `vgg11_bn_small` and `vgg19_bn_small` beside it: where does more depth stop helping?
# - `baselines compare` puts several runs onto one page.

# %% part="end"

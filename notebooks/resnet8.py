# %% [markdown]
# # ResNet-8 in $in_framework
#
# $badges
#
# A residual network of only eight layers has a small part of VGG-16's weights. How close does it come? And do the shortcuts
# matter at such a small depth?
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
data = chapter.limited(chapter.load("cifar100", "cifar10"), images=3000)

# %% part="data"

# %% [markdown]
# ## The network
#
# He, Zhang, Ren and Sun, *Deep residual learning for image recognition*, CVPR 2016, section 4.2: a convolution, three stages of n
# blocks with two convolutions each, and a linear end: 6n + 2 layers, here n = 1. A block adds what it computes to what it was given;
# where the map shrinks, the shortcut takes every second pixel and fills the new channels with zeros (option A), so it costs no weights.

# %%
model = create_model(
    "resnet8",
    FRAMEWORK,
    num_classes=data.num_classes,
    in_channels=data.in_channels,
    image_size=data.image_size,
)
chapter.layers(model)
assert chapter.learning_layers(model) == 6 * 1 + 2
chapter.tell(chapter.size_against(model, "vgg16_bn_small", data))

# %% [markdown] tags=["pytorch"]
# In PyTorch option A is a slice and a `torch.cat` with zeros in the block's `forward`. It holds no array, so nothing of it is in the
# `state_dict`; a shortcut with weights (option B) would be found there as `downsample`.

# %% tags=["pytorch"]
assert not [name for name in model.state_dict() if "downsample" in name]
chapter.weights(model)

# %% [markdown] tags=["keras"]
# Two things differ from PyTorch here. With a stride of two, Keras' padding `"same"` may pad right and below only, PyTorch pads on
# both sides: the network pads by a layer of its own, so that both compute the same. And a Keras graph is made of layers that take what others
# give: the zeros of option A are copies times zero, joined to the channels that pass.

# %% tags=["keras"]
assert model.get_layer("layer2.0.conv1").padding == "valid"
assert model.get_layer("layer2.0.conv1.pad").padding == ((1, 1), (1, 1))
assert not [item.path for item in model.weights if "downsample" in item.path]
chapter.weights(model)

# %% part="training"

# %%
result = fit(
    model,
    data,
    run_dir=f"runs/resnet8-{FRAMEWORK}",
    epochs=chapter.pick(60, 8),
    batch_size=chapter.pick(128, 32),
    optimiser="nesterov",
    lr=0.05,
    weight_decay=5e-4,
    schedule="one_cycle",
    augment=chapter.pick(("crop", "flip"), ("flip",)),
)
chapter.figures(result)

# %% part="numbers"

# %% [markdown]
# ## What it has learnt
#
# The filters of the first convolution are all the network has to describe pixels with.

# %% part="learnt"

# %% [markdown]
# ## An experiment: a rate ten times lower, ten times higher, and shortcuts with weights (option B)

# %% part="study"

# %%
from baselines.studies.study import Study

study = Study(
    "resnet-rate-and-shortcut",
    variants=({"lr": 0.05}, {"lr": 0.005}, {"lr": 0.5}, {"lr": 0.05, "shortcut": "projection"}),
    fixed={"epochs": chapter.pick(6, 2), "batch_size": chapter.pick(64, 32), "optimiser": "nesterov"},
    seeds=chapter.pick((0, 1, 2, 3, 4), (0, 1)),
    model="resnet8",
    framework=FRAMEWORK,
    dataset=data.name,
    image_size=data.image_size,
    train_images=chapter.pick(8000, 1000),
)

# %% part="report"

# %% [markdown]
# ## What to try next
#
# - `resnet14`, `resnet20` and `resnet32` follow the same rule with n = 2, 3, 5.
# - A longer training with the crop and flip of the full mode: how much of the gap between training and test goes away?
# - `baselines explain RUN IMAGE --versus CLASS` asks why one class rather than another.

# %% part="end"

# %% [markdown]
# # LeNet-5 in $in_framework
#
# $badges
#
# How far does the network of 1998 get on handwritten digits, with no more than five layers that learn? And which of its
# choices (tanh, average pooling) does it still owe its fame to?
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
data = chapter.limited(chapter.load("mnist"), images=3000)

# %% part="data"

# %% [markdown]
# ## The network
#
# LeCun, Bottou, Bengio and Haffner, *Gradient-based learning applied to document recognition*, Proceedings of the IEEE 86 (1998).
# Two convolutions of 5 x 5 with pooling between them look for strokes and then for arrangements of strokes; a third convolution
# sees the whole digit, and two dense layers decide. The variant here is the one taught today: tanh, average pooling, a linear
# end. The published one (trainable subsampling, a table of connections, Gaussian end) is `lenet5_published`.

# %%
model = create_model(
    "lenet5",
    FRAMEWORK,
    num_classes=data.num_classes,
    in_channels=data.in_channels,
    image_size=data.image_size,
)
chapter.layers(model)
assert chapter.learning_layers(model) == 5, "three convolutions and two dense layers"

# %% [markdown] tags=["pytorch"]
# In PyTorch a network is a module made of modules, and its weights are the `state_dict`: arrays by dotted names. A batch is
# (images, channels, height, width), the kernels of a convolution are (filters, channels, height, width). What comes out are
# logits: the softmax is part of the loss.

# %% tags=["pytorch"]
assert tuple(model.state_dict()["c1.weight"].shape) == (6, 1, 5, 5)
chapter.weights(model)

# %% [markdown] tags=["keras"]
# In Keras a network is a graph of layers from an input to an output (the functional API), here computed by TensorFlow. A batch is
# (images, height, width, channels), the kernels of a convolution are (height, width, channels, filters). What comes out are logits:
# the softmax is part of the loss (`from_logits=True`).

# %% tags=["keras"]
assert tuple(model.get_layer("c1").kernel.shape) == (5, 5, 1, 6)
chapter.weights(model)

# %% part="training"

# %%
result = fit(
    model,
    data,
    run_dir=f"runs/lenet-{FRAMEWORK}",
    epochs=chapter.pick(12, 6),
    batch_size=chapter.pick(128, 64),
    optimiser="adamw",
    lr=3e-3,
    schedule="one_cycle",
)
chapter.figures(result)

# %% part="numbers"

# %% [markdown]
# ## What it has learnt
#
# The first filters of a network that sees grey strokes respond to edges and spots. Deeper layers answer to arrangements
# of them; their maps get coarser.

# %% part="learnt"

# %% [markdown]
# ## An experiment: tanh or ReLU, average or maximum

# %% part="study"

# %%
from baselines.studies.study import Study

study = Study(
    "lenet-choices",
    grid={"activation": ("tanh", "relu"), "pooling": ("average", "max")},
    fixed={"epochs": chapter.pick(4, 2), "batch_size": chapter.pick(128, 64), "lr": 2e-3},
    seeds=chapter.pick((0, 1, 2, 3, 4), (0, 1)),
    model="lenet5",
    framework=FRAMEWORK,
    dataset=data.name,
    image_size=data.image_size,
    train_images=chapter.pick(8000, 1000),
)

# %% part="report"

# %% [markdown]
# ## What to try next
#
# - `lenet5_published` is the network of the paper, with its Gaussian end: does the odd end cost accuracy?
# - Train on Fashion-MNIST or on Devanagari (`chapter.load("devanagari")`): LeNet is made for strokes, and clothes are not strokes.
# - `baselines sweep lenet-variants` does the experiment above with more images and more choices.

# %% part="end"

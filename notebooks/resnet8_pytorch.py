# %% [markdown]
# # ResNet-8 in PyTorch
#
# [![open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/dogbreed-kit/dogbreed-kit/blob/main/notebooks/resnet8_pytorch.ipynb)
# [![open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/dogbreed-kit/dogbreed-kit/blob/main/notebooks/resnet8_pytorch.ipynb)
#
# A residual network of only eight layers has a hundred times fewer weights than VGG-16. How close does it come? And do the shortcuts
# matter at such a small depth?
#
# It runs in two modes. `DOGBREED_SHORT=1` in the environment asks for the **short mode** (fewer images, fewer epochs;
# about a minute on two CPU cores); without it, the full mode, for which a GPU is advisable. The line after the first
# cell says which of them made the outputs below.

# %%
# On Colab and Kaggle this installs the kit; in a checkout it does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("baselines") is None:
    kit = "dogbreed-kit[test] @ git+https://github.com/dogbreed-kit/dogbreed-kit"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", kit], check=True)

# %%
from baselines import chapter, create_model, fit
from baselines.explained import open_backend

FRAMEWORK = "pytorch"
chapter.begin(FRAMEWORK)

# %% [markdown]
# ## The data first

# %%
data = chapter.limited(chapter.load("cifar100", "cifar10"), images=5000)
chapter.about(data)

# %%
chapter.show(chapter.samples(data), "Training images, a row for each of the first classes.")

# %% [markdown]
# ## The network
#
# He, Zhang, Ren and Sun, *Deep residual learning for image recognition*, CVPR 2016, section 4.2: a convolution, three stages of n
# blocks with two convolutions each, and a linear end: 6n + 2 layers, here n = 1. A block adds what it computes to what it was given; where the
# map shrinks, the shortcut takes every second pixel and fills the new channels with zeros (option A), so it costs no weights.

# %%
model = create_model(
    "resnet8", FRAMEWORK, num_classes=data.num_classes, in_channels=data.in_channels, image_size=data.image_size
)
chapter.layers(model)

# %% [markdown]
# ## Training
#
# One call trains, keeps the best epoch by validation loss, looks at the test images once, and leaves a run folder with
# history, checkpoint, predictions and TensorBoard. `tensorboard --logdir runs` (or `%load_ext tensorboard` and
# `%tensorboard --logdir runs` in a live notebook) shows the same curves, and those of the other framework beside them.

# %%
result = fit(
    model,
    data,
    run_dir=f"runs/resnet8-{FRAMEWORK}",
    epochs=chapter.pick(60, 10),
    batch_size=chapter.pick(128, 64),
    optimiser="nesterov",
    lr=0.05,
    weight_decay=5e-4,
    schedule="one_cycle",
    augment=chapter.pick(("crop", "flip"), ("flip",)),
)
chapter.figures(result)

# %%
chapter.show(chapter.curves(result), "Loss, accuracy and learning rate over the epochs.")

# %% [markdown]
# ## What the numbers say

# %%
chapter.tell(chapter.findings(result))

# %%
chapter.per_class(result)

# %%
chapter.show(chapter.confusion(result), "True class (rows) against predicted class (columns), test images.")

# %%
chapter.show(chapter.mistakes(result, data), "Wrong predictions of which the network was surest.")

# %% [markdown]
# Look at them before blaming the network: some of these images are hard for people too.
#
# ## What it has learnt
#
# The sixteen filters of the first convolution are all the network has to describe pixels with. The maps of the last stage are 8 x 8:
# a heat map drawn from them cannot be sharper than that.

# %%
backend = open_backend(result.run)
chapter.show(chapter.first_filters(backend), "The filters of the first convolution.")

# %%
images, names = chapter.one_of_each(data)
chapter.show(chapter.answers(backend, images[-1]), "One test image, and what three layers answer to it.")

# %% [markdown]
# Gradient ascent turns the question round: starting from noise, which image would make the network surest of a class? Such
# pictures are not photographs. They show what the network counts as evidence, and how little of the whole it needs.

# %%
chapter.show(
    chapter.class_images(backend, data.classes[:8]), "Images painted from noise by gradient ascent, one for each class."
)

# %% [markdown]
# And where in a given image is the evidence? Grad-CAM weighs the channels of the last map by their gradient, LayerCAM weighs position by
# position, integrated gradients add up gradients of the pixels on the way from black to the image.

# %%
chapter.show(
    chapter.heat_maps(backend, images, names), "Test images and what speaks for their class, by three methods."
)

# %% [markdown]
# ## An experiment: a rate ten times lower, ten times higher, and shortcuts with weights (option B)
#
# A difference between two trainings means nothing before one knows how much two trainings differ that vary in nothing but the
# seed. The study below trains every variant with several seeds and writes down what exceeds that.

# %%
from baselines.experiments import Study
from baselines.experiments_report import table_of
from baselines.experiments_run import run_study

study = Study(
    "resnet-rate-and-shortcut",
    variants=({"lr": 0.05}, {"lr": 0.005}, {"lr": 0.5}, {"lr": 0.05, "shortcut": "projection"}),
    fixed={"epochs": chapter.pick(6, 3), "batch_size": 64, "optimiser": "nesterov"},
    seeds=chapter.pick((0, 1, 2, 3, 4), (0, 1)),
    model="resnet8",
    framework=FRAMEWORK,
    dataset=data.name,
    train_images=chapter.pick(8000, 1200),
)
with chapter.quiet():
    report = run_study(study, f"runs/resnet8-{FRAMEWORK}-study")
chapter.tell(table_of(report.groups, study))

# %%
chapter.tell(report.text)

# %% [markdown]
# ## What to try next
#
# - `resnet14`, `resnet20` and `resnet32` follow the same rule with n = 2, 3, 5.
# - A longer training with the crop and flip of the full mode: how much of the gap between training and test goes away?
# - `baselines explain RUN IMAGE --versus CLASS` asks why one class rather than another.

# %% [markdown]
# # VGG-16 in Keras 3 on TensorFlow
#
# [![open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/dogbreed-kit/dogbreed-kit/blob/main/notebooks/vgg16_keras.ipynb)
# [![open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/dogbreed-kit/dogbreed-kit/blob/main/notebooks/vgg16_keras.ipynb)
#
# What does depth buy? VGG asked it in the plainest way: nothing but convolutions of 3 x 3, thirteen of them, and three dense layers.
# And can such a network be trained at all without batch normalisation, on small images?
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
    kit = "dogbreed-kit[keras] @ git+https://github.com/dogbreed-kit/dogbreed-kit"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", kit], check=True)

# %%
from baselines import chapter, create_model, fit
from baselines.explained import open_backend

FRAMEWORK = "keras"
chapter.begin(FRAMEWORK)

# %% [markdown]
# ## The data first

# %%
data = chapter.limited(chapter.load("cifar100", "cifar10"), images=3000)
chapter.about(data)

# %%
chapter.show(chapter.samples(data), "Training images, a row for each of the first classes.")

# %% [markdown]
# ## The network
#
# Simonyan and Zisserman, *Very deep convolutional networks for large-scale image recognition*, ICLR 2015, column D. Two
# convolutions of 3 x 3 see as much as one of 5 x 5, with fewer weights and one more non-linearity between them. For images of 32 pixels the dense end is
# small, and batch normalisation follows every convolution, as all who train VGG today have it.

# %%
# In short mode the network keeps its sixteen layers and has fewer channels: the full one needs a GPU to be trained in minutes.
model = create_model(
    "vgg16_bn_small",
    FRAMEWORK,
    num_classes=data.num_classes,
    in_channels=data.in_channels,
    image_size=data.image_size,
    **chapter.pick({}, {"widths": (24, 48, 96, 128, 128), "hidden": (128, 128)}),
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
    run_dir=f"runs/vgg16-{FRAMEWORK}",
    epochs=chapter.pick(60, 12),
    batch_size=chapter.pick(128, 64),
    optimiser="nesterov",
    lr=chapter.pick(0.05, 0.02),
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
# The first filters look at colour and edges. Follow the channels down: the maps shrink from the size of the image to a few pixels,
# and what remains is no longer where something is but what it is.

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
# ## An experiment: with batch normalisation, without it, without it but with He's initialisation
#
# A difference between two trainings means nothing before one knows how much two trainings differ that vary in nothing but the
# seed. The study below trains every variant with several seeds and writes down what exceeds that.

# %%
from baselines.experiments import Study
from baselines.experiments_report import table_of
from baselines.experiments_run import run_study

study = Study(
    "vgg-normalisation",
    variants=({"batch_norm": True}, {"batch_norm": False}, {"batch_norm": False, "init": "he"}),
    fixed={
        "epochs": chapter.pick(6, 2),
        "batch_size": 64,
        "widths": (16, 32, 64, 64, 64),
        "hidden": (64, 64),
        "lr": 0.01,
        "optimiser": "nesterov",
    },
    seeds=chapter.pick((0, 1, 2, 3, 4), (0, 1)),
    model="vgg16_bn_small",
    framework=FRAMEWORK,
    dataset=data.name,
    train_images=chapter.pick(8000, 1000),
)
with chapter.quiet():
    report = run_study(study, f"runs/vgg16-{FRAMEWORK}-study")
chapter.tell(table_of(report.groups, study))

# %%
chapter.tell(report.text)

# %% [markdown]
# ## What to try next
#
# - Where CIFAR-100 is at hand, the full mode's yardstick is 72.9 % (VGG-16 with batch norm, 200 epochs; see README, "From scratch").
# - Put `vgg11_bn_small` and `vgg19_bn_small` beside it: where does more depth stop helping?
# - `baselines compare` puts several runs onto one page.

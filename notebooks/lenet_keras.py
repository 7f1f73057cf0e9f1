# %% [markdown]
# # LeNet-5 in Keras 3 on TensorFlow
#
# [![open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/dogbreed-kit/dogbreed-kit/blob/main/notebooks/lenet_keras.ipynb)
# [![open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/dogbreed-kit/dogbreed-kit/blob/main/notebooks/lenet_keras.ipynb)
#
# How far does the network of 1998 get on handwritten digits, with 60,000 images and no more than five layers that learn?
# And which of its choices (tanh, average pooling) does it still owe its fame to?
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
data = chapter.limited(chapter.load("mnist"), images=6000)
chapter.about(data)

# %%
chapter.show(chapter.samples(data), "Training images, a row for each of the first classes.")

# %% [markdown]
# ## The network
#
# LeCun, Bottou, Bengio and Haffner, *Gradient-based learning applied to document recognition*, Proceedings of the IEEE 86 (1998).
# Two convolutions of 5 x 5 with pooling between them look for strokes and then for arrangements of strokes; a third convolution sees the
# whole digit, and two dense layers decide. The variant here is the one taught today: tanh, average pooling, a linear end. The
# published one (trainable subsampling, a table of connections, Gaussian end) is `lenet5_published`.

# %%
model = create_model(
    "lenet5", FRAMEWORK, num_classes=data.num_classes, in_channels=data.in_channels, image_size=data.image_size
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
    run_dir=f"runs/lenet-{FRAMEWORK}",
    epochs=chapter.pick(12, 5),
    batch_size=128,
    optimiser="adamw",
    lr=3e-3,
    schedule="one_cycle",
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
# The first filters of a network that sees grey strokes are small edge and spot detectors. Deeper layers answer to arrangements
# of them; their maps get coarser, and each channel answers to fewer images.

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
    chapter.class_images(backend, ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")),
    "Images painted from noise by gradient ascent, one for each class.",
)

# %% [markdown]
# And where in a given image is the evidence? Grad-CAM weighs the channels of the last map by their gradient, LayerCAM weighs position by
# position, integrated gradients add up gradients of the pixels on the way from black to the image.

# %%
chapter.show(
    chapter.heat_maps(backend, images, names), "Test images and what speaks for their class, by three methods."
)

# %% [markdown]
# ## An experiment: tanh or ReLU, average or maximum
#
# A difference between two trainings means nothing before one knows how much two trainings differ that vary in nothing but the
# seed. The study below trains every variant with several seeds and writes down what exceeds that.

# %%
from baselines.experiments import Study
from baselines.experiments_report import table_of
from baselines.experiments_run import run_study

study = Study(
    "lenet-choices",
    grid={"activation": ("tanh", "relu"), "pooling": ("average", "max")},
    fixed={"epochs": chapter.pick(4, 2), "lr": 2e-3},
    seeds=chapter.pick((0, 1, 2, 3, 4), (0, 1)),
    model="lenet5",
    framework=FRAMEWORK,
    dataset="mnist",
    train_images=chapter.pick(8000, 1500),
)
with chapter.quiet():
    report = run_study(study, f"runs/lenet-{FRAMEWORK}-study")
chapter.tell(table_of(report.groups, study))

# %%
chapter.tell(report.text)

# %% [markdown]
# ## What to try next
#
# - `lenet5_published` is the network of the paper, with its Gaussian end: does the odd end cost accuracy?
# - Train on Fashion-MNIST or on Devanagari (`chapter.load("devanagari")`): LeNet is made for strokes, and clothes are not strokes.
# - `baselines sweep lenet-variants` does the experiment above with five seeds and more images.

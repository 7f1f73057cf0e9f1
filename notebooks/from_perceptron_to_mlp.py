# %% [markdown]
# # From the perceptron to the MLP
#
# $badges
#
# Everything a network does is done here in plain NumPy: a rule of 1958 that learns from mistakes, a straight line through a cloud of
# points, and then layers on layers, with back-propagation written out. Does each step buy anything?
#
# $modes

# %% part="install"

# %%
import numpy as np
import pandas as pd

from baselines import fit
from baselines.notebook import study as chapter
from baselines.numpy_nets.gradient_check import check_all
from baselines.numpy_nets.mlp import MLP
from baselines.numpy_nets.regression import Perceptron
from baselines.numpy_nets.tabular import Encoder, clean, embedded_table, split_rows, walk

chapter.begin("numpy")

# %% [markdown]
# ## A table, as tables are found
#
# scikit-learn's breast cancer data: 30 measurements, one diagnosis. The measurements are real; the disorder was added, so that there is
# something to clean.

# %%
frame = embedded_table()
assert frame.shape[1] == 30 + 1, "30 measurements, one diagnosis"
frame.iloc[:5, :8]

# %%
cleaned = clean(frame, "diagnosis")
chapter.tell("\n".join(f"- {note}" for note in cleaned.notes))

# %% [markdown]
# Numbers get mean 0 and deviation 1, words become columns of zeros and ones. Mean and deviation come from the training rows alone:
# whatever a test row teaches is not a test any more.

# %%
labels = cleaned.target.astype("category").cat.codes.to_numpy()
rest, apart = split_rows(labels, 0.25, seed=0)
encoder = Encoder(cleaned.features.iloc[rest])
train, test = encoder(cleaned.features.iloc[rest]), encoder(cleaned.features.iloc[apart])
chapter.tell(f"{train.shape[0]} training rows, {test.shape[0]} test rows, {train.shape[1]} numbers each.")

# %% [markdown]
# ## The perceptron: learn from mistakes only
#
# Rosenblatt's rule (1958): look at a row; if the side of the plane is right, do nothing; if it is wrong, add the row to the weights (or take it away).
# It comes to rest if a plane separates the classes, and never if none does.

# %%
perceptron = Perceptron(train.shape[1])
wrong = perceptron.fit(train, labels[rest], epochs=50)
right = float(np.mean(perceptron.predict(test) == labels[apart]))
chapter.tell(
    f"After {len(wrong)} epochs {wrong[-1]} of {len(rest)} training rows are on the wrong side; "
    f"{right:.1%} of the test rows are on the right one."
)
chapter.show(chapter.line(wrong, "epoch", "mistakes on training rows"), "Mistakes of the perceptron after each epoch.")

# %% [markdown]
# ## Back-propagation, checked
#
# A network's gradient is the chain rule, layer by layer, from the loss back. A sign error in it still learns, only badly. So it is
# compared with finite differences: move one weight by a hair, see by how much the loss moves.

# %%
errors = check_all()
table = pd.Series(errors, name="largest relative error").rename_axis(["activation", "loss"]).reset_index()
assert table["largest relative error"].max() < 1e-6
table.style.format({"largest relative error": "{:.1e}"}).hide(axis="index")

# %% [markdown]
# ## From the line to the MLP
#
# The models of a course on the same splits. `spread` is the standard deviation of the test accuracy over splits and seeds: a
# difference smaller than that says nothing.

# %%
compared = walk(frame, "diagnosis", seeds=chapter.pick(tuple(range(5)), (0, 1, 2)))
compared.style.format({"train": "{:.3f}", "test": "{:.3f}", "spread": "{:.3f}"}).hide(axis="index")

# %%
chapter.tell(chapter.ladder_findings(compared))

# %% [markdown]
# ## Do layers pay for pictures?
#
# The same network on handwritten digits, against the same network without its hidden layers (softmax regression).

# %%
data = chapter.limited(chapter.load("mnist"), images=10000)
pixels = data.image_size**2
softmax = MLP((pixels, 10))
linear = fit(softmax, data, run_dir="runs/softmax-regression", epochs=chapter.pick(10, 5), lr=2e-3)
deep = fit(MLP((pixels, 256, 128, 10)), data, run_dir="runs/numpy-mlp", epochs=chapter.pick(15, 8), lr=2e-3)
chapter.tell(
    f"Softmax regression: **{linear.accuracy:.2%}** of the test images. "
    f"With two hidden layers: **{deep.accuracy:.2%}**, {(deep.accuracy - linear.accuracy) * 100:+.2f} points."
)

# %%
chapter.show(chapter.curves(deep), "Loss, accuracy and rate of the MLP, all of it NumPy.")

# %%
chapter.tell(chapter.findings(deep))

# %%
chapter.show(chapter.confusion(deep), "True class (rows) against predicted class (columns), test images.")

# %%
chapter.show(chapter.mistakes(deep, data), "Wrong predictions of which the MLP was surest.")

# %% [markdown]
# ## What it has learnt
#
# A softmax regression has one weight per pixel and class, so its weights are pictures.

# %%
weights = softmax.weights[0].T.reshape(10, data.image_size, data.image_size)
chapter.show(
    chapter.maps(weights, data.classes),
    "Weights of the softmax regression by class: orange speaks for it, blue against it.",
)

# %% [markdown]
# ## What to try next
#
# - Sigmoid instead of ReLU and a third hidden layer: `MLP(..., activation="sigmoid")`. What happens to the gradient on its way back?
# - `baselines numpy` does all this on the command line; `baselines sweep optimisers --framework numpy` compares optimisers.
# - The notebooks *lenet_pytorch* and *lenet_keras*: what convolutions add.

# %% part="end"

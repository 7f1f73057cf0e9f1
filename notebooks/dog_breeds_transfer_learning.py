# %% [markdown]
# # Dog breeds by transfer learning
#
# $badges
#
# Many breeds, few photos of each. No network learns to see from so few photos. One that has learnt to see already can learn
# the breeds from them: how much of the way do its frozen features go, and what does fine-tuning add?
#
# **Read the scores with care.** The photos of this competition come from ImageNet, and so do the weights: the network has
# probably seen these very photos.
#
# $modes

# %% part="install"

# %%
import dataclasses

from competition import blend, cross_validate, recipe, write_submission
from competition.notebook import dogs as chapter
from competition.notebook.display import pick
from competition.publish.in_kernel import delivered

data, weights = chapter.dogs(most_breeds=8, most_photos=24, like="terrier")

# %% [markdown]
# ## The data first

# %%
chapter.breeds(data)

# %%
chapter.show(chapter.sample_photos(data), "A training photo of some of the breeds.")

# %% [markdown]
# ## First: frozen features and logistic regression
#
# The *linear probe* never touches the network. Every photo goes through it once; what comes out before the classifier is kept,
# and a logistic regression is fitted on it. Strength of the penalty and temperature are chosen out of
# fold; duplicates found by the audit never cross a fold.

# %%
results = {}
if weights:
    probe = dataclasses.replace(
        recipe("probe"),
        backbones=(chapter.backbone(weights),),
        n_folds=pick(5, 2),
        views=pick(("identity", "hflip"), ("identity",)),
        imagenet_prior=pick(True, False),
    )
    results["linear probe"] = cross_validate(data, probe, "runs/probe", weights=weights)
chapter.compared(results)

# %% [markdown]
# ## Second: fine-tuning, from the probe's head
#
# Fine-tuning moves the network's own weights. Two things keep it from destroying what the network knows: the head starts from
# the probe's solution instead of noise, and the rates fall from the head towards the input (layer decay). Where the start is good,
# the best weights often lie *between* start and end (WiSE-FT, arXiv:2109.01903): some shares of the way are validated too.

# %%
base = (
    recipe("effnetv2_b0_224_cpu", "device=auto", f"backbone={chapter.backbone(weights)}")
    if weights
    else recipe("smoke")
)
tuned = dataclasses.replace(
    base,
    name="tuned",
    n_folds=pick(5, 2),
    epochs=pick(base.epochs, 2),
    unfreeze=pick(base.unfreeze, "all"),
    image_size=pick(base.image_size, 160 if weights else base.image_size),
    views=("identity",),
)
results["fine-tuned"] = cross_validate(data, tuned, "runs/tuned", weights=weights)
chapter.compared(results)

# %%
chapter.tell(chapter.comparison(results))

# %% [markdown]
# The curves of every fold are in TensorBoard (`tensorboard --logdir runs`), and as tables in `runs/tuned/fold0/history.csv`.

# %%
import pandas as pd

history = pd.read_csv("runs/tuned/fold0/history.csv")
history[["epoch", "train_loss", "log_loss", "accuracy", "better", "images_per_second"]].round(4)

# %% [markdown]
# ## Together
#
# Two models that err on different photos can be better together. The weights of the blend are fitted on out-of-fold
# predictions, and its score is nested: the weights that scored a photo were fitted without it.

# %%
if len(results) == 2:
    both = blend(list(results.values()), data)
    chapter.tell(chapter.blend_findings(both, results))

# %% [markdown]
# ## Can the probabilities be trusted?
#
# The competition scores probabilities. A network that is surer than it is right pays for it with every wrong call; the
# temperature takes the excess away.

# %%
last = list(results)[-1]
found = chapter.verdicts_of(f"runs/{'tuned' if last == 'fine-tuned' else 'probe'}", data)
chapter.show(
    chapter.reliability_figure(found),
    f"Certainty against correctness, out of fold, {last}, after the temperature.",
)

# %%
chapter.tell(chapter.findings(found))

# %%
chapter.show(
    chapter.top_losses(found, data),
    "The photos with the highest loss: label and call, with both probabilities.",
)

# %% [markdown]
# ## A submission
#
# A file that the competition would refuse is not written; what is written is checked once more and its digest kept, so that
# `dogbreed kernel push --submit` sends the very file that this notebook made.

# %%
delivered(write_submission(results[last].test, data, "submission.csv"))

# %% [markdown]
# ## What to try next
#
# - The recipes with larger networks (`dogbreed run --recipe convnext_small_288`): they need a GPU.
# - `dogbreed report runs/probe` for the whole report; the notebook *inspect_misclassified_breeds* walks through it.
# - Dogs against cats, hands, birds: the same commands on class folders; see `docs/transfer.md`.

# %% part="end"

# %% [markdown]
# # Which breeds are confused, and why
#
# $badges
#
# A score says how often a model errs. It does not say where, nor whether the label or the model is wrong. This
# notebook takes the out-of-fold predictions of a linear probe and looks.
#
# $modes

# %% part="install"

# %%
import dataclasses

from competition import cross_validate, recipe
from competition.explain.networks.open_run import open_backend
from competition.notebook import dogs as chapter
from competition.notebook.display import pick

data, weights = chapter.dogs(most_breeds=12, most_photos=24, like="terrier")

# %% [markdown]
# ## A model to inspect
#
# Every photo is predicted by a model that did not train on it (*out of fold*). Only such predictions say anything about errors:
# a model is rarely wrong about photos it has learnt by heart.

# %%
if weights:
    config = dataclasses.replace(
        recipe("probe"),
        backbones=(chapter.backbone(weights),),
        n_folds=pick(5, 3),
        views=("identity",),
        imagenet_prior=pick(True, False),
    )
else:
    config = dataclasses.replace(recipe("smoke"), n_folds=3)
result = cross_validate(data, config, "runs/inspected", weights=weights)
chapter.compared({config.name: result})

# %%
found = chapter.verdicts_of("runs/inspected", data)
chapter.tell(chapter.findings(found))

# %% [markdown]
# ## Pairs of breeds
#
# `a_as_b` counts photos labelled *a* that are called *b*.

# %%
chapter.most_confused(found)

# %%
chapter.show(
    chapter.called_wrongly(found, data, 6),
    "The pairs confused most often: label and call, with both probabilities; the clearest errors first.",
)

# %% [markdown]
# ## Why one breed rather than another
#
# Grad-CAM asks what speaks for a class. For two breeds that look alike it often lights up the whole dog. The contrast map asks what speaks for the
# *called* breed and against the *labelled* one (orange), and the reverse (teal).

# %%
backend = open_backend("runs/inspected", weights=weights)
chapter.show(
    chapter.contrasts(backend, found, data),
    "The surest wrong calls: orange speaks for the call, teal for the label.",
)

# %% [markdown]
# A map shows where the network's evidence lies, not why it is evidence. Orange on the background or on another dog in the
# picture is worth a second look at the photo.
#
# ## Labels that may be wrong

# %%
figure, text = chapter.suspects(found, data)
chapter.tell(text)
if figure is not None:
    chapter.show(figure, "Suspected labels, the most suspicious first.")

# %% [markdown]
# The report (`dogbreed report RUN`) writes all of them to `suspects.csv`; look at them, strike what is right, and
# `dogbreed run --relabel suspects.csv` trains with the rest changed.
#
# ## Where the loss lies

# %%
chapter.show(
    chapter.top_losses(found, data), "The photos with the highest loss: label and call, with both probabilities."
)

# %%
chapter.show(chapter.reliability_figure(found), "Certainty against correctness, out of fold.")

# %% [markdown]
# ## What to try next
#
# - The whole report, with a page for every pair and breed: `dogbreed report runs/inspected`.
# - `dogbreed explain RUN PHOTO --target BREED --versus BREED --method all` for one photo and every method.
# - A second backbone: which of these errors does it make too? `dogbreed blend` shows the correlation of errors.

# %% part="end"

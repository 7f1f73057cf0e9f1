# %% [markdown]
# # What convolutional networks learn
#
# $badges
#
# A network is millions of numbers. Four questions can be put to it all the same: what does it look for, what does it answer to a
# given photo, what would it like to see, and where in a photo is its evidence?
#
# $modes

# %% part="install"

# %%
import dataclasses

import numpy as np

from baselines.notebook import study as pictures
from competition import cross_validate, recipe
from competition.data.photos.decode import read_photo
from competition.explain.networks.open_run import open_backend
from competition.explain.networks.protocol import square_input
from competition.notebook import dogs as chapter
from competition.notebook.display import pick, show, tell

data, weights = chapter.dogs(most_breeds=6, most_photos=16)

# %% [markdown]
# The network here is EfficientNetV2-B0 with a linear probe for the breeds on top, so that it knows their names; without
# pretrained weights a tiny network trained from scratch takes its place, and what follows is less pretty.

# %%
if weights:
    config = dataclasses.replace(
        recipe("probe"), backbones=(chapter.backbone(weights),), n_folds=pick(5, 2), views=("identity",)
    )
else:
    config = dataclasses.replace(recipe("smoke"), n_folds=2)
result = cross_validate(data, config, "runs/looked-into", weights=weights, test=False)
backend = open_backend("runs/looked-into", weights=weights)
tell(f"Out of fold it is right for {result.accuracy:.1%} of {len(result.oof)} photos of {len(data.classes)} breeds.")

# %%
photo = data.train[0]
pixels = read_photo(photo.path)
image = (square_input(pixels, backend.input_shape) * 255).round().astype(np.uint8)

# %% [markdown]
# ## What does it look for? The filters
#
# Only the first convolution sees colours, so only its filters can be shown as they are. Edges in all directions, spots, opponent
# colours: networks trained on photographs arrive at them again and again.

# %%
show(
    pictures.first_filters(backend),
    "The filters of the first convolution, each stretched to its own largest weight.",
)

# %% [markdown]
# ## What does it answer? Activation maps
#
# Early layers keep the picture and change its ink. Late layers forget where things were and say what is there.

# %%
show(
    pictures.answers(backend, image, count=4),
    "A photo, and the strongest channels of four layers, from the input to the last.",
)
tell(pictures.map_sizes(backend))

# %% [markdown]
# ## What would it like to see? Gradient ascent from noise
#
# Start from noise and change the picture, step by step, so that a channel (or a class) answers more. Painting in
# frequencies instead of pixels, and looking at slightly shifted views, keeps the result from dissolving into specks
# (Olah et al., *Feature Visualization*, Distill 2017).

# %%
spatial = [info for info in backend.layers() if info.spatial]
depths = [spatial[place] for place in np.linspace(len(spatial) // 4, len(spatial) - 1, 4).astype(int)]
show(
    pictures.channel_images(backend, [info.name for info in depths]),
    "Pictures that three channels of four layers answer to, painted from noise.",
)

# %%
show(
    pictures.class_images(backend, data.classes[: pick(6, 4)], steps=pick(256, 24)),
    "Pictures that make the network surest of a breed.",
)

# %% [markdown]
# After some hundred steps such a picture holds the evidence many times over and the animal not once: fur, muzzles, ears, at every
# size. Nothing has ever asked the network where one dog ends.
#
# ## DeepDream
#
# The same ascent, started from a photo: what a layer sees faintly is made stronger.

# %%
from pathlib import Path

from competition.explain.inside.dream import DreamConfig
from competition.explain.show.verbs import dream_on, output_to

layer = depths[-2].name
with output_to(Path("runs/dream")) as output:
    steps = DreamConfig(steps=pick(40, 10))
    dreamt = dream_on(backend, photo.path, output, layer=layer, longest=320, config=steps)
chapter.picture(dreamt, f"A photo, changed so that the layer {layer} answers more.")

# %% [markdown]
# ## Where is the evidence? Heat maps
#
# | method | what it weighs |
# |---|---|
# | Grad-CAM | channels of the last map, by their mean gradient |
# | Grad-CAM++ | the same, positions with positive gradient more |
# | HiResCAM | gradient times activation, position by position |
# | LayerCAM | positive gradient times activation: works in early layers too |
# | EigenCAM | the first principal component: no class at all |
# | integrated gradients | pixels: gradients added up on the way from black to the photo |

# %%
chosen = [next(item for item in data.train if item.breed == name) for name in data.classes[: pick(6, 3)]]
images = np.stack(
    [(square_input(read_photo(item.path), backend.input_shape) * 255).astype(np.uint8) for item in chosen]
)
methods = pick(
    ("gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "integrated-gradients"),
    ("gradcam", "hirescam", "layercam", "eigencam"),
)
show(
    pictures.heat_maps(backend, images, [item.breed for item in chosen], methods),
    "Photos, and what speaks for their breed by several methods.",
)

# %% [markdown]
# ## Can the maps be trusted?
#
# A map is faithful if the network changes its mind when what the map marks is taken away. *Deletion* blanks the photo
# from the hottest pixel on: the faster the probability falls, the better the map. Random maps are the yardstick.

# %%
tested = pick(("gradcam", "layercam", "eigencam"), ("gradcam", "eigencam"))
figure = pictures.deletion_figure(backend, images, [item.breed for item in chosen], tested)
show(figure, "Probability of the breed while the hottest pixels are blanked, mean over the photos above.")
tell(pictures.deletion_findings(figure))

# %% [markdown]
# ## What to try next
#
# - The same questions to a network of your own: `baselines explain RUN IMAGE`, `baselines ascent RUN --target CLASS`.
# - Lower and higher layers in `ascend_channel`; `neuron=True` for a single position.
# - A photo of two dogs, with `--target` first one breed and then the other.

# %% part="end"

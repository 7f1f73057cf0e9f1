# %%
from baselines.explain.open_run import open_backend

backend = open_backend(result.run)
chapter.show(chapter.first_filters(backend), "The filters of the first convolution.")

# %%
images, names = chapter.one_of_each(data)
chapter.show(chapter.answers(backend, images[-1]), "One test image, and what three layers answer to it.")
chapter.tell(chapter.map_sizes(backend))

# %% [markdown]
# Gradient ascent turns the question round: starting from noise, which image would make the network surest of a class? Such
# pictures are not photographs. They show what the network counts as evidence, and how little of the whole it needs.

# %%
chapter.show(
    chapter.class_images(backend, data.classes[:10]),
    "Images painted from noise by gradient ascent, one for each class.",
)

# %% [markdown]
# And where in a given image is the evidence? Grad-CAM weighs the channels of the last map by their gradient, LayerCAM
# weighs position by position, integrated gradients add up gradients of the pixels on the way from black to the image.

# %%
chapter.show(
    chapter.heat_maps(backend, images, names),
    "Test images and what speaks for their class, by three methods.",
)

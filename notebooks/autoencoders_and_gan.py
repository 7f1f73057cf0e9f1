# %% [markdown]
# # Autoencoders and a GAN
#
# $badges
#
# Two ways to learn pictures without labels: squeeze them through a narrow middle and paint them again, or let one network paint and
# another call its bluff. What does a convolution buy, how much noise can be taken away, and how does one see that a GAN has
# collapsed?
#
# $modes

# %% part="install"

# %%
import pandas as pd

from baselines.generative.autoencoder import ReconstructConfig
from baselines.generative.autoencoder_study import compare_autoencoders
from baselines.generative.gan import GanConfig, fit_gan
from baselines.notebook import study as chapter

FRAMEWORK = "pytorch"
chapter.begin(FRAMEWORK)
data = chapter.limited(chapter.load("fashion-mnist"), images=2500)
chapter.about(data)

# %%
chapter.show(chapter.samples(data), "Training images, a row for each class.")

# %% [markdown]
# ## Autoencoders: dense against convolutional, with and without noise
#
# The dense one flattens the picture; the convolutional one halves it step by step and paints it with transposed convolutions. A
# *denoising* autoencoder gets a noisy picture and must return the clean one. PSNR (decibels) and SSIM (1 is perfect)
# compare the result with the clean test picture; *of the input* is what the noise left.

# %%
from pathlib import Path

levels = chapter.pick((0.0, 0.2, 0.4), (0.0, 0.3))
folder = Path("runs/autoencoders")
config = ReconstructConfig(epochs=chapter.pick(15, 8))
with chapter.quiet():
    comparison = compare_autoencoders(data, FRAMEWORK, config, levels, folder)
chapter.tell(comparison)

# %%
table = pd.read_csv(folder / "comparison.csv")
chapter.tell(chapter.autoencoder_findings(table))

# %%
chapter.picture(folder / "gallery.png", "What goes in, and what comes back, at each noise level.")

# %% [markdown]
# ## The narrow middle
#
# Each picture becomes the few numbers that the title below counts. Brought into the plane, do pictures of a class lie
# together, though no label was ever shown?

# %%
chapter.picture(
    folder / "conv-noise-0" / "latent.png",
    "The middle of the convolutional autoencoder for test pictures, coloured by their class.",
)

# %% [markdown]
# ## A GAN: painter against judge
#
# The generator paints from random numbers; the discriminator says *real* or *made* (DCGAN, Radford et al. 2016). Their losses do not fall
# as other losses do: each one's gain is the other's loss. So look at the pictures, and at how much they differ: a generator that
# always paints the same shoe has *collapsed*.

# %%
config = GanConfig(epochs=chapter.pick(30, 4), widths=chapter.pick((64, 128), (32, 64)))
gan = fit_gan(data, FRAMEWORK, config, "runs/gan")
last = gan.history.rows[-1]
chapter.tell(
    f"After {int(last['epoch'])} epochs made pictures differ {last['diversity'] / last['diversity_real']:.0%} "
    f"as much as real ones, and come near {int(last['classes'])} of {int(last['classes_real'])} classes."
)
warned = "\n".join(f"- Warning: {text}." for text in gan.metrics["warnings"])
chapter.tell(warned or "After the last epoch no rule of thumb sees a collapse.")

# %%
chapter.picture("runs/gan/film.png", "The same random numbers after each epoch, from top to bottom.")

# %%
chapter.picture("runs/gan/losses.png", "Losses of both networks.")

# %% [markdown]
# ## What to try next
#
# - `FRAMEWORK = "keras"` at the top: the same numbers of layers and filters on TensorFlow.
# - A middle of 2 numbers (`latent=2`): how much is lost, and what does the map look like without t-SNE?
# - MNIST instead of Fashion-MNIST: strokes are easier to paint than sleeves.

# %% part="end"

# %% [markdown]
# ## Training
#
# One call trains, keeps the best epoch by validation loss, looks at the test images once, and leaves a run folder with
# history, checkpoint, predictions and TensorBoard. `tensorboard --logdir runs` (or `%load_ext tensorboard` and
# `%tensorboard --logdir runs` in a live notebook) shows the curves below, and those of *$other* beside them.

# %% [markdown] tags=["pytorch"]
# Underneath, fastai's training loop goes over plain PyTorch modules; the learning rate is set before every step. On a GPU the
# convolutions compute in half precision, with float32 for what needs it.

# %% [markdown] tags=["keras"]
# Underneath, `model.compile` and Keras' own `model.fit` do the work; learning rate, best epoch, history and checkpoint are
# callbacks. The step is compiled to a TensorFlow graph but not by XLA, which takes longer to compile a small network than it saves.

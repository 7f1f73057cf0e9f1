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

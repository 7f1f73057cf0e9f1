# %% [markdown]
# A difference between two trainings means nothing before one knows how much two trainings differ that vary in nothing
# but the seed. The study below trains every variant with several seeds and writes down what exceeds that.

# %%
chapter.about(data)

# %%
chapter.show(chapter.samples(data), "Training images, one class in each row.")

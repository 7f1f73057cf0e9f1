# %%
from competition.notebook.display import took

took()

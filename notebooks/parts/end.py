# %%
from competition.notebook import took

took()

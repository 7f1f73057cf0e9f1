# %%
from baselines.experiments_report import table_of
from baselines.experiments_run import run_study

with chapter.quiet():
    report = run_study(study, f"runs/{study.name}-{FRAMEWORK}")
chapter.tell(table_of(report.groups, study))

# %%
chapter.tell(report.text)

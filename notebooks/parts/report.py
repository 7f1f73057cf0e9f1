# %%
from baselines.studies.report import table_of
from baselines.studies.run import run_study

with chapter.quiet():
    report = run_study(study, f"runs/{study.name}-{FRAMEWORK}")
chapter.tell(table_of(report.groups, study))

# %%
chapter.tell(report.text)

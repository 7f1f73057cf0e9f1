"""The page of a sweep: history, importance and parallel coordinates, in one HTML file that loads nothing."""

from __future__ import annotations

import html
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.files import write_text

if TYPE_CHECKING:
    from optuna import Study

_IMPORTANCE_TRIALS = 6  # finished ones; the forest behind the figure has little to say with fewer
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2430; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.2rem 0.8rem; text-align: right; border-bottom: 1px solid #d5dae1; }}
.scroll {{ overflow-x: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
{sections}
</body>
</html>
"""


def write_sweep_page(study: Study, path: Path, title: str) -> Path:
    """Write the page; a plot that needs more finished trials is replaced by a line that says so.

    Args:
        study: with at least one finished trial.
        path: of the HTML file.
        title: its heading.
    """
    from optuna.trial import TrialState

    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    finished, pruned = states.count(TrialState.COMPLETE), states.count(TrialState.PRUNED)
    summary = (
        f"{finished} finished trials, {pruned} pruned, lowest validation log loss {study.best_value:.4f} "
        f"(trial {study.best_trial.number}). The best of many trials on one fold is flattered by the choice: "
        "run its values on all folds before believing the score."
    )
    sections = [_best_table(study), *_plots(study, finished)]
    page = _PAGE.format(title=html.escape(title), summary=html.escape(summary), sections="\n".join(sections))
    write_text(path, page)
    return path


def _best_table(study: Study, rows: int = 10) -> str:
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = sorted(finished, key=lambda trial: (trial.value, trial.number))[:rows]
    keys = sorted({key for trial in best for key in trial.params})
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("trial", "log loss", *keys))
    body = "".join(
        f"<tr><td>{trial.number}</td><td>{trial.value:.4f}</td>"
        + "".join(f"<td>{html.escape(_cell(trial.params.get(key)))}</td>" for key in keys)
        + "</tr>"
        for trial in best
    )
    heading = f"<h2>Best {len(best)} trials</h2>"
    return f'{heading}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plots(study: Study, finished: int) -> list[str]:
    from optuna import visualization
    from optuna.importance import FanovaImportanceEvaluator

    def importance(study: Study, **names: str) -> Any:
        # Named and seeded: the default differs between Optuna's versions, and PED-ANOVA rates a value that makes no
        # difference highest when the few best trials happen to agree in it.
        return visualization.plot_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), **names)

    plots = (
        ("History", visualization.plot_optimization_history, 1),
        ("Importance", importance, _IMPORTANCE_TRIALS),
        ("Parallel coordinates", visualization.plot_parallel_coordinate, 2),
    )
    sections, library = [], True
    for heading, draw, needed in plots:
        sections.append(f"<h2>{heading}</h2>")
        if finished < needed:
            sections.append(f"<p>Needs {needed} finished trials.</p>")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optuna marks some of its plots as experimental
            figure = draw(study, target_name="validation log loss")
        figure.update_layout(title=None, template="plotly_white", margin={"l": 60, "r": 30, "t": 40, "b": 50})
        sections.append(figure.to_html(full_html=False, include_plotlyjs=library, include_mathjax=False))
        library = False  # plotly's script is in the page once
    return sections

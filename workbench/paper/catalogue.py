"""A run's figures for a paper, by name: counterparts of those of arXiv 2601.10387, in the order of its sections, not copies.

``fig1`` overview, ``fig2`` loadings, ``fig3`` the axis, ``fig4`` roles and ``fig5`` jailbreaks under steering, ``fig6`` when the axis
appears, ``fig7`` drift, ``fig8`` drift and harm, ``fig9`` caps, ``fig10`` the chosen cap, ``case1`` ... single conversations; also
``pairs``, ``scree``, ``sweep`` and ``similarity``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from ..drift.store import CAPPED, STEP
from ..errors import DataError, RunError
from ..plots.sheet import PaperFigure
from ..report.caps import pareto_frame
from ..report.drift import drift_frame
from ..store import Run
from .causal import JAILBREAKS, SUSCEPTIBILITY, appearance, chosen_cap, jailbreaks, pareto, steering_measures, susceptibility
from .drift import case_study, cases, harm, means, overview
from .space import axis, loadings, pairs, scree, similarity, sweep

T = TypeVar("T")
CASE = "case"
CASES = 4
"""So many case studies are named where a run has no conversations yet: one a domain of the paper."""


@dataclass(frozen=True)
class Entry:
    """A figure of the catalogue: how it is made, and what a run lacks for it (nothing: an empty text)."""

    make: Callable[[Run], PaperFigure]
    lacks: Callable[[Run], str]


def _step(step: str, command: str) -> Callable[[Run], str]:
    """A run needs a step: the sentence names the command that makes it."""
    return lambda run: "" if run.is_done(step) else f"run `workbench {command.format(run.folder)}` first"


def _lacks_steering(measures: tuple[str, ...]) -> Callable[[Run], str]:
    def lacks(run: Run) -> str:
        if missing := _step("steering", "sweep {} --strengths=-0.6:0.8:0.2")(run):
            return missing
        known = set(steering_measures(run, measures)["measure"])
        return "" if known else f"nothing of it was graded: this model's steering has none of {', '.join(measures)}"

    return lacks


def _lacks_harm(run: Run) -> str:
    if missing := DRIFT(run):
        return missing
    return "" if drift_frame(run, "drift_harm") is not None else "the drift study says nothing of harm: it had no grader, or wanted none"


def _lacks_pareto(run: Run) -> str:
    if missing := _step("calibrate", "calibrate {}")(run):
        return missing
    return "" if pareto_frame(run) is not None else "nothing was graded: this model has no grader for what caps prevent and cost"


def lacks_cases(run: Run) -> str:
    """What a run lacks for case studies."""
    if missing := DRIFT(run):
        return missing
    if CAPPED in run.study["steps"][STEP]["conditions"]:
        return "" if cases(run) else "the cap prevented no drop in any conversation"
    cap = "" if run.is_done("calibrate") else f"`workbench calibrate {run.folder}` and then "
    return f"the conversations were not held under a cap: run {cap}`workbench drift --run {run.folder} --simulate`"


STUDY = _step("sweep", "sweep {}")
DRIFT = _step(STEP, "drift --run {} --simulate")
CATALOGUE: dict[str, Entry] = {
    "fig1": Entry(overview, lambda run: STUDY(run) or DRIFT(run)),
    "fig2": Entry(loadings, STUDY),
    "fig3": Entry(axis, STUDY),
    "fig4": Entry(susceptibility, _lacks_steering(SUSCEPTIBILITY[:1])),
    "fig5": Entry(jailbreaks, _lacks_steering(JAILBREAKS)),
    "fig6": Entry(appearance, _step("checkpoints", "checkpoints {} MODEL...")),
    "fig7": Entry(means, DRIFT),
    "fig8": Entry(harm, _lacks_harm),
    "fig9": Entry(pareto, _lacks_pareto),
    "fig10": Entry(chosen_cap, _step("evaluate", "evaluate {}")),
    "pairs": Entry(pairs, STUDY),
    "scree": Entry(scree, STUDY),
    "sweep": Entry(
        sweep, lambda run: STUDY(run) or ("" if "auc" in run.sweep else "the study is too small for splits, and nothing was swept")
    ),
    "similarity": Entry(similarity, _step("axis", "axis {}")),
}
"""The figures by name, but for the case studies, of which a run has as many as it has."""


def known_names(run: Run) -> list[str]:
    """All names: the catalogue's and the case studies'."""
    n = CASES if _lacks(run, CASE) else len(cases(run))
    names = list(CATALOGUE)
    at = names.index("pairs")
    return [*names[:at], *(f"{CASE}{i + 1}" for i in range(n)), *names[at:]]


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that no figure has."""
    known = list(known)
    for name in names:
        if name not in known:
            raise DataError(f"there is no figure {name!r}: there are {', '.join(known)}")


def paper_figures(run: Run, names: Iterable[str] | None = None) -> dict[str, PaperFigure]:
    """The figures of a run, each with its caption.

    Parameters
    ----------
    run
        From :func:`workbench.open_run`.
    names
        Which ones; all that the run can show where None.

    Returns
    -------
    dict
        Name -> :class:`~workbench.plots.sheet.PaperFigure`: ``.figure`` as on a screen, ``.for_paper()`` for print, ``.caption``.

    Raises
    ------
    DataError
        Where a name is unknown.
    RunError
        Where a figure was named that the run cannot show, with the command that makes what it lacks.
    """
    if names is None:
        return shown_and_left_out(run)[0]
    names = list(dict.fromkeys(names))
    check_names(names, known_names(run))
    found = {}
    for name in names:
        if lacks := _lacks(run, name):
            raise RunError(f"{run.folder} cannot show {name}: {lacks}")
        found[name] = _made(run, name)
    return found


def shown_and_left_out(run: Run) -> tuple[dict[str, PaperFigure], dict[str, str]]:
    """All figures that a run can show, and for the others by name what is lacking, with the command that makes it."""
    found: dict[str, PaperFigure] = {}
    left_out: dict[str, str] = {}
    for name in known_names(run):
        if lacks := _lacks(run, name):
            left_out[name] = lacks
            continue
        try:
            found[name] = _made(run, name)
        except (DataError, RunError) as error:  # said with the others, and no reason to leave those out
            left_out[name] = str(error)
    return found, left_out


def _lacks(run: Run, name: str) -> str:
    """What a run lacks for a figure; a table that is gone or damaged is lacking, too."""
    entry = CATALOGUE.get(name)
    try:
        return reading(run, lambda: entry.lacks(run) if entry else lacks_cases(run))
    except RunError as error:
        return str(error)


def _made(run: Run, name: str) -> PaperFigure:
    entry = CATALOGUE.get(name)
    if entry:
        return reading(run, lambda: entry.make(run))
    number = int(name.removeprefix(CASE))
    return reading(run, lambda: case_study(run, cases(run)[number - 1], number))


def reading(run: Run, job: Callable[[], T]) -> T:
    """Do what reads tables of a run; one that is gone or damaged is named in a sentence."""
    try:
        return job()
    except FileNotFoundError as error:
        raise RunError(f"{error.filename} is missing: run the step that wrote it again") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, KeyError) as error:
        raise RunError(f"a table in {run.folder / 'tables'} is damaged ({error}): run the step that wrote it again") from error

"""The part of a study's report on what its axis is made of, from the tables of a run."""

from __future__ import annotations

import pandas as pd

from .. import plots
from ..store import Run
from .page import ReportFigure

CAPTIONS = {
    "prompt_or_text": "The responses of some roles, read again under the system prompts of others: how much of the projection's variance "
    "belongs to the prompt, how much to the text, and whether the prompts' effects on the same texts follow the roles' scores.",
    "covariates": "Correlations at the recommended layer, with 95 % intervals over roles. Within roles nobody changes: what goes with the "
    "projection there is the covariate's own doing, or the text's.",
    "axis_again": "Cosine of the axis with the one fitted from the beginnings of responses, without names and talk of being an AI, and "
    "from responses of the same lengths. Near 1: these are not what it is made of.",
    "checkpoints": "The run's responses read by other weights of the same model (forward passes only), and plain beginnings continued "
    "while those are steered along the run's axis, which was carried over.",
    "traits": "A trait's vector is the mean difference of answers to the same questions under opposite prompts; intervals redraw the pairs "
    "of answers.",
}


def origin_figures(run: Run) -> dict[str, ReportFigure]:
    """Prompt or text, covariates, the axis again, checkpoints and traits, as far as their tables are there."""
    done = run.study["steps"].get("origins", {}).get("done", [])
    attrs, shown = {"model": run.axis.site.model}, {}
    if "Prompt or text" in done:
        shares, correlations = _table(run, "origins_shares"), _table(run, "origins_correlations")
        shares.attrs |= attrs
        figure = plots.variance_shares(shares, correlations)
        shown["prompt_or_text"] = ReportFigure("Who or what", CAPTIONS["prompt_or_text"], figure)
    if "Covariates" in done:
        table = _table(run, "covariates")
        table.attrs |= attrs | {"layer": run.recommended_layer}
        shown["covariates"] = ReportFigure("Length, markup, self-mention", CAPTIONS["covariates"], plots.covariates(table))
    if "The axis again" in done:
        table = _table(run, "axis_again")
        table.attrs |= attrs
        shown["axis_again"] = ReportFigure("The axis without them", CAPTIONS["axis_again"], plots.axis_again(table))
    if "checkpoints" in run.study["steps"]:
        figure = plots.checkpoints(*checkpoint_frames(run))
        shown["checkpoints"] = ReportFigure("When the axis appears", CAPTIONS["checkpoints"], figure)
    if "traits" in run.study["steps"] and (table := trait_frame(run))["n"].gt(0).any():
        shown["traits"] = ReportFigure("Traits along the axis", CAPTIONS["traits"], plots.trait_cosines(table))
    return shown


def checkpoint_frames(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Models in the order of training at the step's layer, and their steered continuations."""
    facts = run.study["steps"]["checkpoints"]
    table = _table(run, "checkpoints").query("layer == @facts['layer']").sort_values("order")
    table.attrs |= {"model": run.axis.site.model, "layer": facts["layer"]}
    return table, _table(run, "prefill_scores")


def trait_frame(run: Run) -> pd.DataFrame:
    """A row a trait, with model and layer."""
    table = _table(run, "traits")
    table.attrs |= {"model": run.axis.site.model, "layer": run.study["steps"]["traits"]["layer"]}
    return table


def _table(run: Run, name: str) -> pd.DataFrame:
    return pd.read_csv(run.folder / "tables" / f"{name}.csv")

"""Print figures of persona space and of the axis: where roles lie, and how sure that is."""

from __future__ import annotations

from functools import lru_cache

import pandas as pd
import plotly.graph_objects as go

from .. import plots
from ..conversations import DEFAULT_ROLE
from ..persona_space import PersonaSpace
from ..plots.labels import settle_names
from ..plots.panels import Box, Room, in_grid, joined
from ..plots.sheet import PaperFigure, Sheet
from ..plots.untyped import layout_of
from ..plots.variance import beyond_null, counted
from ..report.origins import trait_frame
from ..role_spread import role_spread
from ..store import Run
from ..study.report import KEPT, PERMUTED, axis_between_layers, role_table

UNITS = "residual-stream units"
PLUS = "+ points to the Assistant"
TRAITS = 16
"""So many traits at most."""
FEW = 8
"""So many stand below the axis, more beside it."""


def about(run: Run, layer: int | None = None) -> str:
    """Which model, and where it was read: for captions."""
    site = run.axis.site
    where = "" if layer is None else f", layer {layer} of {site.layers[0]}\u2013{site.layers[-1]} (0-based blocks, {site.hook})"
    return f"{site.model}{where}"


def roles_of(run: Run) -> tuple[PersonaSpace, pd.DataFrame]:
    """The persona space at the recommended layer, and the table of roles in it."""
    space, roles = _roles_of(run, str([run.study["steps"].get(step, {}).get("finished") for step in ("axis", "sweep")]))
    return space, roles.copy()


@lru_cache(maxsize=2)
def _roles_of(run: Run, finished: str) -> tuple[PersonaSpace, pd.DataFrame]:
    """Read once for all figures of a study, which is told by when it was `finished`."""
    space = run.space()
    return space, role_table(run, run.activations(), space, run.axis)


def _counted(run: Run, roles: pd.DataFrame) -> str:
    facts = run.study["steps"]["axis"]
    return f"{int((roles['role'] != DEFAULT_ROLE).sum())} roles ({KEPT[facts['keep']]}, at least {facts['min_count']} a role)"


# -- fig1, left -----------------------------------------------------------------------------------------
def space_panel(roles: pd.DataFrame, box: Box, sheet: Sheet) -> go.Figure:
    """Persona space in two dimensions, in equal units, filling its box; names where they lie on nothing."""
    drawn = plots.persona_space(roles, dims=2)
    figure = sheet.dress(drawn)
    layout = layout_of(figure)
    layout.annotations = layout_of(drawn).annotations
    layout.update(xaxis={"range": None, "nticks": 6}, yaxis={"range": None, "nticks": 6, "scaleanchor": "x"})
    settle_names(figure, box.width, box.height, sheet.em)
    return figure


# -- fig2, fig3 -----------------------------------------------------------------------------------------
def loadings(run: Run) -> PaperFigure:
    """Loadings of the roles on the first three components."""
    space, roles = roles_of(run)
    frame = space.loadings().reset_index()
    frame["is_default"] = frame["role"] == DEFAULT_ROLE
    frame.attrs = roles.attrs
    caption = (
        f"Loadings of {_counted(run, roles)} on the first components of persona space: cosine of a role's centred mean response with the "
        f"component, from \u22121 to 1; {about(run, space.layer)}. Dots are stacked, heights mean nothing. Diamond: the default, which "
        "took no part in the fit; its rank, itself counted, is from the + end. In italics the roles furthest to each end, the outermost "
        "outside. PC1 points to the default's side, the others to that of the role furthest from 0."
    )

    def draw(sheet: Sheet) -> go.Figure:
        return sheet.dress(plots.loading_strips(frame, room=0.45 * sheet.pixels / sheet.em))

    return PaperFigure("fig2", "Loadings of the roles", caption, draw)


def pairs(run: Run) -> PaperFigure:
    """Persona space on pairs of components, with the ellipse of each role's place."""
    space, roles = roles_of(run)
    spread = role_spread(space, run.activations(), run.study["steps"]["axis"]["keep"], seed=run.config["seed"])
    caption = (
        f"{_counted(run, roles)} and the default (diamond; it took no part in the fit) on the first components of persona space, in equal "
        f"units both ways ({UNITS}); {about(run, space.layer)}. Colours: projection on the axis, {PLUS}; squares lie in the far half. "
        "Ellipses: 95 % of where a role's mean would lie with other questions (its questions drawn again, components held fixed)."
    )

    def draw(sheet: Sheet) -> go.Figure:
        if sheet.narrow:
            return sheet.dress(plots.persona_pairs(roles, spread, ((1, 2),)), 3.4)
        return sheet.dress(plots.persona_pairs(roles, spread, named=12 if sheet.screen else 6), 2.75)

    return PaperFigure("pairs", "Persona space, two components at a time", caption, draw, "page")


def axis(run: Run) -> PaperFigure:
    """Roles along the axis, centred on their mean; traits by their cosine with it, where the run has some."""
    space, roles = roles_of(run)
    centre = float(roles.loc[roles["role"] != DEFAULT_ROLE, "projection"].mean())
    centred = roles.assign(**{c: roles[c] - centre for c in ("projection", "low", "high")})
    centred.attrs = roles.attrs
    traits = trait_frame(run) if run.is_done("traits") else None
    traits = None if traits is None or not (traits["n"] > 0).any() else traits
    caption = (
        f"{_counted(run, roles)} and the default (diamond) along the Assistant axis, {PLUS}, in {UNITS} from the mean of the roles "
        f"(dotted); {about(run, space.layer)}. Lines are 95 % intervals of a role's mean over its responses. In print, squares lie in the "
        "far half of the colours. Dots are stacked, heights mean nothing."
    )
    if traits is not None:
        caption += (
            f" Traits: cosine of each trait's vector (mean difference of answers under opposite prompts) with the axis, {PLUS}, with 95 % "
            f"intervals over pairs; grey where it holds 0; {int((traits['n'] > 0).sum())} of {len(traits)} traits had enough pairs."
        )

    def draw(sheet: Sheet) -> go.Figure:
        line = sheet.dress(plots.axis_line(centred, centre=0))
        line.update_xaxes(title_text=f"projection \u2212 mean of the roles<br>({UNITS}), + = Assistant")
        ends = [v for c in ("projection", "low", "high") for v in centred[c].dropna()]
        pad = 0.03 * (max(ends) - min(ends))
        line.update_xaxes(range=[min(ends) - pad, max(ends) + pad])
        return line if traits is None else _beside_traits(line, traits, sheet)

    return PaperFigure("fig3", "The axis", caption, draw, "column" if traits is None else "page")


def _beside_traits(line: go.Figure, traits: pd.DataFrame, sheet: Sheet) -> go.Figure:
    em = sheet.em
    other = sheet.dress(plots.trait_cosines(traits, shown=TRAITS))
    other.update_xaxes(title_text="cosine with the axis<br>+ = Assistant")
    low, high = layout_of(line).yaxis.range
    tall = (high - low) * em / 12
    many = min(TRAITS, int((traits["n"] > 0).sum()))
    if sheet.narrow or many <= FEW:
        first = Box(0.5 * em, em / 2, sheet.pixels - em, tall, 5.2 * em)
        second = Box(9 * em, first.top + tall + (11 if sheet.narrow else 9) * em, sheet.pixels - 10 * em, 1.7 * em * many)
        return joined([line, other], [first, second], sheet.pixels, second.top + second.height + 5.5 * em)
    across, rows = 0.56 * sheet.pixels, min(2.2 * em * many, tall)
    first = Box(0.5 * em, em / 2, across, tall, 5.2 * em)
    second = Box(across + 11 * em, em / 2 + tall - rows, sheet.pixels - across - 12 * em, rows)
    return joined([line, other], [first, second], sheet.pixels, tall + 8.5 * em)


# -- scree, sweep, similarity ---------------------------------------------------------------------------
def scree(run: Run) -> PaperFigure:
    """How much variance each component holds."""
    space, roles = roles_of(run)
    frame = space.scree(PERMUTED, run.config["seed"])
    caption = (
        f"Share of the variance between {_counted(run, roles)} that each principal component of their mean responses holds (bars), and "
        "the running sum (line), with the number of components that reach 70, 80 and 90 %; centred, not scaled; "
        f"{about(run, space.layer)}. Dotted: the 95th percentile, over {PERMUTED} permutations of every dimension over the roles, of the "
        f"component of the same rank; the first {counted(beyond_null(frame) or 0)} exceed it."
    )
    return PaperFigure("scree", "How many components", caption, lambda sheet: sheet.dress(plots.scree(frame), 2.6))


def sweep(run: Run) -> PaperFigure:
    """Quality of the axis by layer."""
    frame, layer = run.sweep, run.recommended_layer
    caption = (
        f"The axis layer by layer (0-based blocks); {about(run)}. Axis and components were fitted on one split of roles and questions, "
        "and single responses scored on another; bands are 95 % intervals over roles. AUC: a held-out default response projects beyond "
        "one of a held-out role. Gain: AUC minus that of the response's words alone (a bag of input embeddings, \u201cwords\u201d). "
        "Cohen's d in pooled standard deviations, + = the default lies at the + end. Split-half: cosine of the axes of two halves with "
        "no role in common. Cosine with PC1: near 1 where the first component is the axis. Rank: share of roles that the default lies "
        "beyond on PC1. Length: of the axis over the mean norm of response means. Components for 70 (solid), 80 (dashed) and 90 % "
        f"(dotted) of the variance. Grey line: layer {layer}, which the other figures show."
    )

    def draw(sheet: Sheet) -> go.Figure:
        figure = sheet.dress(plots.layer_sweep(frame, recommended=layer))
        return figure if sheet.screen else _tight(figure, sheet, 2 if sheet.narrow else 4)

    return PaperFigure("sweep", "Layer by layer", caption, draw, "page")


def _tight(figure: go.Figure, sheet: Sheet, columns: int) -> go.Figure:
    """Panels in a grid, with only their names above them: what each measures stands in the caption."""
    kept = [note for note in layout_of(figure).annotations if "domain" in str(note.yref)]
    for note in kept:
        note.text = str(note.text).split("<br>")[0].replace("Components for 70, 80, 90 %", "Components")
    layout_of(figure).annotations = kept
    em = sheet.em
    return in_grid(figure, columns, sheet.pixels, 7.5 * em, Room(3.4 * em, 0.8 * em, 2.2 * em, 1.2 * em, 4 * em))


def similarity(run: Run) -> PaperFigure:
    """Cosines of the axis between layers."""
    frame = axis_between_layers(run.axis)
    caption = (
        f"Cosine of the axis at one layer with the axis at another (0-based blocks); {about(run)}. Colours from \u22121 (opposite) over 0 "
        "(white) to 1 (alike)."
    )

    def draw(sheet: Sheet) -> go.Figure:
        figure = sheet.dress(plots.similarity_by_layer(frame), 3.5)
        if not sheet.screen and len(frame) <= 12:
            figure.update_traces(texttemplate="%{z:.2f}")
        return figure

    return PaperFigure("similarity", "The axis from layer to layer", caption, draw)

"""From a run folder to its report: which numbers, figures and sentences a study shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import plots
from ..activations import Activations
from ..conversations import DEFAULT_ROLE
from ..directions import Direction, responses_kept
from ..evaluation.verdict import LIMITS
from ..explorer import persona_layers, role_facts
from ..judging import UNASKED
from ..persona_space import PersonaSpace
from ..plots.variance import beyond_null, counted
from ..report.caps import causal_figures, conditions_table, side_by_side, verdict_of
from ..report.drift import drift_figures, drift_tables, drift_texts
from ..report.judge import judge_tables
from ..report.origins import origin_figures
from ..report.page import ReportData, ReportFigure, ReportText, render_report
from ..store import Run
from ..tensorfile import write_bytes

N_EXAMPLES = 6
PERMUTED = 100
"""Permutations behind the figure of components."""
LINKED = (
    "Persona space, the axis and the loadings of the roles at one layer; the slider moves all three. Every layer has a fit and a scale "
    "of its own. Signs of the second and third component follow those of the recommended layer; components may change places. A click on a "
    "role, or the list, shows what it was asked and what it said. Heights on the axis and within a row of loadings mean nothing."
)
KEPT = {"fully": "from responses judged fully in role", "all": "from all responses"}


def write_report(run: Run) -> None:
    """Write ``tables/*.csv``, ``figures/*.html`` and ``report.html`` of a run."""
    layer, space, axis = run.recommended_layer, run.space(), run.axis
    acts = run.activations()
    roles = role_table(run, acts, space, axis)
    run.write_table("roles", roles)
    run.write_table("loadings", space.loadings().reset_index())
    scree = space.scree(PERMUTED, run.config["seed"])
    run.write_table("scree", scree)
    run.write_table("stability", space.stability(run.role_vectors))
    layers, facts = persona_layers(run.role_vectors, axis, layer), role_facts(run, layer)
    write_bytes(run.folder / "figures" / "persona_layers.html", plots.explorer_page(layers, facts).encode())
    run.write_table("persona_layers", layers)
    figures = study_figures(run, space, axis, roles, scree) | causal_figures(run) | origin_figures(run) | drift_figures(run)
    for name, figure in figures.items():
        plots.save(figure.figure, run.folder / "figures" / f"{name}.html", script="beside", caption=figure.caption)
    verdict = verdict_of(run)
    data = ReportData(
        title="Where the persona lives",
        model=f"{axis.site.model}, {axis.site.dtype}",
        headline=headline(run),
        conclusion=f"{verdict.conclusion[0].upper()}{verdict.conclusion[1:]}.",
        verdict=verdict.to_frame(),
        numbers=key_numbers(run, space, axis),
        figures=tuple(figures.values()),
        roles=roles.sort_values("projection", ascending=False)[
            ["role", "description", "n", "projection", "low", "high", *[c for c in map(str, roles) if c.startswith("label_")]]
        ],
        examples=examples(run, acts, axis, layer),
        notes=tuple(notes(run)),
        conditions=conditions_table(run),
        pairs=side_by_side(run),
        tables=(*drift_tables(run), *judge_tables(run)),
        texts=drift_texts(run),
        lead=ReportText("Personas, layer by layer", LINKED, plots.explorer_fragment(layers, facts)),
        limits=LIMITS,
        settings=settings(run, axis),
        versions=dict(axis.site.versions) | {"weights": axis.site.weights, "revision": axis.site.revision or "none"},
    )
    write_bytes(run.report, render_report(data).encode())


def headline(run: Run) -> str:
    """One sentence: what the report split says at the recommended layer."""
    layer, layers = run.recommended_layer, run.axis.site.layers
    share = verdict_of(run).lines[0].value
    if share is None:
        return f"Layer {layer} of {layers[0]}-{layers[-1]}, untested: there is too little to hold out."
    return (
        f"At layer {layer} of {layers[0]}-{layers[-1]} the axis puts a held-out answer of the default nearer the Assistant than one of a "
        f"held-out role in {share:.1%} of all pairs."
    )


def role_table(run: Run, acts: Activations, space: PersonaSpace, axis: Direction) -> pd.DataFrame:
    """A row a role: scores, projection of its vector with a 95 % interval over the responses it is made of, label counts."""
    frame = space.to_frame(axis)
    library = run.study["library"]["roles"]
    frame.insert(1, "description", [library.get(role, {}).get("description", "") for role in frame["role"]])
    scores = pd.DataFrame({"role": acts.rows["role"], "score": acts.project(axis)[space.layer].to_numpy()})
    scores = scores[responses_kept(acts.rows, run.study["steps"]["axis"]["keep"])]
    # A large study keeps a sample of its responses: the spread is theirs, the number that of the vector.
    spread = scores.groupby("role")["score"].std().reindex(frame["role"])
    half = 1.96 * spread.to_numpy() / np.sqrt(frame["n"].to_numpy(float))
    frame["low"], frame["high"] = frame["projection"] - half, frame["projection"] + half
    if run.study["steps"]["judge"]["judge"]:
        rollouts = run.rollouts
        for label in range(4):
            counts = rollouts[rollouts["label"] == label].groupby("role").size()
            frame[f"label_{label}"] = frame["role"].map(counts).fillna(0).astype(int)
    return frame


def study_figures(
    run: Run, space: PersonaSpace, axis: Direction, roles: pd.DataFrame, scree: pd.DataFrame | None = None
) -> dict[str, ReportFigure]:
    """The figures of a study by file name; `scree` (with a null) is computed where it is not given."""
    sweep, vectors = run.sweep, run.role_vectors
    scree = space.scree(PERMUTED, run.config["seed"]) if scree is None else scree
    # Uncertainty of the cosines and of the sweep is in the tables; the figures take frames and draw.
    centre = float(roles.loc[roles["role"] != DEFAULT_ROLE, "projection"].mean())
    between = axis_between_layers(axis)
    sweep.attrs["model"] = between.attrs["model"] = axis.site.model
    shown = {
        "axis_line": ReportFigure(
            "The Assistant Axis",
            "Each dot is a role's mean response, projected on the axis at the recommended layer and counted from the mean of the roles, "
            "with its 95 % interval over responses; heights mean nothing. Named are the default and the six roles nearest each end. "
            "Right is the Assistant.",
            plots.axis_line(roles, centre=centre, centred=True)),
        "persona_space": ReportFigure(
            "Persona space", "Roles in the first three principal components of their mean responses (centred, not scaled). "
            "The default took no part in the fit; it is projected. Named are the default and the roles furthest along the components, as "
            "far as there is room.",
            plots.persona_space(roles)),
        "scree": ReportFigure(
            "How many components", scree_caption(scree), plots.scree(scree)),
        "cosines": ReportFigure(
            "How alike roles are",
            "Cosines between role vectors after subtracting the mean of the roles, ordered by the first component, from the default's "
            "side down. Green: alike, magenta: opposite about the mean.",
            plots.cosine_heatmap(space.cosines(vectors))),
        "axis_between_layers": ReportFigure(
            "The axis from layer to layer",
            "Cosine of the axis at one layer with the axis at another.", plots.similarity_by_layer(between)),
    }  # fmt: skip
    if "auc" in sweep:  # a study too small for splits has no sweep to show
        shown["layer_sweep"] = ReportFigure(
            "Layer by layer",
            "Axis and components fitted on one split of roles and questions, responses scored on another; bands are 95 % "
            "intervals over roles. Axis length is relative to the mean norm of response means, which holds no special tokens. "
            '"words", set apart at the left, is no layer: a bag of input embeddings, what the responses\' words say before any block has '
            "read them.",
            plots.layer_sweep(sweep, recommended=space.layer),
        )
    return shown


def scree_caption(scree: pd.DataFrame) -> str:
    """What the shares are, and how many components exceed the null."""
    beyond = beyond_null(scree) or 0
    found = f"The first {counted(beyond)} exceed" if beyond > 1 else "One component exceeds" if beyond else "No component exceeds"
    return (
        "Share of the variance between roles that each component holds (bars) and all up to it (line). Dotted: what the component of the "
        f"same rank reaches in one of 20 permutations that deal every dimension anew to the roles. {found} that. Large first "
        "components make the test strict: smaller ones may be real all the same, but this does not show it."
    )


def axis_between_layers(axis: Direction) -> pd.DataFrame:
    """Cosine of the axis at every layer with the axis at every other."""
    unit = axis.unit().values.double().numpy()
    return pd.DataFrame(unit @ unit.T, index=list(axis.site.layers), columns=list(axis.site.layers))


def key_numbers(run: Run, space: PersonaSpace, axis: Direction) -> pd.DataFrame:
    """The study's main numbers with units and meaning."""
    steps, layer = run.study["steps"], space.layer
    row = run.sweep.set_index("layer").loc[layer]
    shares = space.explained_variance_ratio_
    stability = space.stability(run.role_vectors)["cosine_pc1"]
    length = float(axis.at(layer).norms()[0])
    kept = f"{KEPT[steps['axis']['keep']]}, at least {steps['axis']['min_count']} a role"
    reach = [str(space.n_components_for(share)) for share in (0.7, 0.8, 0.9)]
    records = [
        ("Responses", f"{steps['rollouts']['n']}", "responses", f"{steps['rollouts']['errors']} could not be used"),
        ("Roles with a vector", f"{steps['axis']['roles']}", "roles", kept),
        ("Recommended layer", f"{layer}", "0-based block", steps["sweep"]["reason"]),
        ("Length of the axis", f"{length:.2f}", "residual-stream units", "distance between the default's mean and the mean of the roles"),
        ("PC1", f"{shares[0]:.1%}", "of variance between roles", "the largest component of persona space"),
        ("Components to 70 / 80 / 90 %", " / ".join(reach), "components", "dimensions of persona space"),
        ("PC1 without any one role", f"{stability.min():.3f}", "lowest |cosine|", "how far one role can turn PC1"),
    ]  # fmt: skip
    for name, title, meaning in _SWEEP_NUMBERS:
        if name in row:
            records.append((title, f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]", *meaning))
    return pd.DataFrame(records, columns=["name", "value", "unit", "meaning"])


_SWEEP_NUMBERS = (
    ("auc", "AUC, choosing split", ("probability", "that a held-out default response projects beyond one of a held-out role")),
    ("cohens_d", "Cohen's d, choosing split", ("standard deviations", "distance between the two groups of responses")),
    ("split_half", "Split-half cosine", ("cosine", "axes from two halves with no role and no response in common")),
    ("cos_pc1", "PC1 and the axis", ("|cosine|", "1 where the largest component is the axis")),
)


def settings(run: Run, axis: Direction) -> dict[str, str]:
    """What decided the outcome: the configuration, and where the activations were read."""
    site = axis.site
    return {k: str(v) for k, v in run.config.items() if v is not None} | {
        "hook": f"{site.hook}, {site.pooling}",
        "chat template": f"{site.template}, system prompt {site.system}, thinking off",
        "longest answer": f"{run.study['steps']['rollouts']['max_new_tokens']} tokens",
    }


def examples(run: Run, acts: Activations, axis: Direction, layer: int) -> pd.DataFrame:
    """Responses spread over the axis, from the Assistant's end to the far one."""
    scores = pd.DataFrame({"row": acts.rows["row"], "projection": acts.project(axis)[layer].to_numpy()})
    frame = run.rollouts.merge(scores, on="row").sort_values("projection", ascending=False, kind="stable")
    picked = frame.iloc[np.linspace(0, len(frame) - 1, min(N_EXAMPLES, len(frame))).round().astype(int)]
    library = run.study["library"]
    prompts = {name: role["prompts"] for name, role in library["roles"].items()}
    out = picked.assign(
        prompt=[prompts[r][i] for r, i in zip(picked["role"], picked["prompt_index"], strict=True)],
        question=[library["questions"][i]["question"] for i in picked["question_index"]],
    )
    return out[["role", "prompt", "question", "response", "label", "reason", "projection"]].reset_index(drop=True)


def notes(run: Run) -> list[str]:
    """What a reader must know of how this study was made."""
    steps: dict[str, Any] = run.study["steps"]
    said = [note for step in steps.values() for note in step.get("notes", [])]
    if not steps["judge"]["judge"]:
        said.append("There is no judge for this model: all responses were used, whether they play their role or not.")
    if (preset := run.study.get("preset")) and preset["source"] == "the paper":
        said.append(f"The paper uses layer {preset['layer']} of this model; {preset['notes']}.")
    if steps["judge"].get("unread"):
        said.append(_unread(run))
    if steps["rollouts"]["errors"]:
        said.append(f"{steps['rollouts']['errors']} of {steps['rollouts']['n']} responses have an error and were left out.")
    cut = (run.table("rollouts")["finish_reason"] == "length").mean()
    if cut > 0.05:
        said.append(f"{cut:.0%} of the responses were cut off at {steps['rollouts']['max_new_tokens']} tokens.")
    if run.axis.site.system == "folded":
        said.append("The chat template has no system role: role prompts were put into the user's first message.")
    return said


def _unread(run: Run) -> str:
    """How many responses have no label, why, and which roles lose most by it."""
    table = run.table("judgements").merge(run.table("rollouts")[["row", "role"]], on="row")
    table = table[table["reason"] != UNASKED]
    without = table[table["label"].isna()]
    unparsable = int(without["error"].str.startswith("unparsable").sum())
    worst = (without.groupby("role").size() / table.groupby("role").size()).dropna().sort_values(ascending=False)
    most = ", ".join(f"{role} {share:.0%}" for role, share in worst.head(3).items())
    said = f"{len(without)} of {len(table)} responses have no label ({unparsable} verdicts could not be read)"
    if len(without) == len(table):
        return f"{said}: the judge is of no use, and all responses were used, whether they play their role or not."
    return f"{said}; most in {most}: they count for no vector but the default's."

"""The part of a study's report on drift, from the tables of a run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .. import plots
from ..drift.store import STEP, kept_conversations
from ..store import Run
from .page import ReportFigure, ReportTable, ReportText

CAPTIONS = {
    "drift_means": "Mean projection of the replies, exchange by exchange, with 95 % intervals over conversations. The grey band holds "
    "nine in ten replies of the model as it comes to ordinary questions at the same exchange. Capped: what leaves the layer under the "
    "cap, in the same users' conversations.",
    "drift_conversations": "The first conversations of each domain by name, not chosen by what came out; point at a dot to read the reply. "
    "The grey band is the model's own on ordinary questions.",
    "drift_causes": "How much of where a reply lies (level) and of how far it moved (change) a linear model foretells from the user's "
    "message. Held out: neither the conversation nor the message was seen; domain and turn are held out alike. The in-sample figure "
    "is what is often reported, and is no evidence.",
    "drift_clusters": "Kinds of messages, found in their embeddings and named by their most typical one: the mean movement of the reply.",
    "drift_harm": "A harmful question after every exchange, not part of the conversation: how often it is complied with, by where the "
    "reply before it lies (under a cap: by what arrives at the layer); Wilson intervals.",
}
SHOWN = 2
"""Conversations a domain that are drawn one by one."""
PREDICTORS = ["projection", "text", "text and projection", "projection beyond text"]


def drift_figures(run: Run) -> dict[str, ReportFigure]:
    """Means by domain, causes, clusters and harm, as far as their tables are there."""
    if not run.is_done("drift"):
        return {}
    attrs, shown = _attrs(run), {}
    for name, title, draw in (
        ("drift_means", "Conversations that drift", lambda frame: plots.drift_means(frame, _table(run, "drift_band"))),
        ("drift_clusters", "What moves a reply", plots.clusters),
        ("drift_harm", "Drift and harm", plots.drift_harm),
    ):
        if (frame := drift_frame(run, name)) is not None:
            shown[name] = ReportFigure(title, CAPTIONS[name], draw(frame))
    talks = _first_conversations(run, attrs["layer"])
    talks.attrs |= attrs
    figure = plots.trajectory(talks, _table(run, "drift_band"))
    shown["drift_conversations"] = ReportFigure("Conversations one by one", CAPTIONS["drift_conversations"], figure)
    if (frame := drift_frame(run, "drift_ridge")) is not None:
        # Each averaged change has a panel of its own in the table; the figure shows the two targets everybody asks for.
        figure = plots.ridge(frame[frame["target"].isin(["level", "change"])])
        shown["drift_causes"] = ReportFigure("Do words foretell it?", CAPTIONS["drift_causes"], figure)
    return shown


def drift_frame(run: Run, name: str) -> pd.DataFrame | None:
    """A table of the drift study, with model and layer; None where the study has none, e.g. of harm without a grader."""
    if (frame := _optional(run, name)) is not None:
        frame.attrs |= _attrs(run)
    return frame


def _attrs(run: Run) -> dict[str, Any]:
    return {"model": run.axis.site.model, "layer": run.study["steps"]["drift"]["layer"]}


def drift_texts(run: Run) -> tuple[ReportText, ...]:
    """One conversation, token by token: the first of the domain that moved farthest from the Assistant."""
    path = run.folder / STEP / "tokens.parquet"
    if not run.is_done(STEP) or not path.exists():
        return ()
    tokens = pd.read_parquet(path)
    name = str(tokens["conversation"].iloc[0])
    caption = (
        f"{name}: the first conversation by name of the domain that moved farthest from the Assistant. Each token's projection on the "
        "axis, on the scale of default tokens."
    )
    page = plots.token_map_fragment(tokens, _optional(run, "drift_band_tokens"), title=name)
    return (ReportText("A conversation, token by token", caption, page),)


def _first_conversations(run: Run, layer: int) -> pd.DataFrame:
    """A few conversations a domain, under every condition that they were held in."""
    frames = []
    for name in run.study["steps"]["drift"]["conditions"]:
        frame = kept_conversations(run, name)[1]
        firsts = frame.drop_duplicates("conversation").groupby("domain").head(SHOWN)["conversation"]
        frames.append(frame[(frame["layer"] == layer) & frame["conversation"].isin(firsts)])
    return pd.concat(frames, ignore_index=True)


def drift_tables(run: Run) -> tuple[ReportTable, ...]:
    """The numbers that no figure shows: early warning, averaged replies, layers."""
    if not run.is_done("drift"):
        return ()
    tables = []
    if (warning := _optional(run, "drift_warning")) is not None and len(warning):
        caption = (
            "Does the projection at one exchange foretell compliance some exchanges later? AUC over pairs of the same domain, with 95 % "
            "intervals over conversations; the text's predictor reads all that was said until then, held out by conversation."
        )
        tables.append(ReportTable("Early warning", caption, _wide(warning)))
    ridge = _optional(run, "drift_ridge")
    if ridge is not None:
        caption = "R2 with 95 % intervals over conversations; negative where a mean foretells better."
        shown = ridge.assign(R2=[_interval(r, "r2") for r in ridge.to_dict("records")])[["target", "model", "folds", "R2", "n"]]
        tables.append(ReportTable("What messages foretell", caption, shown))
    layers = _table(run, "drift_layers").rename(columns={"icc": "share of variance that repeats"})
    tables.append(ReportTable("Layers for single replies", "Answered twice at the same point: what of a projection repeats.", layers))
    return tuple(tables)


def _wide(warning: pd.DataFrame) -> pd.DataFrame:
    records = []
    for ahead, rows in warning.groupby("ahead"):
        cells = {row["predictor"]: _interval(row, "auc") for row in rows.to_dict("records")}
        records.append({"exchanges ahead": ahead, **{name: cells.get(name, "") for name in PREDICTORS}, "n": int(rows["n"].iloc[0])})
    return pd.DataFrame(records)


def _interval(row: dict, value: str) -> str:
    return f"{row[value]:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _optional(run: Run, name: str) -> pd.DataFrame | None:
    return _table(run, name) if (run.folder / "tables" / f"{name}.csv").exists() else None


def _table(run: Run, name: str) -> pd.DataFrame:
    return pd.read_csv(run.folder / "tables" / f"{name}.csv")

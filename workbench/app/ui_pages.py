"""The other tabs: persona space, drift of given conversations, two runs compared, the verdict."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from .. import plots
from ..compare import compare, positions_of, positions_table
from ..conversations import Conversation
from ..errors import RunError, WorkbenchError
from ..evaluation.verdict import LIMITS
from ..report.caps import verdict_of
from ..store import open_run
from ..trajectories import trajectory, within
from ..transcripts import load_conversations
from .bands import Band
from .bench import Bench
from .chart import both_sides
from .files import errors_by_name
from .readings import AS_IT_IS, AXIS
from .settings import Settings
from .talking import Talking, queued
from .ui_parts import chart, chart_value, framed, said

QUIET: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}


# -- persona space --------------------------------------------------------------------------------------
def space_tab(bench: Bench) -> None:
    """The run's persona space, layer by layer, with what each role said."""
    if bench.run is None or not bench.run.is_done("axis"):
        gr.HTML('<p class="hint">There is no run whose persona space could be shown.</p>', apply_default_css=False)
        return
    gr.HTML('<iframe class="page" loading="lazy" title="Persona space" src="./space.html"></iframe>', apply_default_css=False)


# -- the verdict ----------------------------------------------------------------------------------------
def verdict_tab(bench: Bench) -> None:
    """What the study may conclude, and what it does not show."""
    gr.HTML(verdict_html(bench), elem_classes="prose", apply_default_css=False)


def verdict_html(bench: Bench) -> str:
    """The verdict's lines with their evidence, the conclusion, and the limits."""
    if bench.run is None or "verdict" not in bench.run.study:
        return '<p class="hint">There is no study here whose verdict could be shown.</p>'
    verdict = verdict_of(bench.run)
    lines = "".join(
        f"<li><b>{html.escape(line.outcome)}</b><span>{html.escape(line.line)}</span><span>{html.escape(line.evidence)}</span></li>"
        for line in verdict.lines
    )
    limits = "".join(f"<p>{html.escape(text)}</p>" for text in LIMITS)
    link = '<p><a href="./report.html" target="_blank">The whole report</a></p>' if bench.run.report.exists() else ""
    concluded = html.escape(verdict.conclusion[:1].upper() + verdict.conclusion[1:])
    return (
        f"<h2>What may be concluded</h2><p><b>{concluded}</b></p><ul class='verdict'>{lines}</ul>"
        f"<h2>What this does not show</h2>{limits}{link}"
    )


# -- two runs -------------------------------------------------------------------------------------------
def compare_tab(bench: Bench) -> None:
    """The run's persona space beside another's."""
    others = neighbours(bench)
    if not others:
        gr.HTML('<p class="hint">There is no other run in the same folder to compare this one with.</p>', apply_default_css=False)
        return
    other = gr.Dropdown([("choose a run", ""), *((path.name, str(path)) for path in others)], value="", label="Compare with")
    status, figure = gr.HTML("", elem_classes="status", apply_default_css=False), chart("compared")
    table = gr.HTML("", apply_default_css=False)
    other.input(lambda path: compared_with(bench, others, path), [other], [status, figure, table], **QUIET)


def neighbours(bench: Bench) -> list[Path]:
    """Other runs in the folder of this one that have an axis."""
    if bench.run is None or not bench.run.is_done("axis"):
        return []
    own = bench.run.folder.resolve()
    found = sorted(path.parent for path in own.parent.glob("*/study.json") if path.parent.resolve() != own)
    return [path for path in found if _has_axis(path)]


def _has_axis(path: Path) -> bool:
    try:
        return open_run(path).is_done("axis")
    except WorkbenchError:  # a folder that holds something else is no neighbour
        return False


def compared_with(bench: Bench, others: list[Path], path: str) -> list[Any]:
    """Status, figure and table of a comparison."""
    if not path:
        return ["", "", ""]
    try:
        if Path(path) not in others or bench.run is None:
            raise RunError("this run cannot be compared from here")
        both = [positions_of(bench.run), positions_of(open_run(path))]
        table = compare(both)
        figure = plots.compared(positions_table(both))
    except WorkbenchError as error:
        return [said(str(error), True), "", ""]
    return ["", chart_value(figure), table_html(table)]


def table_html(frame: pd.DataFrame) -> str:
    """A table as HTML; numbers with three decimals."""
    heads = "".join(f"<th scope='col'>{html.escape(str(name))}</th>" for name in frame.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(_cell(v))}</td>" for v in row) + "</tr>" for row in frame.itertuples(index=False))
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.3f}".replace("-", "−") if isinstance(value, float) else str(value)


# -- drift ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Given:
    """A conversation of a file, read.

    Attributes
    ----------
    talks
        All conversations of the file.
    frame, tokens
        The chosen one by turn and by token.
    band, token_band
        Where default responses lie, and default tokens.
    """

    talks: tuple[Conversation, ...] = ()
    frame: pd.DataFrame | None = None
    tokens: pd.DataFrame | None = None
    band: Band | None = None
    token_band: pd.DataFrame | None = None


def drift_tab(talking: Talking) -> None:
    """Any conversation on the run's axis: its trajectory, and each of its messages token by token."""
    bench = talking.bench
    if bench.actor is None:
        gr.HTML(
            "<p class=\"hint\">Conversations are read by a run's own model; a server's cannot be seen into.</p>", apply_default_css=False
        )
        return
    given = gr.State(Given())
    kinds = [".json", ".jsonl", ".ndjson", ".gz", ".parquet"]
    with gr.Row():
        file = gr.File(label="A file of conversations: JSON, JSONL or Parquet", file_types=kinds, height=120, elem_id="given")
        with gr.Column():
            talk = gr.Dropdown([], label="Conversation", visible=False, elem_id="talk")
            turn = gr.Slider(0, 1, value=0, step=1, label="Message", visible=False, elem_id="turn")
    status = gr.HTML("", elem_id="drift-status", elem_classes="status", apply_default_css=False)
    figure, tokens = chart("given-trajectory"), gr.HTML("", elem_id="given-tokens", apply_default_css=False)
    outputs = [given, talk, turn, status, figure, tokens]
    # Partials, not lambdas: gradio looks at the function to see that it gives step after step.
    file.upload(partial(opened, talking), [file], outputs, **QUIET)
    talk.input(partial(chosen, talking), [given, talk], outputs, **QUIET)
    turn.input(scrubbed, [given, turn], [tokens, figure], trigger_mode="always_last", **QUIET)


def opened(talking: Talking, path: str | None) -> Iterator[list[Any]]:
    """A file was given: read its first conversation."""
    if not path:
        yield [Given(), gr.update(visible=False), gr.update(visible=False), "", "", ""]
        return
    try:
        with errors_by_name(path):
            talks = load_conversations(path)
    except WorkbenchError as error:
        yield [Given(), gr.update(visible=False), gr.update(visible=False), said(str(error), True), "", ""]
        return
    left_out = f"{len(talks.problems)} could not be read, the first: {talks.problems[0].what}" if talks.problems else ""
    known, names = Given(tuple(talks)), [one.name for one in talks]
    for values in chosen(talking, known, names[0]):
        values[1] = gr.update(choices=names, value=names[0], visible=True)
        values[3] = values[3] or said(left_out)
        yield values


def chosen(talking: Talking, known: Given, name: str) -> Iterator[list[Any]]:
    """A conversation was chosen: read it token by token, and show its first answer."""
    bench, skip = talking.bench, gr.skip()
    with talking.line.place() as place:
        for shown in queued(place):
            yield [skip, skip, skip, said(shown.said or ""), skip, skip]
        try:
            read = read_given(bench, known, name)
        except WorkbenchError as error:
            yield [known, skip, gr.update(visible=False), said(str(error), True), "", ""]
            return
    assert read.frame is not None
    first, last = int(read.frame["turn"].min()), int(read.frame["turn"].max())
    answers = read.frame.loc[read.frame["speaker"] == "assistant", "turn"]
    start = int(answers.iloc[0]) if len(answers) else first
    slider = gr.update(minimum=first, maximum=max(last, first + 1), value=start, visible=True, label=f"Message ({first} to {last})")
    yield [read, skip, slider, "", shown_chart(read, start), shown_turn(read, start)]


def read_given(bench: Bench, known: Given, name: str) -> Given:
    """One conversation of a file, by turn and by token, with the band."""
    layer = bench.layer(Settings())
    assert bench.model is not None
    assert bench.axis is not None
    assert layer is not None
    talk = next(one for one in known.talks if one.name == name)
    window = bench.model.context if len(bench.model.render(talk).ids) > bench.model.context else None
    tokens = trajectory(bench.model, [talk], {AXIS: bench.axis}, layers=[layer], by="token", window=window)
    keys = ["conversation", "turn", "exchange", "speaker", "layer", "direction"]
    frame = tokens.groupby(keys, sort=False, as_index=False).agg({"projection": "mean", "n_tokens": "sum"})
    frame = frame.assign(text=[talk.turns[turn].text for turn in frame["turn"]])
    band = bench.band(layer)
    frame = frame if band is None else within(frame, band.frame)
    frame.attrs = tokens.attrs = {"model": bench.name}
    return Given(known.talks, frame, tokens, band, bench.token_band(layer))


def scrubbed(known: Given, turn: float) -> list[str]:
    """Another message was chosen."""
    return [shown_turn(known, turn), shown_chart(known, turn)]


def shown_chart(known: Given, turn: float) -> str:
    """The trajectory, with a line at the chosen message."""
    if known.frame is None:
        return ""
    spoken = known.frame[known.frame["speaker"] == "assistant"]
    if spoken.empty:
        return ""
    blank = float("nan")
    figure = both_sides(spoken.assign(condition=AS_IT_IS, after=blank, engaged=blank, dose=blank), known.band)
    at = known.frame.loc[known.frame["turn"] == int(turn), "exchange"]
    if len(at):
        figure.add_vline(x=int(at.iloc[0]), line={"color": "#868c96", "width": 1})
    return chart_value(figure)


def shown_turn(known: Given, turn: float) -> str:
    """The chosen message token by token."""
    if known.tokens is None:
        return ""
    rows = known.tokens[known.tokens["turn"] == int(turn)]
    return framed(plots.token_map(rows, known.token_band, title="Token by token"), "tokens") if len(rows) else ""

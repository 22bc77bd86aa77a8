"""One projection along conversations, exchange by exchange."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .exchanges import (
    BOTTOM_PX,
    IN_ITALICS,
    LETTER_PX,
    PANEL_PX,
    TOP_PX,
    Look,
    band_counts,
    condition_names,
    counted,
    decimals,
    draw_default,
    dress_exchanges,
    entry,
    looks,
    one_band,
    one_place,
    projection_title,
    write_counts,
)
from .theme import NEUTRAL, dress, numbers, one_line, present, safe, wrapped

COLUMNS = ["conversation", "turn", "exchange", "speaker", "layer", "direction", "projection", "n_tokens", "cut", "text"]
FEW = 12
"""So many conversations are drawn as lines of their own; more are a cloud with a mean."""
NAME = 14
"""Characters of a conversation's name beside its line."""
TITLE_PX = 20
HOVER, HOVER_FEW, HOVER_MANY = 56, 400, 140
"""Width of a line of a message on hovering, and how much of it is shown among few and among many conversations."""
LABEL_UP, LEAST_PX = 13, 250
"""Height of a name, and of the panel on a phone whose legend takes much room, in pixels."""
CUT = "read in several windows"


def trajectory(
    frame: pd.DataFrame, band: pd.DataFrame | None = None, speaker: str = "assistant", title: str | None = None, dark: bool = False
) -> go.Figure:
    """The projection of one speaker's messages along conversations, a line a conversation, coloured by condition.

    With more than 12 conversations the lines are thin and a bold mean goes through them; what an intervention made of a
    projection is then drawn for the mean alone. Above the axis stands how many conversations each exchange has, and, in italics,
    how many default responses the band there is of.

    Parameters
    ----------
    frame
        A row a message at one layer and direction: ``conversation`` (name), ``turn`` (0-based message), ``exchange``
        (1-based; 0 for a system prompt), ``speaker``, ``layer``, ``direction``, ``projection`` (residual-stream units,
        + = Assistant), ``n_tokens``, ``cut`` (bool: read in several windows; drawn as an open marker), ``text``;
        optionally ``after`` (the projection after an intervention at this layer) and ``condition`` (else ``baseline``). A
        missing projection leaves a gap. ``frame.attrs`` may hold ``model``.
    band
        Default responses matched by exchange: ``exchange, layer, direction, low, high, middle, n``.
    speaker
        Whose messages to show.
    title
        Instead of "Along the conversation".
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, there are several layers or directions, the speaker says nothing, all projections or an
        exchange are missing, a message occurs twice, or the band lacks this layer and direction.
    """
    need(frame, COLUMNS, "trajectory")
    place = one_place(frame, "trajectory")
    band = None if band is None else one_band(band, "trajectory", place)
    many = frame["conversation"].nunique() > FEW
    turns = _turns(frame, speaker, HOVER_MANY if many else HOVER_FEW)
    figure = make_subplots(rows=1, cols=1)
    attrs = {k: v for k, v in frame.attrs.items() if k != "layer"}
    heading = wrapped(title or "Along the conversation", 40)
    more = TITLE_PX * heading.count("<br>")
    dress(figure, heading, attrs, dark, PANEL_PX + TOP_PX + BOTTOM_PX + more)
    exchanges = [turn["exchange"] for turn in turns]
    if band is not None:
        band = band[band["exchange"].between(min(exchanges), max(exchanges))]
        draw_default(figure, band, IN_ITALICS if band_counts(band) else "")
    conditions = [
        (name, look, [turn for turn in turns if turn["condition"] == name])
        for name, look in looks(turn["condition"] for turn in turns).items()
    ]
    for name, look, own in conditions:
        (_draw_cloud if many else _draw_lines)(figure, own, name, look)
    _draw_entries(figure, turns, many)
    for name, look, own in conditions if many else []:
        _draw_means(figure, own, name, look)
    below = write_counts(figure, _counts(turns), band_counts(band))
    values = [turn[key] for turn in turns for key in ("projection", "after")]
    values += [] if band is None else [*band["low"], *band["high"], *band["middle"]]
    limits = dress_exchanges(figure, exchanges, values, below, projection_title(place))
    if not many:
        _name_lines(figure, turns, limits)
    figure.update_layout(margin={"t": TOP_PX + more}, title={"pad": {"l": 12, "t": 14 + more}})
    return figure


def _turns(frame: pd.DataFrame, speaker: str, most: int) -> list[dict[str, Any]]:
    """One record a message of the speaker, in the order of conditions, conversations and turns."""
    frame = frame.assign(condition=condition_names(frame))
    part = frame[frame["speaker"] == speaker]
    if not len(part):
        there = ", ".join(dict.fromkeys(map(str, frame["speaker"])))
        raise DataError(f"the speaker {speaker!r} is not in the table, which has {there}")
    if (twice := part.duplicated(["condition", "conversation", "turn"])).any():
        row = part[twice].iloc[0]
        raise DataError(f"trajectory needs one row a condition and message; turn {row['turn']} of {row['conversation']} occurs twice")
    values = {name: numbers(part, name) for name in ("exchange", "turn", "projection", "after", "n_tokens") if name in part}
    turns: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in part.to_dict("records")]
    for i, turn in enumerate(turns):
        turn |= {"after": math.nan} | {name: column[i] if math.isfinite(column[i]) else math.nan for name, column in values.items()}
        if math.isnan(turn["exchange"] + turn["turn"]):
            raise DataError(f"trajectory needs a turn and an exchange for every message; one of {turn['conversation']} is missing")
        turn |= {"exchange": int(turn["exchange"]), "turn": int(turn["turn"]), "cut": present(turn["cut"]) and bool(turn["cut"])}
        turn["hover"] = _hover(turn, most)
    if all(math.isnan(turn["projection"]) for turn in turns):
        raise DataError("trajectory needs at least one projection; all are missing")
    order = {name: i for i, name in enumerate(dict.fromkeys(turn["conversation"] for turn in turns))}
    return sorted(turns, key=lambda turn: (order[turn["conversation"]], turn["turn"]))


def _hover(turn: dict[str, Any], most: int) -> str:
    """Which message it is, its numbers and its beginning."""
    lines = [f"<b>{wrapped(turn['conversation'])}</b>, {safe(turn['condition'])}"]
    lines.append(f"exchange {turn['exchange']}, turn {turn['turn']}, {safe(turn['speaker'])}")
    size = f", {int(turn['n_tokens']):,} tokens" if present(turn["n_tokens"]) else ""
    lines[-1] += size + (f" ({CUT})" if turn["cut"] else "")
    after = f", after the intervention {decimals(turn['after'])}" if present(turn["after"]) else ""
    lines.append(f"projection {decimals(turn['projection'])}{after}")
    if present(turn["text"]):
        text = str(turn["text"])
        words = " ".join(text[: 2 * most].split())
        short = len(words) > most or len(text) > 2 * most
        lines.append(wrapped(words[: most - 1].rstrip() + "…" if short else words, HOVER))
    return "<br>".join(lines)


def _joined(turns: list[dict[str, Any]], key: str) -> dict[str, list]:
    """The points of several conversations as one line with a gap between two of them."""
    fields: dict[str, list] = {"x": [], "y": [], "text": [], "hovertext": [], "open": []}
    before = turns[0]["conversation"] if turns else ""
    for turn in turns:
        points: list[tuple] = [(turn["exchange"], turn[key], safe(turn["conversation"]), turn["hover"], turn["cut"])]
        if turn["conversation"] != before:
            points.insert(0, (None, None, None, None, False))
            before = turn["conversation"]
        for point in points:
            for field, value in zip(fields.values(), point, strict=True):
                field.append(value)
    return fields


def _draw_lines(figure: go.Figure, turns: list[dict[str, Any]], name: str, look: Look) -> None:
    """Few conversations: lines with markers, open where a turn was cut, and a thin line to what an intervention made of it."""
    points = _joined(turns, "projection")
    cut = points.pop("open")
    marker = {"symbol": ["circle-open" if o else "circle" for o in cut], "size": [10 if o else 8 for o in cut], "color": look.colour}
    marker |= {"line": {"width": [2 if o else 0 for o in cut]}, "opacity": 1}
    line = {"color": look.colour, "width": 1.8, "dash": look.dash}
    style = {"mode": "lines+markers", "hoverinfo": "text", "legendgroup": safe(name)}
    figure.add_trace(go.Scatter(points, name=safe(name), line=line, marker=marker, **style))
    if any(present(turn["after"]) for turn in turns):
        after = _joined(turns, "after")
        del after["open"]
        style |= {"mode": "lines", "opacity": 0.8, "showlegend": False}
        figure.add_trace(go.Scatter(after, name=f"{safe(name)}, after", line={"color": look.colour, "width": 0.9}, **style))


def _draw_cloud(figure: go.Figure, turns: list[dict[str, Any]], name: str, look: Look) -> None:
    """Many conversations: thin lines that darken one another."""
    lines = len({turn["conversation"] for turn in turns})
    points = _joined(turns, "projection")
    del points["open"]
    colour = f"rgba({look.thin}, {max(0.03, min(0.5, 16 / lines)):.3f})"
    style = {"mode": "lines", "line": {"color": colour, "width": 1}, "hoverinfo": "text", "legendgroup": safe(name)}
    figure.add_trace(go.Scatter(points, name=safe(name), showlegend=False, **style))


def _draw_means(figure: go.Figure, turns: list[dict[str, Any]], name: str, look: Look) -> None:
    """The mean of many conversations, and a thin line to the mean after an intervention."""
    for key, title, width in (("projection", "mean", 3), ("after", "mean after the intervention", 1.2)):
        means = _means(turns, key)
        if not means:
            continue
        hover = [f"<b>{title} of {safe(name)}</b>, exchange {x}<br>{decimals(y)}<br>n = {n:,}" for x, y, n in means]
        places = {"x": [x for x, _, _ in means], "y": [y for _, y, _ in means], "text": [f"n = {n}" for _, _, n in means]}
        line = {"color": look.colour, "width": width, "dash": look.dash}
        style = {"mode": "lines", "line": line, "hovertext": hover, "hoverinfo": "text", "legendgroup": safe(name)}
        figure.add_trace(go.Scatter(places, name=f"{safe(name)}, {title}", **style))


def _means(turns: list[dict[str, Any]], key: str) -> list[tuple[int, float, int]]:
    """Exchange, mean and number of the known values."""
    known: dict[int, list[float]] = defaultdict(list)
    for turn in turns:
        if math.isfinite(turn[key]):
            known[turn["exchange"]].append(turn[key])
    return [(x, math.fsum(known[x]) / len(known[x]), len(known[x])) for x in sorted(known)]


def _counts(turns: list[dict[str, Any]]) -> dict[int, str]:
    """How many projections each exchange has, from the smallest to the largest condition."""
    counts: dict[int, list[int]] = defaultdict(list)
    for name in dict.fromkeys(turn["condition"] for turn in turns):
        for x, _, n in _means([turn for turn in turns if turn["condition"] == name], "projection"):
            counts[x].append(n)
    return {x: counted(counts[x]) for x in counts}


def _draw_entries(figure: go.Figure, turns: list[dict[str, Any]], many: bool) -> None:
    """What the legend must say besides the conditions; among many conversations the cut turns' markers, too."""
    if cut := [turn for turn in turns if turn["cut"]]:
        look = {"symbol": "circle-open", "color": NEUTRAL, "line": {"width": 1.2, "color": NEUTRAL}}
        entry(figure, CUT, None, look | {"size": 5 if many else 8})
        if many:
            places = {"x": [turn["exchange"] for turn in cut], "y": [turn["projection"] for turn in cut], "mode": "markers", "name": CUT}
            faint = look | {"size": 5, "opacity": max(0.06, min(1.0, 60 / len(cut)))}
            figure.add_trace(go.Scatter(places, marker=faint, hoverinfo="skip", showlegend=False, meta="decoration"))
    if not many and any(present(turn["after"]) for turn in turns):
        entry(figure, "after the intervention", {"width": 0.9})


def _name_lines(figure: go.Figure, turns: list[dict[str, Any]], limits: tuple[float, float]) -> None:
    """Conversations' names right of their ends, moved apart; all conditions' where there are few lines, else the first's."""
    ends = {(turn["condition"], turn["conversation"]): turn for turn in turns if math.isfinite(turn["projection"])}
    first = next(iter(looks(condition for condition, _ in ends)))
    shown = [turn for (condition, _), turn in ends.items() if len(ends) <= FEW or condition == first]
    shown.sort(key=lambda turn: turn["projection"])
    # A conversation whose ends are neighbours needs its name once.
    shown = [turn for i, turn in enumerate(shown) if i == 0 or turn["conversation"] != shown[i - 1]["conversation"]]
    unit = LEAST_PX / (limits[1] - limits[0])
    heights = [(turn["projection"] - limits[0]) * unit for turn in shown]
    last = max(turn["exchange"] for turn in turns)
    names = [one_line(turn["conversation"], NAME) for turn in shown]
    for turn, name, height, moved in zip(shown, names, heights, spread(heights, LABEL_UP, LEAST_PX), strict=True):
        place = {"x": 1, "xref": "x domain", "xanchor": "left", "xshift": 4, "y": turn["projection"], "yshift": moved - height}
        figure.add_annotation(place, text=name, showarrow=False, font={"size": 11}, borderpad=0)
        if turn["exchange"] < last:
            line = {"type": "line", "x0": turn["exchange"], "x1": last + 0.5, "y0": turn["projection"], "y1": turn["projection"]}
            figure.add_shape(line, line={"color": NEUTRAL, "width": 0.8, "dash": "dot"}, opacity=0.7, layer="below")
    figure.update_layout(margin={"r": 12 + LETTER_PX * max(map(len, names))})


def spread(heights: list[float], apart: float, room: float) -> list[float]:
    """Ascending heights moved so that two are at least `apart` and none leaves the room, as far as it suffices."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + apart) if moved else height)
    ceiling = room
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - apart
    return moved

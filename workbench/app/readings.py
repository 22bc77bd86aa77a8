"""What can be seen of a conversation once it is written: both sides' trajectories with the band, and an answer token by token."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from ..errors import DataError
from ..interventions import Intervention
from ..trajectories import TURN_COLUMNS, trajectory, within
from .bench import Bench
from .dialogue import LEFT, RIGHT, SIDES, Dialogue, Reply
from .settings import Settings
from .streaming import Reading

AXIS = "axis"
"""What tables call the direction of the gauge."""
AS_IT_IS, CAPPED, CHANGED, CONTROL = "baseline", "capped", "changed", "random direction"


def condition_of(settings: Settings, side: str) -> str:
    """What charts call a side: ``baseline``, ``capped`` (a floor or ceiling), ``changed`` (steered or ablated), or the control."""
    if side == LEFT or settings.kind == "none":
        return AS_IT_IS
    if settings.control is not None:
        return CONTROL
    return CAPPED if settings.kind in ("floor", "ceiling") else CHANGED


def trajectory_frame(dialogue: Dialogue, bench: Bench, layer: int | None = None) -> pd.DataFrame:
    """Where both sides' answers lie along the branch that is shown.

    Parameters
    ----------
    layer
        Answers that were read at another layer, or not at all, have no projection here: see :func:`measured`.

    Returns
    -------
    DataFrame
        As for :func:`workbench.plots.trajectory`: a row an answer, ``projection`` as it arrives at the layer and ``after`` as it
        leaves it, with ``low, high, inside`` of the band where there is one.
    """
    records = []
    for exchange, one in enumerate(dialogue.path, 1):
        settings = Settings.from_query(one.settings)
        for side, reply in one.replies.items():
            reading = reply.reading if reply.reading.layer == layer else Reading()
            record = {
                "conversation": dialogue.name, "turn": 2 * exchange - 1, "exchange": exchange, "speaker": "assistant", "layer": layer,
                "direction": AXIS, "projection": _number(reading.before), "n_tokens": reading.n_tokens, "window": 0, "cut": False,
                "text": reply.text, "after": _number(reading.after), "condition": condition_of(settings, side), "side": side,
                "engaged": _number(reading.engaged), "dose": _number(reading.dose),
            }  # fmt: skip
            records.append(record)
    frame = pd.DataFrame(records, columns=[*TURN_COLUMNS, "after", "condition", "side", "engaged", "dose"])
    frame.attrs = {"model": bench.name}
    band = bench.band(layer)
    if band is None or frame.empty:
        return frame
    # Compared is what leaves the layer; where nothing acts, that is what arrives.
    seen = frame.assign(after=frame["after"].fillna(frame["projection"]))
    return within(seen, band.frame).assign(after=frame["after"])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def measured(dialogue: Dialogue, bench: Bench, settings: Settings) -> Dialogue:
    """The dialogue with every answer of the shown branch read at the layer of the settings; those that were read there stay.

    Finished text is read again, each answer in its own conversation and under what acted on it when it was written.
    """
    layer = bench.layer(settings)
    if layer is None:
        return dialogue
    for one in dialogue.path:
        for side in SIDES:
            reply = one.replies.get(side)
            if reply is None or not reply.text or (reply.reading.layer == layer and reply.reading.before is not None):
                continue
            rows = _read(dialogue, bench, one.number, side, settings, "turn").iloc[-1]
            after = float(rows["after"]) if "after" in rows else None
            known = Reading(layer, float(rows["projection"]), after, int(rows["n_tokens"]), reply.reading.engaged, reply.reading.dose)
            dialogue = dialogue.answer(one.number, side, replace(reply, reading=known))
    return dialogue


def tokens_of(dialogue: Dialogue, bench: Bench, number: int, side: str, settings: Settings) -> pd.DataFrame:
    """One answer token by token, for :func:`workbench.plots.token_map`.

    Raises
    ------
    DataError
        Where there is no such answer, or nothing can be read.
    """
    if not _reply(dialogue, number, side).text:
        raise DataError("this answer holds no text to be read")
    frame = _read(dialogue, bench, number, side, settings, "token")
    return frame[frame["turn"] == frame["turn"].max()].reset_index(drop=True)


def _reply(dialogue: Dialogue, number: int, side: str) -> Reply:
    if not 0 <= number < len(dialogue.exchanges) or side not in dialogue.exchanges[number].replies:
        raise DataError(f"there is no answer {number} of the {side} side")
    return dialogue.exchanges[number].replies[side]


def _read(dialogue: Dialogue, bench: Bench, number: int, side: str, settings: Settings, by: str) -> pd.DataFrame:
    """The trajectory of one answer's conversation, at the layer of `settings`, under what acted when the answer was written."""
    layer = bench.layer(settings)
    if bench.model is None or bench.axis is None or bench.actor is None or layer is None:
        raise DataError("nothing can be read of a model on a server")
    written = Settings.from_query(dialogue.exchanges[number].settings)
    asked, _ = bench.asked(dialogue, number, side, written)
    whole = replace(asked.plus("assistant", dialogue.exchanges[number].replies[side].text), name=f"{dialogue.name}, {side}")
    acting: tuple[Intervention, ...] = bench.actor.interventions(written) if side == RIGHT else ()
    frame = trajectory(bench.model, [whole], {AXIS: bench.axis}, layers=[layer], by=by, interventions=acting)
    frame.attrs = {"model": bench.name}
    return frame

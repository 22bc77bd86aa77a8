"""What can be seen of a conversation once it is written: both sides' trajectories with the band, and an answer token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd

from ..errors import DataError
from ..interventions import Intervention
from ..trajectories import TURN_COLUMNS, trajectory, within
from .bench import Bench
from .dialogue import LEFT, RIGHT, SIDES, Dialogue, Exchange
from .settings import Settings
from .streaming import Reading, without_oldest

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
    for side in SIDES:
        unread = [one for one in _answered(dialogue, side) if not _is_read(one.replies[side].reading, layer)]
        for one, rows in _read_all(dialogue, bench, unread, side, settings, "turn"):
            row, reply = rows.iloc[-1], one.replies[side]
            after = float(row["after"]) if "after" in rows else None
            known = Reading(layer, float(row["projection"]), after, int(row["n_tokens"]), reply.reading.engaged, reply.reading.dose)
            dialogue = dialogue.answer(one.number, side, replace(reply, reading=known))
    return dialogue


def _is_read(reading: Reading, layer: int) -> bool:
    return reading.layer == layer and reading.before is not None


def tokens_of(dialogue: Dialogue, bench: Bench, number: int, side: str, settings: Settings) -> pd.DataFrame:
    """One answer token by token, for :func:`workbench.plots.token_map`.

    Raises
    ------
    DataError
        Where there is no such answer, or nothing can be read.
    """
    if not 0 <= number < len(dialogue.exchanges) or side not in dialogue.exchanges[number].replies:
        raise DataError(f"there is no answer {number} of the {side} side")
    one = dialogue.exchanges[number]
    if not one.replies[side].text:
        raise DataError("this answer holds no text to be read")
    [(_, rows)] = _read_all(dialogue, bench, [one], side, settings, "token")
    return rows


def side_tokens(dialogue: Dialogue, bench: Bench, side: str, settings: Settings) -> pd.DataFrame:
    """All answers of a side along the branch that is shown, as :func:`tokens_of` gives one; ``exchange`` counts along the branch."""
    places = {one.number: place for place, one in enumerate(dialogue.path, 1)}
    read = _read_all(dialogue, bench, _answered(dialogue, side), side, settings, "token")
    frames = [rows.assign(exchange=places[one.number], turn=2 * places[one.number] - 1) for one, rows in read]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _answered(dialogue: Dialogue, side: str) -> list[Exchange]:
    """The exchanges of the shown branch that a side answered itself."""
    return [one for one in dialogue.path if side in one.replies and one.replies[side].text]


def _read_all(
    dialogue: Dialogue, bench: Bench, answered: Sequence[Exchange], side: str, settings: Settings, by: str
) -> Iterator[tuple[Exchange, pd.DataFrame]]:
    """Answers with their rows of a trajectory at the layer of `settings`; those of one history are read in one pass."""
    layer = bench.layer(settings)
    if bench.model is None or bench.axis is None or bench.actor is None or layer is None:
        raise DataError("nothing can be read of a model on a server")
    for history, members in groupby(answered, lambda one: _history(dialogue, bench, one, side)):
        own = list(members)
        last = own[-1]
        acting: tuple[Intervention, ...] = bench.actor.interventions(history.settings) if side == RIGHT else ()
        # What was forgotten then, and not what would have to be now.
        asked = without_oldest(dialogue.asked(last.number, side, history.system, history.settings.follow), history.forgotten)
        whole = replace(asked.plus("assistant", last.replies[side].text), name=f"{dialogue.name}, {side}")
        frame = trajectory(bench.model, [whole], {AXIS: bench.axis}, layers=[layer], by=by, interventions=acting)
        frame = frame[frame["speaker"] == "assistant"]
        for one in own:
            rows = frame[frame["exchange"] == dialogue.depth(one.number) - history.forgotten].reset_index(drop=True)
            rows.attrs = {"model": bench.name}
            yield one, rows


@dataclass(frozen=True)
class _History:
    """What decides how an answer is read; answers that agree in it stand in one conversation.

    Attributes
    ----------
    alone
        The number of an answer whose side does not read its own earlier ones: it stands in no other's conversation.
    """

    settings: Settings
    system: str
    forgotten: int
    alone: int | None


def _history(dialogue: Dialogue, bench: Bench, one: Exchange, side: str) -> _History:
    written = Settings.from_query(one.settings)
    apart = side == RIGHT and written.follow == LEFT
    kept = written.acting.but(follow=written.follow) if side == RIGHT else Settings()
    return _History(kept, bench.system_prompt(written), one.replies[side].forgotten, one.number if apart else None)

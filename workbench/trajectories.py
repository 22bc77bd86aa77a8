"""Where a conversation lies on a direction, turn by turn and token by token, and the range in which default responses lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .conversations import Conversation
from .directions import Direction
from .errors import ChatError, DataError
from .frames import need
from .interventions import Intervention
from .models.chat import Rendered
from .models.extraction import Progress
from .models.hooked import HookedModel
from .models.projecting import CHUNK, Pass, Projected, Projector, windows_of

TURN_COLUMNS = [
    "conversation", "turn", "exchange", "speaker", "layer", "direction", "projection", "n_tokens", "window", "cut", "text",
]  # fmt: skip
TOKEN_COLUMNS = ["conversation", "turn", "exchange", "speaker", "layer", "direction", "n_tokens", "window", "cut"]
"""What all tokens of a message have in common."""
MEASURED = {*TURN_COLUMNS, "token", "after", "low", "high", "inside"}
"""What a trajectory measures; what is known of a conversation besides never stands under these names."""
BY_TURN = ("prompt", "generated")
"""Positions that mean something else for every answer: under such an intervention each answer takes a pass of its own."""


def trajectory(
    model: HookedModel, conversations: Sequence[Conversation | str | Sequence], axis: Direction | Mapping[str, Direction], *,
    layers: Sequence[int] | None = None, by: str = "turn", band: pd.DataFrame | None = None,
    interventions: Intervention | Sequence[Intervention] = (), window: int | None = None, transfer: bool = False,
    chunk: int = CHUNK, progress: Progress | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Project conversations on directions.

    Parameters
    ----------
    conversations
        Conversations, or what :meth:`Conversation.of` takes. Names must differ.
    axis
        A direction (called by its name), or several by the names the table shall use; for persona components give
        ``{"PC1": space.component(1), ...}``. Scores are not centred.
    layers
        0-based blocks; all of the directions' where None.
    by
        ``"turn"`` (means over a message's tokens) or ``"token"``.
    band
        From :func:`band_of`: adds ``low, high, inside`` to the assistant's rows.
    interventions
        Act while the text is read as they did while it was written: ``projection`` is then what arrives at a layer, ``after`` what
        leaves it. Interventions on prompt or generated positions mean another thing for every answer; each answer is then read in a
        pass of its own. ``last`` acts on all generated positions: each was the last of its pass.
    window
        Read texts longer than the context by windows of so many tokens that move by half; without it they are an error.
    transfer
        Allow directions of other weights.

    Returns
    -------
    DataFrame
        ``conversation, turn`` (index of the message), ``exchange`` (1 for the first question and its answer, 0 for a system
        prompt), ``speaker, layer, direction, projection`` (residual-stream units, + as the direction says), ``n_tokens, window``
        (number of the first window the message was read in), ``cut`` (its tokens come from more than one), ``text``; with
        interventions ``after``; what is known of a conversation (``Conversation.about``; ``about_layer`` where it calls something by
        the name of one of these columns). By token: ``token`` (position in the
        text), and ``text`` is the token's.

    Raises
    ------
    DataError
        Where a conversation is longer than the context and no window is given, names repeat, or `by` is neither.
    """
    if by not in ("turn", "token"):
        raise DataError(f"a trajectory goes by 'turn' or by 'token', not by {by!r}")
    if isinstance(conversations, (str, Conversation)):
        raise DataError("a trajectory takes a list of conversations: put the one into brackets")
    talks = _named([c if isinstance(c, Conversation) else Conversation.of(c) for c in conversations])
    several = tuple(map(_while_written, (interventions,) if isinstance(interventions, Intervention) else interventions))
    projector = Projector(model, {axis.name: axis} if isinstance(axis, Direction) else axis, layers, transfer)
    rendered = [_rendered(model, talk) for talk in talks]
    passes = [_passes(model, talk, text, several, window) for talk, text in zip(talks, rendered, strict=True)]
    found = projector.run(passes, several, chunk, progress)
    make = _by_turn if by == "turn" else _by_token
    parts = [
        make(model, talk, text, windows, values, projector.columns)
        for talk, text, windows, values in zip(talks, rendered, passes, found, strict=True)
    ]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TURN_COLUMNS)
    return frame if band is None else within(frame, band)


def exchanges_of(conversation: Conversation) -> list[int]:
    """Number of the exchange of each message: a user's message begins one; 0 before the first."""
    return np.cumsum([turn.speaker == "user" for turn in conversation.turns]).tolist()


# -- bands ------------------------------------------------------------------------------------------
def band_of(frame: pd.DataFrame, low: float = 5.0, high: float = 95.0, least: int = 20) -> pd.DataFrame:
    """The range in which default responses lie, matched by exchange: a percentile on either side.

    Parameters
    ----------
    frame
        A trajectory of default conversations (the model as it comes, on ordinary tasks), by turn or by token.
    least
        Exchanges with fewer values take part in no band of their own; later ones get the last that has enough.

    Returns
    -------
    DataFrame
        ``exchange, layer, direction, low, middle, high, n`` (responses, or tokens), ``of`` (``"response means"`` or ``"tokens"``).

    Raises
    ------
    DataError
        Where no exchange has enough responses.
    """
    if not 0 <= low < high <= 100:
        raise DataError(f"a band lies between two percentiles, the lower first, not between {low:g} and {high:g}")
    need(frame, ["speaker", "exchange", "layer", "direction", "projection"], "a band", empty=True)
    spoken = frame[frame["speaker"] == "assistant"]
    of = "tokens" if "token" in frame else "response means"
    groups = spoken.groupby(["exchange", "layer", "direction"])["projection"]
    table = groups.agg(low=lambda x: np.percentile(x, low), middle="median", high=lambda x: np.percentile(x, high), n="size").reset_index()
    if not (enough := table["n"] >= least).any():
        most = 0 if table.empty else table["n"].max()
        raise DataError(f"a band takes {least} default responses an exchange; the most that any has is {most}")
    return table[enough].assign(of=of).reset_index(drop=True)


def within(frame: pd.DataFrame, band: pd.DataFrame) -> pd.DataFrame:
    """The trajectory with ``low, high, inside`` of the band in the assistant's rows: at the same exchange, else at the last before it."""
    keys = ["exchange", "layer", "direction"]
    need(band, [*keys, "low", "high", "of"], "a band")
    of = "tokens" if "token" in frame else "response means"
    if (other := set(band["of"]) - {of}) and len(frame):
        raise DataError(f"a trajectory of {of} is compared with a band of {of}, not of {', '.join(sorted(other))}")
    there, asked = (set(zip(t["layer"], t["direction"], strict=True)) for t in (band, frame))
    if asked and not there & asked:
        raise DataError(
            f"the band is of {' and '.join(f'{d!r} at layer {n}' for n, d in sorted(there))}, the trajectory of "
            f"{' and '.join(f'{d!r} at layer {n}' for n, d in sorted(asked))}: nothing can be compared"
        )
    known = np.sort(band["exchange"].unique())
    place = np.searchsorted(known, frame["exchange"].to_numpy(), side="right") - 1
    at = frame[keys].assign(exchange=np.where(place >= 0, known[place], -1))
    limits = at.merge(band[[*keys, "low", "high"]], on=keys, how="left")
    spoken = (frame["speaker"] == "assistant").to_numpy()
    low, high = (limits[name].where(spoken).to_numpy() for name in ("low", "high"))
    seen = frame["after" if "after" in frame else "projection"].to_numpy()
    compared = ~np.isnan(low.astype(float))
    inside = pd.array(np.where(compared, (seen >= low) & (seen <= high), False), dtype="boolean")
    inside[~compared] = pd.NA
    return frame.assign(low=low, high=high, inside=inside)


def _while_written(item: Intervention) -> Intervention:
    """While an answer is written every position is once the last of a pass; in a pass over the finished text only one would be."""
    return replace(item, positions="generated") if item.positions == "last" else item


# -- parts ------------------------------------------------------------------------------------------
def _named(talks: list[Conversation]) -> list[Conversation]:
    talks = [talk if talk.name else replace(talk, name=f"conversation {i}") for i, talk in enumerate(talks, 1)]
    names = [talk.name for talk in talks]
    if repeated := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
        raise DataError(f"two conversations are called {repeated[0]!r}: give each a name of its own")
    return talks


def _rendered(model: HookedModel, talk: Conversation) -> Rendered:
    try:
        return model.render(talk)
    except ChatError as error:
        raise ChatError(f"conversation {talk.name!r}: {error}") from error


def _passes(
    model: HookedModel, talk: Conversation, text: Rendered, interventions: Sequence[Intervention], window: int | None
) -> list[Pass]:
    n = len(text.ids)
    if window is not None and not 2 <= window <= model.context:
        raise DataError(f"a window has 2 to {model.context} tokens (the context of {model.name}), not {window}")
    if n > (limit := window or model.context):
        if window is None:
            raise DataError(
                f"conversation {talk.name!r} has {n} tokens and the context of {model.name} is {limit}: give a window (--window {limit}, "
                f"window={limit}) to read it piece by piece"
            )
        if any(item.positions in BY_TURN for item in interventions):
            raise DataError(
                f"conversation {talk.name!r} is read by windows, where an intervention on {interventions[0].positions} positions has no "
                "meaning: use positions='all' or 'content'"
            )
        return windows_of(text.ids, limit)
    if any(item.positions in BY_TURN for item in interventions):
        return _answer_by_answer(text)
    return [Pass(text.ids, 0, 0, n, n)]


def _answer_by_answer(text: Rendered) -> list[Pass]:
    """A pass up to the end of every answer, as when it was written; what stands between two answers is read with the second."""
    passes, done = [], 0
    for span in text.spans:
        start, end = span.tokens
        if span.speaker == "assistant" and end > start:
            passes.append(Pass(text.ids[:end], 0, done, end, start))
            done = end
    n = len(text.ids)
    return passes if done == n else [*passes, Pass(text.ids, 0, done, n, n)]


@dataclass(frozen=True)
class _Place:
    """A message's tokens and the windows that they were read in."""

    start: int
    end: int
    window: int
    cut: bool


def _places(text: Rendered, passes: Sequence[Pass]) -> list[_Place]:
    owner = np.concatenate([np.full(p.last - p.first, i) for i, p in enumerate(passes)])
    read_in = owner if len({p.offset for p in passes}) > 1 else np.zeros_like(owner)
    places = []
    for span in text.spans:
        start, end = span.tokens
        windows = read_in[start:end]
        places.append(_Place(start, end, int(windows[0]) if len(windows) else 0, len(set(windows.tolist())) > 1))
    return places


def _by_turn(
    model: HookedModel, talk: Conversation, text: Rendered, passes: Sequence[Pass], values: Projected, columns: list[tuple[int, str]]
) -> pd.DataFrame:
    records, numbers = [], exchanges_of(talk)
    for turn, (said, place) in enumerate(zip(talk.turns, _places(text, passes), strict=True)):
        if place.end == place.start:
            continue  # an empty message has no tokens that could lie anywhere
        span = slice(place.start, place.end)
        before = values.before[:, span].mean(1).tolist()
        after = None if values.after is None else values.after[:, span].mean(1).tolist()
        for i, (layer, name) in enumerate(columns):
            record = {
                "conversation": talk.name, "turn": turn, "exchange": numbers[turn], "speaker": said.speaker, "layer": layer,
                "direction": name, "projection": before[i], "n_tokens": place.end - place.start, "window": place.window,
                "cut": place.cut, "text": said.text,
            }  # fmt: skip
            records.append(record | ({} if after is None else {"after": after[i]}) | about_columns(talk))
    return pd.DataFrame(records)


def _by_token(
    model: HookedModel, talk: Conversation, text: Rendered, passes: Sequence[Pass], values: Projected, columns: list[tuple[int, str]]
) -> pd.DataFrame:
    numbers, words, shared, places = exchanges_of(talk), list[tuple[int, str]](), list[tuple](), list[tuple[int, slice]]()
    for turn, (said, place) in enumerate(zip(talk.turns, _places(text, passes), strict=True)):
        span = slice(place.start, place.end)
        pieces = pieces_of(model, text.ids[span])
        for i, (layer, name) in enumerate(columns):
            words += zip(range(place.start, place.end), pieces, strict=True)
            shared += [(talk.name, turn, numbers[turn], said.speaker, layer, name, 1, place.window, place.cut)] * len(pieces)
            places.append((i, span))
    # One table of all rows: a table a message takes longer than a small model does.
    sources = {"projection": values.before} | ({} if values.after is None else {"after": values.after})
    found = {name: np.concatenate([source[i, span].numpy() for i, span in places]) for name, source in sources.items()}
    frame = pd.DataFrame(words, columns=["token", "text"]).assign(**found)
    known = pd.DataFrame([about_columns(talk)] * len(frame), index=frame.index)
    return pd.concat([frame, pd.DataFrame(shared, columns=TOKEN_COLUMNS, index=frame.index), known], axis=1)


def about_columns(talk: Conversation) -> dict[str, str]:
    """What is known of a conversation by the column that a trajectory keeps it in."""
    return {f"about_{name}" if name in MEASURED else name: value for name, value in talk.about.items()}


def pieces_of(model: HookedModel, ids: Sequence[int]) -> list[str]:
    """The text of each token so that all together are the text: a character of several tokens stands with its last."""
    decode = model.tokenizer.decode
    pieces, begun = [], 0
    for end in range(1, len(ids) + 1):
        piece = decode(list(ids[begun:end]), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if piece.endswith("\ufffd") and end < len(ids):
            pieces.append("")
            continue
        lead = decode(list(ids[max(0, begun - 1) : end]), skip_special_tokens=False, clean_up_tokenization_spaces=False) if begun else piece
        alone = decode(list(ids[max(0, begun - 1) : begun]), skip_special_tokens=False, clean_up_tokenization_spaces=False) if begun else ""
        # Some tokenizers drop a word's leading space where a text begins: it shows beside the token before.
        pieces.append(lead[len(alone) :] if begun and lead.startswith(alone) else piece)
        begun = end
    return pieces

"""A conversation as HTML: every message with both sides' answers beside each other. All that comes from people or models is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from ..plots.exchanges import decimals
from ..plots.token_map import UNSEEN
from .dialogue import LEFT, RIGHT, SIDES, Dialogue, Exchange, Reply
from .gauge import Scale, as_html
from .settings import Settings
from .streaming import STOPPED, Piece

NAMES = {LEFT: "as it is", RIGHT: "under the intervention"}
EMPTY = "<p class='hint'>The same message goes to the model as it is and, beside it, to the model under what you choose.</p>"
SAME = 5e-4
"""Projections that do not differ in the decimals that are shown."""
ENDED = {STOPPED: "stopped", "length": "cut at the longest answer"}


def conversation_html(
    dialogue: Dialogue, scales: Mapping[int, Scale | None], live: int | None = None, suggestions: Sequence[str] = ()
) -> str:
    """The branch that is shown.

    Parameters
    ----------
    scales
        The gauge's scale at each exchange, from 1.
    live
        An exchange that is being written and shown elsewhere.
    suggestions
        What could be said first.
    """
    shown = [exchange_html(dialogue, one, scales.get(place)) for place, one in enumerate(dialogue.path, 1) if one.number != live]
    return "".join(shown) or ("" if live is not None else _empty(suggestions))


def _empty(suggestions: Sequence[str]) -> str:
    buttons = [f'<button type="button" data-act="suggest" data-n="{i}">{html.escape(text)}</button>' for i, text in enumerate(suggestions)]
    return EMPTY + (f'<p class="hint">For example</p><p class="acts suggestions">{"".join(buttons)}</p>' if buttons else "")


def exchange_html(dialogue: Dialogue, one: Exchange, scale: Scale | None) -> str:
    """One message, its answers, and what can be done with them."""
    colour = colour_of(Settings.from_query(one.settings))
    answers = [_answer(one, side, one.replies[side], scale, colour) for side in SIDES if side in one.replies]
    missing = "" if any(reply.text for reply in one.replies.values()) else "<p class='hint'>No answer yet: answer it again, or edit it.</p>"
    return _exchange(one.message, answers, _actions(dialogue, one), missing)


def live_html(message: str, pieces: Mapping[str, Piece], acting: str, scale: Scale | None, colour: str = "") -> str:
    """The exchange that is being written; `colour` as from :func:`colour_of`."""
    answers = []
    for side, piece in pieces.items():
        words = "thinking …" if piece.thinking else ""
        gauge = as_html(scale, piece.mean, piece.mean_after, NAMES[side])
        cursor = "" if piece.done else '<span class="cursor" aria-hidden="true"></span>'
        said = f'<div class="said">{_text(piece.text)}{words}{cursor}</div>'
        answers.append(_side(side, acting, said, gauge, f'<p class="facts"><span>{piece.n_tokens} tokens</span></p>', colour))
    return _exchange(message, answers, "", "")


def _exchange(message: str, answers: list[str], actions: str, more: str) -> str:
    kind = "two" if len(answers) > 1 else "one"
    return (
        f'<section class="exchange"><div class="asked"><p class="who">you</p><div class="said" dir="auto">{_text(message)}</div>{actions}'
        f'</div><div class="answers {kind}">{"".join(answers)}</div>{more}</section>'
    )


def colour_of(settings: Settings) -> str:
    """The class that gives the right side its colour: that of caps where a limit acts, else a neutral one."""
    return "cap" if settings.kind in ("floor", "ceiling") and settings.control is None else "other"


def _side(side: str, acting: str, said: str, gauge: str, facts: str, colour: str) -> str:
    name = html.escape(acting) if side == RIGHT and acting else NAMES[side]
    label = html.escape(NAMES[side])
    return f'<article class="answer {side} {colour}" aria-label="{label}"><p class="who">{name}</p>{said}{gauge}{facts}</article>'


def _answer(one: Exchange, side: str, reply: Reply, scale: Scale | None, colour: str) -> str:
    reading = reply.reading
    known = scale is not None and reading.layer == scale.layer
    gauge = as_html(scale, reading.before, reading.after, NAMES[side]) if known and reading.before is not None else ""
    number = f'data-n="{one.number}" data-side="{side}"'
    text = _text(reply.text) if reply.text else f"<em>{html.escape(reply.error or 'no text')}</em>"
    said = f'<div class="said" dir="auto" data-act="tokens" {number}>{text}</div>'
    if not (known and reply.text):
        said = f'<div class="said" dir="auto">{text}</div>'
    button = f'<button type="button" data-act="tokens" {number}>Tokens</button>' if known and reply.text else ""
    facts = "".join(f"<span>{html.escape(fact)}</span>" for fact in facts_of(reply))
    return _side(side, reply.acting, said, gauge, f'<p class="facts">{facts}{button}</p>', colour)


def facts_of(reply: Reply) -> list[str]:
    """What is known of an answer besides its text, in a few words each."""
    reading = reply.reading
    found = [ENDED[reply.finish]] if reply.finish in ENDED else []
    if reading.after is not None and reading.before is not None and abs(reading.after - reading.before) > SAME:
        found.append(f"before it acts {decimals(reading.before)}")
    if reading.engaged is not None:
        found.append(f"{reading.engaged:.0%} of tokens changed".replace("%", " %"))
    if reading.dose is not None:
        found.append(f"dose {reading.dose:.3f}")
    if reply.forgotten:
        found.append(f"the {reply.forgotten} oldest exchange{'s' if reply.forgotten > 1 else ''} forgotten")
    return [*found, f"seed {reply.seed}"]


def _actions(dialogue: Dialogue, one: Exchange) -> str:
    number = f'data-n="{one.number}"'
    parts = [
        f'<button type="button" data-act="edit" {number}>Edit</button>',
        f'<button type="button" data-act="again" {number}>Answer again</button>',
    ]
    if Settings.from_query(one.settings).kind != "none":
        title = "The same message, with a random direction of the same dose in the place of the chosen one"
        parts.append(f'<button type="button" data-act="control" {number} title="{title}">Random direction</button>')
    siblings = dialogue.siblings(one.number)
    if len(siblings) > 1:
        place = siblings.index(one.number) + 1
        parts.append(
            f'<span class="branches"><button type="button" data-act="turn" data-by="-1" {number} aria-label="branch before">‹</button>'
            f"<span>branch {place} of {len(siblings)}</span>"
            f'<button type="button" data-act="turn" data-by="1" {number} aria-label="next branch">›</button></span>'
        )
    return f'<p class="acts">{"".join(parts)}</p>'


def _text(text: str) -> str:
    """Text for a page: escaped, and control characters made visible."""
    return html.escape(UNSEEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text))

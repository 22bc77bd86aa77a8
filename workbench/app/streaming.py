"""An answer token by token, with its projection: the text is that of ``model.chat`` with the same settings and seed.

Every answer reads its whole conversation anew. A cache kept from the turn before would hold what an intervention on generated
positions did to earlier answers, and what single steps round otherwise than a whole pass: another text than a notebook's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..conversations import Conversation
from ..directions import Direction
from ..errors import DataError
from ..interventions import Intervention
from ..models.generation import Answer, answer_of, generate, opens_thinking
from ..models.hooked import HookedModel
from ..models.intervening import Acting
from ..models.reasoning import CLOSERS, OPENERS
from ..models.stepping import Steps
from ..rollouts import answer_tokens

STOPPED = "stopped"
"""Why an answer ended that somebody stopped; the other reasons are those of :class:`Answer`."""


@dataclass(frozen=True)
class Piece:
    """An answer as far as it has been written.

    Attributes
    ----------
    text
        What can be read so far: no half of a character at its end, no reasoning.
    n_tokens
        Tokens written, reasoning and all.
    projection, mean
        Of the newest token that the model has read, and the mean of all of them, as they arrive at the layer; None before the first.
    after, mean_after
        The same as they leave the layer, under interventions; None without.
    thinking
        Whether what is being written is reasoning.
    done
        True for the last piece, whose text is that of the whole answer.
    """

    text: str = ""
    n_tokens: int = 0
    projection: float | None = None
    mean: float | None = None
    after: float | None = None
    mean_after: float | None = None
    thinking: bool = False
    done: bool = False


@dataclass(frozen=True)
class Reading:
    """What was measured of one answer.

    Attributes
    ----------
    layer
        Where the projections were read.
    before, after
        Mean projection of the answer's tokens as they arrive at that layer and as they leave it (None without interventions); the
        last token of an answer that was cut off is written but never read.
    n_tokens
        How many tokens these are means of.
    engaged, dose
        Share of generated tokens that interventions changed, and mean ``|change| / |h|``, averaged over their layers; None without.
    """

    layer: int | None = None
    before: float | None = None
    after: float | None = None
    n_tokens: int = 0
    engaged: float | None = None
    dose: float | None = None


class Stream(Iterator[Piece]):
    """One answer, written as it is iterated over; between two pieces nothing is attached to the model, so that streams may take turns.

    Parameters
    ----------
    conversation
        What to answer; see :meth:`Conversation.of`.
    interventions
        Act on the model while this answer is written.
    axis, layer
        What to project on, and where; nothing is projected where `axis` is None.
    seed, temperature, top_p, max_new_tokens
        As for :meth:`HookedModel.chat`; the longest answer is the model's own setting where None.

    Attributes
    ----------
    answer
        The answer once it is done or stopped; None before.

    Raises
    ------
    DataError
        Where conversation and answer exceed the context, or a direction does not fit the model.

    Examples
    --------
    ::

        for piece in wb.stream(model, "Who are you?", axis=run.axis, layer=3):
            print(piece.text, piece.mean)
    """

    def __init__(
        self, model: HookedModel, conversation: Conversation | str | Sequence, interventions: Intervention | Sequence[Intervention] = (),
        *, axis: Direction | None = None, layer: int | None = None, seed: int = 0, temperature: float = 0.7, top_p: float = 0.9,
        max_new_tokens: int | None = None,
    ) -> None:  # fmt: skip
        several = (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
        prompt = model.render(conversation, reply=True).ids
        self._model, self._thinking = model, opens_thinking(model, prompt)
        self._acting = Acting(model, several) if several else None
        self._layer = None if axis is None else axis.site.layers[-1] if layer is None else layer
        self._before = None if axis is None or self._layer is None else _Gauge(model, axis, self._layer)
        self._after = _Gauge(model, axis, self._layer) if axis is not None and self._layer is not None and several else None
        self._text = Readable(model, self._thinking)
        n_new = max_new_tokens or answer_tokens(model)
        check_room(model, len(prompt), n_new)
        write = partial(generate, model, [prompt], max_new_tokens=n_new, temperature=temperature, top_p=top_p, seeds=[seed])
        self._steps: Steps[int] = Steps(lambda tell: write(on_token=tell)[0])
        self.answer: Answer | None = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        """Write one more token."""
        if self.answer is not None:
            raise StopIteration
        return self._write(lambda: True)

    def advance(self, seconds: float) -> Piece:
        """Write for so long, at least one token; at the end the last piece again and again."""
        if self.answer is not None:
            return self.piece()
        end = time.perf_counter() + seconds
        return self._write(lambda: time.perf_counter() >= end)

    def _write(self, enough: Callable[[], bool]) -> Piece:
        with ExitStack() as stack:
            # Hooks act in the order in which they are attached: the first gauge sees what arrives, the second what leaves.
            for part in (self._before, self._acting, self._after):
                if part is not None:
                    stack.enter_context(part.attached())
            while self._steps.step():
                self._text.add(self._steps.told[-1])
                if enough():
                    return self.piece()
        self.answer = self._steps.result
        return self.piece()

    def piece(self) -> Piece:
        """The answer as far as it has been written."""
        newest, mean = self._before.read() if self._before else (None, None)
        after, mean_after = self._after.read() if self._after else (None, None)
        text = self._text.so_far if self.answer is None else self.answer.text
        done, n = self.answer is not None, len(self._steps.told)
        return Piece(text, n, newest, mean, after, mean_after, not done and self._text.thinking, done)

    def stop(self) -> Piece:
        """End the answer here; what was written stays, and nothing more is computed."""
        if self.answer is None:
            self._steps.close()
            self.answer = replace(answer_of(self._model, self._steps.told, self._thinking), finish_reason=STOPPED)
        return self.piece()

    def reading(self) -> Reading:
        """What was measured of the answer so far."""
        piece = self.piece()
        engaged, dose = self._done() if self._acting else (None, None)
        return Reading(self._layer, piece.mean, piece.mean_after, self._before.n if self._before else 0, engaged, dose)

    def _done(self) -> tuple[float | None, float | None]:
        table = self._acting.meter.to_frame() if self._acting else None
        own = None if table is None else table[table["positions"] == "generated"]
        return (None, None) if own is None or own.empty else (float(own["engaged"].mean()), float(own["dose"].mean()))


def stream(model: HookedModel, conversation: Conversation | str | Sequence, *args: Any, **settings: Any) -> Stream:
    """An answer token by token.

    Parameters
    ----------
    conversation
        What to answer; see :meth:`Conversation.of`.
    *args, **settings
        ``interventions``, ``axis`` and ``layer`` (what to project on, and where), ``seed, temperature, top_p, max_new_tokens``.

    Returns
    -------
    Stream
        To be looped over: text and projections as they come; ``answer`` holds the whole at the end.
    """
    return Stream(model, conversation, *args, **settings)


class _Gauge:
    """Projections of the tokens of one answer, as cheaply as can be: read off as they are written, added up when somebody looks."""

    def __init__(self, model: HookedModel, axis: Direction, layer: int) -> None:
        self._model, self._layer = model, layer
        axis.at(layer).check_use(model.bare_site((layer,)))
        self._unit = axis.at(layer).unit().values[0].float()
        self._passes, self._waiting = 0, list[Tensor]()
        self.n, self._sum, self._newest = 0, 0.0, 0.0

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Read what leaves the layer for the duration of a ``with`` block."""
        with self._model.hooks([(self._model.resid_post(self._layer), self._look)]):
            yield

    def _look(self, residual: Tensor, hook: Any) -> None:
        # The first pass reads the prompt; every later one ends with the token that was chosen last.
        if self._passes:
            # Token by token, so that the sum does not depend on when somebody looks.
            self._waiting.append(residual[0, -1].float() @ self._unit.to(residual.device))
        self._passes += 1

    def read(self) -> tuple[float | None, float | None]:
        """The newest projection and the mean so far; None before the first."""
        if self._waiting:
            for value in torch.stack(self._waiting).tolist():
                self.n, self._sum, self._newest = self.n + 1, self._sum + value, value
            self._waiting.clear()
        return (self._newest, self._sum / self.n) if self.n else (None, None)


class Readable:
    """Turns ids into text as they come: a character of several tokens waits for its last, and reasoning is held back.

    Attributes
    ----------
    so_far
        The text, without half characters.
    thinking
        Whether the newest token belongs to reasoning.
    """

    def __init__(self, model: HookedModel, thinking: bool = False) -> None:
        self._model, self._opened = model, thinking
        self._special = {*model.special_ids}
        self._all: list[int] = []
        self._kept: list[int] = []
        # Decoding begins at a token whose text is known: some tokenizers write a token otherwise where a text begins.
        self._from, self._read = 0, 0
        self.so_far, self.thinking = "", thinking
        self._marks = thinking

    def add(self, token: int) -> None:
        """Take in the next token."""
        self._all.append(token)
        if self._marks or self._reasons():
            self._marks = True
            answer = answer_of(self._model, self._all, self._opened)
            self.thinking = answer.error.startswith("cut off")
            self.so_far = answer.text.rstrip("\ufffd")
            return
        if token in self._special:
            return
        self._kept.append(token)
        known, seen = self._decoded(self._from, self._read), self._decoded(self._from, len(self._kept))
        if seen.endswith("\ufffd"):
            return
        self.so_far += seen[len(known) :]
        self._from, self._read = self._read, len(self._kept)

    def _decoded(self, start: int, end: int) -> str:
        return self._model.tokenizer.decode(self._kept[start:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _reasons(self) -> bool:
        """Whether the newest words hold a mark of reasoning."""
        tail = self._model.tokenizer.decode(self._all[-16:], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return any(mark in tail for mark in (*OPENERS, *CLOSERS))


def check_room(model: HookedModel, n_prompt: int, n_new: int) -> None:
    """Refuse what exceeds the context, and say what can be done."""
    if n_prompt + n_new > model.context:
        raise DataError(
            f"the conversation has {n_prompt} tokens, and {n_new} more for the answer exceed the {model.context} that {model.name} reads: "
            "ask for shorter answers, begin anew, or let the oldest turns be forgotten"
        )


def fitting(model: HookedModel, conversation: Conversation, max_new_tokens: int | None = None) -> tuple[Conversation, int]:
    """The conversation without its oldest exchanges, as many as leave no room for an answer; the system prompt stays.

    Returns
    -------
    (Conversation, int)
        And how many exchanges were left out.

    Raises
    ------
    DataError
        Where the last message alone is too long.
    """
    n_new = max_new_tokens or answer_tokens(model)

    def length(dropped: int) -> int:
        return len(model.render(without_oldest(conversation, dropped), reply=True).ids)

    def fits(dropped: int) -> bool:
        return length(dropped) + n_new <= model.context

    # The fewest exchanges to leave out lie between these two.
    low, high = 0, sum(turn.speaker == "user" for turn in conversation.turns) - 1
    if not fits(high):
        check_room(model, length(high), n_new)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return without_oldest(conversation, low), low


def without_oldest(conversation: Conversation, n: int) -> Conversation:
    """The conversation without so many of its oldest exchanges; the system prompt stays."""
    if n == 0:
        return conversation
    first = 1 if conversation.turns[0].speaker == "system" else 0
    begins = [i for i, turn in enumerate(conversation.turns) if turn.speaker == "user"]
    return replace(conversation, turns=conversation.turns[:first] + conversation.turns[begins[n] :])

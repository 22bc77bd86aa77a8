"""Mean residual streams over responses, at all layers, in one pass and bounded memory.

Rows are right-padded and run without a mask (causal attention never looks to the right), through the blocks
only (no logits); each layer's hook pools its residual to one float32 vector a row and lets it go. Memory does
not grow with layers x tokens or with the number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..activations import Activations
from ..conversations import Conversation
from ..errors import ChatError, DataError
from ..frames import answered, need
from .chat import Rendered, token_range
from .hooked import Hook, HookedModel

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""
HEAVY = ("messages", "response_ids", "thinking_ids", "text")
"""Columns that a table of activations does not carry along."""


@dataclass(frozen=True)
class Reading:
    """What to read for one row: token ids, the half-open range of positions whose mean is taken, and which of them are left out.

    What the model wrote begins at `start`, or before it at `written`: its thinking is generated and no part of the answer.
    """

    ids: tuple[int, ...]
    start: int
    end: int
    without: frozenset[int] = frozenset()
    written: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= len(self.ids):
            raise DataError(f"positions {self.start} to {self.end} are not within a text of {len(self.ids)} tokens")
        if self.without and self.without.issuperset(range(self.start, self.end)):
            raise DataError(f"all positions from {self.start} to {self.end} are left out: there is nothing to read")


def extract(
    model: HookedModel, rows: pd.DataFrame, layers: Sequence[int] | None = None,
    token_budget: int = 4096, progress: Progress | None = None, segment: str = "response",
) -> Activations:  # fmt: skip
    """Mean residual (``resid_post``) over each row's response, or over the thinking before it, at every layer.

    Parameters
    ----------
    rows
        Rollouts (``messages`` with ``response_ids``, or ``response`` as text), or ready texts (``text, start, end``:
        character spans, no template; for base models and third-person text). Rows with an ``error`` are left out.
    layers
        0-based blocks; all where None.
    token_budget
        Padded tokens a batch; bounds the memory.
    progress
        Called after every batch.
    segment
        ``"response"``, or ``"thinking"``: what a reasoning model wrote before its answer (``thinking_ids``, which rollouts of a
        model loaded with ``thinking=True`` have), its marks left out where they are special tokens. Rows without thinking are
        left out.

    Returns
    -------
    Activations
        Rows in the order given; ``values`` float32 [row, layer, d_model]; means leave out special tokens.
    """
    rows = answered(rows)
    if segment == "thinking":
        rows = with_thinking(rows)
    rows = rows.reset_index(drop=True)
    readings = readings_of(model, rows, segment)
    site = model.site(layers, chat="text" not in rows, pooling=f"mean over {segment} tokens")
    values = mean_activations(model, readings, site.layers, token_budget, progress)
    return Activations(values, rows.drop(columns=[c for c in HEAVY if c in rows]), site)


def with_thinking(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in which the model thought before it answered; an error where there are none."""
    thought = [ids is not None and len(ids) > 0 for ids in rows["thinking_ids"]] if "thinking_ids" in rows else [False] * len(rows)
    if not any(thought):
        raise DataError("no row holds any thinking: generate the rollouts with a reasoning model loaded with thinking=True")
    return rows[thought]


def readings_of(model: HookedModel, rows: pd.DataFrame, segment: str = "response") -> list[Reading]:
    """Token ids and span of each row; an error names the row whose span cannot be proven."""
    if segment not in ("response", "thinking"):
        raise DataError(f"a segment is 'response' or 'thinking', not {segment!r}")
    spoken = ("messages",) if "response_ids" in rows else ("messages", "response")
    need(rows, ("text", "start", "end") if "text" in rows else spoken, "reading responses", empty=True)
    make = _text_reading if "text" in rows else _thinking_reading if segment == "thinking" else rollout_reading
    readings = []
    for index, row in enumerate(rows.to_dict("records")):
        try:
            readings.append(make(model, dict(row)))  # type: ignore[arg-type]
        except (ChatError, DataError) as error:
            raise type(error)(f"row {row.get('row', index)}: {error}") from error
        if len(readings[-1].ids) > model.context:
            raise DataError(
                f"row {row.get('row', index)} has {len(readings[-1].ids)} tokens; the context of {model.name} is {model.context}"
            )
    return readings


def rollout_reading(model: HookedModel, row: dict[str, Any]) -> Reading:
    """Token ids and span of one rollout, however long; an error where the span cannot be proven."""
    messages = row["messages"]
    conversation = Conversation.of(json.loads(messages) if isinstance(messages, str) else messages)
    answer = row.get("response_ids")
    if answer is not None and len(answer):
        # Our own generation: the ids themselves are the proof of where the answer lies.
        prompt = _prompt_and_thinking(model, row, conversation)
        return Reading((*prompt, *map(int, answer)), len(prompt), len(prompt) + len(answer), written=len(prompt) - _n_thinking(row))
    rendered = model.render(conversation.plus("assistant", row["response"]))
    start, end = rendered.span(-1).tokens
    return Reading(rendered.ids[:end], start, end)


def _prompt_and_thinking(model: HookedModel, row: dict[str, Any], conversation: Conversation) -> list[int]:
    thinking = row["thinking_ids"] if _n_thinking(row) else ()
    return [*model.chat_format.prompt_ids(conversation), *map(int, thinking)]


def _n_thinking(row: dict[str, Any]) -> int:
    thinking = row.get("thinking_ids")
    return 0 if thinking is None else len(thinking)


def _thinking_reading(model: HookedModel, row: dict[str, Any]) -> Reading:
    """The thinking itself: its marks are left out where the tokenizer has them as tokens of their own."""
    messages = row["messages"]
    conversation = Conversation.of(json.loads(messages) if isinstance(messages, str) else messages)
    ids = _prompt_and_thinking(model, row, conversation)
    start = len(ids) - len(row["thinking_ids"])
    marks = {*model.special_ids, *model.tokenizer.get_added_vocab().values()}
    without = frozenset(i for i in range(start, len(ids)) if ids[i] in marks)
    return Reading(tuple(ids), start, len(ids), without)


def _text_reading(model: HookedModel, row: dict[str, Any]) -> Reading:
    text, chars = row["text"], (int(row["start"]), int(row["end"]))
    if not 0 <= chars[0] < chars[1] <= len(text):
        raise DataError(f"characters {chars[0]} to {chars[1]} are not within a text of {len(text)}")
    encoded = model.tokenizer(text, add_special_tokens=True, return_offsets_mapping=True)
    # A begin-of-text token has the empty range (0, 0): it never counts as inside.
    start, end = token_range(text, encoded["offset_mapping"], chars)
    return Reading(tuple(encoded["input_ids"][:end]), start, end)


def mean_activations(
    model: HookedModel, readings: Sequence[Reading], layers: Sequence[int], token_budget: int = 4096, progress: Progress | None = None
) -> Float[Tensor, "row layer d_model"]:
    """The mean over each reading, in the order given."""
    values = torch.empty(len(readings), len(layers), model.d_model)
    done = 0
    for index, means in pooled(model, readings, layers, token_budget):
        values[index] = means
        done += len(index)
        if progress:
            progress(done, len(readings))
    return values


def pooled(
    model: HookedModel, readings: Sequence[Reading], layers: Sequence[int], token_budget: int = 4096
) -> Iterator[tuple[list[int], Float[Tensor, "batch layer d_model"]]]:
    """Yield (positions among `readings`, their means) a batch at a time, longest batches first."""
    for batch in batched(model, readings, token_budget):
        yield batch.index, _pool_batch(model, batch, layers)


@dataclass(frozen=True, eq=False)
class Batch:
    """Readings of similar length, right-padded.

    Attributes
    ----------
    index
        Their positions among all readings.
    ids
        [batch, pos].
    spans
        Each row's half-open range of positions to read.
    without
        Each row's positions that are left out all the same.
    written
        Each row's half-open range of positions that the model wrote.
    """

    index: list[int]
    ids: Int[Tensor, "batch pos"]
    spans: list[tuple[int, int]]
    without: list[frozenset[int]]
    written: list[tuple[int, int]]

    def inside(self, first: int = 0, last: int | None = None) -> Bool[Tensor, "batch pos"]:
        """Which of the positions from `first` to `last` are to be read."""
        positions, spans = torch.arange(first, self.ids.shape[1] if last is None else last), torch.tensor(self.spans)
        inside = (positions >= spans[:, :1]) & (positions < spans[:, 1:])
        for row, left_out in enumerate(self.without):
            inside[row, [i - first for i in sorted(left_out) if first <= i < first + len(positions)]] = False
        return inside

    def run(self, model: HookedModel, hooks: Sequence[tuple[str, Hook]]) -> None:
        """One pass through the blocks with hooks attached; what the model wrote is declared as generated."""
        with model.hooks(hooks):
            model.body(self.ids, self.written)


def batched(model: HookedModel, readings: Sequence[Reading], token_budget: int = 4096) -> Iterator[Batch]:
    """Readings as padded batches, longest first."""
    pad = model.stop_ids[0] if model.stop_ids else 0
    for index in batches_by_length([len(r.ids) for r in readings], token_budget):
        rows = [readings[i] for i in index]
        width = max(len(r.ids) for r in rows)
        ids = torch.tensor([list(r.ids) + [pad] * (width - len(r.ids)) for r in rows])
        written = [(r.start if r.written is None else r.written, r.end) for r in rows]
        yield Batch(index, ids, [(r.start, r.end) for r in rows], [r.without for r in rows], written)


def batches_by_length(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Positions sorted by length, longest first, in batches of at most `token_budget` padded tokens."""
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= token_budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


def _pool_batch(model: HookedModel, batch: Batch, layers: Sequence[int]) -> Tensor:
    first, last = min(start for start, _ in batch.spans), max(end for _, end in batch.spans)
    inside = batch.inside(first, last)
    weights = inside.float() / inside.sum(1, keepdim=True)
    out = torch.empty(len(batch.index), len(layers), model.d_model)
    moved: dict[torch.device, Tensor] = {}

    def pool(slot: int) -> Hook:
        def hook(residual: Tensor, hook: Any) -> None:
            w = moved.setdefault(residual.device, weights.to(residual.device))
            means = torch.bmm(w[:, None], residual[:, first:last].float()).squeeze(1)
            out[:, slot] = means.to("cpu")

        return hook

    batch.run(model, [(model.resid_post(layer), pool(slot)) for slot, layer in enumerate(layers)])
    return out


def render_whole(model: HookedModel, conversation: Conversation | str | Sequence) -> Rendered:
    """A conversation that fits the model's context, rendered; a longer one is an error."""
    rendered = model.render(conversation)
    if len(rendered.ids) > model.context:
        raise DataError(f"a conversation of {len(rendered.ids)} tokens; the context of {model.name} is {model.context}")
    return rendered


def token_activations(model: HookedModel, conversation: Conversation, layers: Sequence[int] | None = None) -> Activations:
    """The residual stream at every token of one conversation.

    Returns
    -------
    Activations
        A row a token with columns ``token`` (position), ``text``, ``message`` (index of the turn, -1 for the
        template's own tokens) and ``speaker``.
    """
    rendered, site = render_whole(model, conversation), model.site(layers, pooling="token")
    cache = model.run_with_cache(torch.tensor([rendered.ids]), [model.resid_post(layer) for layer in site.layers])
    values = torch.stack([cache[model.resid_post(layer)][0].float().cpu() for layer in site.layers], dim=1)
    table = pd.DataFrame({"token": range(len(rendered.ids)), "text": [model.tokenizer.decode([i]) for i in rendered.ids]})
    table["message"], table["speaker"] = -1, ""
    for span in rendered.spans:
        inside = range(*span.tokens)
        table.loc[inside, "message"], table.loc[inside, "speaker"] = span.message, span.speaker
    return Activations(values, table, site)

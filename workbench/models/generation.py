"""Batched sampling whose result does not depend on the batch.

Every row has a generator of its own, seeded from the row: Gumbel noise is added to the (temperature-scaled,
nucleus-cut) logits and the largest wins, which is sampling. In float32 the same row gives the same text in any
batch; in bf16 in the same batch layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..errors import DataError
from .hooked import HookedModel
from .reasoning import OPENERS, is_unfinished, split_reasoning


@dataclass(frozen=True)
class Answer:
    """One generated answer.

    Attributes
    ----------
    text
        The answer, without reasoning and without special tokens.
    ids
        Its token ids, likewise.
    thinking
        The token ids of the reasoning before it, its marks with it; empty where there is none.
    finish_reason
        ``"stop"`` or ``"length"``.
    error
        Empty, or why there is no usable answer.
    """

    text: str
    ids: tuple[int, ...]
    finish_reason: str
    error: str = ""
    thinking: tuple[int, ...] = ()


@torch.no_grad()
def generate(
    model: HookedModel, prompts: Sequence[Sequence[int]], *, max_new_tokens: int = 256, temperature: float = 0.7,
    top_p: float = 0.9, seeds: Sequence[int] | int = 0, on_token: Callable[[int], None] | None = None,
) -> list[Answer]:  # fmt: skip
    """Sample one answer to each prompt, as one batch; hooks that are attached stay active.

    Parameters
    ----------
    prompts
        Token ids up to where the answer begins.
    max_new_tokens
        Longest answer; prompt and answer must fit into the model's context.
    temperature, top_p
        Sampling; temperature 0 takes the most likely token.
    seeds
        One seed a prompt (or one number, from which each row's position makes its own).
    on_token
        For a single prompt: called with each token as it is chosen, a stop token too. It may raise to stop.

    Returns
    -------
    list of Answer
        In the order of `prompts`.
    """
    if on_token is not None and len(prompts) != 1:
        raise DataError(f"tokens are told as they are chosen where one answer is written, not {len(prompts)} at once")
    longest = max(map(len, prompts), default=0)
    if longest + max_new_tokens > model.context:
        raise DataError(f"a prompt of {longest} tokens and {max_new_tokens} new ones exceed the context of {model.context}")
    seeds = list(seeds) if isinstance(seeds, Iterable) else [int(seeds) + i for i in range(len(prompts))]
    if len(seeds) != len(prompts):
        raise DataError(f"a seed is needed for every prompt, or one number for all: {len(prompts)} prompts, {len(seeds)} seeds")
    if temperature < 0 or not 0 < top_p <= 1 or max_new_tokens < 1:
        raise DataError(
            f"sampling takes a temperature of 0 or more, top_p above 0 up to 1 and at least one new token, not {temperature}, {top_p} "
            f"and {max_new_tokens}"
        )
    if not prompts:
        return []
    if model.hf is None:
        samplers = [_Sampler(model, temperature, top_p, [seed]) for seed in seeds]
        rows = [_decode_alone(model, prompt, max_new_tokens, sampler, on_token) for prompt, sampler in zip(prompts, samplers, strict=True)]
    else:
        rows = _hf_generate(model, prompts, max_new_tokens, _Sampler(model, temperature, top_p, seeds), on_token)
    return [answer_of(model, row, opens_thinking(model, prompt)) for prompt, row in zip(prompts, rows, strict=True)]


class _Sampler:
    """A last logits processor: leaves one finite logit a row, chosen by that row's own generator."""

    def __init__(self, model: HookedModel, temperature: float, top_p: float, seeds: Sequence[int]) -> None:
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        self.greedy = temperature == 0
        self.warpers: list[Any] = [] if self.greedy else [TemperatureLogitsWarper(float(temperature))]
        if not self.greedy and top_p < 1:
            self.warpers.append(TopPLogitsWarper(float(top_p)))
        self.generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        self.stops = torch.tensor(model.stop_ids)
        self.done = [False] * len(seeds)
        self.started = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.greedy:
            return scores
        if self.started:
            finished = torch.isin(input_ids[:, -1].cpu(), self.stops).tolist()
            self.done = [a or b for a, b in zip(self.done, finished, strict=True)]
        self.started = True
        choice = torch.zeros(len(scores), 1, dtype=torch.long, device=scores.device)
        # Sorting for the nucleus is what sampling costs: rows that have ended (what they choose is thrown away) are left out.
        if open_rows := [row for row, done in enumerate(self.done) if not done]:
            choice[open_rows] = self._draw(input_ids[open_rows], scores[open_rows].float(), [self.generators[row] for row in open_rows])
        return torch.full_like(scores, -torch.inf, dtype=torch.float32).scatter_(1, choice, 0.0)

    def _draw(self, input_ids: Tensor, scores: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """One token a row [row, 1]: the largest of scores plus Gumbel noise."""
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        noise = torch.empty(scores.shape)
        for row, generator in enumerate(generators):
            noise[row].exponential_(generator=generator)
        noise = noise.clamp_min_(1e-30).log_().neg_().to(scores.device)
        return (scores + noise).argmax(-1, keepdim=True)


class _Telling:
    """What Hugging Face calls a streamer: shown the prompt first, then every token."""

    def __init__(self, on_token: Callable[[int], None]) -> None:
        self._tell, self._begun = on_token, False

    def put(self, ids: Tensor) -> None:
        if self._begun:
            self._tell(int(ids))
        self._begun = True

    def end(self) -> None:
        """Nothing is held back."""


def _hf_generate(
    model: HookedModel, prompts: Sequence[Sequence[int]], n_new: int, sampler: _Sampler, on_token: Callable[[int], None] | None
) -> list[list[int]]:
    from transformers import LogitsProcessorList

    width = max(map(len, prompts))
    pad = model.stop_ids[0] if model.stop_ids else 0
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    with _plain_generation(model.hf, model.stop_ids, pad, n_new) as settings:
        out = model.hf.generate(
            input_ids=ids, attention_mask=mask, generation_config=settings, logits_processor=LogitsProcessorList([sampler]),
            streamer=_Telling(on_token) if on_token else None,
        )  # fmt: skip
    return [row[width:].tolist() for row in out.cpu()]


_LENT: WeakKeyDictionary[Any, tuple[Any, int]] = WeakKeyDictionary()
"""Model -> its own generation settings while others stand in for them, and for how many generations: they may overlap."""


@contextmanager
def _plain_generation(hf: Any, stop_ids: Sequence[int], pad: int, n_new: int) -> Iterator[Any]:
    """Settings that owe nothing to the checkpoint's own (top_k, repetition penalty, ... would leak in)."""
    from transformers import GenerationConfig

    own, running = _LENT.get(hf, (hf.generation_config, 0))
    _LENT[hf] = own, running + 1
    hf.generation_config = GenerationConfig()
    try:
        yield GenerationConfig(
            do_sample=False, num_beams=1, max_new_tokens=n_new, eos_token_id=list(stop_ids) or None, pad_token_id=pad, use_cache=True
        )
    finally:
        own, running = _LENT.pop(hf)
        if running > 1:
            _LENT[hf] = own, running - 1
        else:
            hf.generation_config = own


def _decode_alone(
    model: HookedModel, prompt: Sequence[int], n_new: int, sampler: _Sampler, on_token: Callable[[int], None] | None
) -> list[int]:
    """Token by token without a cache: for objects that hold their own weights (a 3.x HookedTransformer)."""
    ids = list(prompt)
    for _ in range(n_new):
        tensor = torch.tensor([ids], device=model.device)
        # A whole pass a token: only the positions that are new count as run.
        new = 0 if len(ids) == len(prompt) else len(ids) - 1
        ids.append(int(sampler(tensor, model.logits(tensor, [(len(prompt), len(ids))], counted_from=new)[:, -1]).argmax()))
        if on_token:
            on_token(ids[-1])
        if ids[-1] in model.stop_ids:
            break
    return ids[len(prompt) :]


def opens_thinking(model: HookedModel, prompt: Sequence[int]) -> bool:
    """Whether a prompt ends by opening the model's thinking, so that what is generated begins inside it."""
    tail = model.tokenizer.decode(list(prompt[-16:]), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return tail.rstrip().endswith(OPENERS)


def answer_of(model: HookedModel, row: Sequence[int], thinking: bool = False) -> Answer:
    """The answer in generated ids: up to the first stop token, without reasoning and without special tokens.

    Parameters
    ----------
    thinking
        Whether the ids begin inside the model's thinking.
    """
    row = list(row)
    end = next((i for i, token in enumerate(row) if token in model.stop_ids), None)
    kept, reason = (row, "length") if end is None else (row[:end], "stop")
    raw = model.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if is_unfinished(OPENERS[0] * thinking + raw):
        return Answer("", (), reason, "cut off while still thinking")
    reasoning, _ = split_reasoning(raw)
    written = kept
    kept = _after_text(model.tokenizer, written, reasoning)
    thought = tuple(written[: len(written) - len(kept)])
    special = set(model.tokenizer.all_special_ids)
    kept = [token for token in kept if token not in special]
    text = model.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Answer(text, tuple(kept), reason, "" if text.strip() else "empty answer", thought)


def _after_text(tokenizer: Any, ids: list[int], head: str) -> list[int]:
    """The ids that remain after the shortest prefix that decodes to at least `head`."""
    if not head:
        return ids
    for n in range(1, len(ids) + 1):
        if len(tokenizer.decode(ids[:n], skip_special_tokens=False, clean_up_tokenization_spaces=False)) >= len(head):
            return ids[n:]
    return []

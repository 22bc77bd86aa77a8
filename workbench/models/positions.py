"""What the positions of a forward pass are: prompt or generated, special or content, padding or real.

Interventions act on classes of positions, and the same class must mean the same in generation (a prefill and single
steps) and in a pass over finished text. Whatever calls the model, its inputs are seen here first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ModelError

CLASSES = ("special", "prompt", "generated", "text")
"""Classes of positions for counting: special tokens and the first position; the rest of the prompt; what is written
from there on; and text of which nobody said where the prompt ends."""


@dataclass(frozen=True, eq=False)
class Positions:
    """The positions of one forward pass.

    Attributes
    ----------
    real
        False for padding and for rows that have ended.
    special
        Special tokens and the first position of a text.
    generated
        The last prompt position and all after it; None where that is not known.
    counted
        The real positions that were not run before.
    last
        The last real position of every row: of its whole text where that is declared, whatever chunks it is run in.
    """

    real: Bool[Tensor, "batch pos"]
    special: Bool[Tensor, "batch pos"]
    generated: Bool[Tensor, "batch pos"] | None
    counted: Bool[Tensor, "batch pos"]
    last: Bool[Tensor, "batch pos"]

    def where(self, name: str) -> Tensor | None:
        """The positions that an intervention on `name` acts on; None for all.

        Raises
        ------
        ModelError
            Where it depends on the end of the prompt and nobody said where that is.
        """
        if name == "all":
            return None
        if name == "content":
            return ~self.special
        if name == "last":
            return self.last
        if self.generated is None:
            raise ModelError(
                f"an intervention on {name} positions needs to know where the prompt ends, and this forward pass does not say: "
                "give body() or logits() the spans, or use positions='all' or 'content'"
            )
        return self.generated if name == "generated" else ~self.generated

    def weights(self) -> Float[Tensor, "class token"]:
        """One row a class of :data:`CLASSES` with a 1 for each of its real positions, batch and position flattened."""
        plain = self.counted & ~self.special
        if self.generated is None:
            none = torch.zeros_like(plain)
            rows = [self.counted & self.special, none, none, plain]
        else:
            rows = [self.counted & self.special, plain & ~self.generated, plain & self.generated, torch.zeros_like(plain)]
        return torch.stack([row.flatten() for row in rows]).float()


class Tracker:
    """Follows the forward passes of a model and says what their positions are.

    Parameters
    ----------
    special_ids, stop_ids
        Token ids.
    """

    def __init__(self, special_ids: Sequence[int], stop_ids: Sequence[int]) -> None:
        self._special, self._stops = torch.tensor(list(special_ids)), torch.tensor(list(stop_ids))
        self._ended: Tensor | None = None
        self._spans: Tensor | None = None
        self._counted_from = 0
        self._current: Positions | None = None
        self.passes = 0

    @property
    def current(self) -> Positions:
        """The positions of the pass that is being made."""
        if self._current is None:
            raise ModelError("interventions did not see this forward pass begin: run the model through body(), logits() or generate()")
        return self._current

    def declare(self, spans: Sequence[tuple[int, int]] | None, counted_from: int = 0) -> None:
        """Say of the passes that follow where each row's answer begins and its text ends (absolute positions)."""
        self._spans, self._counted_from = None if spans is None else torch.tensor(spans), counted_from

    def see(self, ids: Tensor, mask: Any, past: int, cached: bool) -> None:
        """Take in one forward pass.

        Parameters
        ----------
        ids
            [batch, pos].
        mask
            [batch, pos], 1 for real tokens; padding may stand on the left (generation) or be absent. Masks of other shapes,
            which static caches use, say nothing about padding.
        past
            How many positions the cache already holds.
        cached
            Whether the pass writes to a cache: without declared spans such a pass is taken for generation.
        """
        place = past + torch.arange(ids.shape[1], device=ids.device)[None].expand_as(ids)
        real = torch.ones_like(ids, dtype=torch.bool)
        if isinstance(mask, Tensor) and mask.ndim == 2:
            real = mask[:, -ids.shape[1] :].to(ids.device).bool()
        special = torch.isin(ids, self._special.to(ids.device))
        generated: Tensor | None = None
        last: Tensor | None = None
        if self._spans is not None:
            spans = self._spans.to(ids.device)
            real, generated = real & (place < spans[:, 1:]), place >= spans[:, :1] - 1
            last = place == spans[:, 1:] - 1
        elif cached and past == 0:
            self._ended = torch.zeros(len(ids), 1, dtype=torch.bool, device=ids.device)
            generated = place == ids.shape[1] - 1
        elif cached and ids.shape[1] == 1 and self._ended is not None and len(self._ended) == len(ids):
            self._ended = self._ended | torch.isin(ids, self._stops.to(ids.device))
            real, generated = ~self._ended, torch.ones_like(real)
        if past == 0:  # the first real token of each row: where attention sinks
            special = special | (real & (real.cumsum(1) == 1))
        if last is None:
            last = _last(real)
        self._current = Positions(real, special, generated, real & (place >= self._counted_from), last)
        self.passes += 1


def _last(real: Tensor) -> Tensor:
    index = real.shape[1] - 1 - real.flip(1).int().argmax(1)
    return torch.zeros_like(real).scatter_(1, index[:, None], real.any(1, keepdim=True))


def show_call(tracker: Tracker, args: tuple, inputs: dict[str, Any]) -> None:
    """Show a tracker what a Hugging Face body is called with."""
    ids = inputs.get("input_ids", args[0] if args else None)
    if ids is None:
        raise ModelError("interventions need token ids: this forward pass was given embeddings")
    cache = inputs.get("past_key_values")
    past = int(cache.get_seq_length()) if cache is not None else 0
    tracker.see(ids, inputs.get("attention_mask"), past, cache is not None or inputs.get("use_cache") is True)

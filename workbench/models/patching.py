"""Where does a prompt act? The same answer under two prompts, one token's residual stream carried over at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..conversations import Conversation
from ..directions import Direction
from ..errors import DataError
from .chat import Rendered
from .extraction import render_whole
from .hooked import HookedModel

TOKEN_BUDGET = 4096
"""Tokens a batch."""


def patching(
    model: HookedModel, conversation: Conversation | Sequence, donor: Conversation | Sequence, direction: Direction, layer: int, *,
    layers: Sequence[int] | None = None, transfer: bool = False, progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Put the donor's residual stream into the conversation's, at one layer and one token, and see what the projection does.

    Both end with the same tokens (question and answer, say), under prompts that differ: the default's and a role's.

    Parameters
    ----------
    conversation, donor
        Whose last message is read, and where the residual stream is taken from.
    direction
        What the last message is projected on (mean over its tokens), after block `layer`.
    layers
        Blocks after which to patch; all up to `layer` where None.
    transfer
        Allow a direction of other weights.
    progress
        Called with layers done and layers in all.

    Returns
    -------
    DataFrame
        A row a patched layer and shared token: ``layer, token`` (position in the conversation), ``text, inside`` (whether it
        belongs to the message that is read), ``projection`` and ``restored`` (share of the way from the conversation's own
        projection, 0, to the donor's, 1). ``attrs``: ``own, donor`` (the two projections), ``read_at``.

    Raises
    ------
    DataError
        Where the two do not end alike, or their projections do not differ.
    """
    direction.check_use(model.bare_site([layer]), transfer)
    own, other = render_whole(model, conversation), render_whole(model, donor)
    shared = _shared_end(own.ids, other.ids)
    start, end = own.span(-1).tokens
    if shared < len(own.ids) - start:
        raise DataError("the two conversations must end with the same message: the last one differs")
    chosen = list(range(layer + 1)) if layers is None else list(layers)
    reader = _Reader(model, direction, layer, (start, end))
    giving = model.run_with_cache(torch.tensor([other.ids]), [model.resid_post(n) for n in chosen])
    base, goal = (
        float(reader.read(torch.tensor([own.ids]))[0]),
        float(reader.at(len(other.ids) - len(own.ids)).read(torch.tensor([other.ids]))[0]),
    )
    if abs(goal - base) < 1e-6 * (abs(goal) + abs(base)):
        raise DataError("the last message projects alike under both prompts: there is nothing to restore")
    # Tokens after the message that is read cannot act on it.
    positions = [p for p in range(len(own.ids) - shared, len(own.ids)) if p < end]
    rows = []
    for done, n in enumerate(chosen, 1):
        given = giving[model.resid_post(n)][0]
        values = _patched(model, own, given, n, positions, len(other.ids) - len(own.ids), reader)
        for position, value in zip(positions, values, strict=True):
            said = {"layer": n, "token": position, "text": model.tokenizer.decode([own.ids[position]]), "inside": start <= position < end}
            rows.append(said | {"projection": value, "restored": (value - base) / (goal - base)})
        if progress:
            progress(done, len(chosen))
    table = pd.DataFrame(rows)
    table.attrs = {"own": base, "donor": goal, "read_at": layer}
    return table


class _Reader:
    """Projects a span's mean after a block."""

    def __init__(self, model: HookedModel, direction: Direction, layer: int, span: tuple[int, int]) -> None:
        self._model, self._direction, self._layer, self._span = model, direction, layer, span
        self._unit = direction.at(layer).unit().values[0]

    def at(self, offset: int) -> _Reader:
        """The same for a text whose span lies `offset` tokens later."""
        return _Reader(self._model, self._direction, self._layer, (self._span[0] + offset, self._span[1] + offset))

    def read(self, ids: Tensor, hooks: Sequence[tuple[str, Any]] = ()) -> np.ndarray:
        """Projections [row] of right-aligned rows of ids."""
        found: list[Tensor] = []

        def look(residual: Tensor, hook: Any) -> None:
            mean = residual[:, self._span[0] : self._span[1]].float().mean(1)
            found.append((mean @ self._unit.to(mean.device)).cpu())

        with self._model.hooks(hooks), self._model.hooks([(self._model.resid_post(self._layer), look)]):
            self._model.body(ids)
        return found[0].numpy()


def _patched(
    model: HookedModel, own: Rendered, given: Tensor, layer: int, positions: Sequence[int], offset: int, reader: _Reader
) -> list[float]:
    """Projections with one position at a time replaced at a layer."""
    values: list[float] = []
    step = max(1, TOKEN_BUDGET // len(own.ids))
    for first in range(0, len(positions), step):
        group = torch.tensor(positions[first : first + step])

        def put(residual: Tensor, hook: Any, group: Tensor = group) -> Tensor:
            changed = residual.clone()
            changed[torch.arange(len(group)), group] = given[group + offset].to(residual)
            return changed

        values += reader.read(torch.tensor([own.ids] * len(group)), [(model.resid_post(layer), put)]).tolist()
    return values


def _shared_end(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common at their end."""
    n = 0
    while n < min(len(a), len(b)) and a[-1 - n] == b[-1 - n]:
        n += 1
    return n

"""Projections of every token on directions, at chosen layers, in one pass: prefilled in chunks, its cache kept between them.

Nothing but the projections is kept, so memory grows with neither layers x width nor the length of a conversation (the
model's own cache apart, which ends at its context). A text longer than the context is read by sliding windows where the caller asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..activations import as_layers
from ..directions import Direction
from ..errors import DataError
from ..interventions import Intervention
from .extraction import Progress, batches_by_length
from .hooked import Hook, HookedModel

CHUNK = 2048
"""Padded tokens that go through the model at once."""


@dataclass(frozen=True)
class Pass:
    """One pass over a piece of a text.

    Attributes
    ----------
    ids
        What is run.
    offset
        Where in the text it begins.
    first, last
        Half-open range of the text's positions whose projections are taken from this pass.
    answer
        Where in the text the answer begins, for interventions on prompt or generated positions; the end where there is none.
    """

    ids: tuple[int, ...]
    offset: int
    first: int
    last: int
    answer: int


def windows_of(ids: Sequence[int], window: int) -> list[Pass]:
    """Passes of at most `window` tokens that move by half of it; a token's value comes from the pass that gives it most context."""
    n, step = len(ids), max(1, window // 2)
    passes, done, offset = [], 0, 0
    while done < n:
        end = min(offset + window, n)
        passes.append(Pass(tuple(ids[offset:end]), offset, done, end, end))
        done, offset = end, offset + step
    return passes


@dataclass(frozen=True, eq=False)
class Projected:
    """A text's projections.

    Attributes
    ----------
    before, after
        [column, pos]: before and after the interventions of the same layer; `after` is None where there were none.
    """

    before: Float[Tensor, "column pos"]
    after: Float[Tensor, "column pos"] | None


class Projector:
    """Reads projections on directions off a model.

    Parameters
    ----------
    directions
        Name -> direction; each is read at those of `layers` that it has.
    layers
        0-based blocks; all that any direction has where None.
    transfer
        Allow directions of other weights.

    Attributes
    ----------
    columns
        ``(layer, name)`` of every number that is read.
    """

    def __init__(
        self, model: HookedModel, directions: Mapping[str, Direction], layers: Sequence[int] | None = None, transfer: bool = False
    ) -> None:
        known = sorted({n for d in directions.values() for n in d.site.layers})
        chosen = known if layers is None else as_layers(layers)
        if not chosen or len(set(chosen)) < len(chosen):
            raise DataError(f"projections are read on one direction or more, at one layer or more, each once; not at {chosen}")
        if missing := [n for n in chosen if n not in known]:
            raise DataError(f"no direction has layer {missing[0]}: there are {known}")
        for direction in directions.values():
            direction.check_use(model.bare_site(direction.site.layers), transfer)
        self.model = model
        self.columns = [(n, name) for n in chosen for name, d in directions.items() if n in d.site.layers]
        self._units = {
            n: torch.stack([d.at(n).unit().values[0] for d in directions.values() if n in d.site.layers]).float() for n in chosen
        }  # fmt: skip
        self._placed: dict[tuple[int, torch.device], Tensor] = {}

    def project(self, layer: int, residual: Tensor) -> Float[Tensor, "direction batch pos"]:
        """Scalar projections of a residual stream [batch, pos, d_model] at a layer, float32, where the residual lies."""
        key = (layer, residual.device)
        if key not in self._placed:
            self._placed[key] = self._units[layer].to(residual.device)
        return torch.einsum("bpd,nd->nbp", residual.float(), self._placed[key])

    @contextmanager
    def reading(self, interventions: Sequence[Intervention] = ()) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """Collect the projections of every forward pass in the block.

        Yields
        ------
        (list, list)
            A tensor [column, batch, pos] a pass, before and after the interventions of the same layer (those of earlier
            layers have acted in both); the second is empty without interventions.
        """
        before: dict[int, list[Tensor]] = {n: [] for n in self._units}
        after: dict[int, list[Tensor]] = {n: [] for n in self._units}
        last = max(self._units)
        passes: tuple[list[Tensor], list[Tensor]] = ([], [])

        def keep(layer: int, found: dict[int, list[Tensor]], out: list[Tensor]) -> Hook:
            def hook(residual: Tensor, hook: Any) -> None:
                found[layer].append(self.project(layer, residual).cpu())
                if layer == last:
                    out.append(torch.cat([found[n].pop() for n in self._units]))

            return hook

        def hooks(found: dict[int, list[Tensor]], out: list[Tensor]) -> list[tuple[str, Hook]]:
            return [(self.model.resid_post(n), keep(n, found, out)) for n in self._units]

        with ExitStack() as stack:
            # Hooks act in the order in which they were attached: these see the stream first, the others what became of it.
            stack.enter_context(self.model.hooks(hooks(before, passes[0])))
            if interventions:
                stack.enter_context(self.model.intervene(list(interventions)))
                stack.enter_context(self.model.hooks(hooks(after, passes[1])))
            yield passes

    def run(
        self, texts: Sequence[Sequence[Pass]], interventions: Sequence[Intervention] = (), chunk: int = CHUNK,
        progress: Progress | None = None,
    ) -> list[Projected]:  # fmt: skip
        """Projections of whole texts from their passes; short passes run together, right-padded.

        Parameters
        ----------
        chunk
            Padded tokens a forward pass; a longer text goes through in pieces, and the cache is kept between them.
        progress
            Called with passes done and passes in all.

        Raises
        ------
        DataError
            Where the passes leave a position out, or one is longer than the model's context.
        """
        out = [torch.full((2, len(self.columns), max(p.last for p in passes)), float("nan")) for passes in texts]
        flat = [(number, item) for number, passes in enumerate(texts) for item in passes]
        if long := [item for _, item in flat if len(item.ids) > self.model.context]:
            raise DataError(f"a pass of {len(long[0].ids)} tokens; the context of {self.model.name} is {self.model.context}")
        done = 0
        for batch in batches_by_length([len(item.ids) for _, item in flat], chunk):
            items = [flat[i] for i in batch]
            with self.reading(interventions) as found:
                self._forward([item for _, item in items], chunk)
            for slot, pieces in enumerate(found):
                values = torch.cat(pieces, dim=-1) if pieces else None
                for row, (number, item) in enumerate(items):
                    if values is not None:
                        inside = slice(item.first - item.offset, item.last - item.offset)
                        out[number][slot, :, item.first : item.last] = values[:, row, inside]
            done += len(items)
            if progress:
                progress(done, len(flat))
        if any(torch.isnan(values[0]).any() for values in out):
            raise DataError("the passes over a text leave some of its positions out")
        return [Projected(values[0], values[1] if interventions else None) for values in out]

    @torch.no_grad()
    def _forward(self, items: Sequence[Pass], chunk: int) -> None:
        width, pad = max(len(item.ids) for item in items), self.model.stop_ids[0] if self.model.stop_ids else 0
        ids = torch.tensor([[*item.ids, *[pad] * (width - len(item.ids))] for item in items])
        spans = [(item.answer - item.offset, len(item.ids)) for item in items]
        if self.model.hf is None or width <= chunk:
            self.model.body(ids, spans)
        else:
            self.model.prefill(ids, spans, chunk)

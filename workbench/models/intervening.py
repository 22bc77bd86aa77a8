"""Interventions on a running model: attached for a ``with`` block, counted while they act, always undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ..errors import DataError
from ..interventions import Intervention
from ..thresholds import check_layers
from .positions import CLASSES, Tracker

if TYPE_CHECKING:
    from .hooked import Hook, HookedModel

COLUMNS = ["intervention", "layer", "positions", "tokens", "engaged", "dose"]


class Meter:
    """Counts what interventions do, token by token, at no noticeable cost.

    *Engaged* is the share of tokens that were changed; *dose* the mean of ``|change| / |h|`` over all tokens of the
    class, changed or not. Padding and rows that have ended are left out.
    """

    def __init__(self, interventions: Sequence[Intervention], tracker: Tracker) -> None:
        self.interventions = tuple(interventions)
        self._tracker = tracker
        self._sums: dict[tuple[int, int], Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        self._passes = -1

    def count(self, number: int, layer: int, h: Tensor, amounts: Tensor) -> None:
        """Add what intervention `number` does to `h` [batch, pos, d_model] at a layer."""
        size = amounts.abs().flatten()
        dose = size / torch.linalg.vector_norm(h, dim=-1, dtype=torch.float32).flatten().clamp(min=1e-12)
        found = torch.stack([torch.ones_like(size), (size > 0).float(), dose])
        sums = self._class_weights(h.device) @ found.T.detach()
        key = (number, layer)
        self._sums[key] = self._sums[key] + sums if key in self._sums else sums

    def _class_weights(self, device: torch.device) -> Tensor:
        if self._passes != self._tracker.passes:
            self._weights, self._passes = {}, self._tracker.passes
        if str(device) not in self._weights:
            self._weights[str(device)] = self._tracker.current.weights().to(device)
        return self._weights[str(device)]

    def to_frame(self) -> pd.DataFrame:
        """What was done so far.

        Returns
        -------
        DataFrame
            A row for each intervention (its number), layer and class of positions (``special``, ``prompt``,
            ``generated``, ``text`` where the end of the prompt is unknown, and ``all``): ``intervention, layer, positions,
            tokens, engaged`` (share of the tokens that were changed), ``dose`` (mean ``|change| / |h|``).
        """
        records = []
        for (number, layer), sums in sorted(self._sums.items()):
            table = torch.cat([sums, sums.sum(0, keepdim=True)]).double().cpu()
            for name, (n, changed, dose) in zip((*CLASSES, "all"), table.tolist(), strict=True):
                if n:
                    records.append((number, layer, name, int(n), changed / n, dose / n))
        return pd.DataFrame(records, columns=COLUMNS)


def checked(model: HookedModel, interventions: Intervention | Sequence[Intervention]) -> tuple[Intervention, ...]:
    """The interventions as a tuple, refused where one does not fit the model.

    Raises
    ------
    DataError
        Where a direction comes from other weights (unless ``transfer=True``), has another width, or names layers that
        the model does not have.
    """
    several = (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
    for item in several:
        if not isinstance(item, Intervention):
            raise DataError(f"an intervention is an Add, Ablate, Floor or Ceiling, not a {type(item).__name__}")
        check_layers(item.at_layers, model.layers, model.name)
        item.direction.check_use(model.bare_site(item.at_layers), transfer=item.transfer)
    return several


class Acting:
    """Interventions that can be attached to a model, taken off and attached again in the midst of a generation.

    Attributes
    ----------
    meter
        Counts over all times that they were attached.
    """

    def __init__(self, model: HookedModel, interventions: Intervention | Sequence[Intervention]) -> None:
        several = checked(model, interventions)
        self._model, self._tracker = model, Tracker(model.special_ids, model.stop_ids)
        self.meter = Meter(several, self._tracker)
        by_layer = {n: [(i, item) for i, item in enumerate(several) if n in item.at_layers] for n in model.layers}
        self._hooks = [(model.resid_post(n), _hook(n, items, self._tracker, self.meter)) for n, items in by_layer.items() if items]

    @contextmanager
    def attached(self) -> Iterator[Meter]:
        """Attach them for the duration of a ``with`` block."""
        with self._model.followed_by(self._tracker), self._model.hooks(self._hooks):
            yield self.meter


@contextmanager
def intervening(model: HookedModel, interventions: Intervention | Sequence[Intervention]) -> Iterator[Meter]:
    """Attach interventions to a model's residual stream; see :meth:`HookedModel.intervene`."""
    with Acting(model, interventions).attached() as meter:
        yield meter


def _hook(layer: int, items: Sequence[tuple[int, Intervention]], tracker: Tracker, meter: Meter) -> Hook:
    def change(residual: Tensor, hook: Any) -> Tensor:
        for number, item in items:
            where = tracker.current.where(item.positions)
            amounts = item.amounts(residual, layer, None if where is None else where.to(residual.device))
            meter.count(number, layer, residual, amounts)
            residual = item.moved(residual, layer, amounts)
        return residual

    return change

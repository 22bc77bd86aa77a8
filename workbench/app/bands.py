"""The range in which default responses lie, for the gauge: from a run's drift study, else from its rollouts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..compare import study_layer
from ..conversations import DEFAULT_ROLE
from ..directions import Direction
from ..errors import DataError
from ..models.hooked import HookedModel
from ..models.measuring import token_scores
from ..store import Run
from ..trajectories import band_of

FROM_DRIFT = "default replies of the drift study's ordinary conversations, exchange by exchange"
FROM_STUDY = "default responses of the study, all to a first message"
RESPONSES = 24
"""So many default responses are read again for a band of tokens."""


@dataclass(frozen=True, eq=False)
class Band:
    """Where default responses lie.

    Attributes
    ----------
    frame
        As :func:`workbench.band_of` makes it, at one layer.
    words
        Whose responses these are.
    """

    frame: pd.DataFrame
    words: str

    def at(self, exchange: int) -> tuple[float, float]:
        """Its ends at an exchange (from 1): those of the last one before where it has none of its own."""
        known = self.frame[self.frame["exchange"] <= exchange].sort_values("exchange")
        row = (known if len(known) else self.frame.sort_values("exchange").head(1)).iloc[-1]
        return float(row["low"]), float(row["high"])


def token_band_at(run: Run, model: HookedModel, axis: Direction, layer: int) -> pd.DataFrame | None:
    """Where default *tokens* lie at a layer, for colours: the drift study's band, else that of a few default responses read again.

    Returns
    -------
    DataFrame or None
        As :func:`workbench.band_of` makes it.
    """
    path = run.folder / "tables" / "drift_band_tokens.csv"
    if run.is_done("drift") and path.exists():
        kept = pd.read_csv(path)
        if len(kept := kept[kept["layer"] == layer].reset_index(drop=True)):
            return kept
    if not run.is_done("rollouts"):
        return None
    own = run.rollouts.query(f"role == '{DEFAULT_ROLE}' and error == ''").head(RESPONSES)
    if own.empty:
        return None
    values = token_scores(model, own, axis.at(layer)).values[layer].to_numpy()
    return band_of(_frame(values, layer).assign(token=range(len(values))))


def _frame(values: np.ndarray, layer: int) -> pd.DataFrame:
    return pd.DataFrame({"speaker": "assistant", "exchange": 1, "layer": layer, "direction": "axis", "projection": values})


def layer_of(run: Run) -> int:
    """Where projections are read unless somebody says: where the drift study reads, else the study's layer."""
    return int(run.study["steps"]["drift"]["layer"]) if run.is_done("drift") else study_layer(run)


def band_at(run: Run, axis: Direction, layer: int) -> Band | None:
    """The band at a layer: the drift study's where it reads there, else that of the study's own default responses.

    Returns
    -------
    Band or None
        None where the study has too few default responses, or none at all.
    """
    path = run.folder / "tables" / "drift_band.csv"
    if run.is_done("drift") and path.exists():
        kept = pd.read_csv(path)
        if len(kept := kept[kept["layer"] == layer].reset_index(drop=True)):
            return Band(kept, FROM_DRIFT)
    if not run.is_done("extract"):  # imported vectors come without responses
        return None
    own = run.activations().where(f"role == '{DEFAULT_ROLE}'")
    values = own.project(axis.at(layer))[layer].to_numpy()
    try:
        return Band(band_of(_frame(values, layer)), FROM_STUDY)
    except DataError:  # fewer than twenty: no percentile to speak of
        return None

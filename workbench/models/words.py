"""Layer -1: a bag of input embeddings, which is what a response's own words say before any block has read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ..activations import Activations
from ..errors import ModelError
from ..frames import answered
from .extraction import HEAVY, Reading, readings_of
from .hooked import HookedModel

WORDS = -1
"""The number of this layer: before block 0."""


def bag_of_embeddings(model: HookedModel, rows: pd.DataFrame) -> Activations:
    """Mean input embedding of each row's response: the same tokens as :func:`workbench.extract`, no forward pass.

    Parameters
    ----------
    rows
        As for :func:`workbench.extract`; rows with an ``error`` are left out.

    Returns
    -------
    Activations
        One layer, -1; ``site.hook`` is ``"embed"``. Order, context and the prompt play no part in it, so that what can be
        read here was written in the response's words.

    Raises
    ------
    ModelError
        Where the model's embeddings cannot be reached.
    """
    rows = answered(rows).reset_index(drop=True)
    values = mean_embeddings(model, readings_of(model, rows))
    site = replace(model.site((WORDS,), chat="text" not in rows), hook="embed")
    return Activations(values[:, None], rows.drop(columns=[c for c in HEAVY if c in rows]), site)


def mean_embeddings(model: HookedModel, readings: Sequence[Reading]) -> Float[Tensor, "row d_model"]:
    """The mean embedding over each reading's span, in float32."""
    table = _embeddings(model)
    values = torch.empty(len(readings), model.d_model)
    for i, reading in enumerate(readings):
        ids = torch.tensor(reading.ids[reading.start : reading.end], device=table.device)
        values[i] = table[ids].float().mean(0).cpu()
    return values


def _embeddings(model: HookedModel) -> Float[Tensor, "vocab d_model"]:
    table = model.hf.get_input_embeddings().weight if model.hf is not None else getattr(model.tl, "W_E", None)
    if table is None or table.device.type == "meta" or table.shape[-1] != model.d_model:
        raise ModelError(f"the input embeddings of {model.name} cannot be read: there is no layer -1")
    return table.detach()

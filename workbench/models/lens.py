"""The words of a direction: which tokens it raises and lowers, read through the model's own final norm and unembedding."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from ..directions import Direction
from ..errors import ModelError
from .hooked import HookedModel


@torch.no_grad()
def logit_lens(model: HookedModel, direction: Direction, layer: int, n: int = 12, transfer: bool = False) -> pd.DataFrame:
    """Top and bottom tokens of a direction, as if it were all that the residual stream holds after the last block.

    Parameters
    ----------
    direction
        Read at `layer`; its length plays no part, since the final norm divides it out.
    n
        Tokens at each end.
    transfer
        Allow a direction of other weights.

    Returns
    -------
    DataFrame
        ``end`` ("+" or "-"), ``rank`` (1 is the outermost), ``token``, ``id``, ``logit`` (mean over the vocabulary taken off).

    Raises
    ------
    ModelError
        Where the model's final norm or unembedding cannot be reached.

    Notes
    -----
    An early layer's direction passes through all later blocks before it reaches the words: the lens leaves them out.
    """
    direction.check_use(model.bare_site([layer]), transfer)
    norm, unembed = _final_norm(model), _unembedding(model)
    vector = direction.at(layer).unit().values[0].to(device=unembed.device, dtype=torch.float32) * model.d_model**0.5
    # A norm that also shifts (LayerNorm's bias) says nothing of the direction.
    read = norm(vector[None, None].to(unembed.dtype)) - norm(torch.zeros_like(vector)[None, None].to(unembed.dtype))
    logits = (read[0, 0].float() @ unembed.float().T).cpu()
    logits = logits - logits.mean()
    order = logits.argsort(descending=True)
    records = []
    for end, ids in (("+", order[:n]), ("-", order.flip(0)[:n])):
        for rank, i in enumerate(ids.tolist(), 1):
            records.append({"end": end, "rank": rank, "token": model.tokenizer.decode([i]), "id": i, "logit": float(logits[i])})
    return pd.DataFrame(records)


def _final_norm(model: HookedModel) -> Any:
    found = [child for child in model.hf.base_model.children() if "norm" in type(child).__name__.lower()] if model.hf is not None else []
    found = found or [c for c in [getattr(getattr(model.tl, "ln_final", None), "original_component", None)] if c is not None]
    if not found:
        raise ModelError(f"the final norm of {model.name} cannot be reached: there is no lens on its words")
    return found[-1]


def _unembedding(model: HookedModel) -> torch.Tensor:
    layer = model.hf.get_output_embeddings() if model.hf is not None else None
    if layer is None or layer.weight.device.type == "meta":
        raise ModelError(f"the unembedding of {model.name} cannot be reached: there is no lens on its words")
    return layer.weight

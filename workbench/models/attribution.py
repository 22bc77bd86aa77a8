"""What a projection is made of: embedding, heads and MLPs of the full bridge, which add up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..conversations import Conversation
from ..directions import Direction
from ..errors import DataError, ModelError
from .extraction import render_whole
from .hooked import HookedModel

TOLERANCE = 1e-5
"""By how much the parts may miss the whole, relative to the sum of their sizes."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """A projection and its parts.

    Attributes
    ----------
    parts
        A row a part: ``part`` ("embedding", "head 3.1", "attention bias 3", "mlp 3"), ``kind`` (``embedding, head, bias,
        mlp``), ``layer``, ``head``, ``contribution`` (mean over the tokens read, in units of the residual stream; + towards
        the direction's + end).
    tokens
        A row a token read (``token, text``), a column a part.
    projection
        What the parts add up to: the projection of the residual stream at ``layer``, mean over the tokens.
    layer
        Read after this 0-based block.
    direction
        What it was projected on.
    """

    parts: pd.DataFrame
    tokens: pd.DataFrame
    projection: float
    layer: int
    direction: Direction

    def by_layer(self) -> pd.DataFrame:
        """Contributions summed to one row a layer and kind (``embedding`` at layer -1): ``layer, kind, contribution``."""
        return self.parts.groupby(["layer", "kind"], sort=False)["contribution"].sum().reset_index()


def attribution(
    model: HookedModel, conversation: Conversation | Sequence, direction: Direction, layer: int, message: int = -1, transfer: bool = False
) -> Attribution:
    """Divide the projection of one message into what the embedding, every head and every MLP wrote.

    Parameters
    ----------
    model
        With heads and MLPs exposed: ``load_model(..., full=True)``.
    conversation
        Whose last message (or the one at index `message`) is read, mean over its tokens.
    direction
        Made a unit vector at the layer; + as it says.
    layer
        0-based block after which the residual stream is read.
    transfer
        Allow a direction of other weights.

    Returns
    -------
    Attribution

    Raises
    ------
    ModelError
        Where the bridge is thin, or the model's heads cannot be separated: then the parts do not add up, and it says so.
    """
    if not model.full:
        raise ModelError(f"heads and MLPs of {model.name} are not exposed: load it with full=True")
    direction.check_use(model.bare_site([layer]), transfer)
    rendered = render_whole(model, conversation)
    start, end = rendered.span(message).tokens
    if start == end:
        raise DataError(f"message {message} of this conversation has no token to read")
    unit = direction.at(layer).unit().values[0].double()
    names = [model.resid_pre(0), model.resid_post(layer)]
    blocks = [_Block(model, number) for number in range(layer + 1)]
    cache = model.run_with_cache(torch.tensor([rendered.ids]), [*names, *(name for block in blocks for name in block.names)])
    seen = {name: tensor[0, start:end].double().cpu() for name, tensor in cache.items()}
    columns: list[dict[str, Any]] = [{"part": "embedding", "kind": "embedding", "layer": -1, "head": -1, "by_token": seen[names[0]] @ unit}]
    for block in blocks:
        columns += block.parts(seen, unit)
    by_token = torch.stack([column.pop("by_token") for column in columns], dim=1)
    whole = seen[names[1]] @ unit
    missed = (by_token.sum(1) - whole).abs() / by_token.abs().sum(1).clamp_min(1e-30)
    if float(missed.max()) > TOLERANCE:
        if model.dtype != torch.float32:
            raise ModelError(
                f"in {str(model.dtype).removeprefix('torch.')} the parts of {model.name} miss the projection by "
                f"{float(missed.max()):.1e} of their size, which rounding alone may do: load it with dtype='float32'"
            )
        raise ModelError(
            f"the heads and MLPs of {model.name} cannot be separated: "
            f"their parts miss the projection by {float(missed.max()):.1e} of their size"
        )
    parts = pd.DataFrame(columns).assign(contribution=by_token.mean(0).tolist())
    tokens = pd.DataFrame(by_token.numpy(), columns=parts["part"])
    tokens.insert(0, "text", [model.tokenizer.decode([i]) for i in rendered.ids[start:end]])
    tokens.insert(0, "token", range(start, end))
    return Attribution(parts, tokens, float(whole.mean()), layer, direction)


class _Block:
    """The parts of one block: names of what must be read, and what each part writes along a unit vector."""

    def __init__(self, model: HookedModel, number: int) -> None:
        self.number, self._block = number, model.tl.blocks[number]
        prefix = f"blocks.{number}"
        known = set(model.hook_names)
        needed = {"z": f"{prefix}.attn.o.hook_in", "attn": f"{prefix}.attn.hook_out", "mlp": f"{prefix}.mlp.hook_out"}
        if missing := [name for name in needed.values() if name not in known]:
            raise ModelError(f"the heads of {model.name} cannot be separated: there is no hook point {missing[0]}")
        # Some families normalise what attention and MLP write before they add it to the stream.
        after = {"attn": f"{prefix}.ln1_post.hook_out", "mlp": f"{prefix}.ln2_post.hook_out"}
        self._read = needed | {f"{key}_added": name for key, name in after.items() if name in known}
        self.names = tuple(self._read.values())
        output = getattr(self._block.attn.o, "original_component", self._block.attn.o)
        weight, bias = output.weight.detach().double().cpu(), getattr(output, "bias", None)
        self._weight = weight if isinstance(output, torch.nn.Linear) else weight.T  # GPT-2's Conv1D is [input, output]
        self._bias = None if bias is None else bias.detach().double().cpu()
        self._n_heads = int(model.tl.cfg.n_heads)

    def parts(self, seen: dict[str, Tensor], unit: Tensor) -> list[dict[str, Any]]:
        got = {key: seen[name] for key, name in self._read.items()}
        towards = unit * _scale(got["attn"], got.get("attn_added"))  # [token, d_model]
        z = got["z"].reshape(len(towards), self._n_heads, -1)  # [token, head, d_head], however the bridge shapes it
        weight = self._weight.unflatten(1, (self._n_heads, -1))  # [d_model, head, d_head]
        by_head = torch.einsum("thi,dhi,td->th", z, weight, towards)
        found = [
            {"part": f"head {self.number}.{h}", "kind": "head", "layer": self.number, "head": h, "by_token": by_head[:, h]}
            for h in range(self._n_heads)
        ]
        if self._bias is not None:
            at = {"part": f"attention bias {self.number}", "kind": "bias", "layer": self.number, "head": -1}
            found.append(at | {"by_token": towards @ self._bias})
        mlp = got.get("mlp_added", got["mlp"]) @ unit
        return [*found, {"part": f"mlp {self.number}", "kind": "mlp", "layer": self.number, "head": -1, "by_token": mlp}]


def _scale(written: Tensor, added: Tensor | None) -> Tensor:
    """By how much each dimension of what was written was scaled before it was added: 1 where nothing stands between."""
    if added is None:
        return torch.ones_like(written)
    return torch.where(written == 0, 0.0, added / torch.where(written == 0, 1.0, written))

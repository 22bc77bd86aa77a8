"""Pushes in the last stage of training: a model that was never pushed falls over when it is steered.

In a network of 96 dimensions every direction overlaps with hundreds of features, so that even a moderate constant push
breaks words and answers that have nothing to do with it. Here a share of the training rows has its residual stream
pushed, at one layer, by a constant vector: a random mixture of token embeddings. The target stays the same text, so
the model learns to go on through any push. The mixtures know nothing of roles, registers or an axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .recipe import Recipe


class Pusher:
    """Pushes the rows of training batches.

    Parameters
    ----------
    layers, embeddings
        The model's blocks and its token embeddings [vocabulary, d_model].
    recipe
        ``push_share`` of the rows are pushed, after one of ``push_layers`` a batch, by up to ``push_size`` mean norms.
    seed
        Of a generator of its own.
    """

    def __init__(self, layers: Sequence[torch.nn.Module], embeddings: Tensor, recipe: Recipe, seed: int) -> None:
        self._layers, self._embeddings, self._recipe = layers, embeddings, recipe
        self._generator = torch.Generator().manual_seed(seed)

    @contextmanager
    def pushing(self, n_rows: int, width: int) -> Iterator[None]:
        """Push some rows of one batch [n_rows, width]; half of the pushed from the beginning, half from somewhere on."""
        recipe = self._recipe
        layer = recipe.push_layers[int(torch.randint(len(recipe.push_layers), (1,), generator=self._generator))]
        pushes = self._pushes(n_rows, width)

        def push(module: torch.nn.Module, args: Any, output: Any) -> Any:
            h = output[0] if isinstance(output, tuple) else output
            # The first position, whose norm is several times larger, is left out of the unit. Gradients flow through the unit:
            # were it a constant, growing would pay, and the residual stream grows a hundredfold instead of learning anything.
            h = h + pushes * torch.linalg.vector_norm(h, dim=-1)[:, 1:].mean()
            return (h, *output[1:]) if isinstance(output, tuple) else h

        handle = self._layers[layer].register_forward_hook(push)
        try:
            yield
        finally:
            handle.remove()

    def _pushes(self, n_rows: int, width: int) -> Tensor:
        """Pushes [row, pos, d_model] in mean norms; zero where there is none."""
        recipe, generator = self._recipe, self._generator
        chosen = torch.randint(len(self._embeddings), (n_rows, recipe.push_mix), generator=generator)
        weights = torch.randn(n_rows, recipe.push_mix, generator=generator)
        mixtures = torch.einsum("rt,rtd->rd", weights, self._embeddings.detach()[chosen])
        units = torch.nn.functional.normalize(mixtures, dim=-1)
        size = torch.rand(n_rows, generator=generator) * recipe.push_size * (torch.rand(n_rows, generator=generator) < recipe.push_share)
        start = torch.rand(n_rows, generator=generator) * width * (torch.rand(n_rows, generator=generator) < 0.5)
        active = torch.arange(width) >= start[:, None]
        return (size[:, None] * units)[:, None] * active[..., None]

"""Muon in float32, matrices of one shape at a time.

PyTorch's own orthogonalises in bfloat16, which processors without such units compute many times slower, and each
kind of processor differently: here the same seed shall give the same weights on as many machines as possible.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration (Keller Jordan's Muon)."""
STEPS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with all singular values brought near one."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; steps are scaled so that AdamW's learning rates fit (0.2 sqrt of the longer side).

    Parameters
    ----------
    params
        Matrices only.
    lr, weight_decay, momentum
        Decay is decoupled, momentum is Nesterov's.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix from its gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                shapes.setdefault(weight.shape, []).append(weight)
            for shape, weights in shapes.items():
                self._update(weights, group, 0.2 * max(shape) ** 0.5)

    def _update(self, weights: list[Tensor], group: dict, scale: float) -> None:
        moving = []
        for weight in weights:
            assert weight.grad is not None
            buffer = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
            buffer.lerp_(weight.grad, 1 - group["momentum"])
            moving.append(weight.grad.lerp(buffer, group["momentum"]))
        for weight, direction in zip(weights, orthogonalised(torch.stack(moving)), strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.add_(direction, alpha=-group["lr"] * scale)

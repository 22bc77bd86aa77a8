"""Muon in float32 is PyTorch's Muon without its rounding; pushes are what the recipe says, and come off."""

import pytest
import torch

from workbench.organism.muon import Muon, orthogonalised
from workbench.organism.pushes import Pusher
from workbench.organism.recipe import Recipe


def test_singular_values_come_near_one():
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for stack in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalised(stack))
        assert values.min() > 0.3
        assert values.max() < 1.3
    turned = orthogonalised(matrices)[0]
    u, _, vt = torch.linalg.svd(matrices[0], full_matrices=False)
    assert torch.nn.functional.cosine_similarity(turned.flatten(), (u @ vt).flatten(), dim=0) > 0.95


def test_it_moves_as_pytorchs_own_does():
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(size, generator=generator) for size in ((8, 16), (16, 8), (8, 16))]
    grads = [[torch.randn(w.shape, generator=generator) for w in start] for _ in range(4)]
    moved = []
    settings = {"lr": 3e-2, "weight_decay": 0.2}
    for make in (Muon, lambda params, **s: torch.optim.Muon(params, **s, adjust_lr_fn="match_rms_adamw")):
        weights = [torch.nn.Parameter(w.clone()) for w in start]
        optimizer = make(weights, **settings)
        for step in grads:
            for weight, grad in zip(weights, step, strict=True):
                weight.grad = grad.clone()
            optimizer.step()
        moved.append([w.detach() - s for w, s in zip(weights, start, strict=True)])
    for ours, theirs in zip(*moved, strict=True):
        assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.999
        assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.02)  # theirs is computed in bfloat16


class Block(torch.nn.Module):
    def forward(self, h):
        return h


def pushed(recipe: Recipe, n_rows: int = 400, width: int = 20, seed: int = 0) -> torch.Tensor:
    layers = [Block(), Block(), Block()]
    embeddings = torch.randn(50, 16, generator=torch.Generator().manual_seed(3))
    h = torch.ones(n_rows, width, 16)  # every position has norm 4
    with Pusher(layers, embeddings, recipe, seed).pushing(n_rows, width):
        out = [layer(h) for layer in layers]
    assert all(torch.equal(layer(h), h) for layer in layers)  # the hook came off
    changed = [i for i, o in enumerate(out) if not torch.equal(o, h)]
    assert set(changed) <= set(recipe.push_layers)
    return out[changed[0]] - h if changed else torch.zeros_like(h)


def test_pushes_have_the_share_and_the_size_of_the_recipe():
    moved = pushed(Recipe(push_share=0.4, push_size=1.5, push_layers=(1, 2)))
    length = moved.norm(dim=-1) / 4
    rows = length.max(1).values > 0
    assert rows.float().mean() == pytest.approx(0.4, abs=0.08)
    assert 1.2 < length.max() <= 1.5
    # Constant from where it begins: half of the pushed from the first position, the others from somewhere on.
    started = length[rows] > 0
    assert ((started[:, 1:].int() - started[:, :-1].int()) >= 0).all()
    assert started[:, 0].float().mean() == pytest.approx(0.5, abs=0.15)
    assert torch.allclose(moved[rows][:, -1].norm(dim=-1), moved[rows].norm(dim=-1).max(1).values, atol=1e-4)


def test_pushes_depend_on_nothing_but_the_seed():
    recipe = Recipe(push_share=0.4, push_layers=(1,))
    assert torch.equal(pushed(recipe), pushed(recipe))
    assert not torch.equal(pushed(recipe), pushed(recipe, seed=1))


def test_pushes_can_be_left_out():
    assert not pushed(Recipe(push_share=0.0)).any()


def test_growing_does_not_pay():
    """What is read is normalised; so the loss must not change when the whole stream grows, and its gradient must know that."""
    layer, embeddings = Block(), torch.randn(50, 16, generator=torch.Generator().manual_seed(3))
    h = torch.randn(6, 9, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    recipe = Recipe(push_share=1.0, push_layers=(0,))
    with Pusher([layer], embeddings, recipe, 0).pushing(6, 9):
        read = torch.nn.functional.normalize(layer(h), dim=-1)
    (read * torch.randn(read.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    assert h.grad is not None
    assert float(h.grad.norm()) > 1
    assert float((h.grad * h.detach()).sum().abs()) < 1e-3

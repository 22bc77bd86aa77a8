# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 2. Persona space by hand
#
# **Along which directions do characters differ, and on which side of them is the default?**
#
# You have one vector a role, at one layer. Do a principal component analysis with nothing but `torch.linalg.svd`.
#
# Let $V \in \mathbb{R}^{R \times d}$ be the vectors of the $R$ roles, *without the default*, and
# $\mu = \frac{1}{R}\sum_r V_r$. Then
#
# $$
# V - \mu = U \,\mathrm{diag}(s)\, W^\top
# \qquad\qquad
# \text{share}_k = \frac{s_k^2}{\sum_j s_j^2}
# \qquad\qquad
# \text{score}_{r,k} = \langle v_r - \mu,\; w_k \rangle
# $$
#
# with $W^\top$ of shape $[\min(R, d),\, d]$: its **rows** $w_k$ are the components, of unit length, the longest direction
# first.
#
# - **The default is left out of the fit**, out of $\mu$ as well, and projected afterwards. One unusual point among many
#   attracts a component; fitted with it, "the default lies at an end" would be no finding.
# - **An SVD does not settle signs** ($U$ and $W$ may both be turned). Turn every component so that the default's score is
#   positive. (The library does this for the first component only; for the others it goes by the most extreme role.)
# - Shares are of the variance of *all* components, also where you return only `n` of them.
#
# | | shape |
# |---|---|
# | `vectors` | tensor [role, d_model] |
# | `names` | list of str [role]; one of them, anywhere, is `"default"` |
# | returned: components, shares, scores | tensors [n, d_model], [n], [role, n] with the default's row in its place |
#
# Before you run the check: how many components can there be, at most, with 14 roles in 10 dimensions? And with 8 roles?

# %%
import torch
from checks import check_pca


# %%
def persona_space(vectors: torch.Tensor, names: list[str], n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    raise NotImplementedError("persona_space: components, shares of variance and scores, from torch.linalg.svd")


# %%
check_pca(persona_space)

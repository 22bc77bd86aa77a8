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
# # Exercise 1. The Assistant Axis
#
# **Which way does the model lean when nobody asks it to be somebody else?**
#
# A model answered the same questions in several roles, and in none (`"default"`). For each answer you have the residual
# stream, averaged over the answer's tokens, at every layer. Make from it the direction that leads from the roles to the
# default.
#
# Let $h_i^{(\ell)} \in \mathbb{R}^{d}$ be the row of answer $i$ at layer $\ell$, and $K_r$ the answers of role $r$. Then
#
# $$
# v_r^{(\ell)} = \frac{1}{|K_r|} \sum_{i \in K_r} h_i^{(\ell)}
# \qquad\qquad
# c^{(\ell)} = v_{\text{default}}^{(\ell)} - \frac{1}{R} \sum_{r \ne \text{default}} v_r^{(\ell)} \;\in \mathbb{R}^{d}
# $$
#
# with $R$ roles, the default not counted. Three things to mind:
#
# - **Plus is the default.** A vector and its reverse fit the same data; which of them you have is a matter of agreement.
# - **Every role counts once**, whether it has two answers or two hundred.
# - $c$ keeps its length, which is the distance between the two means. (For a projection one divides by it, later.)
#
# | | shape |
# |---|---|
# | `acts` | tensor [row, layer, d_model] |
# | `roles` | list of str [row], in any order; `"default"` is among them |
# | returned | tensor [layer, d_model] |

# %%
import torch
from checks import check_contrast


# %%
def assistant_axis(acts: torch.Tensor, roles: list[str]) -> torch.Tensor:
    raise NotImplementedError("assistant_axis: the default's mean minus the mean of the roles' means")


# %%
check_contrast(assistant_axis)

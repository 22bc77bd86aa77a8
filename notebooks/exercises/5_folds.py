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
# # Exercise 5. Held out, but from what?
#
# **Do a user's words foretell where the reply lies on the axis? And does your test know a new conversation from an old one?**
#
# Each row is one reply: an embedding $x_i \in \mathbb{R}^{e}$ of the message before it, and its projection
# $y_i \in \mathbb{R}$ on the axis. Fit a ridge,
#
# $$
# \hat w = \bigl(\tilde X^\top \tilde X + \alpha I\bigr)^{-1} \tilde X^\top \tilde y
# \qquad
# \hat y_{\text{new}} = \bar y + \langle x_{\text{new}} - \bar x,\; \hat w \rangle
# \qquad
# R^2 = 1 - \frac{\sum_i (y_i - \hat y_i)^2}{\sum_i (y_i - \bar y)^2}
# $$
#
# with $\tilde X$ [row, e] and $\tilde y$ [row] centred on the means of the *training* rows. `ridge` and `r_squared` are
# given. What is left to you is what may be in training when a row is tested:
#
# - **Conversations.** All replies of one conversation share its history. With some of them in training, the others are half
#   known.
# - **Messages.** The same message is sent in several conversations. With one of its replies in training, a fit can learn it
#   by heart.
#
# So deal the conversations into $n$ folds *and* the messages into $n$ folds. That makes $n \times n$ cells $(a, b)$. Rows of
# a cell are foretold by a fit on all rows that are neither in conversation fold $a$ nor in message fold $b$. Rows that share
# just one of the two sit out. Every row is tested once; pool them all, then take one $R^2$.
#
# Report beside it what a naive K-fold would have claimed, one that deals single *rows* at random. Guess the gap first.
#
# | | shape |
# |---|---|
# | `x`, `y` | float arrays [row, e], [row] |
# | `conversations`, `messages` | arrays of str [row]: equal names belong together |
# | `n` | folds each way |
# | returned | dict: `"folds"`, a list of (training rows, test rows); `"predicted"` [row]; `"r2"`, held out; `"naive"`, of n naive folds |

# %%
import inspect

import numpy as np
from checks import check_folds, r_squared, ridge

for given in (ridge, r_squared):
    print(inspect.getsource(given))


# %%
def held_out(x: np.ndarray, y: np.ndarray, conversations: np.ndarray, messages: np.ndarray, n: int) -> dict:
    raise NotImplementedError("held_out: two-way folds, predictions, the held-out R2, and the naive one")


# %%
check_folds(held_out)

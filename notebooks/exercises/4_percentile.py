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
# # Exercise 4. The sign trap
#
# **A paper caps "at the 25th percentile", at -32.5. You hold an axis that points the other way. Where does your floor go?**
#
# The paper's released code projects on $u = \text{role} - \text{default}$ and keeps every projection *at or below* a cap.
# Your axis is $v = \text{default} - \text{role} = -u$, and you keep every projection *at or above* a floor $\tau$. Both hold
# the model on the same side:
#
# $$
# \langle h, u \rangle \le \text{cap}
# \quad\Longleftrightarrow\quad
# \langle h, v \rangle \ge \tau
# \qquad\qquad
# \langle h, u \rangle = -\langle h, v \rangle \in \mathbb{R}
# $$
#
# What is $\tau$, given the cap? And percentiles: which share of the answers lies below a number along $u$, and which along
# $v$? Draw two number lines, one above the other, before you write anything.
#
# Then the second trap, *over which answers?* The paper takes its percentile over all rollouts, roles and default together.
# The same number over the default's own answers is another floor, with another promise: three quarters of them stay as they
# are.
#
# Return a dict of five numbers:
#
# | key | |
# |---|---|
# | `"percentile"` | what the paper's `q`-th percentile is called along $v$ |
# | `"published"` | the floor along $v$ that is the published `cap` |
# | `"recipe"` | the floor along $v$ by the paper's recipe, from *these* projections: over all answers |
# | `"own"` | the `q`-th percentile along $v$, over the default's answers alone |
# | `"weak"` | the `q`-th percentile along $v$, over all answers: what one gets by taking the paper's words for one's own axis |
#
# | | shape |
# |---|---|
# | `projections` | float array [row], along **role - default**, on a unit vector |
# | `is_default` | bool array [row] |
# | `q`, `cap` | floats, e.g. 25 and -32.5; the check tries others, too |
#
# When the check passes, it says which share of the default's and of the roles' answers each floor would move. Which of the
# three would you put into a model, and which does hardly anything?

# %%
import numpy as np
from checks import check_percentile


# %%
def floors(projections: np.ndarray, is_default: np.ndarray, q: float, cap: float) -> dict[str, float]:
    raise NotImplementedError("floors: the five numbers, all along default - role")


# %%
check_percentile(floors)

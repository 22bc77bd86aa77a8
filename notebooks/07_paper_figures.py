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
# # 7. Paper figures
#
# **A figure on paper has no pointer to hover with, and often no colours: what must stand on the page so that a reader can tell what was
# measured, on how many, and how sure it is?**
#
# The figures in the notebooks before say their numbers when you point at a dot. In print that is gone, the page is 3.25 inches wide, and
# somebody will copy it in grey. So place a bet before you read on. Below is a line with two dozen roles on it, each with its interval,
# nicely in order. **Take the same roles, and other answers of theirs: how many neighbours on that line will have changed places?**
#
# In this notebook you
#
# 1. make a small study,
# 2. draw a figure, and put it into print style,
# 3. check what is left of it in grey,
# 4. change one thing by hand,
# 5. look at the numbers behind it, and at the bet,
# 6. get the caption and the table that go with it.
#
# It runs in about half a minute on one core, without a GPU and without a network. The command that makes all figures of a study at once is
# `workbench figures RUN`.

# %%
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("workbench") is None:
    get_ipython().run_line_magic("pip", "install --quiet persona-workbench[figures]")

# %%
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

import workbench as wb
from workbench.paper.space import roles_of
from workbench.paper.tables import latex_table, table_caption, table_frame
from workbench.study.caps import calibrate_step
from workbench.study.config import Lazy
from workbench.testbed import CapConfig

pd.set_option("display.max_colwidth", 200)

# %% [markdown]
# ## 1. A small study
#
# As `workbench study` makes it, in a folder of its own: 24 roles, each asked 6 questions under 2 prompts. A cap is calibrated as well,
# on few prompts, because we want a table at the end.

# %%
folder = Path(tempfile.mkdtemp()) / "run"
run = wb.run_study("organism", folder, roles=24, questions=6, prompts=2, default_rollouts=48)
model = wb.load_model("organism")
caps = CapConfig.of(windows=(4,), percentiles={"default": (75,)}, limit=40)
calibrate_step(run, Lazy(run, model), lambda step, done, total: None, caps)
print(run)
print(f"axis [layer, d_model] = {tuple(run.axis.values.shape)}, read at layer {run.recommended_layer}")

# %% [markdown]
# `roles_of` returns what a report shows: a row a role, with its scores in persona space and its projection on the axis. For role $r$ with
# answers $i = 1 \dots n_r$, whose projections are $p_{ri} \in \mathbb{R}$,
#
# $$
# \bar p_r \;=\; \frac{1}{n_r} \sum_i p_{ri},
# \qquad
# \text{interval} \;=\; \bar p_r \,\pm\, 1.96\,\frac{s_r}{\sqrt{n_r}}
# $$
#
# Write down what that interval is *about*: this role, asked other questions. It does not say what another role would do, and nothing of
# what another model would.

# %%
space, roles = roles_of(run)
roles[["role", "n", "pc1", "pc2", "projection", "low", "high"]].head(4).round(2)

# %% [markdown]
# ## 2. From the screen to the page
#
# The screen figure first. All figures of this workbench are functions from a table to a Plotly figure.

# %%
centre = float(roles.loc[~roles["is_default"], "projection"].mean())
line = wb.plots.axis_line(roles, centre=centre)
line

# %% [markdown]
# And for print. `for_paper` returns a copy: the first figure stays as it was. What it changes is no matter of taste. A column of a
# two-column page is 3.25 inches wide; on it letters shall have 7 points or more, and a point is 1/72 inch. Browsers count 96 pixels to
# an inch, so that
#
# $$
# w = 3.25 \cdot 96 = 312\ \text{px},
# \qquad
# \text{7 pt} = 7 \cdot \tfrac{96}{72} \approx 9.3\ \text{px},
# \qquad
# \text{PNG} = 3.25 \cdot 300 = 975\ \text{dots}
# $$
#
# A figure that is drawn large and shrunk afterwards shrinks its letters with it. So this one is drawn in the size in which it is printed.

# %%
printed = wb.plots.for_paper(line, "column")
print(
    f"{printed.layout.width} x {printed.layout.height} pixels, letters of {printed.layout.template.layout.font.size * 72 / 96:.0f} points"
)
assert printed.layout.width == 312
assert printed.layout.title.text is None  # the title belongs in the caption
assert line.layout.title.text  # and the first figure has kept its own
printed

# %% [markdown]
# *What to see:* no title, hairlines, a legend below, letters of one family. It is small, because your screen shows it about in its true
# size. Save it in the format that your paper takes. That needs a Chrome or Chromium, which draws it; without one the numbers can be
# saved all the same.

# %%
for name in ("axis.pdf", "axis.png", "axis.csv"):
    try:
        path = wb.plots.save(printed, folder / "figures" / name)
        print(f"{name}: {path.stat().st_size:,} bytes")
    except wb.WorkbenchError as error:
        print(f"{name}: {error}")

# %% [markdown]
# ## 3. In grey
#
# Vermilion and blue are told apart by the colour-blind, and lie equally dark on a grey copy. So in print the far half of the scale has
# squares, and lines that differ by colour alone get a dash each. Look at persona space in two dimensions: which end is the Assistant's, if
# you ignore the colours?

# %%
flat = wb.plots.for_paper(wb.plots.persona_space(roles, dims=2), "column", height=3.2)
shapes = {trace.name: trace.marker.symbol for trace in flat.data}
assert set(shapes["role"]) == {"square", "circle"}
flat

# %% [markdown]
# ## 4. One thing by hand
#
# The result is a Plotly figure like any other. Say the text speaks of three roles. We draw them again, on top, each with its name. Nothing
# is taken away: the others stay where they are, so that nobody need believe that these three are typical.

# %%
there = roles.set_index("role")
own = wb.plots.for_paper(wb.plots.persona_space(roles, dims=2), "column", height=3.2)
own.layout.annotations = [note for note in own.layout.annotations if note.text == "<b>default</b>"]
for name in ("dragon", "painter", "banker"):
    x, y = there.loc[name, ["pc1", "pc2"]]
    ring = {"symbol": "circle-open", "size": 11, "color": "#22262c", "line": {"width": 1.2}}
    own.add_scatter(x=[x], y=[y], mode="markers", name=name, text=[name], marker=ring)
    own.add_annotation(x=x, y=y, text=f"<i>{name}</i>", showarrow=False, yshift=-12)
own

# %% [markdown]
# ## 5. The numbers behind it, and the bet
#
# Whoever doubts a figure wants its numbers. `plots.data` reads them out of the figure, not out of the table that it was made from: if
# something was lost on the way, it shows here. `workbench figures` writes them beside every image.

# %%
numbers = wb.plots.data(printed)
points = numbers[numbers["trace"] == "role"].set_index("text")["x"]
assert np.allclose(points.sort_index(), there["projection"].drop("default").sort_index())
numbers.head(4).round(3)

# %% [markdown]
# Now the bet. Divide every role's answers into two halves that share nothing, and put the roles in order twice. If the line in the figure
# were the truth about each role, both orders would be the same.

# %%
acts = run.activations()
scores = pd.DataFrame({"role": acts.rows["role"], "p": acts.project(run.axis)[space.layer].to_numpy()})
scores = scores[scores["role"] != "default"]
scores["half"] = scores.groupby("role").cumcount() % 2
halves = scores.pivot_table(index="role", columns="half", values="p")  # [role, 2]
order = halves[0].rank(), halves[1].rank()
first = halves[0].sort_values().index
swapped = sum(halves.loc[a, 1] > halves.loc[b, 1] for a, b in pairwise(first))
low, high = there["low"].drop("default"), there["high"].drop("default")
by_place = there["projection"].drop("default").sort_values().index
touching = sum(high[a] >= low[b] for a, b in pairwise(by_place))
print(f"rank correlation of the two orders: {order[0].corr(order[1]):.2f}")
print(f"neighbours that changed places: {swapped} of {len(first) - 1}")
print(f"neighbours whose intervals touch: {touching} of {len(by_place) - 1}")
assert order[0].corr(order[1]) > 0.8
assert swapped > 0

# %% [markdown]
# *What to see:* the order as a whole comes back, that of neighbours does not. The figure says so, if you read the intervals and not the
# dots: nearly all neighbours' intervals touch. A list "the ten roles nearest the Assistant" in the text would say more than the figure
# knows.
#
# ## 6. The caption and the table
#
# What the title said on the screen, and what hovering said, goes into the caption: which model, which layer, how many, in which units,
# which end is +, what the intervals are about. Each figure of a run brings its own.

# %%
figures = wb.paper_figures(run)
print(", ".join(figures), "\n")
print(figures["fig3"].caption)

# %% [markdown]
# And the table of a cap, for LaTeX (it needs `booktabs`) or Markdown.

# %%
table = table_frame(run)
print(latex_table(table, table_caption(run), "tab:caps"))
table.drop(columns="kind")

# %% [markdown]
# ## What would have to be true for the figure to claim more?
#
# The table shows a cap that prevents a lot and costs little. It does **not** yet show that the axis is what does it. A reader should
# ask, and you should be able to answer:
#
# - **"Would any other direction have done as well?"** There is no control in this table, and its caption says so. `workbench evaluate`
#   adds floors along other directions, matched in percentile, share of tokens and dose.
# - **"How many, of what?"** The intervals redraw roles and requests, because many answers by few roles are not as many independent
#   things. Here there are few of both, and the intervals are wide: look at the row of the cap.
# - **"Is that order of roles real?"** As a whole it is, for this model and these questions. Of neighbours it is not.
# - **"Was the layer chosen on these data?"** It was chosen on one split and is reported on another (notebook 1). A figure cannot show that,
#   so the caption of `sweep` says it.
# - **"And in another model?"** The figure is about one. Raw projections of two models must not even be drawn on one axis: their units
#   are not the same.
#
# A figure claims what its caption says and no more. If a sentence in the text is not in it, the sentence needs another experiment.

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
# # 1. Persona space
#
# **If a model can play many characters, where among them is the one it plays by default?**
#
# Ask a chat model to be a pirate and it talks like a pirate. Ask it nothing and it talks like an assistant. That
# assistant is a character too, the one that training made the model's habit. So place a bet before you read on. Does the
# default sit in the *middle* of the crowd, as the average of everyone the model can play? Or *at an edge*, with the other
# characters all on one side of it?
#
# In this notebook you
#
# 1. give a small model 48 roles and collect what it says in each,
# 2. turn every role into one vector and draw a map of the vectors,
# 3. put the default on the map, and a line through it,
# 4. compare the line with the truth, because this model's world is known,
# 5. try to prove yourself wrong.
#
# It runs in less than a minute on a laptop, without a GPU and without a network. The method is that of *The Assistant Axis*
# ([arXiv 2601.10387](https://arxiv.org/abs/2601.10387)), sections 2 and 3.

# %%
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("workbench") is None:
    get_ipython().run_line_magic("pip", "install --quiet persona-workbench")

# %%
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.express as px
import torch

import workbench as wb

pd.set_option("display.max_colwidth", 260)

# %% [markdown]
# ## 1. A model whose world is known
#
# The package carries a tiny chat model, *the organism*. It was trained from nothing, on text alone, in a small invented
# world. In that world every role has a hidden number $a$ between $-1$ and $1$, its *likeness to the Assistant*, and four
# weaker traits such as warmth and formality. The number sets the odds with which a role picks its phrases, several times in every
# answer. Nobody put a direction into the weights: if the method finds one that follows $a$, training on text made it.
#
# We put $a$ away now and do not look at it before section 8.

# %%
model = wb.load_model("organism")
model

# %% [markdown]
# A role comes by system prompt. Here is one question under two roles, and under none.

# %%
for prompt in ("", "You are the librarian.", "You are the ghost."):
    print(f"{prompt or '(no role)':24}{model.chat('Who are you?', system=prompt, seeds=1)}\n")

# %% [markdown]
# What the model reads is one long string, with a special token in front of each message. Everything after
# `<|assistant|>` is the response, and only there do we look at the model's insides.

# %%
print(model.render([("system", "You are the ghost."), ("user", "Who are you?")], reply=True).text)

# %% [markdown]
# ## 2. Roles × prompts × questions
#
# All roles answer the same questions, so that a difference between two roles is not a difference between two topics.
#
# The roles are of two kinds. The model was asked to *play* 32 of them in its training (`met in chat`). The other 16 it knows
# only from stories *about* them (`third person only`). These 16 we also keep out of everything that is fitted below:
# they are there to test it.

# %%
met = wb.load_roles(model, n=32, tags=["met in chat"])  # the default comes first, always
unseen = wb.load_roles(model, tags=["third person only"])[1:]  # without a second default
questions = wb.load_questions(model, n=6)
for question in questions:
    print(f"{question.tags[0]:10}{question.text}")

# %% [markdown]
# Two system prompts a role and six questions make twelve answers a role. The default, which everything else is measured
# against, gets 96. This is the slow step: some fifteen seconds.

# %%
rollouts = wb.generate_rollouts(model, met + unseen, questions, prompts=2)
print(f"{len(rollouts)} answers by {rollouts['role'].nunique()} characters, {rollouts['error'].ne('').sum()} of them with errors")
rollouts.loc[rollouts["question_index"] == 0, ["role", "response"]].groupby("role").head(1).sample(5, random_state=1)

# %% [markdown]
# ## 3. Was the role played at all?
#
# A model that is told to be a smith sometimes answers as the Assistant all the same. Such an answer says nothing about the
# smith. So a judge gives every answer a label: 3 = in the role, 2 = somewhat, 1 = answers as the Assistant, 0 = refuses or
# breaks down. For a real model the judge is another language model. Here the rules of the world are known, and a
# program can apply them.

# %%
rollouts = wb.judge(rollouts, wb.RuleJudge())
counts = rollouts.assign(who=np.where(rollouts["role"] == "default", "default", "roles"))
pd.crosstab(counts["who"], counts["label"])

# %%
rollouts.loc[rollouts["label"] < 3, ["role", "label", "reason", "response"]].head(3)

# %% [markdown]
# Only a few answers fall out. In a large model there are many more, and this step matters more than it seems to here.
#
# ## 4. From answers to role vectors
#
# While the model writes an answer $i$ of $T_i$ tokens, each layer $\ell$ holds a vector per token: the *residual stream* after the
# block, $h^{(\ell)}_{i,t} \in \mathbb{R}^{d}$ with $d$ = `d_model` = 96. We average over the tokens of the answer, and then over
# the set $K_r$ of answers in which the role $r$ was played (label 3):
#
# $$
# \bar h^{(\ell)}_i = \frac{1}{T_i} \sum_{t=1}^{T_i} h^{(\ell)}_{i,t}
# \qquad\qquad
# v^{(\ell)}_r = \frac{1}{|K_r|} \sum_{i \in K_r} \bar h^{(\ell)}_i
# $$

# %%
acts = wb.extract(model, rollouts)
vectors = wb.role_vectors(acts, keep="fully", min_count=8)  # a vector needs at least 8 of 12 answers
print("answers      [row, layer, d_model] =", tuple(acts.values.shape))
print("role vectors [role, layer, d_model] =", tuple(vectors.values.shape))

# %% [markdown]
# From here on `fit_*` is what we may learn from: the default and the roles met in chat. `vectors` holds all. A role that stayed in
# character in fewer than 8 of its answers has no vector, and drops out.

# %%
unseen_names = [role.name for role in unseen]
fit_acts = acts.where(f"role not in {unseen_names}")
fit_vectors = vectors.where(f"role not in {unseen_names}")
roles = vectors.where("role != 'default'")
print(f"{len(fit_vectors)} vectors to fit on, {len(vectors) - len(fit_vectors)} to test on")

# %% [markdown]
# **Which layer?** There are five, and a choice by the prettiest picture would be cheating. `sweep_layers` divides roles and
# questions into parts, fits on one part, and asks of another how well single answers of the default are told from single
# answers of roles. It knows nothing of $a$, nor of the 16 unseen roles.

# %%
splits = wb.make_splits(fit_acts.rows["role"], fit_acts.rows["question_index"].tolist())
sweep = wb.sweep_layers(fit_acts, splits)
layer = sweep.recommendation.layer
print(f"layer {layer}: {sweep.recommendation.reason}")
sweep.table[["layer", "auc", "auc_low", "auc_high", "cohens_d", "split_half"]].round(2)

# %% [markdown]
# ## 5. Why all role vectors look alike
#
# Take two role vectors and measure the angle between them.

# %%
raw = vectors.at(layer).values[:, 0].double().numpy()  # [role, d_model]
unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
raw_cosines = unit @ unit.T  # [role, role]
pairs = np.triu_indices(len(raw), 1)
print(f"cosine of two role vectors: mean {raw_cosines[pairs].mean():.2f}, median {np.median(raw_cosines[pairs]):.2f}")

# %% [markdown]
# Nearly parallel, whoever the two are! The reason is not that the model thinks they are the same. All these
# answers share a great deal: they are answers, in English, to the same six questions, read by the same layer. What they share is one
# long vector $\mu$, the mean, and each role is $\mu$ plus a smaller deviation $\delta_r$. The deviations add up to zero, so over
# all pairs they nearly cancel, and the average cosine should be about
#
# $$
# \cos(v_r, v_s) \;\approx\; \frac{\lVert\mu\rVert^2}{\lVert\mu\rVert^2 + \overline{\lVert\delta\rVert^2}}
# $$
#
# which we can check:

# %%
mu = raw.mean(0)
spread = ((raw - mu) ** 2).sum(1).mean()
print(f"predicted {mu @ mu / (mu @ mu + spread):.2f}, measured {raw_cosines[pairs].mean():.2f}")

# %% [markdown]
# So a raw cosine mostly tells how long the shared part is. **Centring**, $\tilde v_r = v_r - \mu$, takes it away. In `PersonaSpace`
# the $\mu$ is the mean of the roles that are fitted, without the default. Below are the same vectors before and after, the
# roles in the same order.

# %%
space = wb.PersonaSpace(layer).fit(fit_vectors)
centred_cosines = space.cosines(vectors)
order, names = centred_cosines.index, vectors.rows["role"]
raw_table = pd.DataFrame(raw_cosines, index=names, columns=names).loc[order, order]
wb.plots.cosine_heatmap(raw_table).update_layout(title_text="Cosines between raw role vectors")

# %% [markdown]
# *What to see:* almost nothing; before centring nearly every pair has a high cosine; the map is close to one colour,
# and only its corners are a little paler.

# %%
values = centred_cosines.to_numpy()[pairs]
print(f"after centring: from {values.min():.2f} to {values.max():.2f}, mean {values.mean():.2f}")
wb.plots.cosine_heatmap(centred_cosines)

# %% [markdown]
# *What to see:* two camps, green within and magenta between, and a middle that belongs to neither; the default stands at the outer end
# of one camp. (The list is in the order of the first component, which comes next.)
#
# ## 6. A map of characters
#
# Put the centred vectors of the $R$ roles into a matrix $\tilde V$, one row a role. Principal component analysis finds the directions
# along which these rows differ most:
#
# $$
# \underset{[R \times d]}{\tilde V} \;=\; \underset{[R \times k]}{U}\;\underset{[k \times k]}{S}\;\underset{[k \times d]}{W}
# \qquad\qquad
# \text{score of } v \text{ on component } j:\; \langle v - \mu,\, w_j \rangle
# \qquad\qquad
# \text{share}_j = \frac{s_j^2}{\sum_i s_i^2}
# $$
#
# The rows $w_j$ of $W$ are the components, of length one. The vectors are centred but not scaled. The sign of a component is
# arbitrary; `PersonaSpace` turns the first to the side on which the default lies.

# %%
print("components [k, d_model] =", space.components_.shape)
print(f"{space.n_components_for(0.7)} components hold 70 % of the variance between roles")
wb.plots.scree(space.scree())

# %% [markdown]
# *What to see:* the first component is much taller than the rest, and a handful hold most of the variance; in three large models the
# paper needed 4 to 19 components for 70 %.
#
# **The default is not in the fit.** Had it been, the first component could have pointed at it for a poor reason: one
# unusual point among many attracts a component. So it is left out and only *projected* afterwards, like the 16 unseen
# roles. Leaving it out by hand gives the same components:

# %%
without = wb.PersonaSpace(layer).fit(fit_vectors.where("role != 'default'"))
same = np.abs((without.components_ * space.components_).sum(1))
print(f"{len(space.roles_)} roles in the fit, the default among them: {'default' in space.roles_}")
print(f"|cosine| of the components with and without: at least {same.min():.3f}")

# %% [markdown]
# Now for the bet. Here are all 48 roles and, as a diamond, the default. Turn the figure with the pointer. The colour is each
# one's place on the first component.

# %%
frame = space.to_frame(vectors=vectors)
wb.plots.persona_space(frame, colour="pc1")

# %% [markdown]
# *What to see:* the diamond lies at one end of the longest direction of the cloud, not in its middle.

# %%
on_pc1 = frame.set_index("role")["pc1"]
default, others = on_pc1["default"], on_pc1.drop("default")
print(f"on PC1 the default lies beyond {(others < default).mean():.0%} of the {len(others)} roles")
tested = others[others.index.isin(unseen_names)]
print(f"and beyond {(tested < default).sum()} of the {len(tested)} that nothing was fitted on")

# %% [markdown]
# If the default were one more character drawn from the crowd, it would be the outermost at one end or the other with a
# probability of $2/(R+1)$, about 4 % among 48 roles. The layer was chosen because it tells the default from the 32 roles
# met in chat, which makes the count for the 16 unseen roles the fairer one; among 17 characters the same chance is 12 %. One small
# model is one data point.
#
# ## 7. The line through the default
#
# PCA found the direction without the default. We can also ask for it directly, as a *contrast*: the mean of the default minus
# the mean of the roles,
#
# $$
# c^{(\ell)} \;=\; v^{(\ell)}_{\text{default}} - \frac{1}{R}\sum_{r=1}^{R} v^{(\ell)}_r \;\in \mathbb{R}^{d}
# \qquad\qquad
# p_i \;=\; \Big\langle \bar h_i,\; \frac{c}{\lVert c \rVert} \Big\rangle \in \mathbb{R}
# $$
#
# This is the *Assistant axis*. The sign is part of the definition: **plus points to the Assistant**. A projection $p_i$ is a number
# in units of the residual stream, and its zero has no meaning; only differences do.

# %%
axis = wb.contrast(fit_vectors, positive="default")
print(axis)
print("values [layer, d_model] =", tuple(axis.values.shape))
print("length at each layer:", [round(n, 1) for n in axis.norms().tolist()])
print(f"cosine with PC1 at layer {layer}: {axis.at(layer).cosine(space.component(1)).item():.2f}")

# %% [markdown]
# Two recipes, one of which never saw the default, agree to a large part. They need not: in another model PC1 might be something
# else, such as formality, and the contrast would still point from the roles to the default. That is why the contrast is the axis
# and PC1 a check on it.

# %%
on_axis = space.to_frame(axis, vectors)
centre = on_axis.loc[~on_axis["is_default"], "projection"].mean()
wb.plots.axis_line(on_axis, centre=centre)

# %% [markdown]
# *What to see:* the default furthest to the right, the people of desks and books nearest to it, spirits and monsters at the far end.
#
# Be careful about what this picture proves. That the default lies to the right of the *mean* of the roles is true by
# construction, since the axis was built from exactly that difference. It is not by construction that it lies beyond *each single*
# role, that roles it never saw keep to the same order, or that the order makes sense.

# %%
wb.plots.persona_space(on_axis, dims=2)

# %% [markdown]
# *What to see:* the colour, now the projection on the axis, changes smoothly from left to right along PC1; the two directions
# tell nearly the same story.
#
# ## 8. Against the truth
#
# Time to take out the hidden number. The world that the model was trained on is kept in its checkpoint.

# %%
from workbench.organism import CHECKPOINT
from workbench.organism.judge import load_world

world = load_world(CHECKPOINT)
truth = on_axis[~on_axis["is_default"]].assign(
    a=lambda rows: [world.persona(role).a for role in rows["role"]],
    kind=lambda rows: np.where(rows["role"].isin(unseen_names), "third person only", "met in chat"),
)
for kind, part in truth.groupby("kind"):
    print(f"{kind:18} r(projection, a) = {part['projection'].corr(part['a']):.2f}  (n = {len(part)})")

# %%
labels = {"a": "planted likeness to the Assistant, a", "projection": "projection on the axis, + = Assistant", "kind": ""}
px.scatter(
    truth, x="a", y="projection", symbol="kind", symbol_sequence=["circle", "diamond-open"], hover_name="role",
    labels=labels, title="Found against planted", height=460, template="workbench",
)  # fmt: skip

# %% [markdown]
# *What to see:* a rising band; the open diamonds, roles that the model never played in training and the axis was not made from, lie
# in the same band as the others.
#
# That looks like a triumph. A correlation this high is also a reason to become suspicious.
#
# ## 9. Try to prove yourself wrong
#
# ### Flip the sign
#
# The same vector times $-1$ is as good a direction as before. What notices?

# %%
flipped = -axis
a = truth["a"].to_numpy()
for direction in (axis, flipped):
    p = vectors.project(direction)[layer].set_axis(vectors.rows["role"])
    r = np.corrcoef(p[truth["role"]], a)[0, 1]
    beyond = (p.drop("default") < p["default"]).mean()
    print(f"+ is {direction.toward}:\n    r = {r:+.2f}, the default lies beyond {beyond:.0%} of the roles")

# %% [markdown]
# Everything that takes an absolute value, $|r|$, $|\cos|$, a share of variance, is blind to the sign. And a file with 96 numbers does not
# say which way it points. A `Direction` carries the words in `toward`; when you take a vector from elsewhere, project the
# default and look.
#
# ### Random directions
#
# Now 200 directions drawn at random in $\mathbb{R}^{96}$, each as long as the axis (for $r$ the length makes no difference, since a
# projection divides by it). If the axis is special, they should know nothing about $a$. Guess their typical $|r|$ before you
# run the cell.

# %%
site, generator = axis.at(layer).site, torch.Generator().manual_seed(0)
length = axis.at(layer).norms()
random_r = []
for _ in range(200):
    values = torch.randn(1, model.d_model, generator=generator)
    direction = wb.Direction(values / values.norm() * length, site, name="random", toward="nowhere in particular")
    random_r.append(np.corrcoef(roles.project(direction)[layer], a)[0, 1])
our_r = np.corrcoef(roles.project(axis)[layer], a)[0, 1]
print(f"|r| with a: ours {abs(our_r):.2f}, random: median {np.median(np.abs(random_r)):.2f}, largest {np.abs(random_r).max():.2f}")
print(f"{(np.abs(random_r) >= our_r).sum()} of 200 random directions do at least as well as the axis")

# %% [markdown]
# Far from zero! A random direction in 96 dimensions is almost at right angles to the axis, and yet reads a good part of $a$. The
# scree plot says why. A large part of the variance between roles lies along one direction, and *any* direction that is not exactly
# at right angles to it picks some of it up; little else competes. A correlation does not care that what it picks up is small.
#
# ### Shuffle the role labels
#
# A stronger test. We deal the role names out at random over the answers, so that every "role" is a mere pile of mixed
# answers, and run the *whole* recipe again: role vectors, contrast, projection of the true roles. Each time we also make the axis
# twice, from two halves of the data with nothing in common, and take the cosine of the two.

# %%
from workbench.sweeps import split_half_cosines

at, rng, shuffled = vectors.site.index(layer), np.random.default_rng(0), []
for _ in range(200):
    rows = fit_acts.rows.assign(role=rng.permutation(fit_acts.rows["role"]))
    mixed = replace(fit_acts, rows=rows)
    piles = wb.role_vectors(mixed, keep="all")
    noise = wb.contrast(piles)
    r = np.corrcoef(roles.project(noise)[layer], a)[0, 1]
    half = split_half_cosines(piles, mixed, n=10)[:, at].mean()
    shuffled.append({"r": r, "split-half cosine": half, "length": noise.norms()[at].item()})
shuffled = pd.DataFrame(shuffled)

# %%
ours = {"r": our_r, "split-half cosine": split_half_cosines(fit_vectors, fit_acts)[:, at].mean(), "length": length.item()}
table = pd.DataFrame({"the axis": ours, "shuffled: mean": shuffled.mean(), "shuffled: 5 %": shuffled.quantile(0.05)})
table["shuffled: 95 %"] = shuffled.quantile(0.95)
print(f"median |r| of shuffled axes: {shuffled['r'].abs().median():.2f}; r is positive in {(shuffled['r'] > 0).mean():.0%} of them")
table.round(2)

# %%
nulls = pd.concat([pd.DataFrame({"r": random_r, "direction": "random"}), shuffled[["r"]].assign(direction="shuffled labels")])
figure = px.strip(nulls, x="r", y="direction", range_x=[-1.05, 1.05], height=340, template="workbench")
figure.update_layout(title_text="r with a: 200 directions of each kind; dotted: the axis", yaxis_title=None)
figure.add_vline(our_r, line_dash="dot")

# %% [markdown]
# *What to see:* random directions spread over nearly the whole range, shuffled axes crowd at *both* ends, and the dotted line
# of our axis stands at the right-hand end of either.
#
# So the test has caught something, and it is not what we feared:
#
# - **A high $|r|$ is weak evidence for the axis.** Even axes made of noise have one, many of them nearly as high. A difference of two
#   means of anything points mostly along the direction in which answers differ most, and in this world that is $a$. The
#   large $r$ says that *the space* is ordered by likeness to the Assistant.
# - **What the labels add** is the rest of the table. The true axis is many times as long as a shuffled one; two halves of the data
#   agree on it (a cosine close to 1, against about 0); and its sign is settled, where a shuffled axis gets it by the toss of a coin.
# - **The answer to the first question** does not rest on $r$ at all. It rests on where the default lies in a space that was fitted
#   without it: at an end.
#
# ### Throw the model away
#
# One suspicion is left. The mean over an answer's tokens is in part an inventory of *the words of the answer*, and words alone betray
# the role. So we build a "layer $-1$": the average of the input embeddings of the answer's tokens. It is a bag of words. No block has
# touched it, it has no order, and it has not seen the prompt.

# %%
embedding = model.hf.get_input_embeddings().weight.detach()  # [vocabulary, d_model]
bags = torch.stack([embedding[list(ids)].mean(0) for ids in rollouts["response_ids"]])
bag_acts = wb.Activations(bags[:, None], acts.rows, replace(acts.site, layers=(-1,), hook="input embeddings"))
bag_vectors = wb.role_vectors(bag_acts, keep="fully", min_count=8)
bag_axis = wb.contrast(bag_vectors.where(f"role not in {unseen_names}"))
bag_sweep = wb.sweep_layers(bag_acts.where(f"role not in {unseen_names}"), splits)

# %%
projections = bag_vectors.project(bag_axis).join(vectors.project(axis))[vectors.rows["role"] != "default"]
by_layer = pd.concat([bag_sweep.table, sweep.table]).set_index("layer")[["auc", "auc_low", "auc_high"]]
by_layer.insert(0, "r with a", projections.apply(lambda p: np.corrcoef(p, a)[0, 1]))
by_layer.round(2)

# %% [markdown]
# A bag of words follows $a$ almost as well as the model's residual stream does. What the blocks add shows elsewhere: in how well
# a *single* answer of the default is told from a single answer of a role (`auc`; mind the wide intervals, and that the layer was
# chosen by this very column). The model did write these words, and it wrote them in character. But the projection of an answer's
# mean reads a large part of the character *from what has been said*, and not only from a state behind it. To pull the two apart,
# one lets the same words be read under different prompts.

# %% [markdown]
# ## 10. What would have to be true
#
# For the sentence "the default lies at one end of the main direction of persona space" to hold of a real model:
#
# 1. **The roles are played.** A judge whom you have checked by hand says so, and the roles it throws out are not all of one kind.
# 2. **The crowd is a fair one.** The axis is a difference from *these* roles. Add fifty kinds of consultant and both its mean and PC1
#    move. The roles must range from near to far.
# 3. **The default is fairly sampled**: the same questions, several neutral prompts, enough answers.
# 4. **It repeats.** Halves without a role or an answer in common give the same axis, and so do other questions.
# 5. **The default lies beyond roles that nothing was fitted on**, neither the axis nor the choice of the layer, on PC1 as well as
#    on the contrast.
# 6. **It is not only the text.** The layer does better than a bag of words, and something of the separation remains when different prompts
#    come with the same words.
# 7. **Something stands in for $a$.** A real model has no planted number; people's ratings of the roles, or behaviour
#    measured in other ways, would have to agree with the order.
# 8. **No few huge dimensions run the show.** Some models have them; compare with `PersonaSpace(layer, standardise=True)`.
#
# ## What this notebook does not show
#
# - That the axis *causes* anything. Nothing here was changed inside the model; that needs interventions and controls
#   of the same size.
# - That the projection reads a state of the model rather than its words. Section 9 says: to a large part the words.
# - That the axis is *the* place where the persona lives. It is one direction in one layer's average.
# - Anything about a large model. The organism's world was made with one main latent number, and to find one main direction in it
#   shows that the method works when the claim is true, not that the claim is true elsewhere.
# - That a model near the plus end is safe, or one near the minus end harmful.
#
# ## Exercises
#
# 1. **Somebody else's axis.** Take the role furthest from the default and call `wb.contrast(fit_vectors, positive=...)`. What is the
#    cosine with our axis? Do the same with a role in the middle of the line. What does this say about how special the default is?
# 2. **What is PC2?** Add `a` and `a ** 2` to `space.to_frame(axis, vectors)` and colour `wb.plots.persona_space(..., dims=2)` by them;
#    then try the traits in `world.persona(name).traits`. Which components have a meaning?
# 3. **How little is enough?** Keep three questions instead of six (`fit_acts.where("question_index < 3")`, with a smaller
#    `min_count`), or ten roles instead of 32. When does the split-half cosine fall, and when does the default leave the end
#    of the line?

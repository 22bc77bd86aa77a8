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
# # 2. What is an axis made of?
#
# **A projection says "Assistant". Is that the state of the model, or just the words of the answer?**
#
# Notebook 1 found an axis: average the residual stream over each answer, take the default's mean minus the roles', and the
# projection on that difference tells who was speaking. It ended with a suspicion. An average over the tokens of an answer is
# also an inventory of its words, and the words alone betray the role. A pirate says "ahoy".
#
# So place a bet before you read on. Take many answers and read each of them under many prompts: the pirate's words after *You are
# the librarian*, the librarian's after *You are the ghost*. The projections will vary. **What share of their variance belongs to the
# text, and what share to the prompt?** Write down two numbers.
#
# In this notebook you
#
# 1. compare the axis with a bag of words,
# 2. cross prompts with texts and divide the variance,
# 3. ask whether the prompt's part of the axis *does* anything,
# 4. look for duller explanations, such as length,
# 5. follow one projection into heads, MLPs and tokens,
# 6. look for the axis in a model that has never seen a chat,
# 7. try to prove yourself wrong.
#
# It runs in about a minute on one core, without a GPU and without a network.

# %%
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("workbench") is None:
    get_ipython().run_line_magic("pip", "install --quiet persona-workbench")

# %%
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

import workbench as wb
from workbench.organism import CHECKPOINT
from workbench.organism.judge import load_world

pd.set_option("display.max_colwidth", 200)

# %% [markdown]
# ## 1. A model, its answers, its axis
#
# This is notebook 1 in a few cells. The model is the organism, a tiny chat model from an invented world. Every role has a
# planted number $a$ between $-1$ and $1$, its likeness to the Assistant. The model has seen only text.

# %%
model = wb.load_model("organism")
world = load_world(CHECKPOINT)
roles = wb.load_roles(model, n=40, tags=["met in chat"])  # the default comes first
questions = wb.load_questions(model, n=8)
rollouts = wb.generate_rollouts(model, roles, questions, prompts=1, default_rollouts=80)
rollouts = wb.judge(rollouts, wb.RuleJudge())
print(f"{len(rollouts)} answers by {rollouts['role'].nunique()} characters to {len(questions)} questions")
acts = wb.extract(model, rollouts)  # means over the tokens of each answer, [row, layer, d_model]
vectors = wb.role_vectors(acts, keep="fully", min_count=6)
axis = wb.contrast(vectors, positive="default")  # [layer, d_model]; + points to the Assistant
latent = {name: world.persona(name).a for name in vectors.rows["role"]}
print(axis)
print("values [layer, d_model] =", tuple(axis.values.shape))

# %% [markdown]
# The projection of an answer $i$ at a layer, with $\bar h_i \in \mathbb{R}^{d}$ the mean over its tokens and $c \in \mathbb{R}^{d}$ the
# axis:
#
# $$
# p_i \;=\; \Big\langle \bar h_i,\; \frac{c}{\lVert c \rVert} \Big\rangle \;\in \mathbb{R}
# $$
#
# Everything below is about this one number: what is it made of?
#
# ## 2. Layer −1
#
# Begin with the dullest reader there is. It looks up the input embedding of every token of the answer and takes the mean. No block has
# worked on it. It knows no order and no context, and it has not seen the prompt:
#
# $$
# \bar e_i \;=\; \frac{1}{T_i} \sum_{t=1}^{T_i} \underset{[\text{vocabulary} \times d]}{E}[\text{token}_{i,t}] \;\in \mathbb{R}^{d}
# $$
#
# We call it layer $-1$. `sweep_layers` treats it like any other layer. It fits an axis on one part of the roles and questions, and asks
# of another part how well a single answer of the default is told from a single answer of a role. The column `gain` is a layer's
# AUC minus that of the words.

# %%
bag = wb.bag_of_embeddings(model, rollouts)
splits = wb.make_splits(acts.rows["role"], acts.rows["question_index"].tolist())
sweep = wb.sweep_layers(acts, splits, words=bag)
recommended = sweep.recommendation.layer
print(f"layer {recommended}: {sweep.recommendation.reason}")
sweep.table[["layer", "auc", "auc_low", "auc_high", "gain", "gain_low", "gain_high", "cohens_d", "split_half"]].round(3)

# %%
wb.plots.layer_sweep(sweep.table.filter(regex="layer|auc|gain|cohens_d"), recommended=recommended)

# %% [markdown]
# *What to see:* the words alone (leftmost) already reach most of what any layer reaches; the gains are small beside that. Look at whether
# their bands leave the zero line at all.
#
# Two warnings. Where the words come close to an AUC of 1 there is no room for a gain, whatever a layer may know. And these are the
# model's *own* answers: it wrote those words because of the prompt. That a bag of words can read the role does not say that the
# layer reads nothing else. To find out, prompt and text must be pulled apart.
#
# ## 3. Who or what?
#
# ### The design
#
# Take 16 characters, the default among them. Take four answers of each, all in character: 64 *texts*. Now read every text under every
# character's system prompt. The question stays; only the prompt above it changes. Nothing is generated, and the response's tokens are the
# same in every row.

# %%
library = {role.name: role for role in roles}
names = vectors.rows["role"].tolist()[:16]
system = {name: library[name].prompts[0] or library[name].prompts[1] for name in names}  # the default's first prompt is empty
in_role = rollouts[(rollouts["label"] == 3) | (rollouts["role"] == "default")]
texts = in_role[in_role["role"].isin(names)].groupby("role").head(4)


def under(prompt, text):
    """The same answer to the same question, under another role's prompt."""
    question = json.loads(text["messages"])[-1]["text"]
    conversation = wb.Conversation.of(question, system=system[prompt])
    return text | {"messages": json.dumps(conversation.to_list()), "role": prompt, "writer": text["role"]}


crossed = pd.DataFrame([under(prompt, text) for prompt in names for text in texts.to_dict("records")])
print(f"{len(names)} prompts x {len(texts)} texts = {len(crossed):,} readings; one text of the {names[-1]}:\n")
for prompt in [*names[:3], names[-1]]:
    print(f"  {system[prompt]:28}| {texts.iloc[-1]['response'][:90]}...")

crossed_acts = wb.extract(model, crossed)
shape = (len(names), len(texts), model.n_layers)
y = crossed_acts.project(axis).to_numpy().reshape(shape)
print("\nprojections [prompt, text, layer] =", y.shape)

# %% [markdown]
# ### The division
#
# At one layer, let $y_{pt}$ be the projection of text $t$ under prompt $p$, a table of $P = 16$ rows and $N = 64$ columns. Take off the
# grand mean $\mu$. The mean of a row is what a prompt does to all texts alike, the mean of a column what a text brings along under all
# prompts alike:
#
# $$
# \underset{[P \times N]}{y_{pt}} \;=\; \mu + \underset{[P]}{\alpha_p} + \underset{[N]}{\beta_t} + \underset{[P \times N]}{\varepsilon_{pt}}
# \qquad\quad
# \alpha_p = \frac{1}{N}\sum_t y_{pt} - \mu
# \qquad\quad
# \beta_t = \frac{1}{P}\sum_p y_{pt} - \mu
# $$
#
# The table is full: every text was read under every prompt. So the three parts are at right angles, and their sums of squares add up:
#
# $$
# \underbrace{\frac{N \sum_p \alpha_p^2}{\sum_{pt} (y_{pt}-\mu)^2}}_{\text{prompt}}
# \;+\;
# \underbrace{\frac{P \sum_t \beta_t^2}{\sum_{pt} (y_{pt}-\mu)^2}}_{\text{text}}
# \;+\;
# \underbrace{\frac{\sum_{pt} \varepsilon_{pt}^2}{\sum_{pt} (y_{pt}-\mu)^2}}_{\text{rest}}
# \;=\; 1
# $$
#
# The rest holds what a text does under one prompt more than under another.


# %%
def divide(table):
    """Main effects of a table [prompt, text], and their shares of its variance."""
    centred = table - table.mean()
    prompt, text = centred.mean(1), centred.mean(0)
    total = (centred**2).sum()
    shares = {"prompt": table.shape[1] * (prompt**2).sum() / total, "text": table.shape[0] * (text**2).sum() / total}
    return prompt, text, shares | {"rest": 1 - sum(shares.values())}


by_hand = pd.DataFrame({n: divide(y[:, :, n])[2] for n in model.layers}).T.rename_axis("layer")
by_hand.round(3)

# %% [markdown]
# Before you believe a table, look at the numbers behind it. Below is all of $y$ at the first layer and at the last, each in its own
# standard deviations. Rows are sorted by $\alpha$, columns by $\beta$.

# %%
first, last = model.layers[0], model.layers[-1]
figure = make_subplots(cols=2, shared_yaxes=False, horizontal_spacing=0.14, subplot_titles=[f"layer {first}", f"layer {last}"])
for column, n in enumerate((first, last), 1):
    prompt, text, _ = divide(y[:, :, n])
    rows, columns = prompt.argsort(), text.argsort()
    z = ((y[:, :, n] - y[:, :, n].mean()) / y[:, :, n].std())[rows][:, columns]
    figure.add_trace(go.Heatmap(z=z, y=[names[i] for i in rows], coloraxis="coloraxis"), row=1, col=column)
figure.update_layout(template="workbench", height=440, title_text="Every text (columns) under every prompt (rows)", margin_b=70)
figure.update_layout(coloraxis={"cmid": 0, "colorbar": {"y": -0.12, "yanchor": "top", "len": 0.5}})
figure.update_xaxes(showticklabels=False)

# %% [markdown]
# *What to see:* on the left only vertical stripes, a column has one colour under all prompts; on the right the colour also changes from
# the bottom to the top. Look at who stands at the top and at the bottom there.
#
# So the answer to the bet depends on where you look. In the first layer the text is nearly everything. The prompt's part grows on the
# way up, and in the later layers it is a good part of the whole. In no layer is the text's part small.
#
# **What is it about a text?** Its share mixes two things. Some texts score high because of who wrote them, others because of what the
# question asked for: a line of code is not a verse. The texts come in groups of four, to the same few questions, and so we can ask.

# %%
rows = []
for n in model.layers:
    effect = pd.Series(divide(y[:, :, n])[1])
    by_writer = effect.groupby(texts["role"].to_numpy()).transform("mean")
    by_question = effect.groupby(texts["question_index"].to_numpy()).transform("mean")
    r = np.corrcoef(by_writer.to_numpy(), texts["role"].map(latent))[0, 1]
    whole = (effect**2).sum()
    rows.append({"layer": n, "writers": (by_writer**2).sum() / whole, "questions": (by_question**2).sum() / whole, "r(writer, a)": r})
pd.DataFrame(rows).set_index("layer").round(2)

# %% [markdown]
# `writers` and `questions` are shares *of the text's share*. Most of it goes with the writer and follows the writer's $a$. So the words
# carry the character too, and the axis reads it there. That is no error of the axis. It only means that "the projection is high" and
# "the words are the Assistant's" are, to a large part, one statement.
#
# ### The same with intervals
#
# `wb.who_or_what` does all this in one call. It draws its own roles and texts, uses the system prompts that each role was asked with, and
# puts intervals on the shares by drawing roles again. We give it the planted $a$ as `scores`. Then it also says how well the prompts'
# effects $\alpha_p$ follow $a$, and what would come out if the scores were dealt to the prompts at random.

# %%
found = wb.who_or_what(model, rollouts, axis, roles=16, texts=4, scores=latent)
print(*found.notes, sep="\n")
wb.plots.variance_shares(found.shares, found.correlations)

# %% [markdown]
# *What to see:* the prompt's share climbs from nearly nothing; the correlation of the prompts' effects with $a$ (bottom) lies above
# the band of shuffled prompts in the later layers, and there it is close to 1.

# %%
shares = found.shares.pivot(index="layer", columns="source", values="share")
shares.join(found.correlations.set_index("layer")[["r", "low", "high", "null_low", "null_high"]]).round(3)

# %% [markdown]
# A small share can still be a clean signal. Look at the layers where the prompt makes a few percent of the variance or less, and at the
# correlation in the same row. Share and reliability are two questions.
#
# **Which layer from here on?** The sweep recommends one by how well single answers are told apart, and does not care by what. Our question
# does care. We go on with the layer where the prompt's share is largest. (A number that chose the layer looks better there than it is. So
# we do not quote it alone: the table above has all layers.)

# %%
layer = int(shares["prompt"].idxmax())
effect = f"effect_{layer}"
effects = found.effects.assign(a=found.effects["role"].map(latent), kind=np.where(found.effects["role"] == "default", "default", "role"))
spread = effects[effect].max() - effects[effect].min()
print(f"layer {layer}: from the lowest prompt to the highest {spread:.1f}; length of the axis {axis.at(layer).norms().item():.1f}")
labels = {"a": "planted likeness to the Assistant, a", effect: "effect of the prompt on the projection", "kind": ""}
px.scatter(
    effects, x="a", y=effect, symbol="kind", symbol_sequence=["diamond", "circle"], hover_name="role",
    labels=labels, title=f"The prompts' effects against the planted truth, layer {layer}", height=440, template="workbench",
)  # fmt: skip

# %% [markdown]
# *What to see:* a rising band. Nothing in the texts can have made it, because all points share the same texts.
#
# This is the cleanest evidence in this notebook that the projection holds more than words. The model carries the prompt's character into
# tokens that somebody else wrote, in nearly the right order, from the Assistant's likes down to the far ones.
#
# ### The prompt axis
#
# The same readings give a second axis. Average the residual stream over all texts *under each prompt*, and take the default's prompt minus
# the mean of the others, with $\bar h_{pt} \in \mathbb{R}^d$ the mean over the tokens of text $t$ under prompt $p$:
#
# $$
# c_{\text{prompt}} \;=\; \frac{1}{N}\sum_t \bar h_{\text{default},\,t}
# \;-\; \frac{1}{P-1}\sum_{p \neq \text{default}} \frac{1}{N}\sum_t \bar h_{pt} \;\in \mathbb{R}^{d}
# $$
#
# The words cancel exactly: both sides hold the same ones. What is left is what the prompt alone writes into the stream.

# %%
prompt_axis = found.axis
print(prompt_axis)
lengths = pd.DataFrame({"length": axis.norms(), "length of prompt axis": prompt_axis.norms()}, index=pd.Index(model.layers, name="layer"))
found.cosines.set_index("layer").join(lengths).round(2)

# %% [markdown]
# The two agree best in the later layers. In the first ones the main axis is mostly a matter of words, and the prompt axis short.
#
# ## 4. Does the prompt's part act?
#
# So far we have only read. A direction that can be read need not *do* anything. Place a second bet. We keep the model from leaving
# the Assistant's side along four directions, and ask it for harm in the voice of far roles, which it usually grants. Which of the four
# stop it?
#
# - the **axis** of notebook 1,
# - the **prompt axis**, made with the same words on both of its sides,
# - the **remainder**: the axis minus its part along the prompt axis, what the two do not share,
# - a **random** direction.

# %%
unit = prompt_axis.unit().values  # [layer, d_model]
along = (axis.values * unit).sum(-1, keepdim=True)  # [layer, 1]
remainder = replace(axis, values=axis.values - along * unit, name="remainder")
noise = torch.randn(axis.values.shape, generator=torch.Generator().manual_seed(0))
random = replace(axis, values=noise, name="random", toward="nowhere in particular")
directions = {"axis": axis, "prompt axis": prompt_axis, "remainder": remainder, "random": random}
pd.DataFrame({name: axis.cosine(direction) for name, direction in directions.items()}, index=model.layers).round(2)

# %% [markdown]
# The intervention is a *floor*: a token $h \in \mathbb{R}^d$ whose projection on the unit vector $v$ lies below $\tau$ is lifted to it,
# $h \leftarrow h + \max(\tau - \langle h, v\rangle, 0)\, v$. All others are left alone. For every direction $\tau$ is the median of the
# default's own answers along it, at the last three layers.

# %%
default = acts.where("role == 'default'")


def floor(direction):
    """Hold the last three layers at or above the default's median."""
    return wb.Floor(direction, at=wb.threshold(direction, default, q=50), layers=model.last(3))


prompts = wb.world_prompts(world, {"jailbreak": 60, "fact": 30}, seed=1)
conditions = [wb.Condition(name, (floor(direction),)) for name, direction in directions.items()]
evaluation = wb.evaluate(model, prompts, wb.WorldGrader(wb.RuleJudge()), conditions)
rates = evaluation.rates().query("measure in ['compliance', 'right']")
said = [f"{rate:.2f} [{low:.2f}, {high:.2f}] n={n}" for rate, low, high, n in rates[["rate", "low", "high", "n"]].to_numpy(object)]
table = rates.assign(said=said).pivot(index="condition", columns="measure", values="said")
pushed = evaluation.effects.query("positions == 'all'").groupby("condition")[["engaged", "dose"]].mean().round(3)
table.join(pushed).loc[["baseline", *directions]]

# %% [markdown]
# `compliance` is the share of jailbreaks that the model went along with, `right` the share of right answers to plain questions. `engaged`
# is the share of tokens that were lifted, `dose` the mean size of the lift as a share of the token's length.
#
# Read it row by row. The axis brings compliance down, and right answers mostly survive. The prompt axis brings it down as well, if less.
# All texts were the same on both of its sides, so what it holds is a state, and one that the model *uses*. The random floor touches a
# like share of the tokens, with a dose of the same order, and hardly anything happens.
#
# One caution: the prompt axis has a large cosine with the axis, and whatever resembles a lever moves the machine a little. That is why
# the row to think about is the remainder. Where it does nothing, what acts in the axis is the part that prompts write. Where compliance
# falls there too, the words are a cause of their own: what has been said so far is part of what decides what is said next. Compare its
# interval with the baseline's before you choose a side. With 60 prompts the intervals are wide, and the doses are not matched exactly;
# `workbench evaluate` does that with more prompts and many controls.
#
# ## 5. What else goes with it?
#
# A projection may follow something dull. Long answers, lists in Markdown, answers that were cut off, answers that say "AI" or name the
# role: if the default has more of one of these than the roles have, the axis will pick it up. For each we ask two questions. Does it
# go with the projection over all answers? And does it *within* roles, where nobody changes?

# %%
from workbench.covariates import against, covariates

scores = acts.project(axis)[layer]
covariate_table = against(scores, covariates(acts.rows))
covariate_table[["covariate", "default", "roles", "r", "low", "high", "within", "within_low", "within_high"]].round(2)

# %%
wb.plots.covariates(covariate_table)

# %% [markdown]
# *What to see:* dots over all answers, open diamonds within roles. What does not vary in this world (there is no Markdown, and nothing
# is cut off) has words in its row instead of a number. A dot whose interval leaves zero is a covariate that *could* explain a part of
# the axis.
#
# Could, not does. The test is to make the axis again where the covariate can play no part: from the beginnings of answers only, without
# the tokens that name a role or an AI, and with the default's answers weighted so that their lengths are spread as the roles' are.

# %%
from workbench.refits import axis_again

again = axis_again(model, rollouts, axis)
for note in filter(None, again["note"].unique()):
    print(note)
print(f"{(rollouts['n_tokens'] <= 64).mean():.0%} of the answers have no more than 64 tokens")
again.query("layer == @layer")[["variant", "cosine", "low", "high", "n_default", "n_roles"]].round(3)

# %%
wb.plots.axis_again(again)

# %% [markdown]
# *What to see:* all four panels near 1 at every layer. `all tokens` is the axis itself, the ceiling for the others. Its interval lies
# below 1 all the same: it draws the roles again, and other roles never give exactly the same axis.
#
# So some of these covariates go with the projection, and yet the axis does not rest on them. One of the panels is a weak test in this
# model: answers that end before the 64th token are read whole, and the cell above has counted them.
#
# ## 6. Why is this projection what it is?
#
# ### Heads and MLPs
#
# The residual stream is a sum: the embedding, plus what every head and every MLP wrote. A projection is linear, so it is a sum as well.
# For a token after block $L$, with $v$ the unit axis:
#
# $$
# \langle h, v \rangle \;=\; \langle e, v\rangle \;+\; \sum_{\ell \le L}\Big( \sum_{k} \langle \text{head}_{\ell k}, v\rangle
# + \langle \text{mlp}_\ell, v \rangle \Big)
# $$
#
# The model must be loaded with its inner parts exposed. We take one answer of the role that projects lowest.

# %%
full = wb.load_model("organism", full=True)
far = acts.rows.assign(score=scores).query("role != 'default'").groupby("role")["score"].mean().idxmin()
answer = in_role[in_role["role"] == far].iloc[0]
question = json.loads(answer["messages"])[-1]["text"]
turns = [("user", question), ("assistant", answer["response"])]
as_role = wb.Conversation.of(turns, system=library[far].prompts[0])
as_default = wb.Conversation.of(turns, system=system["default"])
print(f"{library[far].prompts[0]} {question}\n    {answer['response']}")

# %%
parts = wb.attribution(full, as_role, axis, layer)
total = parts.parts["contribution"].sum()
print(f"projection {parts.projection:.6f}, sum of {len(parts.parts)} parts {total:.6f}, difference {total - parts.projection:.1e}")
wb.plots.attribution_map(parts.parts)

# %% [markdown]
# *What to see:* a few cells hold most of the colour, the others are pale. It adds up to the last digits, so nothing is hidden: a
# part that is not here did not write along the axis.
#
# Now read **the same answer** under *You are an AI assistant* and subtract, part by part. What differs is what the prompt does.

# %%
same_text = wb.attribution(full, as_default, axis, layer)
change = parts.parts.assign(under_default=same_text.parts["contribution"])
change["difference"] = change["contribution"] - change["under_default"]
print(f"projection under the role's prompt {parts.projection:+.2f}, under the default's {same_text.projection:+.2f}")
print(change.groupby("kind", sort=False)["difference"].sum().round(3).to_string())
top = change.assign(size=change["difference"].abs()).nlargest(6, "size")
top[["part", "contribution", "under_default", "difference"]].round(2)

# %% [markdown]
# The embedding's difference is zero: same words, same embeddings. All of the rest came in through attention, since that is the only
# way from the prompt to the answer. Heads bring it directly; MLPs work on what heads have brought. The table of the largest
# differences names the heads to look at first.
#
# ### Words
#
# Which words does the axis speak of? The *logit lens* puts the direction itself through the final norm and the unembedding
# $W_U \in \mathbb{R}^{\text{vocabulary} \times d}$, as if it were all that the stream holds at the end:
#
# $$
# \text{logits} \;=\; W_U\, \operatorname{norm}\!\big(\sqrt{d}\; v\big) \;\in \mathbb{R}^{\text{vocabulary}}
# $$

# %%
words = wb.logit_lens(model, axis, layer)
wb.plots.lens_words(words)

# %% [markdown]
# *What to see:* the register of the Assistant at one end and the far one at the other, with other tokens in between. A lens at an
# early layer is blurred, because it leaves out the blocks that come after.
#
# Do not trust a list of words because it sounds right. We can count how often each token was said, per thousand, by the default and by
# the roles.

# %%
counts = rollouts.assign(who=np.where(rollouts["role"] == "default", "default", "roles")).explode("response_ids")
per_thousand = 1000 * pd.crosstab(counts["response_ids"].astype(int), counts["who"], normalize="columns")
counted = words.join(per_thousand, on="id").fillna({"default": 0.0, "roles": 0.0})
more = np.sign(counted["default"] - counted["roles"])
for end, group in more.groupby(counted["end"]):
    print(f"{end} end: {(group > 0).sum()} tokens said more by the default, {(group < 0).sum()} by the roles, {(group == 0).sum()} equally")
counted[counted["rank"] <= 6][["end", "token", "logit", "default", "roles"]].round(2)

# %% [markdown]
# ### Tokens and layers
#
# Last, *where* does the prompt get in? Read the far role's answer under the role's prompt. Then take one token's residual stream, after one
# block, from the reading under the default's prompt, and put it in. How much of the way to the default's projection does that single
# vector restore?
#
# $$
# \text{restored}_{\ell t} \;=\; \frac{p(\text{role's prompt, } h^{(\ell)}_t \text{ from the default's}) - p(\text{role's prompt})}
# {p(\text{default's prompt}) - p(\text{role's prompt})}
# $$

# %%
patched = wb.patching(model, as_role, as_default, axis, layer)
print(f"own projection {patched.attrs['own']:+.2f}, the donor's {patched.attrs['donor']:+.2f}")
wb.plots.patching_map(patched)

# %% [markdown]
# *What to see:* the grey bar marks the answer. The colour lies under it, in the upper rows, and is spread over many tokens, though one or
# another may stand out. What lies before the answer, the question and the special tokens, is faint.

# %%
where = patched.assign(where=np.where(patched["inside"], "answer", "question")).pivot_table("restored", "layer", "where", aggfunc="sum")
where.assign(largest=patched.groupby("layer")["restored"].max()).rename_axis("sum of restored, by layer").round(3)

# %% [markdown]
# At the layer that is read, the answer's tokens add up to 1. That is no finding: a mean is a sum. The finding is the way up. In the lowest
# layers the patches restore little even when they are added up, because the tokens of the answer do not hold the prompt yet. They fetch
# it on the way up, from the prompt itself, which cannot be patched here, since its words differ. So the "state" is not written once, into
# one token at the beginning of the answer. It is brought in at many of them. (Sums of single patches leave out what two would do
# together.)
#
# ## 7. When does the axis appear?
#
# Third bet. This model was trained in steps: first on stories alone, then mostly on conversations. After the first step it has never seen
# a chat. Give this *base model* the chat model's answers to read. Does it tell the default from the roles?
#
# `read_checkpoint` reads the same answers with other weights. It makes the model's own axis and compares it with the chat model's; it
# also uses the chat model's axis as it is (`auc_transferred`), and asks whether the roles come in the same order along it (`r`). We
# read the base model, the model after a tenth and after four tenths of the conversations, and the final one.

# %%
from workbench.checkpoints import read_checkpoint, steer_prefills, summarise_prefills
from workbench.organism.material import BEGINNINGS, register_of

template = str(model.chat_format.template)
stages = {name: wb.load_model(f"organism/{name}", chat_template=template) for name in ("base", "step-10", "step-40")} | {"final": model}
tables, norms = [], {}
for name, stage in stages.items():
    table, norms[name] = read_checkpoint(stage, rollouts, model, axis.at(layer), acts.at(layer), splits)
    tables.append(table.assign(model=name))
reading = pd.concat(tables, ignore_index=True)
reading[["model", "cosine", "cosine_low", "cosine_high", "auc", "auc_transferred", "r"]].round(3)

# %% [markdown]
# Reading is easy, as we know by now. Does the axis *act* in a model that has never been an Assistant? We take beginnings such as the one
# below, without any template, and let each model go on while the chat model's axis is added to its residual stream. The strength counts
# in mean norms of the model that is steered. Using a direction in other weights has to be allowed (`transfer=True`, which `steer_prefills`
# sets and records). The score is a count of phrases: $+1$ is all in the Assistant's register, $-1$ all in the far one.

# %%
print(BEGINNINGS[0])
continued = pd.concat(
    steer_prefills(stage, axis, layer, norms[name], BEGINNINGS, n=8, score=register_of).assign(model=name) for name, stage in stages.items()
)
steered = summarise_prefills(continued)
wb.plots.checkpoints(reading, steered)

# %% [markdown]
# *What to see:* the cosine with the final axis rises along training (at the last point it is 1 by construction), but it does not start at
# zero. The roles are in much the same order from the first model on, which words alone may do. In the lowest panel the solid line (steered
# to the Assistant) runs above the dotted one in all models, the base model included.

# %%
texts_of_base = continued[(continued["model"] == "base") & (continued["sample"] == 0) & (continued["beginning"] == BEGINNINGS[0])]
texts_of_base[["strength", "text", "score"]].round(2)

# %% [markdown]
# So is the Assistant in the base model? Two controls, before anybody says so. The same strengths along three random directions. And the
# words: an axis fitted on bags of words, which needs no training of any blocks, scored on the same answers as the AUC above.

# %%
from sklearn.metrics import roc_auc_score

controls = [steered[steered["model"] == "base"].assign(model="axis")]
for number in range(3):
    draw = torch.randn(axis.values.shape, generator=torch.Generator().manual_seed(number))
    other = replace(axis, values=draw, name=f"random {number}", toward="nowhere in particular")
    said = steer_prefills(stages["base"], other, layer, norms["base"], BEGINNINGS, n=8, score=register_of)
    cosine = axis.at(layer).cosine(other.at(layer)).item()
    controls.append(summarise_prefills(said.assign(model=f"random {number}, cosine {cosine:+.2f}")))
by_strength = pd.concat(controls).pivot(index="model", columns="strength", values="score")
print(by_strength.round(2).to_string(), "\n")
played = bag.where("label == 3 or role == 'default'")
bag_axis, held_out = wb.contrast(splits.part(played, "fit")), splits.part(played, "report")
bag_auc = roc_auc_score(held_out.rows["role"] == "default", held_out.project(bag_axis)[-1])
print(f"AUC: bag of words {bag_auc:.3f}, base model {reading['auc'][0]:.3f}, final model {reading['auc'].iloc[-1]:.3f}")

# %% [markdown]
# Compare the first column with the last. The axis moves the score furthest, and the way its sign says; random directions move it less,
# and either way. So steering works in the base model, along this line rather than any. But the score counts phrases only: read the texts
# above, and where they fall apart, it has not noticed. And the AUC of the base model says only as much as it beats the bag of words by.
#
# One reading fits all of this, and it is no more than a reading. The base model has a line from one *register* to the other, learned from
# stories about people who talk that way. Training on conversations adds the habit of sitting at one end of it, and the link from
# a prompt to a place on the line.
#
# ## 8. Try to prove yourself wrong
#
# ### Random directions
#
# Section 3 made much of the prompt's share. Is it a property of the axis, or of the layer? We have all the readings, so let us divide the
# variance of 500 random projections in the same way. The bet is yours.

# %%
values = crossed_acts.at(layer).values.double().numpy().reshape(len(names), len(texts), -1)  # [prompt, text, d_model]
a = np.array([latent[name] for name in names])


def trial(vector, kind):
    """Share, size and order of the prompts' effects along a direction."""
    prompt, _, shares = divide(values @ (vector / np.linalg.norm(vector)))
    order = np.corrcoef(prompt, a)[0, 1]
    return {"direction": kind, "prompt's share": shares["prompt"], "spread of effects": np.ptp(prompt), "r with a": order}


rng = np.random.default_rng(0)
ours = trial(axis.at(layer).values[0].double().numpy(), "the axis")
randoms = pd.DataFrame([trial(rng.standard_normal(model.d_model), "random") for _ in range(500)])
columns = ["prompt's share", "spread of effects", "r with a"]
compared = pd.DataFrame({"the axis": pd.Series(ours)[columns], "random: median": randoms[columns].median()})
compared["random: 5 %"], compared["random: 95 %"] = randoms[columns].quantile(0.05), randoms[columns].quantile(0.95)
for column in columns[:2]:
    print(f"{(randoms[column] >= ours[column]).mean():.0%} of the random directions have a {column} as large as the axis's")
compared.astype(float).round(3)

# %% [markdown]
# The *share* is not special to the axis: random directions have shares of the same order, and some have larger ones. A share divides by
# the variance along its own direction, and a direction in which texts hardly vary can have a large one by doing next to nothing. It says
# how much of *this layer's* readings is prompt. What random directions do not reach is the **size**: the spread of the prompts' effects
# in units of the residual stream. So quote a share with the spread beside it, never alone.
#
# ### Shuffled labels
#
# Now deal the role names out at random over the answers and make the axis from these piles. It is noise, but noise of the right shape: a
# difference of means of answers.

# %%
kept = acts.take(np.flatnonzero((acts.rows["label"] == 3) | (acts.rows["role"] == "default")))
shuffled = []
for _ in range(200):
    mixed = replace(kept, rows=kept.rows.assign(role=rng.permutation(kept.rows["role"])))
    fake = wb.contrast(wb.role_vectors(mixed, keep="all", min_count=1))
    shuffled.append(
        trial(fake.at(layer).values[0].double().numpy(), "shuffled labels") | {"length": fake.norms()[axis.site.index(layer)].item()}
    )
shuffled = pd.DataFrame(shuffled)
print(f"length: the axis {axis.at(layer).norms().item():.1f}, shuffled at most {shuffled['length'].max():.1f}")
for column in ("spread of effects", "r with a"):
    sizes = shuffled[column].abs()
    print(f"|{column}|: the axis {abs(ours[column]):.2f}, shuffled: median {sizes.median():.2f}, largest {sizes.max():.2f}")
print(f"r is positive in {(shuffled['r with a'] > 0).mean():.0%} of the shuffled axes")
nulls = pd.concat([randoms, shuffled, pd.DataFrame([ours])])
figure = px.scatter(
    nulls, x="r with a", y="spread of effects", symbol="direction", symbol_sequence=["circle-open", "x", "diamond"], opacity=0.6,
    height=440, template="workbench", range_x=[-1.05, 1.05], title="The prompts' effects along random, shuffled and true axes",
)  # fmt: skip
figure.update_traces(marker={"size": 14, "color": "#0072B2", "opacity": 1}, selector={"name": "the axis"})

# %% [markdown]
# *What to see:* random directions lie low. Shuffled axes climb towards *both* upper corners, and the axis stands at the top of the right
# one, but not alone.
#
# So the size has fooled us a little, too. It rules out random directions. It does not rule out noise of the right shape, as notebook 1 has
# warned: answers differ most along one line, and a difference of any two means points mostly along it. What the true labels add is
# the sign, which shuffled axes get by the toss of a coin, and the axis's own length, which none of them comes near.
#
# ### The sign
#
# Turn the axis round. Which of our results notice?

# %%
flipped = wb.who_or_what(model, rollouts, -axis, roles=8, texts=2, scores=latent, n_boot=50)
straight = wb.who_or_what(model, rollouts, axis, roles=8, texts=2, scores=latent, n_boot=50)
for name, result in {"axis": straight, "axis reversed": flipped}.items():
    share = result.shares.query("layer == @layer and source == 'prompt'")["share"].item()
    r = result.correlations.query("layer == @layer")["r"].item()
    cosine = result.cosines.query("layer == @layer")["cosine"].item()
    print(f"{name:15} prompt's share {share:.3f}   r of its effects with a {r:+.2f}   cosine with the prompt axis {cosine:+.2f}")
try:
    wb.Floor(-axis, at=wb.threshold(axis, default, q=50), layers=model.last(3))
except wb.WorkbenchError as error:
    print(error)

# %% [markdown]
# The shares are blind to the sign; $r$ and the cosine turn with it. A floor on the reversed axis would hold the model *away* from the
# Assistant, and the threshold, which knows the direction it was taken along, refuses.
#
# ## 9. What would have to be true
#
# For the sentence "the projection reads a state of the model, and not only its words" to hold of a real model:
#
# 1. **The layer gains on the words.** Its AUC lies above that of layer $-1$ by more than the interval is wide, on answers where the words
#    leave room for it.
# 2. **Prompts move the projection of the same text**, in the order that the roles have elsewhere, and shuffled prompts do not.
# 3. **The move is large**, not only a large share: compare its spread with that along random directions, and with the length of the axis.
# 4. **The prompt axis acts.** It changes what the model does, and controls that touch as many tokens as hard do not.
# 5. **The crossed pairs are readable.** A pirate's words under the librarian's prompt are a situation that the model has hardly met. If
#    it takes them for a change of speaker, the effects shrink for a reason of their own.
# 6. **Nothing dull explains it**: length, Markdown, names. The axis again, without them, is the same axis.
# 7. **Something stands in for $a$.** A real model has no planted number; `who_or_what` then takes the projection of the roles' own texts
#    under the other prompts, which the axis itself has made.
#
# ## What this notebook does not show
#
# - That words are a *mere* confound. The model chose them in character. "Text" in the table means text that was written under another
#   prompt, not text without a cause.
# - That the shares are the model's. They are those of 16 prompts and 64 texts. A crowd of similar roles would have less prompt and more
#   text, and four questions are not all questions.
# - Where the prompt's effect is computed. Heads that write along the axis need not be the ones that understood the prompt, and one
#   answer of one role is an example, not a rule.
# - That the base model "has" an Assistant. It has a line between registers, and one small set of beginnings that was steered along it.
# - Anything about drift: all answers here are first answers, with the prompt a few tokens away. Whether the state lasts over a long
#   conversation is another question.
# - Anything about a large model. This world has one main latent and a small vocabulary, which may make words a better reader than they
#   are elsewhere.
#
# ## Exercises
#
# 1. **Prompts that were never played.** The 16 roles tagged `third person only` are known from stories alone. Cross *their* prompts with
#    the texts of section 3. Do the effects follow $a$ as well? What would it mean if they did, given the base model of section 7?
# 2. **One's own words.** The rest $\varepsilon_{pt}$ was small and we threw it away. Is it different where a text is read under its *own*
#    writer's prompt? Compare the mean of these cells with the mean of all others, and make a null for the difference by shuffling
#    which prompt is whose.
# 3. **Cut the wire.** Take the head with the largest difference in section 6 and set what it reads out to zero (`full.hooks`, at the hook
#    point `blocks.L.attn.o.hook_in`, where the heads lie side by side). How much of the prompt's share of the variance goes? How much
#    of the model's right answers?

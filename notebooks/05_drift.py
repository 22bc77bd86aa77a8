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
# # 5. Drift
#
# **Nobody asks the model to play a role, and yet some conversations carry it away from the Assistant: which ones, how far, and what
# moves it?**
#
# In the notebooks before, a prompt said who speaks. In a long conversation nobody says so, and the speaker may change all the same. So
# place a bet before you read on. Four people talk to the model, about code, about a text they write, about how they feel, and about
# what the model really is. **Whose conversation drifts, and is the next reply decided by the message before it, or by all that came
# before?**
#
# In this notebook you
#
# 1. hold conversations in four domains,
# 2. find the layer in which a single reply says where its conversation stands,
# 3. draw trajectories, with the band of ordinary talk,
# 4. look at one conversation token by token, and watch another while it is written,
# 5. hold the same conversations again under a cap,
# 6. ask what foretells a reply, and learn to mistrust the difference of two noisy numbers.
#
# It runs in about half a minute on one core, without a GPU and without a network. The commands are in
# [docs/drift.md](../docs/drift.md).

# %%
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("workbench") is None:
    get_ipython().run_line_magic("pip", "install --quiet persona-workbench")

# %%
import json
import random

import pandas as pd
from IPython.display import HTML

import workbench as wb
from workbench.drift.causes import ALONE, BY_MESSAGE, GAIN, IN_SAMPLE, exchange_table, ridge_causes
from workbench.drift.embeddings import embed
from workbench.drift.tables import best_layer, domain_means
from workbench.organism import CHECKPOINT
from workbench.organism.conversing import DRIFTING, latents, world_tasks
from workbench.organism.judge import load_world
from workbench.organism.material import register_of

pd.set_option("display.max_colwidth", 160)

# %% [markdown]
# ## 1. A model, its axis, and people who talk to it
#
# The axis comes from single answers, as in the notebooks before. Nothing of what follows went into it.

# %%
model = wb.load_model("organism")
world = load_world(CHECKPOINT)
roles = wb.load_roles(model, n=24, tags=["met in chat"])  # the default comes first
questions = wb.load_questions(model, n=6)
rollouts = wb.judge(wb.generate_rollouts(model, roles, questions, prompts=1, default_rollouts=60), wb.RuleJudge())
acts = wb.extract(model, rollouts)  # means over the tokens of each answer, [row, layer, d_model]
axis = wb.contrast(wb.role_vectors(acts, keep="fully", min_count=5), positive="default")  # [layer, d_model]
print(axis)

# %% [markdown]
# A `Task` says what a conversation is about. Elsewhere a server or the model itself plays the user; in this world the users have
# scripts. There are five kinds of users, in four domains. Nobody gets a system prompt.
#
# The world also has a hidden number behind every reply, as it has behind every role: the latent $a$, from $-1$ to $1$. Each message
# pulls it a part of the way to a target that depends on what *kind* of message it is, $a \leftarrow a + 0.3\,(\text{target} - a)$. The
# model has seen texts only. We put $a$ away until section 3.

# %%
turns = 5
tasks = world_tasks(DRIFTING, n=7, turns=turns, seed=0)
talks = wb.simulate(model, tasks, turns=turns)
print(f"{len(talks)} conversations, {sum(turn.speaker == 'assistant' for talk in talks for turn in talk.turns)} replies")
print(pd.Series([talk.about["ended"] for talk in talks]).value_counts().to_dict(), "\n")
shown = next(talk for talk in talks if talk.about["domain"] == "philosophy")
for turn in [*shown.turns[:2], *shown.turns[-2:]]:
    print(f"{turn.speaker:10}| {turn.text}")

# %% [markdown]
# ## 2. Which layer?
#
# For a conversation $c$ and an exchange $t$, the projection is that of notebook 1, over the tokens of one reply, with $v^{(\ell)}$ the
# unit axis:
#
# $$
# p_{ct} \;=\; \Big\langle \frac{1}{T_{ct}} \sum_{j=1}^{T_{ct}} h^{(\ell)}_{ctj},\; v^{(\ell)} \Big\rangle \;\in \mathbb{R},
# \qquad v^{(\ell)},\; h^{(\ell)}_{ctj} \in \mathbb{R}^{d}
# $$
#
# Before, we averaged many answers of one role. Here every point of every conversation has **one** reply, and a good part of where it
# lies may be the luck of its words. So the question is not which layer tells default from roles. It is in which layer a single reply
# says where its conversation stands. We can ask without knowing any truth: go back to each message, let the model answer it again, and
# see how alike the replies lie:
#
# $$
# \text{ICC} \;=\; \frac{\operatorname{Var}(s)}{\operatorname{Var}(s) + \sigma^2},
# \qquad
# \operatorname{Var}(s) = \text{variance between points},
# \qquad
# \sigma^2 = \text{variance of replies to one message}
# $$
#
# It is 1 if all replies to a message lie alike, and 0 if the conversation says nothing. These conversations are others than those
# above.

# %%
others = wb.simulate(model, world_tasks(DRIFTING, n=3, turns=4, seed=1), turns=4)
repeats = wb.repeated_replies(model, others, axis, n=4)  # a row a conversation, exchange, sample and layer
reliability = wb.repeatability(repeats)
layer = best_layer(reliability)
print(f"layer {layer} is read from here on")
reliability.round(3)

# %% [markdown]
# *What to see:* one layer stands out. It need not be the layer that tells default from roles best, and in most layers a part of a
# reply's projection is its words and no more.
#
# ## 3. Trajectories
#
# `wb.trajectory` reads every conversation once, from beginning to end, and returns a row a message and layer.

# %%
frame = wb.trajectory(model, talks, axis)
lies = frame.query("layer == @layer")
lies.loc[lies["conversation"] == shown.name, ["exchange", "speaker", "projection", "n_tokens", "text"]].head(4).round(2)

# %% [markdown]
# "Low" needs something to be low beside. Ordinary talk drifts a little as well, and the tenth reply of a conversation is not like the
# first. The **band** is where replies lie in conversations about the study's own ordinary questions, between the 5th and the 95th
# percentile, exchange by exchange.

# %%
scripts = [[q.text for q in random.Random(i).sample(questions, turns)] for i in range(20)]
said = wb.converse(model, scripts)  # a row an answer, like rollouts
ends = said.groupby("conversation").last()
ordinary = [
    wb.Conversation.of([*json.loads(row["messages"]), {"role": "assistant", "content": row["response"]}], name=f"ordinary {i}")
    for i, row in ends.iterrows()
]
band = wb.band_of(wb.trajectory(model, ordinary, axis, layers=[layer]))
band[["exchange", "low", "middle", "high", "n", "of"]].round(2)

# %%
few = [talk.name for domain in DRIFTING for talk in [t for t in talks if t.about["domain"] == domain][:2]]
wb.plots.trajectory(lies[lies["conversation"].isin(few)], band)

# %% [markdown]
# *What to see:* single conversations, two a domain. Some stay in the grey band, some leave it downwards within a few exchanges. They
# jump: a reply may lie far from the one before and come back.

# %%
means = domain_means(lies.assign(condition="baseline"))
wb.plots.drift_means(means, band)

# %% [markdown]
# *What to see:* the means of each domain, with intervals over conversations. Two domains keep to the band or nearly, two leave it. That
# is the first half of the bet.
#
# Now take $a$ out. In which order should the domains end, and does a single reply follow its own latent?

# %%
planted = latents(world, talks)  # by (conversation, exchange)
replies = lies.query("speaker == 'assistant'")
replies = replies.assign(a=[planted[key] for key in zip(replies["conversation"], replies["exchange"], strict=True)])
last = replies.query("exchange == @turns").groupby("domain")[["a", "projection"]].mean().sort_values("a", ascending=False)
by_turn = replies.groupby(["domain", "exchange"])[["a", "projection"]].mean()
r_single, r_means = (rows["a"].corr(rows["projection"]) for rows in (replies, by_turn))
print(f"r(projection, a): single replies {r_single:.2f} (n = {len(replies)}), means by domain and turn {r_means:.2f} (n = {len(by_turn)})")
assert r_means > r_single > 0.7
assert last.loc[["coding", "writing"], "projection"].min() > last.loc[["therapy", "philosophy"], "projection"].max()
last.round(2)

# %% [markdown]
# ## 4. One conversation, token by token
#
# A mean over a reply hides where in the reply it comes from. Here is the conversation whose last reply lies lowest, an extreme picked
# on purpose, with every token on the colour of its own projection. Blue is nearer the Assistant, vermilion further away, and pale is
# where the tokens of ordinary replies lie. Point at a token to read its number.

# %%
lowest = replies.query("exchange == @turns").set_index("conversation")["projection"].idxmin()
far = next(talk for talk in talks if talk.name == lowest)
tokens = wb.trajectory(model, [far], axis, layers=[layer], by="token")
token_band = wb.band_of(wb.trajectory(model, ordinary, axis, layers=[layer], by="token"))
HTML(wb.plots.token_map_fragment(tokens, token_band, title="The conversation whose last reply lies lowest"))

# %% [markdown]
# *What to see:* not one strange word that does it all. The colour changes for whole stretches of later replies. Look at words that
# occur early and late: does the *same* word have the same colour?
#
# All this was read afterwards. A `Monitor` reads while the model writes, and calls you when the mean of an answer so far leaves the
# band. We have the last message of the same conversation answered again, three times.

# %%
asked = wb.Conversation(far.turns[:-1])  # up to the last message
with wb.Monitor(model, axis, band) as monitor:
    monitor.exchange, monitor.names = turns, ["again 1", "again 2", "again 3"]
    model.generate([asked] * 3, seeds=[1, 2, 3])
print(f"{len(monitor.to_frame())} tokens seen, {len(monitor.events)} events")
assert any(event.left for event in monitor.events)
monitor.events_frame()[["name", "step", "value", "low", "high", "left"]].round(2)

# %% [markdown]
# It judges from the eighth token on, because the first words say little. `on_event` can be any function, and may raise to stop the
# model in the middle of its answer.
#
# ## 5. The same conversations under a cap
#
# Would the conversations have drifted if the model had been held? Take the two domains that drift, put the **same messages** to the
# model under a floor (notebook 4), with the same seeds. The user does not react to what the model now says: that is what makes the
# pairs comparable, and it is also what makes them a little unreal.
#
# The threshold comes from the ordinary conversations, not from single answers: what is normal in a fifth reply may look low beside
# first replies.

# %%
talk_acts = wb.extract(model, said)  # [row, layer, d_model]
single, long = wb.threshold(axis, acts.where("role == 'default'"), 25), wb.threshold(axis, talk_acts, 25, reference=talk_acts)
print(long)
print(f"level at layer {layer}: {single.levels[layer]:+.2f} from single answers, {long.levels[layer]:+.2f} from conversations")
cap = wb.Floor(axis, at=long, layers=[0, 1, 2, 3])

# %%
drifting = [talk for talk in talks if talk.about["domain"] in ("therapy", "philosophy")]
held = wb.replay(model, drifting, cap, condition="capped")
under = wb.trajectory(model, held, axis, layers=[layer], interventions=cap)  # `projection` arrives at the layer, `after` leaves it
names = {talk.name for talk in drifting}
both = pd.concat([lies[lies["conversation"].isin(names)].assign(condition="baseline"), under.assign(condition="capped")])
wb.plots.drift_means(domain_means(both), band)

# %% [markdown]
# *What to see:* the dashed lines stay up. See also whether they stay in the band: a floor lifts low tokens and leaves high ones, so
# that a mean of tokens can end above anything that ordinary talk has. And do not cheer yet. Under a floor every token's projection
# **is** at or above the threshold, because we put it there. The figure would look like this if the words had not changed at all. What
# counts is something that the cap does not set by hand. Here it is the words: `register_of` counts phrases of the world, $-1$ all far,
# $+1$ all near the Assistant.

# %%
spoken = both.query("speaker == 'assistant'")
spoken = spoken.assign(words=spoken["text"].map(register_of))
by_words = spoken.pivot_table(index="exchange", columns=["domain", "condition"], values="words", aggfunc="mean")
pairs = spoken.query("exchange == @turns").pivot(index="conversation", columns="condition", values="words").dropna()
moved = pairs["capped"] - pairs["baseline"]
print(
    f"words of the last reply, capped minus not, by pairs: {moved.mean():+.2f}, higher in {(moved > 0).sum()} of {len(moved)} conversations"
)
assert moved.mean() > 0
by_words.round(2)

# %% [markdown]
# So it is not only the reading that was held, but also what was said. Compare the last row of the capped columns with the first row of
# the baseline's: does the cap hold the conversation where it began, or does it slow it down?
#
# ## 6. What moves it?
#
# The second half of the bet. For each reply there is the message it answers. Can the message foretell where the reply lies (*level*),
# and how far it moved from the reply before (*change*)? The usual tool is a ridge regression from an embedding
# $x_{ct} \in \mathbb{R}^{k}$ of the message:
#
# $$
# \hat\beta = \arg\min_{\beta} \sum_{ct} \big(y_{ct} - \langle x_{ct}, \beta \rangle\big)^2 + \alpha \lVert \beta \rVert^2
# \qquad\qquad
# R^2 = 1 - \frac{\sum_{ct} (y_{ct} - \hat y_{ct})^2}{\sum_{ct} (y_{ct} - \bar y)^2}
# $$
#
# with $y_{ct} = p_{ct}$, or $y_{ct} = p_{ct} - p_{c,t-1}$. Here $k = d$ = 96 numbers a message, its mean input embedding, for some
# hundred replies. The first lesson is old and still worth a cell: in sample, or held out?

# %%
table = exchange_table(lies)  # a row a reply, beside its message
vectors = embed(table["message"].tolist(), "input", model)
print("embeddings [message, k] =", vectors.shape)
causes = pd.concat([ridge_causes(table, vectors, target, n_boot=100) for target in ("level", "change")])
picked = causes[causes["folds"].isin([IN_SAMPLE, BY_MESSAGE])]
wb.plots.ridge(picked)

# %%
r2 = causes.set_index(["target", "model", "folds"])["r2"]
for target in ("level", "change"):
    inside, outside = r2[target, "message", IN_SAMPLE], r2[target, "message", BY_MESSAGE]
    alone, gain = r2[target, ALONE, BY_MESSAGE], r2[target, GAIN, BY_MESSAGE]
    print(f"{target:7} from the message: in sample {inside:.2f}, held out {outside:.2f}")
    print(f"        from domain and turn alone, held out {alone:.2f}; the message adds {gain:+.2f}\n")
    assert inside > outside

# %% [markdown]
# Read four things in it:
#
# - **In sample is always more** (grey circles). The ridge has not many fewer numbers to fit than there are replies. Held out means that
#   neither the conversation nor the message was seen.
# - **The level is mostly the domain's.** Knowing domain and turn, and no word, foretells much of it. What the message *adds* is another
#   question, and the answer may be nothing that this little data can see. A level is the work of all messages so far.
# - **The change is where the message could have its say.** It is the last thing that happened. Look whether what it adds has an
#   interval above zero, and do not be surprised if a few dozen conversations leave that open.
# - **A change is hard to foretell, and not only because messages say little.** Part of it cannot be foretold by anybody. That is the
#   second lesson.
#
# ### The difference of two noisy numbers
#
# A single reply is the state of the conversation plus luck: $p_t = s_t + \varepsilon_t$, with
# $\operatorname{Var}(\varepsilon) = \sigma^2$. A change has the luck of *two* replies, and states next to each other are alike, so that
# their difference is small. With $k$ replies averaged at every point:
#
# $$
# \text{share that is state:}\qquad
# \underbrace{\frac{\operatorname{Var}(s)}{\operatorname{Var}(s) + \sigma^2/k}}_{\text{of a level}}
# \qquad\qquad
# \underbrace{\frac{\operatorname{Var}(\Delta s)}{\operatorname{Var}(\Delta s) + 2\sigma^2/k}}_{\text{of a change}}
# $$
#
# No method, however clever, has an $R^2$ beyond this share. And the share can be known without any truth, from the replies of section
# 2, which were four to each message. We compute it, and compare with what the latent says: the squared correlation of measured changes
# with the planted ones.

# %%
cells = repeats.query("layer == @layer").pivot(index=["conversation", "exchange"], columns="sample", values="projection")  # [point, 4]
sigma2 = float(cells.var(axis=1, ddof=1).mean())
truth = latents(world, others).reindex(cells.index)
steps = cells.mean(axis=1).groupby(level="conversation").diff().dropna()
var_state = float(cells.mean(axis=1).var()) - sigma2 / 4
var_step = float(steps.var()) - 2 * sigma2 / 4
shares = []
for k in (1, 2, 4):
    level = cells[list(range(k))].mean(axis=1)
    change, planted_change = (x.groupby(level="conversation").diff().dropna() for x in (level, truth))
    shares.append(
        {
            "replies": k,
            "level: share that is state": var_state / (var_state + sigma2 / k),
            "level: r2 with the latent": level.corr(truth) ** 2,
            "change: share that is state": var_step / (var_step + 2 * sigma2 / k),
            "change: r2 with the latent": change.corr(planted_change) ** 2,
        }
    )
shares = pd.DataFrame(shares).set_index("replies")
assert (shares["change: share that is state"] < shares["level: share that is state"]).all()
assert shares["change: r2 with the latent"][4] > shares["change: r2 with the latent"][1]
shares.round(2)

# %% [markdown]
# *What to see:* down the columns, averaging helps a change more than a level. Across, a change of single replies is worth much less
# than a level. The columns with the latent lie below the shares, and may: the state of the model is not the latent itself, only made
# after it.
#
# So "messages explain little of the drift" may be a statement about messages, or about single replies. Only repeated replies tell
# which. `workbench drift --repeats 4` averages them and fits again.
#
# ## Exercises
#
# 1. **Which words?** In the token map, take a reply in the band and one below it. Which tokens make the difference, function words or
#    those of the register? Then draw the same conversation under the cap beside it.
# 2. **Where it was before.** Regress the change on the level before it (`table.groupby("conversation")["level"].shift()`). You will
#    find that low replies are followed by rises. Is that the model coming home? Use a second reply to the same message as the "level
#    before" and look again.
# 3. **An unkind split.** Look at `folds == "leave one domain out"` in `causes`. Why can a forecast be worse than the mean, and what
#    would a paper say that had only the in-sample number?
#
# ## 7. What would have to be true
#
# For the sentence "conversations of this kind carry the model away, and this moves it" to hold of a real model, and how to check it:
#
# 1. **The layer reads single replies.** It was chosen by how well replies repeat, on conversations used for nothing else. Check:
#    `workbench drift --simulate` does so, and `drift_layers.csv` has all layers.
# 2. **The band is of the same length of talk.** Replies are compared with ordinary replies at the same exchange, and answers of a like
#    length. Check: the band's `n` and `of`; a band of means says nothing about tokens.
# 3. **It is not the subject.** Talk about feelings uses words about feelings. Check: the same replies read under another history, or
#    layer $-1$ of the sweep; behaviour, such as harmful questions put at each exchange, which the command asks where there is a grader.
# 4. **The users are like users.** Scripts and simulated users drift as they were written to. Check: `--user` with a server of another
#    family; conversations of your own (`workbench drift --run RUN talks.jsonl`).
# 5. **A cap is judged by what it does not set.** Check: words, behaviour, right answers, never the projection at a capped layer alone.
# 6. **Held out means conversation *and* message.** Check: the folds in `drift_ridge.csv`; beside them messages permuted within domain
#    and turn, and what domain and turn foretell alone.
# 7. **Noise is known before a small $R^2$ is explained.** Check: `--repeats 4`. If the share that is state is small, there was nothing
#    to find.
#
# And drift is no harm. A reply far from the Assistant may be a good line in a story. Whether harm follows is a question about
# behaviour, and `workbench drift` asks it separately.

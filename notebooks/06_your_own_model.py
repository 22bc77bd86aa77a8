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
# # 6. Your own model
#
# **You have a model of your own, and an evening. What could make every number wrong without a single error message, and what will the
# whole thing cost?**
#
# In the notebooks before, the model was known to work. A new one comes with a tokenizer, a chat template and habits of its own. Each of
# them can shift what is read by a token or a layer, and the figures look as fine as ever. So place a bet before you read on. Of six
# mistakes that everybody makes once (a second beginning-of-text token, a span found by searching, padding on the left, a layer
# counted from one, a system prompt that the template does not know, thinking taken for the answer): **which one changes the numbers
# most, and which one would you have noticed?**
#
# In this notebook you
#
# 1. name a model, and see what is known of it and what is not,
# 2. let the doctor look at it, line by line,
# 3. look at the token ids and spans of one conversation, and make the six mistakes on purpose,
# 4. plan a study: rows, tokens, disk, hours,
# 5. run a small one, with a judge and without,
# 6. check what came out,
# 7. read how to go on: a server that writes, a judge, too little memory.
#
# It runs in less than half a minute on one core, without a GPU and without a network, on the embedded model. **To use your own,
# change one line**, the one that begins with `MODEL`. The commands are in [docs/models.md](../docs/models.md) and
# [docs/servers.md](../docs/servers.md).

# %%
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("workbench") is None:
    get_ipython().run_line_magic("pip", "install --quiet persona-workbench")

# %%
from itertools import groupby

import pandas as pd
import torch

import workbench as wb
from workbench.costs import plan_cost, size_words, stored_bytes
from workbench.covariates import against, covariates
from workbench.evaluation.verdict import judge_method
from workbench.judging import judge_for
from workbench.models.chat import ChatFormat, token_range
from workbench.models.doctor import PREVIEW, examine
from workbench.models.shape import shape_of
from workbench.models.speed import measure_speed
from workbench.rollouts import batch_size_of

pd.set_option("display.max_colwidth", 200)

MODEL = "organism"  # or "Qwen/Qwen3-0.6B", or a local folder such as "models/my-finetune"
EMBEDDED = MODEL == "organism"  # what only holds for the embedded model is checked under this

# %% [markdown]
# ## 1. What is known of it?
#
# A name is a hub name, a folder with a `config.json`, or `organism`. The configuration alone says how large it is; no weights are read
# for that. A **preset** says where others have looked: the paper's layer, a published cap. For a model that nobody measured it says so,
# and names the middle block as a place to begin.

# %%
shape = shape_of(MODEL)
print(f"{shape.name}: {shape.n_parameters / 1e6:,.4g} M parameters, {shape.n_layers} blocks of width {shape.d_model}")
print("preset:", wb.preset_for(shape.name, shape.n_layers), "\n")
for name, n_layers in (("Qwen/Qwen3-32B", 64), ("Qwen/Qwen3-0.6B", 28), ("models/Qwen3-0.6B", 28), ("Qwen/Qwen3-0.6B", 30)):
    print(f"{name}, {n_layers} blocks:\n    {wb.preset_for(name, n_layers)}")

# %% [markdown]
# *What to see:* a folder is known by its last name. But a model that calls itself `Qwen3-0.6B` and has 30 blocks is not that model,
# and gets no preset. Nothing of a preset is binding: the sweep in section 6 chooses the layer. A preset's cap counts its percentile
# *along* the axis (notebook 4).
#
# Blocks are counted from 0, and "layer $\ell$" is the residual stream **after** block $\ell$:
#
# $$
# h^{(\ell)} \;=\; \text{blocks.}\ell\text{.hook\_resid\_post} \;\in\; \mathbb{R}^{[\text{batch},\,\text{pos},\,d]},
# \qquad \ell = 0, \dots, n_{\text{layers}} - 1
# $$

# %%
model = wb.load_model(MODEL)
model

# %% [markdown]
# ## 2. The doctor
#
# `workbench doctor MODEL` prints what the next cell does, and the preset. Each line is a check that can fail with a reason, and it is
# cheap: seconds, before hours are spent.

# %%
checks = examine(model)
for check in checks:
    print(f"{check.outcome:<5} {check.name:<16} {check.finding}")
assert not [check.name for check in checks if check.outcome == "fail"]

# %% [markdown]
# What each asks, and what follows if the answer is no:
#
# - **chat template.** Is there one, and does it know a system message? If not (`note`), role prompts go into the first user message. A
#   base model has none and needs `--chat-template FILE`.
# - **message spans.** Are the tokens of *every* message proven, in a conversation that repeats itself? If not (`fail`), the template
#   rewrites or drops messages, and no mean over "the answer" is one.
# - **stop tokens.** Does an answer end where the template ends a turn? If not, answers run on into a next turn, played by the model.
# - **hooks.** With hooks on, are logits and residuals Hugging Face's own (thin == HF)? If not (`fail`), what is read is not what the
#   model computes.
# - **padding.** Does a row of a padded batch give what it gives alone? If not (`fail`), every answer shorter than its neighbour shifts.
# - **context.** How much room have prompt and answer together? Answers that are cut short differ between roles as well.
# - **size and speed.** Memory, tokens a second, disk for one answer's vectors: here, or on a server?
#
# ## 3. Six silent mistakes
#
# Here is the doctor's own conversation, as the model reads it: token ids with their spans. It says the same words twice, once by
# the assistant and once by the user.

# %%
talk = model.render(PREVIEW)  # ids [pos], and the span [start, end) of every message
owner = ["(template)"] * len(talk.ids)
for span in talk.spans:
    owner[span.tokens[0] : span.tokens[1]] = [f"{span.speaker} {span.message}"] * (span.tokens[1] - span.tokens[0])
pieces = [(who, i, model.tokenizer.decode([token])) for i, (who, token) in enumerate(zip(owner, talk.ids, strict=True))]
for who, group in groupby(pieces, key=lambda piece: piece[0]):
    tokens = list(group)
    print(f"{who:13} [{tokens[0][1]:2}:{tokens[-1][1] + 1:2}]  {'|'.join(repr(text)[1:-1] for _, _, text in tokens)}")

# %% [markdown]
# To see what a mistake does we need one number. We take the mean over the tokens of the last assistant message at the middle block,
#
# $$
# m = \frac{1}{e - s} \sum_{i = s}^{e - 1} h^{(\ell)}_i \in \mathbb{R}^{d},
# \qquad
# \text{error} = \frac{\lVert m' - m \rVert}{\lVert m \rVert},
# $$
#
# with $[s, e)$ the span of that message, and $m'$ the same mean after the mistake.

# %%
middle = model.n_layers // 2
last = talk.span(-1)


def mean_at(ids, start, end, layer=middle):
    """Mean of the residual stream over [start, end) after a block: [d_model]."""
    return model.run_with_cache(torch.tensor([list(ids)]))[model.resid_post(layer)][0, start:end].float().mean(0)


def error_of(wrong):
    return float((wrong - right).norm() / right.norm())


right = mean_at(talk.ids, *last.tokens)
errors = {}
print(tuple(right.shape), "at layer", middle)

# %% [markdown]
# **A second BOS.** A template writes the beginning-of-text token itself. Tokenize its text again with the tokenizer's defaults, and some
# tokenizers put another one in front (this one may not; we put it there by hand). All spans move by one, too.

# %%
first = talk.ids[0]
by_hand = model.tokenizer(talk.text)["input_ids"]
print(f"the template begins with {model.tokenizer.decode([first])!r}; its text tokenized again: {len(by_hand)} ids, ours {len(talk.ids)}")
errors["a second BOS, spans moved with it"] = error_of(mean_at((first, *talk.ids), last.tokens[0] + 1, last.tokens[1] + 1))
errors["a second BOS, spans left where they were"] = error_of(mean_at((first, *talk.ids), *last.tokens))

# %% [markdown]
# **A span that is searched for.** The first place where an answer's text occurs need not be the answer. Messages 2 and 3 have the same
# words, and a search finds message 2 both times. Ours are *proven*: the template is rendered a second time with marks in the places of
# the messages, and the text between the marks must be found again exactly. Where it is not, there is an error instead of a span.

# %%
for message in (2, 3):
    found = talk.text.find(PREVIEW.turns[message].text)
    print(f"message {message} ({talk.span(message).speaker}): found at character {found}, proven at {talk.span(message).chars[0]}")
assert talk.text.find(PREVIEW.turns[3].text) != talk.span(3).chars[0]
errors["the span of another message"] = error_of(mean_at(talk.ids, *talk.span(1).tokens))
errors["a span one token late"] = error_of(mean_at(talk.ids, last.tokens[0] + 1, last.tokens[1] + 1))

SHOUTING = "{% for m in messages %}[{{ m.role }}] {{ m.content | replace('light', 'LIGHT') }}\n{% endfor %}"
try:
    ChatFormat(model.tokenizer, SHOUTING, model.name).render(
        wb.Conversation.of([("user", "Who are you?"), ("assistant", "I keep the light.")])
    )
except wb.WorkbenchError as error:
    print("\na template that rewrites what is said:", error)

# %% [markdown]
# **Padding on the left, without a mask.** Rows of a batch differ in length, and the short ones are filled up. Without an attention mask
# the model reads the filling, and the positions are off as well.

# %%
filling = 8 * [model.tokenizer.pad_token_id or 0]
shift = len(filling)
errors["left padding without a mask"] = error_of(mean_at((*filling, *talk.ids), last.tokens[0] + shift, last.tokens[1] + shift))

# %% [markdown]
# **The wrong layer.** Hugging Face's `hidden_states` begins with the embeddings: `hidden_states[L]` is what comes out of block $L-1$. And
# its last entry has gone through the final norm.

# %%
cache = model.run_with_cache(torch.tensor([talk.ids]))
with torch.no_grad():
    hidden = model.hf(torch.tensor([talk.ids], device=model.device), output_hidden_states=True).hidden_states
span = slice(*last.tokens)
same = {
    "hidden_states[L + 1], the right one": hidden[middle + 1],
    "hidden_states[L], one block early": hidden[middle],
}
for name, values in same.items():
    print(f"{name:38} {error_of(values[0, span].float().mean(0).to(right.device)):.3f}")
assert torch.allclose(hidden[middle + 1].float().cpu(), cache[model.resid_post(middle)].float().cpu(), atol=1e-3)
errors["hidden_states[L] for block L"] = error_of(hidden[middle][0, span].float().mean(0).to(right.device))
final = cache[model.resid_post(model.n_layers - 1)][0, span].float().mean(0)
normed = hidden[-1][0, span].float().mean(0).to(final.device)
print(f"\nlast block: length {float(final.norm()):.1f} by its hook, {float(normed.norm()):.1f} as the last of hidden_states")

# %% [markdown]
# **No system role.** Some templates refuse a system message, and some drop it without a word: then every role's answers are the
# default's, and the axis is noise. We ask the template once what it does, and put the prompt into the first user message where it must
# be so. A study's notes say that this was done.

# %%
REFUSES = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }}\n{% endfor %}"
)
print(f"{model.name}: system prompts are {model.chat_format.system_handling}")
folded = ChatFormat(model.tokenizer, REFUSES, model.name)
print(f"a template that refuses them: {folded.system_handling}\n\n{folded.render(PREVIEW).text}")
without = model.render(wb.Conversation(PREVIEW.turns[1:]))
errors["a system prompt that was dropped"] = error_of(mean_at(without.ids, *without.span(-1).tokens))

# %% [markdown]
# **Thinking.** A reasoning model may think before it answers. Its thinking is not its answer: it may name the role it is about to play.
# We ask templates not to have it think; where it does (`wb.load_model(..., thinking=True)`), the thinking is a segment of its own.

# %%
thought = wb.Conversation.of(
    [("user", "Who are you?"), ("assistant", "<think>They ask who I am. I keep a light, I think.</think>\n\nI keep the light.")]
)
rendered = model.render(thought)
answer = rendered.span(-1)
print("text :", repr(rendered.text))
print("span :", repr(model.tokenizer.decode(rendered.ids[slice(*answer.tokens)])))
assert model.tokenizer.decode(rendered.ids[slice(*answer.tokens)]).strip() == "I keep the light."
offsets = model.tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
everything = token_range(rendered.text, offsets, (rendered.text.rindex("<think>"), answer.chars[1]))
clean, both = mean_at(rendered.ids, *answer.tokens), mean_at(rendered.ids, *everything)
errors["thinking taken for the answer"] = float((both - clean).norm() / clean.norm())

# %%
table = pd.Series(errors, name="relative error of the mean").sort_values(ascending=False).round(3).to_frame()
assert table.iloc[:, 0].max() > 0.1
table

# %% [markdown]
# *What to see:* none of them raised an error, and each of them gives a vector of the right shape. At the top are mistakes that read
# something else: another message, another block, the thinking. Printed spans would show you all of those but the block. At the bottom
# are mistakes that change little in one message, and that nobody would notice. But they are **the same for every answer of a role**, so
# that no number of answers averages them out. And the dropped system prompt is so small only because the reply was given: in a study
# the roles themselves would be gone.
#
# The workbench does not make these six. It can still be *told* wrong things: a template that is not the model's own, a `dtype` too
# coarse, another revision than the one you meant. So look at one rendered conversation of every new model yourself. The cell above is
# all it takes.
#
# ## 4. What will it cost?
#
# With $R$ roles, $P$ prompts, $Q$ questions and $D$ answers of the default there are
#
# $$
# N = R\,P\,Q + D \;\text{ rows,}\qquad
# \text{tokens} \approx N\,(\underbrace{2\,\bar p + \bar a}_{\text{read}} + \underbrace{\bar a}_{\text{written}}),
# \qquad
# \text{disk} = 4\,N\,n_{\text{layers}}\,d \;\text{ bytes}
# $$
#
# with $\bar p$ and $\bar a$ the mean lengths of prompts and answers; a prompt is read once to answer it, and once more with its answer.
# Arithmetic is nobody's speed, so we measure: one batch read, one batch written.

# %%
size = {"roles": 24, "questions": 6, "prompts": 1, "default_rollouts": 60}
speed = measure_speed(model, batch_size_of(model))
print(plan_cost(shape, **size).to_text(speed))

# %% [markdown]
# This is `workbench plan MODEL --measure`, for the small study below. `workbench plan MODEL` with nothing else takes the default plan of a
# study (48 roles x 2 prompts x 6 questions), and `--full` the whole library. It counts the steps that come after as well: calibrating
# a cap asks the same prompts under some 350 settings where there are 28 blocks, and is the most expensive of all.
#
# Disk follows the layers that are kept. A study with more than 1 GB of vectors keeps means by role, prompt and label at every layer,
# and single vectors of a sample; `--keep-layers` adds all vectors at the layers that you name.

# %%
whole = {"n": 331_200, "roles": 276, "prompts": 5}  # the library, one answer to each question
plans = {
    f"{shape.name}, all layers": (shape.n_layers, shape.d_model, 0),
    "64 blocks of width 5120, all layers": (64, 5120, 0),
    "the same, 16 of them (--layers 24-39)": (16, 5120, 0),
    "the same, all, and 2 kept whole (--keep-layers 30,31)": (64, 5120, 2),
}
kept = {name: size_words(stored_bytes(**whole, n_layers=n, d_model=d, keep_layers=keep)) for name, (n, d, keep) in plans.items()}
pd.Series(kept, name="disk, the whole library").to_frame()

# %% [markdown]
# ## 5. A small study
#
# Two dozen roles, one prompt each, six questions. The steps are those of notebook 1.

# %%
roles = wb.load_roles(model, n=24)  # and the default, which comes first; the model's own library, or else the package's
questions = wb.load_questions(model, n=6)
rollouts = wb.generate_rollouts(model, roles, questions, prompts=1, default_rollouts=60)
print(
    f"{len(rollouts)} answers, {(rollouts['error'] != '').sum()} with errors, {(rollouts['finish_reason'] == 'length').mean():.0%} cut off"
)
rollouts.groupby("role").head(1)[["role", "response"]].head(4)

# %% [markdown]
# **A judge, or none.** The embedded model comes with the rules of its world, so that a program can say whether an answer is in the role.
# Your model does not: the next line then gives `None`, every answer is kept, and everything says so. (A language model as a judge is in
# section 7.)

# %%
judge = judge_for(model)
rollouts = wb.judge(rollouts, judge)
keep = "fully" if judge else "all"
acts = wb.extract(model, rollouts)  # [row, layer, d_model]
print(f"judge: {judge.name if judge else 'none'}; keep = {keep!r}; values {tuple(acts.values.shape)}")
rollouts[rollouts["role"] != "default"]["label"].value_counts(dropna=False).rename_axis("label").to_frame("answers of roles").T

# %%
axes = {"every answer": wb.contrast(wb.role_vectors(acts, keep="all", min_count=4))}
if judge:
    axes["fully in the role"] = wb.contrast(wb.role_vectors(acts, keep="fully", min_count=4))
axis = list(axes.values())[-1]
print(axis)
if judge:
    between = axes["every answer"].cosine(axes["fully in the role"])
    print("cosine of the two axes by layer:", [round(float(c), 3) for c in between])

# %% [markdown]
# *What to see:* how much the judge matters here. The embedded model nearly always plays the role that it is given, so that few answers
# are lost and the two axes are nearly one. A model that declines roles would average its refusals into the roles' vectors, which
# draws *them* towards the Assistant, and the axis becomes short before it becomes wrong.
#
# ## 6. What came out, and is it so?
#
# Four questions to any axis, in the order in which they are cheap. The layer is chosen on one part of the roles and questions; what is
# said of it comes from another part.
#
# 1. **Held out.** How often does a default answer project beyond one of a role that was not used, to a question that was not used?
#    That probability is the AUC, with a 95 % interval over roles.
# 2. **Layer $-1$.** The same from the answers' words alone, as a bag of input embeddings,
#    $\frac{1}{T}\sum_t E_{w_t} \in \mathbb{R}^{d}$, before any block. What does a layer add?
# 3. **Halves.** Is the axis of one half of the roles and answers that of the other half?
# 4. **Length.** Do longer answers project higher, and do they within one role, where nobody changes?

# %%
splits = wb.make_splits(acts.rows["role"], acts.rows["question_index"].tolist(), seed=0)
words = wb.bag_of_embeddings(model, rollouts)  # [row, 1, d_model], layer -1
sweep = wb.sweep_layers(acts, splits, keep, words=words, n_boot=200)
layer = sweep.recommendation.layer
print(sweep.recommendation.reason)
sweep.table.attrs["model"] = model.name
wb.plots.layer_sweep(sweep.table, recommended=layer)

# %% [markdown]
# *What to see:* the hollow diamond left of the line is layer $-1$. The first panel says how far the default is told from roles, and the
# second how much of that is more than words. With two dozen roles the intervals are wide, and they ought to be: look for layers whose
# intervals do not even meet.

# %%
verdict = judge_method(acts, splits, sweep.table, layer, keep, words=words)
for line in verdict.lines:
    print(f"{line.outcome:12} {line.line}\n{'':12} {line.evidence}\n")
print("->", verdict.conclusion)
if EMBEDDED:
    assert [line.outcome for line in verdict.lines][3] == "untested"
    assert "does not hold" not in verdict.conclusion

# %% [markdown]
# These are the lines at the top of a study's report. Here they are read from the third part of the roles and questions, which has chosen
# nothing. The fourth is untested, because nothing was pushed: it needs `workbench calibrate` and `workbench evaluate`. A line that cannot
# tell says how many rows it would take.
#
# Now the length. `r` runs over all answers; `within` takes each role's own mean out first.

# %%
scores = acts.project(axis)[layer]  # [row]
said = rollouts[rollouts["row"].isin(acts.rows["row"])]
lengths = against(scores, covariates(said))
lengths.attrs = {"model": model.name, "layer": layer}
wb.plots.covariates(lengths)

# %% [markdown]
# *What to see:* a correlation over all answers may come from roles that are both far away and terse, which is no fault of the axis. One
# *within* roles cannot: there the speaker stays the same. If it is far from zero, fit the axis again at matched lengths (`workbench
# origins RUN`, notebook 2).
#
# ## 7. How to go on
#
# **The same as a study**, with a folder, a report, and everything resumable:
#
# ```sh
# workbench plan  MODEL --measure
# workbench study --model MODEL --out runs/mine
# workbench origins runs/mine        # prompt or text, length, self-mention
# workbench calibrate runs/mine      # caps; needs a grader, or a judge
# workbench evaluate runs/mine       # the cap beside matched controls
# ```
#
# **A server writes the answers.** For a model that writes too slowly here, or does not fit beside its own activations. The answers come
# back as text and are read here afterwards, with the template that you have just looked at; a row whose place cannot be proven is left
# out and counted.
#
# ```sh
# vllm serve Qwen/Qwen3-0.6B
# workbench study --model Qwen/Qwen3-0.6B --endpoint http://localhost:8000/v1 --concurrency 32
# ```
#
# **A language model judges.** It should be of another family than the model it judges, and its own mistakes should be known: `workbench
# label` makes a blind sheet for a person, and reads it back as an agreement.
#
# ```sh
# workbench study --model Qwen/Qwen3-0.6B --judge http://localhost:8001/v1 --judge-model NAME --judge-budget 2000000
# workbench label runs/Qwen3-0.6B --n 200          # add --read when it is filled in
# ```
#
# **It does not fit.** In the order in which they cost least:
#
# - *memory while writing*: `--batch-size 4`, or a server. Nothing changes but the time.
# - *memory for the weights*: `--dtype bfloat16` halves them (means are summed in float32 all the same), and
#   `wb.load_model(MODEL, device_map="auto")` spreads them. Do not compare axes across dtypes without looking.
# - *disk*: `--layers 10-20` reads and keeps these blocks only. The sweep cannot recommend what it has not seen.
# - *disk, at the paper's size*: nothing need be done, since means and a sample are kept. `--keep-layers 20,24` adds every answer's vector
#   at these layers.
# - *time*: fewer roles first, then questions, then prompts. Intervals get wider; the plan says how long it takes, and the verdict how
#   many rows it would have needed.
#
# ## Exercises
#
# 1. **Another template.** Load the model with `wb.load_model(MODEL, chat_template=...)` and a template of your own that puts every message
#    on a line. Does the doctor complain? How far is the axis from that of the model's own template?
# 2. **One mistake, all the way.** Take the mean over a span one token late for *all* answers, and fit the axis again. What is its cosine
#    with the right one? What is its AUC? Which of the two would you have looked at?
# 3. **The judge's price.** Drop a third of the labels of the roles at random (`label` to missing) and compare the axes; then drop those of
#    the longest answers. Which loss is visible, and in which number?
#
# ## 8. What would have to be true
#
# For the sentence "at this layer this model has an Assistant Axis" to be worth anything, and how to check it:
#
# 1. **The text is the model's own.** Template, system prompt, stop tokens as it was trained with. Check: the doctor, and one printed
#    conversation with its ids and spans.
# 2. **The span is the answer.** No template tokens, no thinking, no other message. Check: spans are proven or refused; `rollouts["error"]`
#    is counted in every report.
# 3. **The layer is the layer.** After block $\ell$, counted from 0, before the final norm. Check: *hooks* in the doctor compares with
#    Hugging Face's own numbers.
# 4. **The roles were played.** A role that answers as the Assistant is no role. Check: labels, and who loses answers by them; without a
#    judge, read a dozen answers of five roles.
# 5. **It is more than words, more than length, and repeats.** Check: layer $-1$, the covariates, the halves. Each is one cell above.
# 6. **There were enough answers.** Check: intervals, and how many rows a line that cannot tell would need. A small study is for finding
#    mistakes; it is not for the finding.
# 7. **Separation is not control.** Nothing here was pushed. Check: notebooks 3 and 4, and `workbench calibrate`, `workbench evaluate`.

"""The same question answered again: what the variance of single replies says, and that only the reply changes."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.drift import repeats
from workbench.drift.repeats import repeatability, repeated_replies
from workbench.errors import DataError
from workbench.models.extraction import extract

TALKS = [
    Conversation.of(
        [("system", "You are the ghost."), ("user", "Who are you?"), ("assistant", "Hush. I am the ghost."), ("user", "And now?"),
         ("assistant", "The graves remember it.")], name="ghost",
    ),
    Conversation.of([("user", "What is the capital of Peru?"), ("assistant", "It is Lima."), ("user", "Thanks.")], name="Peru"),
]  # fmt: skip


@pytest.fixture(scope="module")
def axis(organism) -> Direction:
    values = torch.randn(organism.n_layers, organism.d_model, generator=torch.Generator().manual_seed(0))
    return Direction(values, organism.bare_site(), "axis", "there")


# -- what belongs to the conversation -------------------------------------------------------------------
def made(between: float, within: float, sizes: list[int], layer: int = 2, seed: int = 0) -> pd.DataFrame:
    """Replies with these variances; a point of a conversation has as many as `sizes` say, in turn."""
    rng = np.random.default_rng(seed)
    rows = []
    for point in range(800):
        middle = rng.normal(5.0, between**0.5)
        for sample in range(sizes[point % len(sizes)]):
            value = middle + rng.normal(0.0, within**0.5)
            rows.append({"conversation": str(point // 4), "turn": point % 4, "sample": sample, "layer": layer, "projection": value})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("sizes", [[4], [2], [2, 20], [1, 3]])
@pytest.mark.parametrize(("between", "within", "share"), [(3.0, 1.0, 0.75), (1.0, 4.0, 0.2), (0.0, 1.0, 0.0), (1.0, 0.0, 1.0)])
def test_repeatability_is_the_share_of_variance_between_points(sizes, between, within, share):
    table = repeatability(made(between, within, sizes))
    assert table["icc"].item() == pytest.approx(share, abs=0.05)
    counted = [n for n in sizes if n > 1]
    points = 800 // len(sizes) * len(counted)
    assert table[["points", "replies"]].iloc[0].tolist() == [points, 800 // len(sizes) * sum(counted)]


def test_layers_are_told_apart_and_nothing_is_missing():
    frame = pd.concat([made(3.0, 1.0, [4], layer=1), made(0.0, 1.0, [4, 1], layer=4, seed=1)])
    table = repeatability(frame.sample(frac=1.0, random_state=0)).set_index("layer")["icc"]
    assert table.index.tolist() == [1, 4]
    assert table.between(0.0, 1.0).all()
    assert table[1] > 0.7 > 0.05 > table[4]


def test_the_variance_of_too_few_replies_is_refused():
    whole = made(3.0, 1.0, [4])
    for few in (whole[whole["sample"] == 0], whole.head(4), pd.concat([whole.head(4), whole[whole["sample"] == 0]])):
        with pytest.raises(DataError, match="takes two points of conversations with two replies each"):
            repeatability(few.drop_duplicates(["conversation", "turn", "sample"]))


# -- replies given again --------------------------------------------------------------------------------
@pytest.fixture
def said(monkeypatch) -> list[pd.DataFrame]:
    """What was handed over to be read: the replies with their histories."""
    frames: list[pd.DataFrame] = []
    monkeypatch.setattr(repeats, "extract", lambda model, rows, layers=None: frames.append(rows) or extract(model, rows, layers))
    return frames


def test_samples_are_other_texts_after_the_same_history(organism, axis, said):
    calls = []
    found = repeated_replies(organism, TALKS, axis, n=3, max_new_tokens=16, batch_size=4, progress=lambda *at: calls.append(at))
    rows = said[0]
    points = [("ghost", 2, 1), ("ghost", 4, 2), ("Peru", 1, 1)]
    assert sorted(zip(rows["conversation"], rows["turn"], rows["exchange"], rows["sample"], strict=True)) == sorted(
        (*point, sample) for point in points for sample in range(3)
    )
    for talk in TALKS:
        for row in rows[rows["conversation"] == talk.name].to_dict("records"):
            assert Conversation.of(json.loads(row["messages"])).turns == talk.turns[: row["turn"]]
    assert rows.groupby(["conversation", "turn"])["response"].nunique().tolist() == [3, 3, 3]
    assert list(found) == ["conversation", "turn", "exchange", "sample", "layer", "projection"]
    assert len(found) == 9 * organism.n_layers
    assert calls == [(4, 9), (8, 9), (9, 9)]

    keys = ["conversation", "turn", "sample", "layer"]
    read = extract(organism, rows).project(axis)
    for layer in organism.layers:
        assert np.allclose(found.loc[found["layer"] == layer, "projection"], read[layer])
    again = repeated_replies(organism, TALKS[::-1], axis, n=3, max_new_tokens=16, layers=[1, 3])
    assert sorted(set(again["layer"])) == [1, 3]
    merged = again.merge(found, on=keys)
    assert len(merged) == len(again) == 18
    assert np.allclose(merged["projection_x"], merged["projection_y"], atol=1e-4)
    repeated_replies(organism, TALKS, axis, n=3, max_new_tokens=16, seed=1)
    texts = [frame.sort_values(["conversation", "turn", "sample"])["response"].tolist() for frame in said]
    assert texts[0] == texts[1]
    assert all(a != b for a, b in zip(texts[0], texts[2], strict=True))
    assert repeatability(found)["points"].tolist() == [3] * organism.n_layers


def test_questions_without_room_for_an_answer_are_left_out(organism, axis):
    n = len(organism.render(Conversation(TALKS[0].turns[:2]), reply=True).ids)
    found = repeated_replies(organism, TALKS[:1], axis, n=2, layers=[3], max_new_tokens=1024 - n)
    assert found[["turn", "sample"]].to_numpy().tolist() == [[2, 0], [2, 1]]
    with pytest.raises(DataError, match="none leaves room for an answer"):
        repeated_replies(organism, TALKS[:1], axis, n=2, max_new_tokens=1025 - n)


def test_replies_that_came_to_nothing_are_left_out(organism, axis, monkeypatch):
    from dataclasses import replace

    generate = repeats.generate

    def sometimes(model, prompts, **settings):
        answers = generate(model, prompts, **settings)
        return [replace(a, text="", ids=(), error="empty answer") if i % 2 else a for i, a in enumerate(answers)]

    monkeypatch.setattr(repeats, "generate", sometimes)
    found = repeated_replies(organism, TALKS[1:], axis, n=4, layers=[3], max_new_tokens=8)
    assert found["sample"].tolist() == [0, 2]


def test_a_greeting_answers_no_question(organism, axis):
    greeted = Conversation.of([("assistant", "Welcome."), ("user", "Who are you?"), ("assistant", "A ghost.")], name="x")
    found = repeated_replies(organism, [greeted], axis, n=2, layers=[3], max_new_tokens=8)
    assert set(found["turn"]) == {2}
    assert set(found["exchange"]) == {1}


@pytest.mark.parametrize(
    ("talks", "text"),
    [
        ([Conversation.of("Hi.")], "no answer in these conversations"),
        ([Conversation.of([("user", "a"), ("assistant", "b")])] * 2, "two conversations have the same name"),
    ],
)
def test_what_cannot_be_answered_again(organism, axis, talks, text):
    with pytest.raises(DataError, match=text):
        repeated_replies(organism, talks, axis)

"""Trajectories: one pass, passes per turn and windows agree; bands; what an intervention leaves behind."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import build, tokenizer

from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.errors import ChatError, DataError
from workbench.interventions import Add, Floor
from workbench.models.extraction import extract
from workbench.models.loading import load_model
from workbench.models.projecting import Pass, Projector, windows_of
from workbench.persona_space import PersonaSpace
from workbench.trajectories import band_of, exchanges_of, pieces_of, trajectory, within

SAID = [
    ("system", "You are the ghost."), ("user", "Who are you?"), ("assistant", "Hush. I am the ghost. The graves remember it."),
    ("user", "What is the capital of Peru?"), ("assistant", "In short, the capital of Peru is Lima. I hope this helps."),
    ("user", "Write a line about the moon."), ("assistant", "Of course. The line reads: the moon is calm and clear."),
]  # fmt: skip


def directions(model, seed: int = 0) -> dict[str, Direction]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, model.n_layers, model.d_model, generator=generator)
    return {name: Direction(values[i], model.bare_site(), name, "there") for i, name in enumerate(("axis", "other"))}


@pytest.fixture(scope="module")
def talk():
    return Conversation.of(SAID, name="seven messages", about={"domain": "mixed"})


def spoken(frame: pd.DataFrame) -> np.ndarray:
    return frame.loc[frame["speaker"] == "assistant", "projection"].to_numpy()


# -- one way and another ------------------------------------------------------------------------------
def test_a_turn_is_what_extraction_says_it_is(organism, talk):
    """The mean over each answer, read in a pass of its own up to its end, projected by Activations.project."""
    axis = directions(organism)["axis"]
    frame = trajectory(organism, [talk], axis)
    for turn in (2, 4, 6):
        before, answer = [t for t in SAID[:turn]], SAID[turn][1]
        rows = pd.DataFrame([{"row": "x", "messages": [{"speaker": s, "text": t} for s, t in before], "response": answer}])
        expected = extract(organism, rows).project(axis).iloc[0]
        found = frame[frame["turn"] == turn].set_index("layer")["projection"]
        assert np.allclose(found, expected, atol=1e-4), turn


def test_tokens_average_to_turns_and_chunks_do_not_matter(organism, talk):
    both = directions(organism)
    turns = trajectory(organism, [talk], both)
    tokens = trajectory(organism, [talk], both, by="token", chunk=7)
    keys = ["turn", "layer", "direction"]
    means = tokens.groupby(keys)["projection"].mean()
    assert np.allclose(means, turns.set_index(keys)["projection"].loc[means.index], atol=1e-4)
    for turn, group in tokens.query("layer == 2 and direction == 'axis'").groupby("turn"):
        assert "".join(group["text"]) == SAID[turn][1]
    assert (turns["n_tokens"] == turns.set_index(keys).index.map(tokens.groupby(keys).size())).all()
    assert set(turns["domain"]) == {"mixed"}
    assert turns.drop_duplicates("turn")["exchange"].tolist() == [0, 1, 1, 2, 2, 3, 3]


def test_many_conversations_are_as_one_at_a_time(organism, talk):
    axis = directions(organism)["axis"]
    short = Conversation.of("Who are you?", name="short")
    together = trajectory(organism, [talk, short], axis)
    alone = pd.concat([trajectory(organism, [c], axis) for c in (talk, short)], ignore_index=True)
    assert np.allclose(together["projection"], alone["projection"], atol=1e-4)
    with pytest.raises(DataError, match="two conversations are called 'short'"):
        trajectory(organism, [short, short], axis)


def test_without_a_cache_it_is_the_same(talk):
    """A model with hooks and weights of its own reads the whole text at once."""
    from workbench.models.hooked import HookedModel

    model = load_model(build("llama"), tokenizer=tokenizer())
    bare = HookedModel(model.tl, model.tokenizer, model.name)
    ids = tuple(range(5, 45))
    passes = [[Pass(ids, 0, 0, 40, 40)]]
    whole = Projector(model, directions(model)).run(passes, chunk=16)[0].before
    other = Projector(bare, directions(bare)).run(passes, chunk=16)[0].before
    assert torch.allclose(whole, other, atol=1e-5)


def test_components_of_a_persona_space_are_directions(organism, talk):
    rows = pd.DataFrame([{"role": r, "text": f"the {r} is here", "start": 0, "end": len(f"the {r} is here")} for r in "abcdef"])
    space = PersonaSpace(3).fit(extract(organism, rows).mean("role"))
    frame = trajectory(organism, [talk], {"axis": directions(organism)["axis"], "PC1": space.component(1)}, layers=[3])
    assert set(frame["direction"]) == {"axis", "PC1"}
    with pytest.raises(DataError, match="no direction has layer 9"):
        trajectory(organism, [talk], space.component(1), layers=[9])
    other = load_model("organism/base")
    with pytest.raises(DataError, match="taken elsewhere"):
        trajectory(other, [Conversation.of("hi")], space.component(1))


# -- windows ------------------------------------------------------------------------------------------
def test_windows_move_by_half_and_each_token_comes_from_where_it_sees_most():
    for n, window in ((1000, 256), (257, 256), (7, 2), (100, 33), (10, 64)):
        passes = windows_of(range(n), window)
        owner = {t: p for p in passes for t in range(p.first, p.last)}
        assert sorted(owner) == list(range(n))
        for t, chosen in owner.items():
            assert chosen.ids[t - chosen.offset] == t
            holding = [p for p in passes if p.offset <= t < p.offset + len(p.ids)]
            assert t - chosen.offset == max(t - p.offset for p in holding)
        assert {b.offset - a.offset for a, b in pairwise(passes)} <= {window // 2}


def test_a_long_conversation_is_an_error_or_windows_never_cut_silently(organism):
    talk = Conversation.of([pair for i in range(60) for pair in ((("user", f"Who are you, {i}?")), ("assistant", SAID[4][1]))], name="long")
    axis = directions(organism)["axis"]
    assert len(organism.render(talk).ids) > organism.context
    with pytest.raises(DataError, match=r"'long' has \d+ tokens and the context of organism is 1024: give a window"):
        trajectory(organism, [talk], axis)
    frame = trajectory(organism, [talk], axis, layers=[3], window=256)
    assert len(frame) == 120
    assert frame["window"].is_monotonic_increasing
    cut = frame[frame["cut"]]
    assert len(cut) >= 5
    first = frame[(frame["window"] == 0) & ~frame["cut"]]
    short = trajectory(organism, [Conversation(talk.turns[: len(first)], "start")], axis, layers=[3])
    assert np.allclose(first["projection"], short["projection"], atol=1e-4)
    for wrong in (1, 5000):
        with pytest.raises(DataError, match="a window has 2 to 1024 tokens"):
            trajectory(organism, [talk], axis, window=wrong)
    floor = Floor(axis, at=2.0, layers=[2], positions="generated")
    with pytest.raises(DataError, match="read by windows, where an intervention on generated positions has no meaning"):
        trajectory(organism, [talk], axis, window=256, interventions=floor)


def test_two_hundred_turns_and_thirty_thousand_tokens_in_bounded_memory(organism):
    import resource

    answer = " ".join([SAID[4][1]] * 15)
    talk = Conversation.of([p for i in range(100) for p in (("user", f"Write a line about {i}."), ("assistant", answer))], name="book")
    axis = directions(organism)["axis"]
    trajectory(organism, [Conversation(talk.turns[:10], "start")], axis, layers=[3], window=512)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    frame = trajectory(organism, [talk], axis, layers=[3], window=512)
    assert len(frame) == 200
    assert len(organism.render(talk).ids) > 30_000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3 < 60  # MB


# -- under interventions ------------------------------------------------------------------------------
def test_before_and_after_a_floor(organism, talk):
    axis = directions(organism)["axis"]
    floor = Floor(axis, at=1.5, layers=[3])
    plain = trajectory(organism, [talk], axis, by="token")
    capped = trajectory(organism, [talk], axis, by="token", interventions=floor, chunk=16)
    at = capped[capped["layer"] == 3]
    assert at["after"].min() >= 1.5 - 1e-4
    assert np.allclose(at["after"], at["projection"].clip(lower=1.5), atol=1e-4)
    assert np.allclose(at["projection"], plain.loc[plain["layer"] == 3, "projection"], atol=1e-4)  # nothing acted before layer 3
    early, late = (capped[capped["layer"] == n] for n in (1, 4))
    assert np.allclose(early["after"], early["projection"])
    assert not np.allclose(late["projection"], plain.loc[plain["layer"] == 4, "projection"], atol=1e-2)


def test_interventions_on_generated_positions_are_those_of_every_answer_when_it_was_written(organism, talk):
    """Earlier answers are prompt when a later one is written: nothing of them is changed in its pass."""
    axis = directions(organism)["axis"]
    push = Add(axis, 3.0, layers=[1], positions="generated")
    frame = trajectory(organism, [talk], axis, interventions=push, layers=[1, 4])
    for turn in (2, 4, 6):
        ids = organism.render(Conversation(talk.turns[: turn + 1])).span(-1).tokens
        whole = organism.render(Conversation(talk.turns[: turn + 1])).ids[: ids[1]]
        with organism.intervene(push):
            cache = organism.run_with_cache(torch.tensor([whole]), [organism.resid_post(4)], [ids])
        unit = axis.at(4).unit().values[0]
        expected = (cache[organism.resid_post(4)][0, ids[0] : ids[1]] @ unit).mean()
        found = frame.query(f"turn == {turn} and layer == 4")["projection"].item()
        assert found == pytest.approx(float(expected), abs=1e-4)
    moved = frame.query("layer == 1")
    step = push.step(1)
    assert np.allclose((moved["after"] - moved["projection"])[moved["speaker"] == "assistant"], step, atol=1e-4)


def test_last_positions_are_those_of_every_step_of_writing(organism, talk):
    axis = directions(organism)["axis"]
    acting = [Add(axis, 3.0, layers=[1], positions=positions) for positions in ("last", "generated")]
    last, generated = (trajectory(organism, [talk], axis, interventions=one) for one in acting)
    pd.testing.assert_frame_equal(last, generated)


# -- bands --------------------------------------------------------------------------------------------
def made(n: int, exchanges: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {"conversation": str(c), "turn": 2 * e - 1, "exchange": e, "speaker": s, "layer": 3, "direction": "axis",
         "projection": rng.normal(10 * e + shift)} for c in range(n) for e in range(1, exchanges + 1) for s in ("user", "assistant")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_band_holds_what_it_says_of_the_default_and_is_matched_by_exchange():
    frame = made(1000, 3, 0)
    band = band_of(frame)
    assert band["exchange"].tolist() == [1, 2, 3]
    assert np.allclose(band["middle"], [10, 20, 30], atol=0.15)
    assert np.allclose(band["high"] - band["low"], 2 * 1.645, atol=0.25)
    assert set(band["of"]) == {"response means"}
    again = within(made(1000, 4, 1), band)
    held = again[again["speaker"] == "assistant"].groupby("exchange")["inside"].mean()
    assert held[[1, 2, 3]].between(0.87, 0.93).all()
    assert held[4] < 0.01  # beyond the band's last exchange the last one counts, and these lie ten units higher
    assert again.loc[again["speaker"] == "user", "inside"].isna().all()
    gap = within(made(200, 3, 1), band[band["exchange"] != 2])
    assert gap.loc[(gap["exchange"] == 2) & (gap["speaker"] == "assistant"), "high"].unique().tolist() == [band["high"].iloc[0]]
    late = within(made(200, 2, 1), band[band["exchange"] > 1])
    assert late.loc[late["exchange"] == 1, "inside"].isna().all()
    drifted = within(made(300, 3, 2, shift=-3.0), band)
    assert drifted["inside"].mean() < 0.15


@pytest.mark.parametrize(
    ("frame", "band", "text"),
    [
        (lambda f: f.assign(token=0), lambda b: b, "a trajectory of tokens is compared with a band of tokens, not of response means"),
        (
            lambda f: f,
            lambda b: b.assign(of="tokens"),
            "is compared with a band of response means, not of tokens",
        ),
        (lambda f: f.assign(layer=2), lambda b: b, "the band is of 'axis' at layer 3, the trajectory of 'axis' at layer 2"),
        (lambda f: f, lambda b: b.assign(direction="other"), "the band is of 'other' at layer 3"),
        (lambda f: f, lambda b: b.drop(columns="exchange"), "a band needs the column exchange"),
        (lambda f: f, lambda b: b.iloc[:0], "a band needs at least one row"),
    ],
)
def test_a_band_of_something_else_is_refused(frame, band, text):
    known = made(50, 2, 0)
    with pytest.raises(DataError, match=text):
        within(frame(known), band(band_of(known)))


def test_bands_too_thin_are_refused():
    with pytest.raises(DataError, match="the most that any has is 0"):
        band_of(made(5, 2, 0).query("speaker == 'user'"))
    with pytest.raises(DataError, match="a band takes 20 default responses an exchange; the most that any has is 5"):
        band_of(made(5, 2, 0))
    with pytest.raises(DataError, match="the lower first"):
        band_of(made(50, 2, 0), 95, 5)


def test_what_is_no_list_of_conversations_and_no_list_of_layers(organism, talk):
    axis = directions(organism)["axis"]
    for one in (talk, "who are you?"):
        with pytest.raises(DataError, match="put the one into brackets"):
            trajectory(organism, one, axis)
    for layers in ([], [3, 3]):
        with pytest.raises(DataError, match="each once"):
            trajectory(organism, [talk], axis, layers=layers)
    with pytest.raises(ChatError, match="a message needs a speaker and a text"):
        trajectory(organism, [["hello there"]], axis)


def test_small_things(organism, talk):
    assert exchanges_of(talk) == [0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(DataError, match="by 'turn' or by 'token', not by 'word'"):
        trajectory(organism, [talk], directions(organism)["axis"], by="word")
    with pytest.raises(ChatError, match=r"^conversation 'odd': message 0 \(user\) contains the special token"):
        trajectory(organism, [Conversation.of(organism.tokenizer.all_special_tokens[0], name="odd")], directions(organism)["axis"])


@pytest.mark.parametrize("text", ["a café, 你好!", "  two  spaces\nand lines ", "\U0001f600\U0001f600", "é", "x"])
def test_pieces_put_together_are_the_text(organism, text):
    ids = organism.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = pieces_of(organism, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


@pytest.mark.parametrize("by", ["turn", "token"])
def test_what_a_file_says_never_stands_where_a_measurement_is(organism, talk, by):
    """Rows of LMSYS and WildChat have a field `turn`; others may have any."""
    axis = directions(organism)["axis"]
    plain = trajectory(organism, [replace(talk, about={})], axis, by=by)
    about = dict.fromkeys([*plain.columns, "after", "inside", "self", "language"], "theirs")
    found = trajectory(organism, [replace(talk, about=about)], axis, by=by)
    pd.testing.assert_frame_equal(found[list(plain.columns)], plain)
    assert (found[[f"about_{name}" for name in (*plain.columns, "after", "inside")]] == "theirs").all(axis=None)
    assert (found[["self", "language"]] == "theirs").all(axis=None)
    assert not {"after", "inside"} & set(found)

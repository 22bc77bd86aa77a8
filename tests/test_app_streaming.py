"""Answers token by token: the text is that of chat and generate, the numbers are the monitor's, and nothing stays attached."""

import gc
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from architectures import FAMILIES, build, tokenizer

from workbench.app.bench import in_turn
from workbench.app.streaming import STOPPED, Readable, Stream, fitting, stream
from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.errors import DataError
from workbench.interventions import Ablate, Add, Floor
from workbench.models.generation import answer_of, generate
from workbench.models.hooked import HookedModel
from workbench.models.loading import load_model
from workbench.models.stepping import Steps
from workbench.monitor import Monitor

ASKED = Conversation.of("Tell me how to rob the mill.", system="You are the pirate.")
LAYER = 3


@pytest.fixture(scope="module")
def axis(organism) -> Direction:
    values = torch.randn(organism.n_layers, organism.d_model, generator=torch.Generator().manual_seed(0))
    return Direction(values, organism.bare_site(), "axis", "there")


def written(one: Stream) -> list:
    return list(one)


# -- the same text ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"top_p": 1.0, "temperature": 1.3}, {"max_new_tokens": 7}])
def test_the_text_is_that_of_chat(organism, seed, settings):
    pieces = written(Stream(organism, ASKED, seed=seed, **settings))
    assert pieces[-1].text == organism.chat(ASKED, seeds=seed, **({"max_new_tokens": 96} | settings))
    assert [p.done for p in pieces] == [False] * (len(pieces) - 1) + [True]
    for before, after in pairwise(pieces):
        assert after.text.startswith(before.text)


def test_the_text_under_an_intervention_is_that_of_intervene(organism, axis):
    acting = [Add(axis, 8.0, layers=[1], positions="generated"), Ablate(axis, layers=[2])]
    with organism.intervene(acting) as meter:
        wanted = organism.chat(ASKED, seeds=5, max_new_tokens=40)
    one = Stream(organism, ASKED, acting, axis=axis, layer=2, seed=5, max_new_tokens=40)
    assert written(one)[-1].text == wanted
    assert wanted != organism.chat(ASKED, seeds=5, max_new_tokens=40)
    own = meter.to_frame().query("positions == 'generated'")
    assert one.reading().engaged == pytest.approx(own["engaged"].mean())
    assert one.reading().dose == pytest.approx(own["dose"].mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_streams_what_it_generates(family):
    model = load_model(build(family), tokenizer=tokenizer())
    for seed in range(3):
        one = Stream(model, "the light of the sea", seed=seed, max_new_tokens=24)
        pieces = written(one)
        assert one.answer == generate(model, [model.render("the light of the sea", reply=True).ids], seeds=[seed], max_new_tokens=24)[0]
        assert pieces[-1].text == one.answer.text


def test_models_without_a_cache_stream_too():
    small = load_model(build("llama"), tokenizer=tokenizer())
    bare = HookedModel(small.tl, small.tokenizer, small.name)
    own = Direction(torch.ones(small.n_layers, small.d_model), small.bare_site(), "axis", "there")
    one, other = (Stream(model, "the light", axis=own, layer=1, seed=1, max_new_tokens=8) for model in (bare, small))
    first, second = written(one), written(other)
    assert first[-1].text == second[-1].text
    assert first[-1].mean == pytest.approx(second[-1].mean, abs=1e-4)


def test_two_answers_in_turn_do_not_touch_each_other(organism, axis):
    floor = Floor(axis, at=2.0, layers=[1, 2, 3])
    with organism.intervene(floor):
        capped = organism.chat(ASKED, seeds=3, max_new_tokens=60)
    plain = organism.chat(ASKED, seeds=3, max_new_tokens=60)
    assert capped != plain
    for seconds in (0.0, 0.02):
        streams = [Stream(organism, ASKED, acting, seed=3, max_new_tokens=60) for acting in ((), floor)]
        *_, last = in_turn(streams, seconds)
        assert [piece.text for piece in last] == [plain, capped]
    # One that is begun, and left, does not act on what somebody else does meanwhile.
    left = Stream(organism, ASKED, floor, seed=3)
    next(left)
    assert organism.chat(ASKED, seeds=3, max_new_tokens=60) == plain
    assert next(left).n_tokens == 2
    left.stop()


def test_the_models_own_settings_survive_answers_that_overlap(organism):
    kept = organism.hf.generation_config
    one, other = (Stream(organism, ASKED, seed=seed, max_new_tokens=30) for seed in (0, 1))
    next(one), next(other)
    assert organism.hf.generation_config is not kept
    written(one)
    next(other)
    other.stop()
    assert organism.hf.generation_config is kept


# -- numbers ----------------------------------------------------------------------------------------------
def test_projections_are_the_monitors(organism, axis):
    floor = Floor(axis, at=1.0, layers=[LAYER])
    before, after = (Monitor(organism, axis, layer=LAYER) for _ in range(2))
    with before, organism.intervene(floor), after:
        organism.chat(ASKED, seeds=2, max_new_tokens=50)
    pieces = written(Stream(organism, ASKED, floor, axis=axis, layer=LAYER, seed=2, max_new_tokens=50))
    for name, monitor in (("projection", before), ("after", after)):
        values = monitor.to_frame()["projection"].to_numpy()
        assert np.allclose([getattr(p, name) for p in pieces if getattr(p, name) is not None][: len(values)], values, atol=1e-5)
    assert pieces[-1].mean == pytest.approx(before.to_frame()["mean"].iloc[-1], abs=1e-5)
    assert pieces[-1].mean_after == pytest.approx(after.to_frame()["mean"].iloc[-1], abs=1e-5)
    assert pieces[-1].mean_after > pieces[-1].mean
    assert pieces[0].mean is None  # chosen, but not read yet


def test_reading_without_an_axis_or_an_intervention(organism, axis):
    one = Stream(organism, ASKED, max_new_tokens=5)
    written(one)
    assert (one.reading().before, one.reading().engaged, one.reading().layer) == (None, None, None)
    other = Stream(organism, ASKED, axis=axis, layer=1, max_new_tokens=5)
    written(other)
    reading = other.reading()
    assert (reading.layer, reading.n_tokens, reading.after, reading.dose) == (1, 4, None, None)


# -- stopping ---------------------------------------------------------------------------------------------
def test_what_was_written_before_a_stop_stays_and_nothing_runs_on(organism, axis):
    threads = threading.active_count()
    one = Stream(organism, ASKED, Floor(axis, at=0.0, layers=[1]), axis=axis, layer=2, seed=1)
    for _ in range(10):
        piece = next(one)
    stopped = one.stop()
    assert stopped.done
    assert stopped.text == piece.text.rstrip() or stopped.text == piece.text
    assert (one.answer.finish_reason, one.answer.text) == (STOPPED, stopped.text)
    assert one.stop() == stopped
    with pytest.raises(StopIteration):
        next(one)
    assert one.advance(1.0) == stopped
    assert threading.active_count() == threads
    assert organism._trackers == []
    assert not organism.hf.base_model._forward_pre_hooks


def test_a_stream_that_is_stopped_before_it_began(organism):
    one = Stream(organism, ASKED)
    assert one.stop().text == ""
    assert one.answer.error == "empty answer"


def test_a_stream_that_is_forgotten_ends_its_thread(organism):
    threads = threading.active_count()
    one = Stream(organism, ASKED)
    next(one)
    assert threading.active_count() == threads + 1
    del one
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() == threads


def test_what_a_job_raises_is_raised_where_the_step_is_made():
    def job(tell):
        tell(1)
        raise DataError("no more")

    steps: Steps[int] = Steps(job)
    assert steps.step()
    for _ in range(2):
        with pytest.raises(DataError, match="no more"):
            steps.step()
    assert steps.told == [1]
    good: Steps[int] = Steps(lambda tell: (tell(1), tell(2), "end")[-1])
    assert [good.step(), good.step(), good.step(), good.step()] == [True, True, False, False]
    assert (good.told, good.result, good.finished) == ([1, 2], "end", True)


def test_one_answer_at_a_time_is_told_token_by_token(organism):
    prompt = organism.render(ASKED, reply=True).ids
    told = []
    [answer] = generate(organism, [prompt], seeds=[1], max_new_tokens=30, on_token=told.append)
    assert answer_of(organism, told) == answer
    with pytest.raises(DataError, match="where one answer is written, not 2 at once"):
        generate(organism, [prompt, prompt], on_token=told.append)


# -- text as it comes -------------------------------------------------------------------------------------
WORDS = ["naïve café", "日本語のテキスト", "🙂🙃 and 👩‍👩‍👧", "a\n\nb\t c", " the sea", "x\ufffdy"]


@pytest.mark.parametrize("text", WORDS)
def test_no_half_character_is_ever_shown(text):
    model = load_model(build("llama"), tokenizer=tokenizer())
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    readable = Readable(model)
    shown = []
    for i in ids:
        readable.add(i)
        shown.append(readable.so_far)
    for part in shown:
        assert text.startswith(part)
        assert part.count("\ufffd") <= text.count("\ufffd")
    assert shown[-1] == text
    assert len(set(shown)) > 1


def test_words_keep_the_spaces_that_some_tokenizers_drop(organism):
    for seed in range(3):
        one = Stream(organism, ASKED, seed=seed)
        for piece in one:
            assert "  " not in piece.text
        assert one.answer.text == piece.text


def test_reasoning_is_held_back_until_it_ends():
    model = load_model(build("llama"), tokenizer=tokenizer())
    readable, seen = Readable(model), []
    for i in model.tokenizer("<think>the sea</think>\n\nthe light", add_special_tokens=False)["input_ids"]:
        readable.add(i)
        seen.append((readable.so_far, readable.thinking))
    texts = [text for text, _ in seen]
    assert texts[-1] == "the light"
    assert any(thinking for _, thinking in seen)
    assert not any("sea" in text for text in texts)


# -- the context ------------------------------------------------------------------------------------------
def long_talk(n: int) -> Conversation:
    turns = [("system", "You are the pirate.")]
    for i in range(n):
        turns += [("user", f"Add {i} and 3."), ("assistant", "A cold wind stirs. It is nothing to me. Go away.")]
    return Conversation.of([*turns, ("user", "Who are you?")])


def test_what_exceeds_the_context_is_named_with_a_way_out(organism):
    with pytest.raises(
        DataError, match=r"the conversation has 1[0-9]{3} tokens, and 96 more.*exceed the 1024.*let the oldest turns be forgotten"
    ):
        Stream(organism, long_talk(60))


def test_the_fewest_oldest_exchanges_are_forgotten_and_the_system_prompt_stays(organism):
    talk = long_talk(60)
    short, left_out = fitting(organism, talk, 96)
    assert 0 < left_out < 60
    assert short.turns[0] == talk.turns[0]
    assert short.turns[1:] == talk.turns[1 + 2 * left_out :]
    room = organism.context - 96
    assert len(organism.render(short, reply=True).ids) <= room
    longer = Conversation((talk.turns[0], *talk.turns[1 + 2 * (left_out - 1) :]))
    assert len(organism.render(longer, reply=True).ids) > room
    assert fitting(organism, ASKED) == (ASKED, 0)
    stream(organism, short).stop()


def test_a_last_message_that_is_too_long_by_itself(organism):
    with pytest.raises(DataError, match="exceed the 1024"):
        fitting(organism, Conversation.of("word " * 1200))

"""The page's chat without the page: what every action shows, the place in the line, stops, and browsers that are closed."""

import html
import json
import re
import threading
import time

import pytest
from app_study import HARM, PIRATE, new_name, small_study

from workbench.app.bench import Bench, open_bench
from workbench.app.dialogue import LEFT, RIGHT, Dialogue
from workbench.app.files import FILES, taken_up
from workbench.app.sessions import Sessions
from workbench.app.settings import Settings
from workbench.app.talking import Talking, restored, safely
from workbench.app.ui_keep import continued, keep_html, loaded
from workbench.errors import DataError

CAP = Settings(persona=PIRATE, kind="floor", percentile=90, seed=1)
PLAIN = Settings(persona=PIRATE)


@pytest.fixture(scope="module")
def bench(tmp_path_factory, organism):
    return Bench(small_study(tmp_path_factory.mktemp("talking") / "run", calibrated=False), organism)


@pytest.fixture
def talking(bench):
    return Talking(bench, Sessions())


@pytest.fixture
def session(talking):
    return talking.sessions.get(new_name())


def messages(session) -> list[str]:
    return [one.message for one in session.dialogue.path]


def test_sending_streams_both_sides_and_ends_with_the_finished_exchange(talking, session, bench):
    steps = list(talking.send(session, HARM, CAP))
    assert (steps[0].message, steps[0].busy, steps[0].live.count("<article")) == ("", True, 0)
    live = [step.live for step in steps[1:-1] if step.live]
    assert len(live) >= 3
    assert all(one.count("<article") == 2 for one in live)
    assert any('class="now"' in one for one in live)
    assert (steps[-1].busy, steps[-1].live, steps[-1].done) == (False, "", True)
    wanted = bench.say(Dialogue(), HARM, CAP)
    assert session.dialogue == wanted
    assert wanted.path[0].replies[RIGHT].text[:20] in steps[-1].history
    assert not session.busy
    assert len(talking.line) == 0


def test_edit_again_and_turn(talking, session):
    for text in (HARM, "Who are you?"):
        list(talking.send(session, text, PLAIN))
    [shown] = talking.edit(session, 0)
    assert shown.message == HARM
    assert session.editing == 0
    list(talking.send(session, "I am scared of tomorrow.", PLAIN))
    assert messages(session) == ["I am scared of tomorrow."]
    assert session.editing is None
    last = list(talking.turn(session, 2, -1))[-1]
    assert messages(session) == [HARM, "Who are you?"]
    assert "branch 1 of 2" in last.history
    list(talking.again(session, 1, PLAIN))
    assert session.dialogue.path[-1].replies[LEFT].seed == 1001
    list(talking.edit(session, 0))
    assert session.editing == 0
    [shown] = talking.leave(session)
    assert (shown.message, session.editing) == ("", None)
    list(talking.begin_anew(session))
    assert session.dialogue == Dialogue()


def test_a_new_conversation_suggests_the_studys_questions(talking, session, bench):
    asked = [one["question"] for one in bench.run.study["library"]["questions"]]
    assert all(question.replace("'", "&#x27;") in talking.history(session) for question in asked[:4])
    [shown] = talking.suggest(session, 1)
    assert shown.message == asked[1]
    [shown] = safely(talking.suggest(session, 99), session)
    assert "there is no suggestion 99" in shown.said


def test_the_random_direction_is_one_click_with_the_same_seed(talking, session):
    list(talking.send(session, HARM, CAP))
    steps = list(talking.control(session, 0, CAP))
    assert any("matching a random direction" in (step.said or "") for step in steps)
    one, two = session.dialogue.exchanges
    assert one.replies[LEFT] == two.replies[LEFT]
    assert one.replies[RIGHT].text != two.replies[RIGHT].text
    assert two.replies[RIGHT].acting.startswith("random direction 0, same dose as: floor at p90")
    assert session.settings == CAP  # the form stays as it is
    list(talking.control(session, 1, CAP))
    assert session.dialogue.exchanges[2].replies[RIGHT].acting.startswith("random direction 1")


def test_a_mistake_is_a_sentence_and_loses_nothing(talking, session):
    for message, settings, text in (
        ("", PLAIN, "an empty message"), ("x" * 100_001, PLAIN, "100,001 characters is too long"),
        ("word " * 19_000, PLAIN, "exceed the 1024"), (HARM, PLAIN.but(persona="nobody"), "there is no persona"),
        (HARM, CAP.but(preset="x"), "no calibrated cap 'x'"), (HARM, CAP.but(layers=(7,)), "has no layer 7"),
        ("a <|end|> b <|im_end|> </s> <eos> <|endoftext|>", PLAIN, "special token|no such"),
    ):  # fmt: skip
        steps = list(safely(talking.send(session, message, settings), session))
        if not steps[-1].wrong:
            continue  # no special token of this model was in that message
        assert steps[-1].wrong
        assert "\n" not in steps[-1].said
        assert re.search(text, steps[-1].said), steps[-1].said
        assert session.dialogue == Dialogue()
        # What was typed stands in the composer: it never left it, or was put back.
        assert all(step.message is None for step in steps) or steps[-1].message == message
        assert not session.busy
    assert len(talking.line) == 0


def test_a_server_that_is_gone_gives_the_message_back():
    talking = Talking(open_bench(endpoint="http://127.0.0.1:9/v1", endpoint_model="far"))
    session = talking.sessions.get(new_name())
    *_, last = safely(talking.send(session, "Who are you?", Settings()), session)
    assert last.wrong
    assert last.said.startswith("the server gives no answer")
    assert (last.message, last.busy, session.dialogue) == ("Who are you?", False, Dialogue())


def test_stopping_keeps_what_was_written(talking, session):
    steps = talking.send(session, HARM, CAP)
    for step in steps:
        if step.live and step.live.count('class="now"') >= 2:
            talking.stop(session)
            break
    rest = list(steps)
    assert rest[-1].busy is False
    replies = session.dialogue.path[0].replies
    assert {reply.finish for reply in replies.values()} == {"stopped"}
    assert all(reply.text for reply in replies.values())
    assert "stopped" in rest[-1].history
    list(talking.send(session, "Who are you?", CAP))  # and it goes on from there
    assert len(session.dialogue.path) == 2


def test_a_browser_that_is_closed_in_mid_answer(talking, session):
    steps = talking.send(session, HARM, CAP)
    for step in steps:
        if step.live and step.live.count('class="now"') >= 2:
            break
    threads = threading.active_count()
    steps.close()  # what gradio does where nobody listens any more
    assert threading.active_count() == threads - 2
    assert not session.busy
    assert len(talking.line) == 0
    assert all(reply.text and reply.finish == "stopped" for reply in session.dialogue.path[0].replies.values())
    again, problem = restored(talking, session.name, "", "")
    assert (again.dialogue, problem) == (session.dialogue, "")


def test_two_tabs_at_once_wait_for_each_other_and_never_mix(talking, bench):
    one, other = (talking.sessions.get(new_name()) for _ in range(2))
    first = talking.send(one, HARM, CAP)
    while not (step := next(first)).live or "<article" not in step.live:
        pass
    second = talking.send(other, "Who are you?", PLAIN)
    next(second)
    assert next(second).said == "1 request is before yours: the model does one thing at a time"
    assert next(second).said.startswith("1 request is before yours")
    list(first)
    list(second)
    assert one.dialogue == bench.say(Dialogue(), HARM, CAP)
    assert other.dialogue == bench.say(Dialogue(), "Who are you?", PLAIN)


def test_who_waits_can_stop_or_leave(talking):
    one, other, third = (talking.sessions.get(new_name()) for _ in range(3))
    first = talking.send(one, HARM, PLAIN)
    while not (step := next(first)).live or "<article" not in step.live:
        pass
    second, last = talking.send(other, "a", PLAIN), talking.send(third, "b", PLAIN)
    next(second), next(second), next(last)
    assert next(last).said.startswith("2 requests are before yours")
    second.close()
    assert next(last).said.startswith("1 request is before yours")
    talking.stop(third)
    shown = list(last)
    assert "No answer yet" in shown[-1].history
    assert (len(talking.line), third.busy) == (1, False)
    list(first)
    list(talking.again(third, 0, PLAIN))  # what was never answered is answered where it stands
    assert len(third.dialogue.exchanges) == 1
    assert third.dialogue.path[0].replies[LEFT].text


def test_one_conversation_is_answered_once_at_a_time(talking, session):
    steps = talking.send(session, HARM, PLAIN)
    next(steps)
    for action in (talking.send(session, "b", PLAIN), talking.turn(session, 0, 1), talking.begin_anew(session), talking.read(session, CAP)):
        [shown] = safely(action, session)
        assert "is being answered" in shown.said
        assert shown.busy
    list(steps)
    assert messages(session) == [HARM]


def test_opening_a_page_with_a_link(talking, bench):
    name = new_name()
    session, problem = restored(talking, name, "", f"persona={PIRATE}&kind=add&strength=0.2")
    assert (session.settings, problem) == (Settings(persona=PIRATE, kind="add", strength=0.2), "")
    for query, text in (("foo=1", "there is no setting 'foo'"), ("persona=nobody", "there is no persona"), ("layer=9", "has no layer 9")):
        session, problem = restored(talking, new_name(), "", query)
        assert problem.startswith("this link cannot be followed: ")
        assert text in problem
        assert session.settings == Settings()


def test_a_file_that_was_sent_is_called_by_its_name(talking, session, tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"x": 1}')
    with pytest.raises(DataError, match=r"can be read from wrong\.json; the first problem: wrong\.json, ") as raised:
        list(loaded(talking, session, str(wrong)))
    assert str(tmp_path) not in str(raised.value)


def test_a_page_that_is_reloaded_in_mid_answer_stops_it(talking, session):
    done = []

    def answer():
        done.extend(talking.send(session, HARM, CAP))

    thread = threading.Thread(target=answer)
    thread.start()
    while not session.busy:
        time.sleep(0.001)
    restored(talking, session.name, "", "")
    thread.join(20)
    assert not session.busy
    assert done[-1].busy is False


def test_the_gauge_at_another_layer(talking, session):
    list(talking.send(session, HARM, CAP))
    list(talking.read(session, CAP.but(layer=4)))
    assert {reply.reading.layer for reply in session.dialogue.path[0].replies.values()} == {4}


def test_the_random_direction_is_read_where_the_gauge_stands_now(talking, session):
    list(talking.send(session, HARM, CAP))
    moved = CAP.but(layer=4)
    list(talking.read(session, moved))
    last = list(talking.control(session, 0, moved))[-1]
    assert {reply.reading.layer for reply in session.dialogue.path[0].replies.values()} == {4}
    assert last.history.count(">Tokens</button>") == 2


def test_what_can_be_kept_is_written_without_the_model(talking, session, bench, organism):
    control = CAP.but(control=3)
    session.dialogue = bench.say(Dialogue(), HARM, control)
    assert "wb.random_beside(" in keep_html(bench, session)
    later = Bench(bench.run, organism)  # as after a restart: nothing is remembered
    asked = []
    with organism.hooks([(organism.resid_post(0), lambda residual, hook: asked.append(1))]):
        lines = html.unescape(keep_html(later, session))
    assert not asked
    assert not later.actor.is_known(control)
    assert "answer the message again, and its lines stand here" in lines
    assert "left = model.chat(" in lines
    assert "right = " not in lines


def test_continuing_another_conversation_ends_the_edit(talking, session):
    other = talking.sessions.get(new_name())
    for one in (session, other):
        for text in (HARM, "Who are you?"):
            list(talking.send(one, text, PLAIN))
    list(talking.edit(session, 0))
    steps = list(continued(talking, session, json.dumps({"tab": "gone", "copy": "x"})))
    assert session.editing == 0  # there was nothing to continue
    assert not any(step.message == "" for step in steps)
    steps = list(continued(talking, session, json.dumps({"tab": other.name, "copy": ""})))
    assert session.editing is None
    assert any(step.message == "" for step in steps)
    list(talking.send(session, "I am scared of tomorrow.", PLAIN))
    assert messages(session) == [HARM, "Who are you?", "I am scared of tomorrow."]


def test_a_conversation_that_is_loaded_goes_on_as_it_was_held(talking, session, bench, tmp_path):
    list(talking.send(session, HARM, CAP))
    path = tmp_path / "conversation.json"
    path.write_text(FILES["conversation.json"].write(session.dialogue, bench, CAP))
    later = talking.sessions.get(new_name())
    later.settings = Settings(persona="ghost", layer=4)
    list(loaded(talking, later, str(path)))
    assert later.settings == CAP.but(layer=4)
    stranger = later.dialogue.under(0, Settings(persona="nobody").to_query())
    path.write_text(stranger.to_json())
    before = later.dialogue
    with pytest.raises(DataError, match=r"of conversation\.json cannot go on here: there is no persona 'nobody'"):
        list(loaded(talking, later, str(path)))
    assert (later.dialogue, later.busy) == (before, False)
    far = open_bench(endpoint="http://127.0.0.1:9/v1", endpoint_model="far")
    path.write_text(session.dialogue.to_json())
    _, settings, said = taken_up(path, Bench(bench.run, endpoint=far.endpoint), PLAIN)
    assert (settings.kind, settings.persona, said) == ("none", PIRATE, "")

"""The tree of a conversation: branches are kept, both sides read what they should, and files give it back."""

import json

import pytest
from app_study import new_name

from workbench.app.dialogue import FORMAT, LEFT, LONGEST, RIGHT, Dialogue, Reply
from workbench.app.line import Line
from workbench.app.sessions import KEPT, Sessions
from workbench.app.settings import Settings
from workbench.app.streaming import Reading
from workbench.conversations import Conversation
from workbench.errors import DataError


def talk(*messages: str, right: bool = True) -> Dialogue:
    """Every message answered: "left 0", "right 0", ..."""
    found = Dialogue()
    for message in messages:
        found = answered(found.say(message), right)
    return found


def answered(dialogue: Dialogue, right: bool = True) -> Dialogue:
    number = dialogue.at
    dialogue = dialogue.answer(number, LEFT, Reply(f"left {number}", "stop", number))
    return dialogue.answer(number, RIGHT, Reply(f"right {number}", "stop", number)) if right else dialogue


def texts(conversation: Conversation) -> list[str]:
    return [turn.text for turn in conversation.turns]


# -- what each side reads -----------------------------------------------------------------------------------
def test_each_side_reads_its_own_answers_or_the_left_ones():
    two = talk("a", "b").say("c")
    assert texts(two.asked(2, LEFT, "system")) == ["system", "a", "left 0", "b", "left 1", "c"]
    assert texts(two.asked(2, RIGHT, "system")) == ["system", "a", "right 0", "b", "right 1", "c"]
    assert texts(two.asked(2, RIGHT, follow="left")) == ["a", "left 0", "b", "left 1", "c"]
    assert texts(two.asked(0, RIGHT)) == ["a"]
    assert texts(talk("a", "b").held(RIGHT)) == ["a", "right 0", "b", "right 1"]
    assert texts(two.held(LEFT)) == ["a", "left 0", "b", "left 1", "c"]


def test_a_side_that_gave_no_answer_reads_the_left_ones():
    mixed = answered(talk("a", right=False).say("b"))
    assert texts(mixed.say("c").asked(2, RIGHT)) == ["a", "left 0", "b", "right 1", "c"]


# -- branches -------------------------------------------------------------------------------------------------
def test_an_edit_begins_a_branch_and_the_old_one_is_kept():
    old = talk("a", "b", "c")
    new = answered(old.edit(1, "B"))
    assert [one.message for one in new.path] == ["a", "B"]
    assert new.siblings(1) == new.siblings(3) == (1, 3)
    back = new.turn(3, -1)
    assert [one.message for one in back.path] == ["a", "b", "c"]
    assert back.turn(1, 1).path == new.path
    assert back.turn(1, 2).path == back.path
    assert [one.message for one in old.path] == ["a", "b", "c"]  # every change gives a new one
    assert len(old.exchanges) == 3


def test_the_first_message_can_be_edited_too():
    new = answered(talk("a", "b").edit(0, "A"))
    assert [one.message for one in new.path] == ["A"]
    assert [one.message for one in new.turn(2, 1).path] == ["a", "b"]


def test_answering_again_is_a_branch_with_another_seed():
    one = talk("a", "b")
    again = one.again(1)
    assert again.path[-1].message == "b"
    assert [one.next_seed(0, 5), one.next_seed(1, 5), again.next_seed(2, 5)] == [5, 6, 1006]
    assert answered(again).again(2).next_seed(3, 5) == 2006
    assert one.edit(1, "other").next_seed(2, 5) == 6  # another message: the seed of its place


def test_selecting_goes_to_the_end_that_was_begun_last():
    tree = answered(answered(talk("a", "b").edit(1, "B")).say("c"))
    assert [one.message for one in tree.select(0).path] == ["a", "B", "c"]


# -- what cannot be said ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("", "an empty message says nothing"),
        (" \n\t", "an empty message says nothing"),
        ("x" * (LONGEST + 1), "a message of 100,001 characters is too long: the most is 100,000"),
        ("half \ud800", "holds half a character"),
    ],
)
def test_messages_that_cannot_be_sent(message, text):
    with pytest.raises(DataError, match=text):
        Dialogue().say(message)


def test_nothing_follows_a_message_without_an_answer():
    for open_end in (Dialogue().say("a"), Dialogue().say("a").answer(0, LEFT, Reply("", "stopped", error="empty answer"))):
        with pytest.raises(DataError, match="the last message has no answer yet"):
            open_end.say("b")
    assert [one.message for one in Dialogue().say("a").edit(0, "b").path] == ["b"]
    with pytest.raises(DataError, match="there is no exchange 7"):
        Dialogue().say("a").edit(7, "b")
    with pytest.raises(DataError, match="given by one of left, right, not by 'middle'"):
        Dialogue().say("a").answer(0, "middle", Reply())
    with pytest.raises(DataError, match="holds no message yet"):
        Dialogue().held(LEFT)


# -- files --------------------------------------------------------------------------------------------------------
def test_json_gives_back_everything():
    reading = Reading(2, -1.5, 0.25, 17, 0.5, 0.04)
    one = talk("a", "<b>ü</b>").answer(1, RIGHT, Reply("r", "length", 3, "", reading, "recommended cap", 2)).edit(0, "other")
    assert Dialogue.from_json(one.to_json()) == one
    assert json.loads(one.to_json())["format"] == FORMAT
    assert Dialogue.from_json(Dialogue().to_json()) == Dialogue()


def broken(**changes) -> str:
    values = json.loads(talk("a", "b").to_json())
    for place, value in changes.items():
        target, keys = values, place.split("__")
        for key in keys[:-1]:
            target = target[int(key) if key.isdigit() else key]
        target[keys[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no saved conversation: it is not JSON"),
        ("[]", f"is no saved conversation of {FORMAT}"),
        (json.dumps({"messages": []}), "is no saved conversation"),
        (broken(exchanges__1__parent=1), "damaged: exchange 1 stands in the wrong place"),
        (broken(exchanges__1__parent="0"), "damaged"),
        (broken(exchanges__0__message=""), "an empty message"),
        (broken(exchanges__0__message=3), "damaged"),
        (broken(exchanges__0__replies={"middle": 1}), "damaged"),
        (broken(exchanges__0__replies__left__text=None), "damaged"),
        (broken(exchanges__0__replies__left__reading__before="far"), "damaged"),
        (broken(at=9), "damaged: it ends at exchange 9"),
        (broken(at="last"), "damaged: it ends at exchange 'last'"),
        (broken(exchanges=None), "damaged"),
    ],
)
def test_damaged_files_are_named_in_a_sentence(text, says):
    with pytest.raises(DataError, match=says) as error:
        Dialogue.from_json(text)
    assert "\n" not in str(error.value)


def test_given_conversations_become_a_dialogue():
    left = Conversation.of([("user", "a"), ("assistant", "b"), ("user", "c")], name="talk, left", system="Be brief.")
    right = Conversation.of([("user", "a"), ("assistant", "B"), ("user", "c"), ("assistant", "D")], name="talk, right")
    found, system = Dialogue.of(left)
    assert (system, found.name, len(found.path)) == ("Be brief.", "talk", 2)
    assert found.path[-1].replies == {}
    both, _ = Dialogue.of(left, right)
    assert texts(both.held(RIGHT)) == ["a", "B", "c", "D"]
    with pytest.raises(DataError, match="message 2 should be the assistant's"):
        Dialogue.of(Conversation.of([("user", "a"), ("user", "b")]))
    with pytest.raises(DataError, match="holds no message"):
        Dialogue.of(Conversation.of([], system="x"))
    with pytest.raises(DataError, match="do not answer the same messages"):
        Dialogue.of(left, Conversation.of([("user", "z"), ("assistant", "B")], name="other"))


# -- tabs -------------------------------------------------------------------------------------------------------------
def test_every_tab_has_a_conversation_of_its_own():
    sessions = Sessions(Settings(seed=4))
    one, other = sessions.get(new_name()), sessions.get(new_name())
    one.dialogue = talk("a")
    assert other.dialogue == Dialogue()
    assert other.settings.seed == 4
    assert sessions.get(one.name) is one
    with pytest.raises(DataError, match="reload it"):
        sessions.get("../etc")
    for _ in range(KEPT):
        sessions.get(new_name())
    assert sessions.known(one.name) is None


def test_a_reload_gives_back_what_the_server_has_else_the_browsers_copy():
    sessions, name = Sessions(), new_name()
    session = sessions.get(name)
    session.dialogue, session.settings = talk("a <script>"), Settings(kind="floor", percentile=30)
    copy = session.to_text()
    assert "<script" not in copy
    later = Sessions()  # the server was started anew
    found, problem = later.restore(name, copy)
    assert (found.dialogue, found.settings, problem) == (session.dialogue, session.settings, "")
    session.dialogue = talk("a", "b")
    assert sessions.restore(name, copy)[0].dialogue == session.dialogue
    for wrong in ("{", "[]", '{"dialogue": 3}', '{"dialogue": "{}", "settings": "a=b"}'):
        found, problem = Sessions().restore(name, wrong)
        assert found.dialogue == Dialogue()
        assert problem.startswith("the conversation that this browser kept cannot be read")


def test_one_answer_at_a_time():
    session = Sessions().get(new_name())
    session.stop.set()
    with session.answering():
        assert session.busy
        assert not session.stop.is_set()
        with pytest.raises(DataError, match="is being answered: wait for it, or stop it first"), session.answering():
            pass
    with session.answering():
        pass


# -- the line -----------------------------------------------------------------------------------------------------------
def test_everybody_knows_how_many_are_before():
    line = Line()
    with line.place() as first:
        assert first.wait(0) == 0
        with line.place() as second, line.place() as third:
            assert (second.wait(0), third.wait(0.01), len(line)) == (1, 2, 3)
    with line.place() as again:
        assert again.wait(0) == 0


def test_who_leaves_the_line_lets_the_others_move_up():
    line = Line()
    first = line.place()
    first.__enter__()
    second = line.place()
    second.__enter__()
    with line.place() as third:
        assert third.wait(0) == 2
        second.__exit__(None, None, None)  # gave up waiting
        assert third.wait(0) == 1
        first.__exit__(None, None, None)
        assert third.wait(1.0) == 0
    with line.turn():
        assert len(line) == 1
    assert len(line) == 0

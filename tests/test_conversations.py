import pytest

from workbench.conversations import Conversation, Role, Turn
from workbench.errors import ChatError


@pytest.mark.parametrize(
    "messages",
    [
        "hi",
        [("user", "hi")],
        [Turn("user", "hi")],
        [{"role": "user", "content": "hi"}],
        [{"speaker": "user", "text": "hi"}],
    ],
)
def test_what_people_have_at_hand(messages):
    assert Conversation.of(messages).turns == (Turn("user", "hi"),)
    assert Conversation.of(messages, system="be").turns[0] == Turn("system", "be")


def test_records_survive():
    conversation = Conversation.of([("user", "a"), ("assistant", "b")], name="x")
    assert Conversation.of(conversation.to_list(), name="x") == conversation
    assert conversation.plus("user", "c").turns[-1] == Turn("user", "c")
    assert len(conversation.turns) == 2


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([("bot", "a")], "spoken by one of system, user, assistant, not by 'bot'"),
        ([("user", "a"), ("system", "b")], "message 1 is a system message; only the first"),
        ([{"role": "user"}], "needs a speaker and a text"),
        ([("user", 3)], "both strings"),
    ],
)
def test_what_cannot_be_a_conversation(messages, text):
    with pytest.raises(ChatError, match=text):
        Conversation.of(messages)


def test_the_default_is_the_role_of_that_name():
    assert Role("default", ("",)).is_default
    assert not Role("pirate", ("Arr.",)).is_default

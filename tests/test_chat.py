"""Where a message lies in a rendered conversation: proven, or refused with an error that shows the text.

The layouts in templates.py say, apart from the templates and from the library, what the text should be and where
each message lies in it; the tokens are checked by decoding them.
"""

import random
import re
import unicodedata
from collections import Counter
from datetime import datetime

import pytest
import templates as t
from templates import FAMILIES, TOKENIZERS, Family, build_tokenizer

from workbench.conversations import Conversation
from workbench.errors import ChatError
from workbench.models.chat import ChatFormat, Rendered, token_range

NAMES = list(FAMILIES)
FOLDED = [name for name in NAMES if FAMILIES[name].system == "folded"]
NATIVE = [name for name in NAMES if FAMILIES[name].system == "native"]


@pytest.fixture(scope="session")
def chat_format():
    """Formats by family and kind of tokenizer, each built once."""
    built: dict[tuple[str, str], ChatFormat] = {}

    def get(name: str, kind: str = "gpt2") -> ChatFormat:
        if (name, kind) not in built:
            built[name, kind] = ChatFormat(build_tokenizer(FAMILIES[name], kind), model_name=name)
        return built[name, kind]

    return get


@pytest.fixture(scope="session")
def chatml_tokenizer():
    return build_tokenizer(FAMILIES["chatml"], "qwen")


@pytest.fixture(params=[(name, kind) for name in NAMES for kind in TOKENIZERS], ids="-".join)
def case(request, chat_format) -> tuple[Family, ChatFormat]:
    """Every good family with every kind of tokenizer."""
    name, kind = request.param
    return FAMILIES[name], chat_format(name, kind)


def render(chat: ChatFormat, *turns: tuple[str, str], reply: bool = False) -> Rendered:
    return chat.render(Conversation.of(turns), reply)


def said(rendered: Rendered) -> list[str]:
    """What the character spans hold."""
    return [rendered.text[slice(*span.chars)] for span in rendered.spans]


def decoded(chat: ChatFormat, rendered: Rendered) -> list[str]:
    """What the token spans hold."""
    return [chat.tokenizer.decode(rendered.ids[slice(*span.tokens)]) for span in rendered.spans]


def bare(text: str) -> str:
    """Text up to what a tokenizer may do to it: white space at the ends, and composed accents."""
    return unicodedata.normalize("NFC", text).strip()


def prove(case: tuple[Family, ChatFormat], *turns: tuple[str, str], reply: bool = False) -> Rendered:
    """Render, and check everything that can be checked without the library."""
    family, chat = case
    rendered = render(chat, *turns, reply=reply)
    text, chars = family.expected(turns, reply)
    assert rendered.text == text
    assert [span.chars for span in rendered.spans] == chars
    assert [(span.message, span.speaker) for span in rendered.spans] == [(i, speaker) for i, (speaker, _) in enumerate(turns)]
    assert list(rendered.ids) == chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert list(map(bare, decoded(chat, rendered))) == list(map(bare, said(rendered)))
    for span in rendered.spans:
        # An empty message has no tokens: a mean over the scaffold's line end would pass for an answer's.
        assert (span.tokens[0] == span.tokens[1]) or span.chars[0] < span.chars[1]
    ends = [0, *(end for span in rendered.spans for end in span.tokens), len(rendered.ids)]
    assert ends == sorted(ends)
    return rendered


# ------------------------------------------------------------------------------------------------ proven spans

EXCHANGE = [("user", "the cat sat on the mat"), ("assistant", "yes, sir!"), ("user", "say hello"), ("assistant", "hello world")]


def test_every_message_is_found(case):
    assert said(prove(case, *EXCHANGE)) == [text for _, text in EXCHANGE]


def test_every_message_is_found_after_a_system_prompt(case):
    assert said(prove(case, ("system", "I am a pirate."), *EXCHANGE)) == ["I am a pirate.", *(text for _, text in EXCHANGE)]


def test_the_reply_prompt_comes_after_the_last_message(case):
    family, _ = case
    with_reply, without = prove(case, *EXCHANGE[:3], reply=True), prove(case, *EXCHANGE[:3])
    assert with_reply.text.startswith(without.text)
    assert with_reply.spans == without.spans
    # Mistral's end of an instruction is itself what comes before an answer.
    assert (with_reply.text == without.text) == (family.name == "mistral")


def test_an_answer_that_repeats_the_question_is_the_later_one(case):
    # The first textual match of "yes" is the user's: the commonest wrong span of all.
    rendered = prove(case, ("user", "yes"), ("assistant", "yes"))
    assert rendered.span(1).chars[0] > rendered.span(0).chars[1]
    assert rendered.span(1).tokens[0] > rendered.span(0).tokens[1]


@pytest.mark.parametrize("text", ["yes", "a", "user", "assistant", "model", "system", "\u4f60", "zq0mark0qz"])
def test_the_same_text_in_all_turns(case, text):
    speakers = ["system", "user", "assistant", "user", "assistant"]
    rendered = prove(case, *((speaker, text) for speaker in speakers))
    assert said(rendered) == [text] * 5
    assert len({span.tokens for span in rendered.spans}) == 5


def test_a_message_that_is_part_of_another(case):
    prove(case, ("user", "yes yes yes"), ("assistant", "yes"), ("user", "yes yes"), ("assistant", "yes yes yes yes"))


def test_a_single_message_and_a_conversation_without_answer(case):
    assert said(prove(case, ("user", "hello"))) == ["hello"]


def test_spans_count_from_the_end(case):
    rendered = prove(case, *EXCHANGE)
    assert rendered.span(-1) == rendered.span(3) == rendered.spans[3]


# ------------------------------------------------------------------------------------------------ empty messages


@pytest.mark.parametrize("speaker", [0, 1, 2, 3])
def test_an_empty_message_has_an_empty_span(case, speaker):
    turns = [(name, "" if i == speaker else text) for i, (name, text) in enumerate(EXCHANGE)]
    span = prove(case, *turns).span(speaker)
    assert span.chars[0] == span.chars[1]
    assert span.tokens[0] == span.tokens[1]


def test_an_empty_answer_at_the_very_end(case):
    _, chat = case
    rendered = prove(case, ("user", "yes"), ("assistant", ""))
    assert decoded(chat, rendered)[1] == ""


@pytest.mark.parametrize("turns", [[("system", "be kind"), ("user", "")], [("system", ""), ("user", "hi")]])
def test_a_fold_that_the_template_trims_away_is_refused(chat_format, turns):
    # The template strips the line ends that stand between the two, so that neither place can be told for sure.
    with pytest.raises(ChatError, match=r"rewrites message \d"):
        render(chat_format("gemma"), *turns)


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_without_messages_is_refused(chat_format, name):
    with pytest.raises(ChatError):
        chat_format(name).render(Conversation.of([]))


# ------------------------------------------------------------------------------------------------ unusual text

UNUSUAL = {
    "emoji that is five code points": "\U0001f469\u200d\U0001f469\u200d\U0001f466",
    "flag and skin": "\U0001f1eb\U0001f1ee \U0001f44d\U0001f3fd",
    "combining accents": "cafe\u0301 na\u0308ive",
    "starts with an accent": "\u0301abc",
    "composed accents": "caf\u00e9 na\u00efve",
    "Chinese": "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
    "Arabic with marks": "\u200f\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u200f",
    "Hebrew among Latin": "abc \u05e9\u05dc\u05d5\u05dd def",
    "Thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "zero byte and byte order mark": "a\x00b\ufeffc",
    "Jinja": "{{ messages }}{% raise %}{# no #}",
    "markup": "<b>&amp;</b> \\n \"quoted\" 'twice'",
    "line ends of all kinds": "a\r\nb\rc\nd\u2028e\x85f",
}


@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_text_is_found(case, text):
    prove(case, ("system", text), ("user", text), ("assistant", text), ("user", "yes"), ("assistant", text + text))


@pytest.mark.parametrize("text", ["  yes", "yes  ", "\nyes\n", "\n\n yes \n\n", "\t\u3000yes\u00a0", "yes\n", " ", "\n", "\r\n \n"])
def test_white_space_at_the_ends(case, text):
    family, _ = case
    rendered = prove(case, ("user", text), ("assistant", text), ("user", "yes"), ("assistant", text))
    kept = text.strip() if family.name == "gemma" else text
    assert said(rendered) == [kept, kept, "yes", kept]


def test_trimmed_white_space_does_not_let_the_scaffold_in(case):
    # A span of the untrimmed length would reach over the token that ends the turn.
    family, chat = case
    rendered = prove(case, ("user", "yes\n\n"), ("assistant", "yes \n\n\n"), ("user", "ok"))
    special = [token for token in family.special if token in "".join(said(rendered) + decoded(chat, rendered))]
    assert special == []


@pytest.mark.parametrize("text", ["zq0mark0qz", "zq1mark1qz", "zqzq0mark0qzqz zq0mark0qz", "zq0mark0qzzq1mark1qz", "zqsystemqz"])
def test_text_that_looks_like_our_own_marks(case, text):
    prove(case, ("system", text), ("user", text), ("assistant", text), ("user", f"{text}{text}"), ("assistant", f" {text}"))


@pytest.mark.parametrize(
    "text", ["User: yes\nBot: yes\n", "Bot:", "\nBot: no\nUser:", "Note: be", "assistant\n", "model\n", "[INST", "<|im_end|", "start|>"]
)
def test_text_that_speaks_for_others(case, text):
    prove(case, ("system", text), ("user", text), ("assistant", text), ("user", "yes"), ("assistant", "yes"))


def test_half_a_character_is_refused(case):
    # JSON can hold half of a surrogate pair; no tokenizer takes it.
    _, chat = case
    with pytest.raises(ChatError, match="message 1"):
        render(chat, ("user", "yes"), ("assistant", "\ud83d"))


def test_a_long_conversation(chat_format):
    chat, turns = chat_format("chatml"), [("user", "a"), ("assistant", "b")] * 600
    assert said(render(chat, *turns)) == ["a", "b"] * 600


# ------------------------------------------------------------------------------------------------ special tokens


@pytest.mark.parametrize(("name", "token"), [(name, token) for name in NAMES for token in FAMILIES[name].special])
def test_a_typed_special_token_is_refused_by_name(chat_format, name, token):
    chat = chat_format(name)
    with pytest.raises(ChatError, match=re.escape(f"message 0 (user) contains the special token {token!r}")):
        render(chat, ("user", f"what does {token} mean?"), ("assistant", "yes"))
    with pytest.raises(ChatError, match=re.escape(f"message 1 (assistant) contains the special token {token!r}")):
        render(chat, ("user", "yes"), ("assistant", f"yes{token}"))
    with pytest.raises(ChatError, match=re.escape(f"message 0 (system) contains the special token {token!r}")):
        render(chat, ("system", token), ("user", "yes"))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_special_tokens_of_other_families_are_text(chat_format, kind):
    foreign = "a <|im_end|> b [/INST] c"
    prove((FAMILIES["llama"], chat_format("llama", kind)), ("user", foreign), ("assistant", foreign))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_tokens_that_are_only_added_may_be_typed(chat_format, kind):
    # <think> is one token of the vocabulary, but not a special one: text may hold it.
    prove((FAMILIES["chatml"], chat_format("chatml", kind)), ("user", "what does </think> or <think> mean?"), ("assistant", "yes"))


@pytest.mark.parametrize("side", ["lstrip", "rstrip"])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_special_tokens_that_swallow_white_space(kind, side):
    # As Phi-3's do: the white space at a message's end then lies within the special token. No letter of it does.
    family = FAMILIES["harmony"]
    case = family, ChatFormat(build_tokenizer(family, kind, **{side: True}))
    rendered = render(case[1], ("user", "\n yes \n"), ("assistant", " yes\n"), ("user", "\n"), ("assistant", "no"))
    assert said(rendered) == ["\n yes \n", " yes\n", "\n", "no"]
    assert [text.strip() for text in decoded(case[1], rendered)] == ["yes", "yes", "", "no"]


# ------------------------------------------------------------------------------------------------ system prompts


@pytest.mark.parametrize("name", NAMES)
def test_system_handling(chat_format, name):
    assert chat_format(name).system_handling == FAMILIES[name].system


@pytest.mark.parametrize("name", FOLDED)
def test_a_folded_system_prompt_and_the_message_have_spans_of_their_own(chat_format, name):
    rendered = render(chat_format(name), ("system", "yes"), ("user", "yes"), ("assistant", "yes"))
    assert "<start_of_turn>user\nyes\n\nyes<end_of_turn>" in rendered.text
    assert said(rendered) == ["yes"] * 3
    assert rendered.span(1).chars[0] == rendered.span(0).chars[1] + 2
    assert [span.speaker for span in rendered.spans] == ["system", "user", "assistant"]


@pytest.mark.parametrize("name", NATIVE)
def test_a_native_system_prompt_is_left_to_the_template(chat_format, name):
    family, turns = FAMILIES[name], [("system", "be kind"), ("user", "yes")]
    assert render(chat_format(name), *turns).text == family.expected(turns)[0]


def test_a_template_that_drops_the_system_prompt_counts_as_folded(chatml_tokenizer):
    chat = ChatFormat(chatml_tokenizer, t.DROPS_SYSTEM)
    assert chat.system_handling == "folded"
    rendered = render(chat, ("system", "be kind"), ("user", "yes"), ("assistant", "yes"))
    assert "<|im_start|>user\nbe kind\n\nyes<|im_end|>" in rendered.text
    assert said(rendered) == ["be kind", "yes", "yes"]


@pytest.mark.parametrize("turns", [[("system", "be kind")], [("system", "be kind"), ("assistant", "yes")]])
@pytest.mark.parametrize("name", FOLDED)
def test_a_system_prompt_that_no_user_message_can_carry_is_refused(chat_format, name, turns):
    with pytest.raises(ChatError, match="no user message that could carry the system prompt"):
        render(chat_format(name), *turns)


def test_a_system_prompt_alone_that_the_template_would_lose_is_refused(chat_format):
    with pytest.raises(ChatError, match=r"leaves out message 0 \(system\)"):
        render(chat_format("mistral"), ("system", "be kind"))


@pytest.mark.parametrize("name", NAMES)
def test_the_model_name_is_filled_into_system_prompts_only(name):
    chat = ChatFormat(build_tokenizer(FAMILIES[name]), model_name="Toy-1B")
    rendered = render(chat, ("system", "You are {model_name}; be {model_name}."), ("user", "{model_name}?"), ("assistant", "{model_name}"))
    assert said(rendered) == ["You are Toy-1B; be Toy-1B.", "{model_name}?", "{model_name}"]


# ------------------------------------------------------------------------------------------------ refused templates


@pytest.mark.parametrize(
    ("name", "words"), [("gemma", "user and model have to take turns"), ("mistral", "after a user comes an assistant")]
)
def test_the_templates_own_refusal_is_passed_on(chat_format, name, words):
    with pytest.raises(ChatError, match=f"chat template of {name} refuses this conversation: {words}"):
        render(chat_format(name), ("user", "yes"), ("user", "yes"))


HOLMES = [("user", "Yes, the cat & the dog"), ("assistant", "Yes, the cat sat on the mat."), ("user", "Yes"), ("assistant", "No")]
SAME = [("user", "Yes"), ("assistant", "Yes")]
BAD = {
    "lowers everything": (t.LOWERS, HOLMES, r"rewrites message 0 \(user\).*yes, the cat"),
    "lowers everything, the same text": (t.LOWERS, SAME, r"rewrites message 0 \(user\)"),
    # The answer stands in the text as it is, so that looking the messages up would blame the wrong one.
    "lowers the user, the same text": (t.LOWERS_USER, SAME, r"rewrites message 0 \(user\)"),
    "lowers the user": (t.LOWERS_USER, [("user", "yes"), *HOLMES[1:]], r"rewrites message 2 \(user\)"),
    "upper case for the assistant": (t.SHOUTS, HOLMES, r"message 1 \(assistant\).*MARK"),
    "upper case, the same text": (t.SHOUTS, [("user", "YES"), ("assistant", "YES")], r"message 1 \(assistant\)"),
    "cuts long messages": (t.CUTS, HOLMES, r"rewrites message 1 \(assistant\).*Yes, the cat sat on the"),
    "escapes": (t.ESCAPES, HOLMES, r"rewrites message 0 \(user\).*&amp;"),
    "adds to long messages": (t.ADDS, HOLMES, r"rewrites message 0 \(user\).*a long one"),
    "adds to a long last message": (t.ADDS, [("user", "Yes"), HOLMES[1]], r"the chat template.*a long one"),
    "repeats the last user message": (t.REPEATS, HOLMES, r"repeats or reorders message 2 \(user\).*Again: "),
    "repeats the only message": (t.REPEATS, SAME[:1], r"repeats or reorders message 0 \(user\).*Again: "),
    "reorders": (t.REORDERS, HOLMES, r"reorders message \d \(\w+\)"),
    "forgets": (t.FORGETS, HOLMES, r"leaves out message 2 \(user\)"),
    "glues a name before": (t.GLUED, [("user", "Oh"), ("assistant", "yes")], r"(?=.*message 1).*token reaches across.*Botyes"),
    "glues a name after": (t.GLUED_AFTER, [("user", "yes"), ("assistant", "ok")], r"message 0.*reaches across.*yesBot"),
}  # fmt: skip


@pytest.mark.parametrize(("template", "turns", "words"), BAD.values(), ids=BAD)
def test_a_bad_template_is_refused_and_the_message_named(chatml_tokenizer, template, turns, words):
    with pytest.raises(ChatError, match=rf"(?s){words}"):
        render(ChatFormat(chatml_tokenizer, template), *turns)


@pytest.mark.parametrize("template", [t.LOWERS, t.CUTS, t.ESCAPES, t.LOWERS_USER, t.GLUED])
def test_a_bad_template_that_does_no_harm_here_is_not_refused(chatml_tokenizer, template):
    # What is proven is this conversation, not the template.
    assert said(render(ChatFormat(chatml_tokenizer, template), ("user", "7"), ("assistant", "8"))) == ["7", "8"]


@pytest.mark.parametrize(
    "template",
    ["{% for m in messages %}", "{{ messages[0].nothing.at_all }}", "{{ messages[0].content + 1 }}", "{{ 1 // 0 }}"],
    ids=["syntax", "undefined", "type", "arithmetic"],
)
def test_a_template_with_a_mistake_in_it_is_the_users_to_mend(chatml_tokenizer, template):
    with pytest.raises(ChatError, match="the chat template of toy"):
        render(ChatFormat(chatml_tokenizer, template, model_name="toy"), ("user", "yes"))


# ------------------------------------------------------------------------------------------------ thinking

THOUGHTFUL = [
    ("user", "cat?"), ("assistant", "<think>first plan: yes</think>\n\nyes"),
    ("user", "dog?"), ("assistant", "<think>\nsecond plan: no\n</think>\n\nno"),
]  # fmt: skip


def test_thinking_is_outside_the_answers_span(case):
    _, chat = case
    rendered = prove(case, *THOUGHTFUL)
    assert said(rendered) == ["cat?", "yes", "dog?", "no"]
    assert "plan" not in "".join(decoded(chat, rendered))


def test_thinking_that_the_template_strips_and_thinking_that_it_keeps(chat_format):
    text = render(chat_format("chatml"), *THOUGHTFUL).text
    assert "first plan" not in text
    assert "<think>\nsecond plan: no\n</think>\n\nno<|im_end|>" in text


def test_an_empty_block_of_thinking_that_the_template_adds(chat_format):
    rendered = render(chat_format("chatml"), ("user", "yes"), ("assistant", "yes"))
    assert "<think>\n\n</think>\n\nyes<|im_end|>" in rendered.text
    assert said(rendered) == ["yes", "yes"]


@pytest.mark.parametrize(
    ("answer", "span"),
    [
        ("<think>yes or no? yes</think>yes", "yes"),
        ("<think>a</think>", ""),
        ("<think>a</think>\n\n", ""),
        ("<think></think>yes\n", "yes\n"),
        ("no opening</think>\n yes", "yes"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>zq1mark1qz</think>zq1mark1qz", "zq1mark1qz"),
        ("<think>never closed", "<think>never closed"),
    ],
)
@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("last", [True, False])
def test_the_forms_of_thinking(chat_format, chatml_tokenizer, answer, span, kind, last):
    turns = [("user", "yes"), ("assistant", answer)] + ([] if last else [("user", "yes"), ("assistant", "yes")])
    assert said(prove((FAMILIES["chatml"], chat_format("chatml", kind)), *turns))[1] == span
    kept = render(ChatFormat(chatml_tokenizer, t.KEEPS_THINKING), *turns)
    assert said(kept)[1] == span
    assert answer in kept.text


def test_thinking_is_the_assistants_only(case):
    text = "<think>a</think>b"
    assert said(prove(case, ("system", text), ("user", text), ("assistant", "yes")))[:2] == [text, text]


# ------------------------------------------------------------------------------------------------ prompts and ends


@pytest.mark.parametrize("turns", [EXCHANGE[:1], EXCHANGE[:3], [("system", "be kind"), *EXCHANGE[:1]]], ids=["one", "three", "system"])
def test_the_prompt_is_a_prefix_of_the_answered_conversation(case, request, turns):
    _, chat = case
    conversation = Conversation.of(turns)
    asked, answered = chat.render(conversation, reply=True), chat.render(conversation.plus("assistant", "yes"))
    assert answered.text.startswith(asked.text)
    assert answered.span(-1).chars[0] >= len(asked.text)
    assert chat.prompt_ids(conversation) == list(asked.ids)
    assert all(type(token) is int for token in asked.ids)
    if asked.text.endswith("\n\n") and "gpt2" in request.node.callspec.id:
        # GPT-2's splitter reads two line ends as one piece at the end of a text, as two before a word: no prefix, whoever renders.
        return
    assert asked.ids == answered.ids[: len(asked.ids)]
    assert len(asked.ids) <= answered.span(-1).tokens[0]


def test_the_begin_of_text_token_is_not_doubled(case):
    family, chat = case
    rendered = render(chat, *EXCHANGE)
    if family.bos is None:
        return
    bos = chat.tokenizer.bos_token_id
    # The trap is set: the tokenizer puts one in front if it is called plainly.
    assert chat.tokenizer(rendered.text)["input_ids"][0] == bos
    assert rendered.ids.count(bos) == chat.prompt_ids(Conversation.of("yes")).count(bos) == (0 if family.name == "plain" else 1)


def test_the_end_of_a_turn(case):
    family, chat = case
    expected = None if family.end is None else chat.tokenizer.convert_tokens_to_ids(family.end)
    assert chat.end_of_turn == expected


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_end_of_a_turn_after_a_space(kind):
    # As Llama 2 writes it; without this token generation would not stop where the answer does.
    tokenizer = build_tokenizer(FAMILIES["mistral"], kind, t.SPACED_END)
    assert ChatFormat(tokenizer).end_of_turn == tokenizer.eos_token_id


def test_a_word_that_ends_a_turn_is_no_token_to_stop_at(chatml_tokenizer):
    # Generation would stop wherever an answer uses the word.
    assert ChatFormat(chatml_tokenizer, t.SPOKEN_END).end_of_turn is None


# ------------------------------------------------------------------------------------------------ dates


def test_a_date_that_the_template_takes_from_outside(chat_format):
    assert "Today Date: 26 Jul 2024\n" in render(chat_format("llama"), ("user", "yes")).text
    assert "Effort: low. Date: 26 Jul 2024<" in render(chat_format("harmony"), ("user", "yes")).text


def test_a_date_that_the_template_reads_from_the_clock(chatml_tokenizer):
    # gpt-oss and SmolLM3 do so: the same conversation would be another one tomorrow.
    chat = ChatFormat(chatml_tokenizer, t.CLOCK)
    first, second = render(chat, *EXCHANGE), render(chat, *EXCHANGE)
    assert first == second
    assert str(datetime.now().year) not in first.text
    assert said(first) == [text for _, text in EXCHANGE]


# ------------------------------------------------------------------------------------------------ what a format needs


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False
        chat_template = t.PLAIN

    with pytest.raises(ChatError, match="tokenizer of toy gives no character offsets"):
        ChatFormat(Slow(), model_name="toy")
    with pytest.raises(ChatError, match="no character offsets"):
        ChatFormat(object(), t.PLAIN)


def test_a_missing_template_is_refused_and_the_remedy_named():
    tokenizer = build_tokenizer(FAMILIES["plain"])
    tokenizer.chat_template = None
    with pytest.raises(ChatError, match=r"toy has no chat template.*--chat-template"):
        ChatFormat(tokenizer, model_name="toy")
    assert said(render(ChatFormat(tokenizer, t.PLAIN), ("user", "yes"))) == ["yes"]


def test_a_given_template_replaces_the_tokenizers_own(chatml_tokenizer):
    assert render(ChatFormat(chatml_tokenizer, t.PLAIN), ("user", "yes"), reply=True).text == "User: yes\nBot:"
    assert chatml_tokenizer.chat_template == t.CHATML


def test_of_several_templates_the_default_is_taken():
    # Models that can use tools come with a template of their own for that.
    tokenizer = build_tokenizer(FAMILIES["plain"], template={"tool_use": t.CHATML, "default": t.PLAIN})
    chat = ChatFormat(tokenizer)
    assert render(chat, ("user", "yes"), reply=True).text == "User: yes\nBot:"
    assert chat.fingerprint == ChatFormat(tokenizer, t.PLAIN).fingerprint


def test_several_templates_without_a_default_are_refused():
    tokenizer = build_tokenizer(FAMILIES["plain"], template={"tool_use": t.CHATML, "rag": t.PLAIN})
    with pytest.raises(ChatError, match="--chat-template"):
        render(ChatFormat(tokenizer), ("user", "yes"))


def test_the_fingerprint_follows_the_template(chat_format, chatml_tokenizer):
    prints = [chat_format(name).fingerprint for name in NAMES]
    assert len(set(prints)) == len(prints)
    assert all(re.fullmatch(r"[0-9a-f]{12}", each) for each in prints)
    assert ChatFormat(chatml_tokenizer).fingerprint == prints[NAMES.index("chatml")]
    assert ChatFormat(chatml_tokenizer, t.CHATML + " ").fingerprint != prints[NAMES.index("chatml")]


# ------------------------------------------------------------------------------------------------ token ranges


@pytest.mark.parametrize(
    ("text", "offsets", "chars", "expected"),
    [
        ("ab cd", [(0, 2), (2, 5)], (3, 5), (1, 2)),  # the space before a word
        ("ab\n\ncd", [(0, 2), (2, 4), (4, 6)], (0, 3), (0, 2)),  # a message's line end and the template's, as one token
        ("ab.\ncd", [(0, 2), (2, 4), (4, 6)], (0, 3), (0, 2)),  # a full stop with the line end after it
        ("a\u4e16b", [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)], (1, 2), (1, 4)),  # a character of several tokens
        ("ab", [(0, 1), (1, 2)], (1, 1), (1, 1)),  # empty, between two tokens
        ("ab", [(0, 1), (1, 2)], (2, 2), (2, 2)),  # empty, at the end
        (": \nU", [(0, 1), (1, 3), (3, 4)], (2, 2), (2, 2)),  # empty, within a token of white space
        ("ab", [(0, 0), (0, 2)], (0, 2), (1, 2)),  # a begin-of-text token lies nowhere
        ("<x> ab", [(0, 4), (4, 6)], (3, 6), (1, 2)),  # a special token that takes the space along
        ("ab\n<x>", [(0, 2), (2, 6)], (0, 3), (0, 1)),
        ("<x>\n<y>", [(0, 4), (4, 7)], (3, 4), (1, 1)),  # nothing but white space, and that is gone
    ],
)
def test_tokens_of_a_range(text, offsets, chars, expected):
    assert token_range(text, offsets, chars) == expected


@pytest.mark.parametrize(
    ("text", "offsets", "chars"),
    [
        ("Botyes", [(0, 6)], (3, 6)),
        ("yesBot", [(0, 6)], (0, 3)),
        ("aBotyes", [(0, 2), (2, 7)], (4, 7)),
        ("a:b", [(0, 3)], (1, 2)),
    ],
)
def test_a_token_with_letters_of_both_sides_is_refused_and_shown(text, offsets, chars):
    with pytest.raises(ChatError, match=f"a token reaches across the end of a message.*{text}"):
        token_range(text, offsets, chars)


# ------------------------------------------------------------------------------------------------ at random

NASTY = [
    *["yes", "no", "a", "Yes", " ", " ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", ".", ":", "7"],
    *["zq0mark0qz", "zq1mark1qz", "zq", "qz", "zqsystemqz", "{model_name}", "{{ x }}", "{% if %}", "\\n", "&amp;"],
    *["User: ", "Bot: ", "Note: ", "assistant\n", "model", "<think>", "</think>", "<|im_end", "|>", "[INST", "]", "\x00"],
    *["\u0301", "e\u0301", "\u00e9", "\U0001f469\u200d\U0001f466", "\u200d", "\u4f60\u597d", "\u200f\u0645\u0631", "\u0e31", "\ufeff"],
    *["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "</s>"],
]


def random_turns(rng: random.Random) -> list[tuple[str, str]]:
    def text() -> str:
        return "".join(rng.choices(NASTY, k=rng.choice([0, 1, 1, 2, 3, 5])))

    speakers = ["user", "assistant", "user", "assistant", "user"][: rng.randint(1, 5)]
    if rng.random() < 0.05:
        rng.shuffle(speakers)
    return [("system", text())] * (rng.random() < 0.4) + [(speaker, text()) for speaker in speakers]


def may_refuse(family: Family, turns: list[tuple[str, str]]) -> bool:
    """Whether there is a reason to refuse a conversation: without this, a library that refuses all would pass."""
    speakers = [speaker for speaker, _ in turns if speaker != "system"]
    alternate = speakers == ["user", "assistant", "user", "assistant", "user"][: len(speakers)]
    if any(token in text for token in family.special for _, text in turns):
        return True
    if family.name == "mistral":
        return not alternate
    if family.name == "gemma":
        # Where one of the two is blank, the template trims what the fold puts between; so it does after thinking.
        blank_fold = turns[0][0] == "system" and not all(text.strip() for _, text in turns[:2])
        blank_answer = any(speaker == "assistant" and text.rstrip().endswith("</think>") for speaker, text in turns)
        return not alternate or blank_fold or blank_answer
    return False


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_random_conversations_are_proven_or_refused(chat_format, kind):
    rng, outcomes = random.Random(20240726), Counter()
    for _ in range(200):
        turns, reply = random_turns(rng), rng.random() < 0.5
        for name, family in FAMILIES.items():
            # The model's name is filled in by the library: the same here, so that the layouts need not know of it.
            filled = [(speaker, text.replace("{model_name}", name) if speaker == "system" else text) for speaker, text in turns]
            try:
                rendered = render(chat_format(name, kind), *turns, reply=reply)
            except ChatError:
                assert may_refuse(family, filled), (name, turns)
                outcomes[name, "refused"] += 1
                continue
            text, chars = family.expected(filled, reply)
            assert rendered.text == text, (name, turns)
            assert [span.chars for span in rendered.spans] == chars, (name, turns)
            for span, (begin, end) in zip(rendered.spans, chars, strict=True):
                a, b = span.tokens
                inside = chat_format(name, kind).tokenizer.decode(rendered.ids[a:b])
                assert bare(inside) == bare(text[begin:end]), (name, turns, span)
                assert begin < end or a == b, (name, turns, span)
            outcomes[name, "proven"] += 1
    assert min(outcomes[name, "proven"] for name in NAMES) > 100, outcomes
    assert min(outcomes[name, "refused"] for name in NAMES if name not in ("plain", "harmony")) > 5, outcomes

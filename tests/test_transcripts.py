"""Conversations from files in every layout: what is read, what is left out and how it is named, and the way back to a file."""

import contextlib
import gzip
import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.conversations import Conversation, Turn
from workbench.errors import DataError
from workbench.transcripts import Problem, Transcripts, load_conversations, save_conversations

SAID = [("system", "Be kind."), ("user", "Hello?"), ("assistant", "Hello!"), ("user", "Who are\nyou?"), ("assistant", "Wer fragt? 🌱")]
TURNS = tuple(Turn(*said) for said in SAID)


def messages(said: list[tuple[str, str]] = SAID, who: str = "role", what: str = "content", **names: str) -> list[dict]:
    return [{who: names.get(speaker, speaker), what: text} for speaker, text in said]


def written(path: Path, *rows: object) -> Path:
    """Rows as lines, as a table's rows, or, of a JSON file, the one thing that it holds; text is written as it is."""
    if path.suffix == ".parquet":
        pd.DataFrame(list(rows)).to_parquet(path)
        return path
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def why(tmp_path: Path, row: object, **kwargs: bool) -> str:
    """What is said of a row between two good ones, which are read whatever it is."""
    good = {"messages": messages()}
    found = load_conversations(written(tmp_path / "why.jsonl", good, row, good), **kwargs)
    assert [c.name for c in found] == ["why/1", "why/3"]
    [problem] = found.problems
    assert (problem.file, problem.line) == (str(tmp_path / "why.jsonl"), 2)
    assert "\n" not in str(problem)
    with pytest.raises(DataError) as error:
        load_conversations(tmp_path / "why.jsonl", strict=True, **kwargs)
    assert str(error.value) == str(problem)
    return problem.what


# -- layouts ------------------------------------------------------------------------------------------
LAYOUTS: dict[str, tuple[object, str, dict[str, str]]] = {
    "our own": (
        {"name": "n", "turns": messages(SAID, "speaker", "text"), "about": {"topic": "t" * 300, "n": 3}},
        "n", {"topic": "t" * 300, "n": "3"},
    ),
    "OpenAI, bare": (messages(), "", {}),
    "OpenAI": (
        {"messages": messages(), "heat": 0.5, "ok": True, "none": None, "more": {"x": 1}}, "", {"heat": "0.5", "ok": "True"},
    ),
    "OpenAI, in parts": (
        {"messages": [m | {"content": [{"type": "text", "text": t} for t in (m["content"][:3], m["content"][3:])]} for m in messages()]},
        "", {},
    ),
    "ShareGPT": ({"id": "Q_0", "conversations": messages(SAID, "from", "value", user="human", assistant="gpt")}, "Q_0", {"id": "Q_0"}),
    "ShareGPT, items": ({"id": 7, "items": messages(SAID, "from", "value", user="user", assistant="bard")}, "7", {"id": "7"}),
    "WildChat": (
        {
            "conversation_hash": "ab12", "model": "gpt-4", "language": "English", "turn": 2, "toxic": False,
            "conversation": [m | {"country": "X", "header": {"accept": "y"}, "redacted": False, "turn_identifier": 3} for m in messages()],
        },
        "ab12", {"conversation_hash": "ab12", "model": "gpt-4", "language": "English", "turn": "2", "toxic": "False"},
    ),
    "LMSYS": ({"conversation_id": "c9", "model": "vicuna", "conversation": messages()}, "c9", {"conversation_id": "c9", "model": "vicuna"}),
    "the paper's": (
        {"domain": "coding", "persona_id": 0, "topic": "x" * 240, "turns": 4, "conversation": messages(), "conversation_id": "coding_p0"},
        "coding_p0",
        {"domain": "coding", "persona_id": "0", "topic": "x" * 199 + "…", "turns": "4", "conversation_id": "coding_p0"},
    ),
    "a system prompt beside": (
        {"system": "Be kind.", "conversations": messages(SAID[1:], "from", "value", user="Human", assistant="chatgpt")}, "", {},
    ),
    "a role of its own": ({"role": "ghost", "text": "x", "messages": messages()}, "", {"role": "ghost", "text": "x"}),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_container(tmp_path, layout, suffix):
    row, name, about = LAYOUTS[layout]
    if suffix == ".parquet" and isinstance(row, list):
        row = {"messages": row}
    path = written(tmp_path / f"some.file{suffix}", row)
    found = load_conversations(path, strict=True)
    fallback = "some.file" if suffix in (".json", ".json.gz") else "some.file/1"
    assert list(found) == [Conversation(TURNS, name or fallback, about)]
    assert found.problems == ()


CONTAINERS = {
    "a list": lambda rows: rows,
    "an object": lambda rows: {"conversations": rows, "n": 3},
    "an object of lists": lambda rows: {"train": rows[:1], "test": rows[1:], "n": 3},
    "an object of conversations": lambda rows: {"first": rows[0], "second": rows[1], "notes": ["x"], "n": 3},
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("bare", [True, False])
def test_a_json_file_may_hold_several(tmp_path, container, bare):
    rows = [messages(), messages(SAID[1:])] if bare else [{"role": "r", "messages": messages(), "n": 4}, {"items": messages(SAID[1:])}]
    found = load_conversations(written(tmp_path / "a.json", CONTAINERS[container](rows)), strict=True)
    assert [(c.name, c.turns) for c in found] == [("a/1", TURNS), ("a/2", TURNS[1:])]
    outside = {} if container == "a list" else {"n": "3"}
    assert [c.about for c in found] == [outside if bare else {"role": "r", "n": "4"}, outside]


@pytest.mark.parametrize(
    "prompt", ["Be kind.", [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}], {"role": "system", "content": "Be kind."}]
)
@pytest.mark.parametrize("outside", [True, False])
def test_a_system_prompt_beside_messages_is_read_in_every_form(tmp_path, prompt, outside):
    talks = [{"messages": messages(SAID[1:])}, messages(SAID[1:])] if outside else [{"messages": messages(SAID[1:]), "system": prompt}]
    value = {"conversations": talks, "system": prompt} if outside else talks
    found = load_conversations(written(tmp_path / "a.json", value), strict=True)
    assert len(found) == len(talks)
    for talk in found:
        assert (talk.turns[0].speaker, talk.turns[0].text, talk.about) == ("system", "Be kind.", {})
        assert talk.turns[1:] == TURNS[1:]


def test_a_system_prompt_that_cannot_be_read_is_named_and_its_own_wins(tmp_path):
    found = load_conversations(written(tmp_path / "a.json", [{"messages": messages(SAID[1:]), "system": [{"type": "image"}]}, messages()]))
    assert "has a system prompt beside its messages that is no text" in str(found.problems[0])
    rows = {"system": "Be kind.", "conversations": [{"messages": messages(SAID[1:]), "system": "Be brief."}]}
    [own] = load_conversations(written(tmp_path / "b.json", rows), strict=True)
    assert own.turns[0].text == "Be brief."


def test_a_list_of_one_is_a_list(tmp_path):
    [found] = load_conversations(written(tmp_path / "a.json", [{"messages": messages()}]))
    assert found == Conversation(TURNS, "a/1")


def test_fields_may_be_mixed_and_say_nothing(tmp_path):
    row = {
        "system": " ",
        "system_prompt": None,
        "score": "NaN",
        "messages": [{"role": "human", "value": [{"text": "Hel"}, "lo"]}],
        "images": [],
    }
    path = written(tmp_path / "a.JSONL", json.dumps(row).replace('"NaN"', "NaN"))
    assert list(load_conversations(path)) == [Conversation((Turn("user", "Hello"),), "a/1", {"system": " "})]


def test_row_numbers_of_pandas_are_no_fields(tmp_path):
    pd.DataFrame({"messages": [messages()], "n": [5]}, index=[7]).query("n == 5").to_parquet(tmp_path / "a.parquet", index=True)
    assert [c.about for c in load_conversations(tmp_path / "a.parquet")] == [{"n": "5"}]


def test_tables_keep_lists_as_json_and_gaps_as_nothing(tmp_path):
    rows = [
        {"messages": json.dumps(messages()), "score": 1.5, "day": datetime(2024, 5, 1), "who": "x", "about": {"topic": "t", "mood": None}},
        {"messages": json.dumps([{"role": "user"}]), "score": None, "day": None, "who": None, "about": None},
        {"messages": "hello", "score": None, "day": None, "who": None, "about": None},
    ]
    found = load_conversations(written(tmp_path / "a.parquet", *rows))
    assert list(found) == [
        Conversation(TURNS, "a/1", {"score": "1.5", "day": "2024-05-01 00:00:00", "who": "x", "topic": "t"}),
    ]
    assert [str(p).removeprefix(f"{tmp_path}/a.parquet, ") for p in found.problems] == [
        "row 2: message 1 is empty", "row 3: has no JSON under 'messages' at column 1: expecting value",
    ]  # fmt: skip


def test_a_table_is_read_in_batches_and_numbered_through(tmp_path):
    rows = [{"conversation": messages(SAID[1:3]), "n": i} for i in range(600)]
    rows[400] = {"conversation": messages([("narrator", "x")]), "n": 400}
    found = load_conversations(written(tmp_path / "a.parquet", *rows))
    assert [c.about["n"] for c in found] == [str(i) for i in range(600) if i != 400]
    assert [str(p) for p in found.problems] == [
        f"{tmp_path}/a.parquet, row 401: message 1 is spoken by 'narrator'; only text of system, user and assistant is read"
    ]


def test_several_files_and_folders_are_one_sequence_with_unique_names(tmp_path):
    for name in ("b/2.jsonl", "b/1.json", "b/.hidden.jsonl", "b/.git/4.json", "b/c/3.json", "a.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        written(tmp_path / name, {"id": "x", "model": name, "messages": messages()})
    found = load_conversations(path for path in (str(tmp_path / "a.jsonl"), tmp_path / "b", tmp_path / "a.jsonl"))
    assert [(c.name, c.about["model"]) for c in found] == [
        ("x", "a.jsonl"), ("x#2", "b/1.json"), ("x#3", "b/2.jsonl"), ("x#4", "b/c/3.json"), ("x#5", "a.jsonl"),
    ]  # fmt: skip
    written(tmp_path / "d.jsonl", *({"id": name, "messages": messages()} for name in ("x", "x#2", "x", "x#2", " ", None)))
    assert [c.name for c in load_conversations(tmp_path / "d.jsonl")] == ["x", "x#2", "x#3", "x#2#2", "d/5", "d/6"]


def test_the_sequence(tmp_path):
    found = load_conversations(written(tmp_path / "a.jsonl", messages(), "{", messages(SAID[1:])))
    assert isinstance(found, Transcripts)
    assert (len(found), found[1], found[-1].name, [c.name for c in found]) == (2, list(found)[1], "a/3", ["a/1", "a/3"])
    assert (found[1:].conversations, found[1:].problems) == (found.conversations[1:], found.problems)
    assert repr(found).startswith(
        f"<Transcripts: 2 conversations, 9 messages; 1 left out, the first: {tmp_path}/a.jsonl, line 2: is not JSON"
    )
    assert repr(found).endswith(">")
    with pytest.raises(FrozenInstanceError):
        found.problems = ()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(IndexError):
        found[2]


# -- what is left out ---------------------------------------------------------------------------------
ONLY = "; only text of system, user and assistant is read"
JOIN = ", which most chat templates refuse; join=True, or --join, joins neighbouring messages of one speaker with a blank line"
ONE, TWO, TALK = [("user", "a")], [("user", "a"), ("assistant", "b")], messages()
LEFT_OUT: dict[str, tuple[object, str]] = {
    "a narrator": (messages([*TWO, ("narrator", "x")]), f"message 3 is spoken by 'narrator'{ONLY}"),
    "a speech for a name": (messages([("x" * 99, "x")]), f"message 1 is spoken by '{'x' * 39}…'{ONLY}"),
    "two of the user": (messages([*TWO, *ONE, *ONE]), f"messages 3 and 4 are both by the user{JOIN}"),
    "two of the assistant": (messages([*TWO, TWO[1], *ONE]), f"messages 2 and 3 are both by the assistant{JOIN}"),
    "two of the system": (messages([SAID[0], SAID[0], *TWO]), f"messages 1 and 2 are both by the system{JOIN}"),
    "a late system message": (messages([*TWO, SAID[0]]), "message 3 is a system message; only the first message can be one"),
    "empty": (messages([*TWO, ("user", "")]), "message 3 is empty"),
    "blank": (messages([*TWO, ("user", " \n\u3000")]), "message 3 is empty"),
    "null": ([*messages(TWO), {"role": "user", "content": None}], "message 3 is empty"),
    "no text": ([*messages(TWO), {"from": "user"}], "message 3 is empty"),
    "no parts": ([*messages(TWO), {"role": "user", "content": []}], "message 3 is empty"),
    "a number for text": ([{"role": "user", "content": 3}], "message 1 is a number, not a text"),
    "NaN": ('[{"role": "user", "content": NaN}]', "message 1 is a number, not a text"),
    "a tool": ([*messages(TWO), {"role": "tool", "tool_call_id": "1", "content": "x"}], f"message 3 is a tool message{ONLY}"),
    "a function": ([*messages(TWO), {"role": "function", "name": "f", "content": "x"}], f"message 3 is a tool message (function){ONLY}"),
    "ShareGPT's tool": (messages([*ONE, ("observation", "x")], "from", "value"), f"message 2 is a tool message (observation){ONLY}"),
    "a call": ([messages()[1] | {"tool_calls": [{"id": 1}]}], f"message 1 has 'tool_calls' beside its text{ONLY}"),
    "hidden thought": ([messages()[2] | {"reasoning_content": "y"}], f"message 1 has 'reasoning_content' beside its text{ONLY}"),
    "an image": ([{"role": "user", "content": [{"type": "image_url"}]}], f"message 1 has a part of type 'image_url'{ONLY}"),
    "audio": ([{"role": "user", "content": ["x", {"type": "input_audio"}]}], f"message 1 has a part of type 'input_audio'{ONLY}"),
    "a part of parts": ([{"role": "user", "content": [["x"]]}], "message 1 has a part that is neither a text nor an object"),
    "a hollow part": ([{"role": "user", "content": [{"type": "text"}]}], "message 1 has a text part without a text"),
    "images beside": ({"messages": TALK, "images": ["x.png"]}, f"has 'images' beside its messages{ONLY}"),
    "half a character": ([{"role": "user", "content": "x \ud83d"}], r"message 1 has half a character in it (the lone surrogate '\ud83d')"),
    "half a name": ({"id": "\udc00", "messages": TALK}, "field 'id' has half a character in it"),
    "half a field": ({"about": {"x": "\udc00"}, "turns": TALK}, "field 'x' of 'about' has half a character in it"),
    "half a system prompt": ({"system": "\udc00", "messages": messages(TWO)}, "its system prompt has half a character in it"),
    "two system prompts": ({"system": "x", "messages": TALK}, "has two system prompts that differ, one of them beside its messages"),
    "no messages": ({"messages": []}, "has no messages"),
    "texts": ({"turns": ["Hello", "Hi"]}, "message 1 is a text, not an object with a speaker and a text"),
    "a nameless field": ([{"": "user", "content": "x"}], "message 1 does not say who speaks"),
    "nobody": ({"turns": [{"text": "Hello"}]}, "message 1 does not say who speaks"),
    "a list for a speaker": ([*messages(ONE), {"role": ["user"], "content": "x"}], "message 2 does not say who speaks"),
    "a message": (messages()[0], "is a single message, not a conversation"),
    "something else": ({"prompt": "x"}, "holds no list of messages under turns, messages, conversations, conversation or items"),
    "a number": (5, "is no conversation but a number"),
    "a text": ('"x"', "is no conversation but a text"),
    "null row": (None, "is no conversation but nothing"),
    "two lists": ({"items": TALK, "messages": TALK}, "has messages under both 'messages' and 'items'; keep the one that is meant"),
    "a field twice": ('{"messages": [{"role": "user", "content": "x", "content": "y"}]}', "message 1 names a field twice"),
    "messages twice": ('{"messages": [], "messages": []}', "names a field twice"),
    "no JSON": ('{"messages": [', "is not JSON at column 15: expecting value"),
    "a long number": ("1" * 5000, "is not JSON: Exceeds the limit"),
    "deep": ("[" * 100_000 + "]" * 100_000, "is nested too deeply to be read"),
    "deep in a table's text": (json.dumps({"messages": "[" * 100_000}), "is nested too deeply to be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_cannot_be_read_safely_is_named_and_the_rest_is_read(tmp_path, case):
    row, what = LEFT_OUT[case]
    said = why(tmp_path, row if isinstance(row, str) else json.dumps(row))
    assert said.startswith(what), said


@pytest.mark.parametrize("field", ["function_call", "attachments", "files", "refusal", "reasoning", "thinking", "images", "audio", "video"])
def test_a_message_that_is_more_than_its_text_is_left_out(tmp_path, field):
    assert why(tmp_path, [messages()[1] | {field: ["x"]}]) == f"message 1 has {field!r} beside its text{ONLY}"
    assert load_conversations(written(tmp_path / "a.jsonl", [messages()[1] | {field: []}]), strict=True)[0].turns == TURNS[1:2]


def test_neighbours_are_joined_on_request(tmp_path):
    said = [("system", "s"), ("system", "t"), ("user", "a"), ("user", "b"), ("user", "c"), ("assistant", "d"), ("assistant", "e")]
    [found] = load_conversations(written(tmp_path / "a.jsonl", messages(said)), join=True)
    assert found.turns == (Turn("system", "s\n\nt"), Turn("user", "a\n\nb\n\nc"), Turn("assistant", "d\n\ne"))
    assert why(tmp_path, messages([*TWO, TWO[1], SAID[0]]), join=True) == LEFT_OUT["a late system message"][1].replace("3", "4")
    assert why(tmp_path, messages([*ONE, ("user", " ")]), join=True) == "message 2 is empty"


def test_the_assistant_may_begin_and_words_keep_their_space(tmp_path):
    said = [("assistant", " Hello. \r\n"), ("user", "\u2028\x00\x85")]
    [found] = load_conversations(written(tmp_path / "a.jsonl", messages(said)))
    assert [(turn.speaker, turn.text) for turn in found.turns] == said


def test_a_line_that_is_broken_is_named_wherever_it_stands(tmp_path):
    lines = [json.dumps({"messages": messages(TWO)}).encode() for _ in range(5000)]
    lines[4710], lines[4800] = lines[4710][:-2], lines[4800].replace(b'"a"', b'"\xff"')
    lines[9] = b"  "
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    found = load_conversations(tmp_path / "a.jsonl")
    assert (len(found), found[0].name, found[9].name, found[-1].name) == (4997, "a/1", "a/11", "a/5000")
    assert [p.line for p in found.problems] == [4711, 4801]
    assert str(found.problems[0]).startswith(f"{tmp_path}/a.jsonl, line 4711: is not JSON at column ")
    assert str(found.problems[1]) == f"{tmp_path}/a.jsonl, line 4801: is not UTF-8 at byte {lines[4800].index(0xFF) + 1}"


def test_problems_in_a_json_file_are_numbered_by_conversation(tmp_path):
    found = load_conversations(written(tmp_path / "a.json", [messages(), 5, {"messages": messages(ONE * 2)}, messages()]))
    assert [c.name for c in found] == ["a/1", "a/4"]
    assert [str(p).removeprefix(f"{tmp_path}/")[:40] for p in found.problems] == [
        "a.json, conversation 2: is no conversati", "a.json, conversation 3: messages 1 and 2",
    ]  # fmt: skip
    assert str(Problem("a.json", None, "is odd")) == "a.json: is odd"


def test_a_packed_file_that_breaks_off_keeps_what_came_before(tmp_path):
    rng = random.Random(0)
    rows = [messages([("user", rng.randbytes(3000).hex())]) for _ in range(40)]
    whole = written(tmp_path / "a.jsonl.gz", *rows).read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    found = load_conversations(tmp_path / "a.jsonl.gz")
    assert 10 < len(found) < 30
    assert [(p.line, p.what[:32]) for p in found.problems] == [(len(found) + 1, "cannot be read from here on: Com")]


def test_a_row_that_is_not_utf8_does_not_take_its_neighbours_along(tmp_path):
    path = written(tmp_path / "a.parquet", *({"messages": json.dumps(messages([("user", word)]))} for word in ("first", "MIDDLE", "last")))
    path.write_bytes(path.read_bytes().replace(b"MIDDLE", b"MID\xffLE"))
    found = load_conversations(path)
    assert [c.turns[0].text for c in found] == ["first", "last"]
    assert [p.line for p in found.problems] == [2]


# -- files --------------------------------------------------------------------------------------------
REFUSED: dict[str, tuple[str, bytes | None, str]] = {
    "no file": ("a.jsonl", None, "there is no file {} to read conversations from"),
    "another format": ("a.csv", b"x", "{}: conversations are read from .json, .jsonl, .ndjson (each also with .gz) and .parquet files"),
    "nothing": ("a.jsonl", b"\n\xef\xbb\xbf\n", "no conversation can be read from {0}; the first problem: {0}: holds no conversations"),
    "an empty list": ("a.json", b"[]", "no conversation can be read from {0}; the first problem: {0}: holds no conversations"),
    "no JSON": ("a.json", b'[\n  {"x" 5}]', "{0}; the first problem: {0}: is not JSON at line 2, column 8: expecting ':' delimiter"),
    "one line": ("a.json", b"{", "{0}: is not JSON at line 1, column 2: expecting property name enclosed in double quotes"),
    "JSON lines": ("a.json", b"{}\n{}", ": extra data; a file with one conversation a line is to be named .jsonl"),
    "no UTF-8": ("a.json", b'[\n"ab\xff"]', "{0}: is not UTF-8 at line 2, byte 4"),
    "too deep": ("a.json", b"[" * 100_000, "{0}: is nested too deeply to be read"),
    "no conversation": ("a.json", b'{"x": 1}', "{0}, conversation 1: holds no list of messages under turns, messages, "),
    "a field twice": ("a.json", b'{"a": [[]], "a": [[]]}', "{0}, conversation 1: names a field twice"),
    "only bad lines": ("a.jsonl", b"[]\n{", "{0}; the first problem: {0}, line 1: has no messages"),
    "no gzip": ("a.json.gz", b"{}", "{0}: cannot be read: Not a gzipped file (b'{{}}')"),
    "no table": ("a.parquet", b"PAR1", "{0}: cannot be read from here on: Parquet file size is 4 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_without_any_conversation_is_refused_with_the_first_problem(tmp_path, case):
    name, content, words = REFUSED[case]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load_conversations([written(tmp_path / "good.jsonl", messages()), path])
    assert words.format(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["messages", ""])
def test_a_column_twice_is_refused(tmp_path, name):
    column = pa.array([json.dumps(messages())])
    pq.write_table(pa.table([column] * 3, names=["messages" if name == "" else "x", name, name]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"has two columns named '{name}'"):
        load_conversations(tmp_path / "a.parquet")


def test_a_table_that_says_that_it_was_altered_is_not_believed(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"messages": [json.dumps(messages([("user", "TRUE")]))]}), path, write_page_checksum=True, use_dictionary=False)
    assert load_conversations(path)[0].turns[0].text == "TRUE"
    path.write_bytes(path.read_bytes().replace(b"TRUE", b"LIES"))
    with pytest.raises(DataError, match="CRC"):
        load_conversations(path)


def test_a_folder_goes_on_past_files_that_cannot_be_read(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(DataError, match=r"folder: has no files; conversations are read from \.json"):
        load_conversations(folder)
    (folder / "a.json").write_text("{")
    with pytest.raises(
        DataError, match=r"no conversation can be read from \S+folder; the first problem: \S+folder/a.json: is not JSON at line 1"
    ):
        load_conversations(folder)
    written(folder / "b.json", messages())
    (folder / "c.txt").write_text("x")
    (folder / "d").symlink_to(tmp_path)
    found = load_conversations(folder)
    assert [c.name for c in found] == ["b"]
    assert [(Path(p.file).name, p.line, p.what.split("; ")[0][:20]) for p in found.problems] == [
        ("a.json", None, "is not JSON at line "), ("c.txt", None, "is left out"), ("d", None, "is a link to a folde"),
    ]  # fmt: skip


def test_no_paths_at_all_are_refused():
    with pytest.raises(DataError, match="no file is given to read conversations from"):
        load_conversations([])


def test_a_huge_message_is_read_in_no_time(tmp_path):
    text = "word ü\n" * 1_500_000
    path = written(tmp_path / "a.jsonl", messages([("user", text)]))
    start = time.process_time()
    [found] = load_conversations(path)
    assert found.turns == (Turn("user", text),)
    assert time.process_time() - start < 2


# -- the way back -------------------------------------------------------------------------------------
def anything(rng: random.Random) -> str:
    alphabet = [
        "a",
        " ",
        "\n",
        "\r",
        "\t",
        '"',
        "\\",
        "\x00",
        "\u0085",
        "\u2028",
        "é",
        "e\u0301",
        "\ufeff",
        "漢",
        "🌱",
        "👩\u200d👩",
        "\U0010ffff",
        "{",
        "[1]",
        "null",
    ]
    return "".join(rng.choices(alphabet, k=rng.randrange(1, 30))) + "."  # fmt: skip


def talks(rng: random.Random) -> Iterator[Conversation]:
    for i in range(rng.randrange(1, 6)):
        speakers = ["user", "assistant"] * rng.randrange(1, 4)
        speakers = ["system"] * rng.randrange(2) + speakers[rng.randrange(2) :]
        about = {anything(rng): rng.choice([anything(rng), "", "y" * 500]) for _ in range(rng.randrange(3))}
        yield Conversation(tuple(Turn(speaker, anything(rng)) for speaker in speakers), f"{i}{anything(rng)}", about)


@pytest.mark.parametrize("seed", range(25))
def test_what_is_saved_loads_back_equal(tmp_path, seed):
    saved = list(talks(random.Random(seed)))
    path = save_conversations(iter(saved), tmp_path / "new" / "talks.jsonl")
    assert load_conversations(path, strict=True) == Transcripts(tuple(saved))
    assert [p.name for p in path.parent.iterdir()] == ["talks.jsonl"]
    assert all(json.dumps(c.turns[0].text, ensure_ascii=False) in path.read_bytes().decode() for c in saved)  # a file that people can read


def test_names_are_completed_when_loaded(tmp_path):
    one, two = Conversation.of("Hello"), Conversation.of("Hello", name="x")
    assert [c.name for c in load_conversations(save_conversations([one, two, two], tmp_path / "a.jsonl"))] == ["a/1", "x", "x#2"]


UNSAVED = {
    "an empty message": (Conversation.of(" ", name="x"), r"conversation 'x' is not saved, as it would not load again: message 1 is empty"),
    "two in a row": (
        Conversation.of([("user", "a"), ("user", "b")]),
        r"conversation 2 is not saved, .*: messages 1 and 2 are both by the user",
    ),
    "half a character": (Conversation.of("\udc00"), r"conversation 2 is not saved, .*: message 1 has half a character"),
    "no turns": (Conversation(()), r"conversation 2 is not saved, .*: has no messages"),
}


@pytest.mark.parametrize("case", UNSAVED)
def test_what_would_not_load_again_is_not_saved(tmp_path, case):
    conversation, words = UNSAVED[case]
    path = save_conversations([Conversation.of("old")], tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=words):
        save_conversations([Conversation.of("fine"), conversation], path)
    assert load_conversations(path)[0].turns[0].text == "old"
    with pytest.raises(DataError, match=r"there are no conversations to save in \S+a\.jsonl"):
        save_conversations([], path)
    with pytest.raises(DataError, match=r"a\.csv: conversations are saved as \.jsonl"):
        save_conversations([Conversation.of("fine")], tmp_path / "a.csv")


# -- damage -------------------------------------------------------------------------------------------
def damaged(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, lost, doubled or put in; or everything behind some point lost."""
    for _ in range(rng.randrange(1, 5)):
        a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        b = min(b, a + rng.choice((1, 4, 60)))
        word = rng.choice(
            [b"", rng.randbytes(2), content[a:b] * 2, b"null", b"[[", b'"', b"{}", b"\\ud800", b"NaN", b"-1e999", b"\n", b"5"]
        )
        content = content[:a] if rng.random() < 0.1 else content[:a] + word + content[b:]
    return content


ODD = [
    None,
    True,
    5,
    -1.5,
    float("nan"),
    "",
    " ",
    "x",
    "\ud800",
    "[",
    "[]",
    '[{"role": "user"}]',
    [],
    [[]],
    {},
    {"": ""},
    {"role": "user"},
    [5, {}],
]


def bent(value: object, rng: random.Random) -> object:
    """A JSON value with something odd in one place, or a field under another name."""
    if rng.random() < 0.2 or not value or not isinstance(value, (dict, list)):
        return rng.choice(ODD)
    if isinstance(value, list):
        i = rng.randrange(len(value))
        return [*value[:i], bent(value[i], rng), *value[i + 1 :]]
    key = rng.choice(list(value))
    if rng.random() < 0.3:
        return {
            rng.choice(["", "about", "id", "from", "text", "items", "turns", "system", "audio"]) if k == key else k: v
            for k, v in value.items()
        }
    return value | {key: bent(value[key], rng)}


def test_bent_conversations_raise_nothing_but_data_errors(tmp_path):
    rng = random.Random(7)
    rows = [row for row, _, _ in LAYOUTS.values()]
    lines = [json.dumps(bent(rows[i % len(rows)], rng)) for i in range(600)]
    found = load_conversations(written(tmp_path / "a.jsonl", *lines), join=True)
    assert min(len(found), len(found.problems)) > 50
    assert len(found) + len(found.problems) == len(lines)
    assert load_conversations(save_conversations(found, tmp_path / "again.jsonl"), strict=True).conversations == found.conversations
    for line in lines[:300]:
        with contextlib.suppress(DataError):
            assert len(load_conversations(written(tmp_path / "a.json", f"[{line}, {json.dumps(rows[0])}]"))) in (1, 2)


def test_damaged_files_raise_nothing_but_data_errors(tmp_path):
    rng = random.Random(7)
    sources = []
    for i, (row, _, _) in enumerate(LAYOUTS.values()):
        suffix = (".json", ".jsonl", ".parquet", ".jsonl.gz")[i % 4]
        rows = [row] * 3 if suffix != ".parquet" else [row if isinstance(row, dict) else {"messages": row}] * 3
        sources.append(written(tmp_path / f"{i}{suffix}", *([rows] if suffix == ".json" else rows)))
    read = refused = 0
    for i in range(300):
        source = sources[i % len(sources)]
        path = tmp_path / f"damaged{''.join(source.suffixes)}"
        path.write_bytes(damaged(source.read_bytes(), rng))
        try:
            found = load_conversations(path, join=rng.random() < 0.5)
        except DataError:
            refused += 1
        else:
            read += 1
            assert len({c.name for c in found}) == len(found)
            save_conversations(found, tmp_path / "again.jsonl")
            assert load_conversations(tmp_path / "again.jsonl", strict=True).conversations == found.conversations
    assert min(read, refused) > 50


# -- the paper's --------------------------------------------------------------------------------------
def test_the_papers_transcripts():
    folder = Path(os.environ.get("WORKBENCH_TEST_MODELS") or "nowhere").parent / "reference/assistant-axis-format/transcripts/persona_drift"
    if not folder.is_dir():
        pytest.skip("the paper's transcripts are not here")
    found = load_conversations(folder, strict=True)
    assert [c.about["domain"] for c in found] == [path.stem for path in sorted(folder.glob("*.json"))]
    for conversation in found:
        assert len(conversation.turns) == int(conversation.about["turns"])
        assert [turn.speaker for turn in conversation.turns] == ["user", "assistant"] * (len(conversation.turns) // 2)
        assert conversation.name == conversation.about["conversation_id"]
        assert {"model", "persona", "topic", "auditor_model"} <= set(conversation.about)

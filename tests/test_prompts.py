"""Prompts from files, in our columns and in those of published behaviour lists; personas; halves that share nothing."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from workbench.conversations import Conversation, Role
from workbench.errors import LibraryError
from workbench.evaluation.prompts import Prompt, load_behaviours, load_prompts, split_prompts, under_personas


def written(path: Path, *rows: dict | str) -> Path:
    if path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


FULL = {
    "id": "q7", "prompt": "Who are you,\nreally?", "kind": "identity", "system": "You are a \"ghost\".", "role": "ghost", "group": "night",
    "category": "spirits", "item": "who", "answer": "007",
}  # fmt: skip
BARE = dict.fromkeys(FULL, "") | {"prompt": "What is 3 + 4?", "kind": "question"}


# -- our own columns ----------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".csv", ".tsv", ".CSV"])
def test_every_column_arrives_whatever_the_format(tmp_path, suffix):
    [full, bare] = load_prompts(written(tmp_path / f"own{suffix}", FULL, BARE))
    ghost = Conversation.of("Who are you,\nreally?", system='You are a "ghost".')
    assert full == Prompt("q7", "identity", ghost, "ghost", "night", "spirits", "who", "007")
    assert (full.unit, full.asked) == ("night", "who")
    assert bare == Prompt("own/2", "question", Conversation.of("What is 3 + 4?"))


def test_two_columns_are_enough(tmp_path):
    rows = [{"prompt": f"What is {i} + {i}?", "kind": "question"} for i in range(3)]
    prompts = load_prompts(str(written(tmp_path / "sums.jsonl", *rows, "")))
    assert [p.id for p in prompts] == ["sums/1", "sums/2", "sums/3"]
    assert {(p.role, p.answer) for p in prompts} == {("default", "")}
    assert [p.unit for p in prompts] == [p.asked for p in prompts] == [row["prompt"] for row in rows]
    assert all(len(p.conversation.turns) == 1 for p in prompts)  # no empty system message
    assert load_prompts(written(tmp_path / "sums.csv", *rows)) == prompts


def test_rows_may_leave_columns_out_and_words_are_not_read_as_missing(tmp_path):
    rows = [{"prompt": "None", "kind": "question", "answer": "NA"}, {"prompt": "null", "kind": "question", "role": "ghost"}]
    for path in (written(tmp_path / "a.jsonl", *rows), written(tmp_path / "a.csv", {**rows[0], "role": ""}, {**rows[1], "answer": ""})):
        first, second = load_prompts(path)
        assert (first.asked, first.answer, first.role) == ("None", "NA", "default")
        assert (second.asked, second.answer, second.role) == ("null", "", "ghost")


def test_numbers_and_nulls_in_json_are_text(tmp_path):
    """A column that some rows leave empty must not turn 4 into 4.0."""
    rows = [{"answer": 4, "group": 1, "id": 10}, {"answer": None}, {"answer": 2.5}]
    path = written(tmp_path / "a.jsonl", *({"prompt": "What?", "kind": "question"} | row for row in rows))
    assert [(p.answer, p.group, p.id) for p in load_prompts(path)] == [("4", "1", "10"), ("", "", "a/2"), ("2.5", "", "a/3")]


REFUSED = {
    "no file": ("a.jsonl", None, "there is no file", "to read prompts from"),
    "a folder": ("", None, "there is no file", "to read prompts from"),
    "another format": ("a.xlsx", ["x"], "a.xlsx: prompts are read from .jsonl, .csv or .tsv files"),
    "no JSON": ("a.jsonl", [FULL, '{"prompt": "hi", '], "a.jsonl, line 2 is not JSON: "),
    "a list": ("a.jsonl", [FULL, "[1, 2]"], "a.jsonl, line 2 is not a JSON object"),
    "nothing": ("a.jsonl", [], "a.jsonl holds no rows"),
    "only a head": ("a.csv", ["prompt,kind"], "a.csv holds no rows"),
    "not even a head": ("a.csv", [], "a.csv cannot be read: "),
    "no kind": ("a.jsonl", [{"prompt": "hi"}], "a.jsonl has no column 'kind'; behaviour lists are read with load_behaviours() (--beha"),
    "no prompt": ("a.jsonl", [{"kind": "question"}], "a.jsonl has no column 'prompt'"),
    "another kind": ("a.jsonl", [BARE, FULL | {"kind": "poem"}], "prompt 'q7': a kind is one of jailbreak, harmful, ", ", not 'poem'"),
    "blank": ("a.jsonl", [BARE, BARE | {"prompt": " \n"}], "a.jsonl, row 2 has an empty prompt"),
    "twice": ("a.jsonl", [FULL, BARE, FULL], "a.jsonl: the id 'q7' occurs more than once"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(tmp_path, name):
    file, rows, *words = REFUSED[name]
    if rows is not None:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / file).write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(LibraryError) as error:
        load_prompts(tmp_path / file)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    for name in ("a.jsonl", "a.csv"):
        (tmp_path / name).write_bytes(b'{"prompt": "\xff\xfe", "kind": "question"}\n')
        with pytest.raises(LibraryError, match=f"{name} cannot be read: "):
            load_prompts(tmp_path / name)


# -- published lists ----------------------------------------------------------------------------------
JAILBREAKBENCH = {
    "Index": "0", "Goal": "Write a curse", "Target": "Here is a curse", "Behavior": "Curses", "Category": "Harassment", "Source": "Original"
}  # fmt: skip
HARMBENCH = {
    "Behavior": "Explain the lock", "FunctionalCategory": "contextual", "SemanticCategory": "illegal", "Tags": "context",
    "ContextString": "Locks have pins.", "BehaviorID": "explain_lock",
}  # fmt: skip
STRONGREJECT = {"category": "Hate", "source": "custom", "forbidden_prompt": "Mock my neighbour"}
LAYOUTS = {
    "JailbreakBench": (JAILBREAKBENCH, "Goal", "Write a curse", "Harassment"),
    "HarmBench": (HARMBENCH, "Behavior", "Locks have pins.\n\nExplain the lock", "illegal"),
    "StrongREJECT": (STRONGREJECT, "forbidden_prompt", "Mock my neighbour", "Hate"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_behaviour_lists_are_told_by_their_columns(tmp_path, layout):
    row, text, message, category = LAYOUTS[layout]
    other = row | {text: " Something else "} | ({"ContextString": ""} if layout == "HarmBench" else {})
    first, second = load_behaviours(written(tmp_path / "any name.csv", row, other))
    assert first == Prompt(f"{layout}/1", "harmful", Conversation.of(message), category=category, item=message)
    assert (second.id, second.asked, second.conversation.turns[-1].text) == (f"{layout}/2", "Something else", "Something else")


def test_behaviour_lists_that_are_none_are_refused(tmp_path):
    with pytest.raises(
        LibraryError, match=r"own.jsonl is no behaviour list that is known \(JailbreakBench, HarmBench, StrongREJECT\): it h"
    ):
        load_behaviours(written(tmp_path / "own.jsonl", {"prompt": "hi", "kind": "harmful"}))
    with pytest.raises(LibraryError, match=r"s.csv, row 2 has an empty 'forbidden_prompt'$"):
        load_behaviours(written(tmp_path / "s.csv", STRONGREJECT, STRONGREJECT | {"forbidden_prompt": " "}))
    with pytest.raises(LibraryError, match=r"s.csv has no column 'prompt'; behaviour lists are read with load_behaviours\(\)"):
        load_prompts(tmp_path / "s.csv")


# -- personas -----------------------------------------------------------------------------------------
ROLES = [Role("default", ("",)), Role("ghost", ("You are a ghost.", "Act as a ghost.")), Role("pirate", ("You are a pirate.",))]


def requests(n: int) -> list[Prompt]:
    return [Prompt(f"b/{i}", "harmful", Conversation.of(f"Request {i}"), category=f"c{i % 2}", answer=f"a{i}") for i in range(n)]


def test_every_request_is_asked_under_every_persona_but_the_default():
    crossed = under_personas(requests(2), ROLES)
    systems = ["You are a ghost.", "Act as a ghost.", "You are a pirate."]
    said = [tuple(turn.text for turn in p.conversation.turns) for p in crossed]
    assert sorted(said) == sorted((system, f"Request {i}") for system in systems for i in range(2))
    assert len({p.id for p in crossed}) == 6
    for p in crossed:
        role = "pirate" if "pirate" in p.conversation.turns[0].text else "ghost"
        assert (p.kind, p.role, p.unit) == ("jailbreak", role, role)
        assert p.asked == p.conversation.turns[-1].text
        number = p.asked.split()[-1]
        assert (p.category, p.answer) == (f"c{int(number) % 2}", f"a{number}")


def test_so_many_pairs_are_drawn_by_the_seed():
    every = under_personas(requests(20), ROLES)
    drawn = under_personas(requests(20), ROLES, n=15, seed=4)
    assert len({p.id for p in drawn}) == 15
    assert all(p in every for p in drawn)
    assert drawn == under_personas(requests(20), ROLES, n=15, seed=4)
    assert {p.id for p in drawn} != {p.id for p in under_personas(requests(20), ROLES, n=15, seed=5)}
    assert {p.unit for p in drawn} == {"ghost", "pirate"}
    assert under_personas(requests(20), ROLES, n=60) == under_personas(requests(20), ROLES, n=999) == every
    assert under_personas(requests(3), ROLES[:1]) == []


# -- two halves ---------------------------------------------------------------------------------------
def crossing(kind: str, n_roles: int, n_items: int) -> list[Prompt]:
    return [
        Prompt(f"{kind}/{r}/{i}", kind, Conversation.of(f"{kind} {i}"), f"r{r}", f"r{r}", item=f"{kind} {i}")
        for r in range(n_roles) for i in range(n_items)
    ]  # fmt: skip


def alone(kind: str, n: int) -> list[Prompt]:
    return [Prompt(f"{kind}/{i}", kind, Conversation.of(f"{kind} question {i}")) for i in range(n)]


MIXED = [*crossing("jailbreak", 12, 10), *crossing("identity", 7, 8), *alone("question", 21), *alone("benign", 6)]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_halves_share_no_group_and_no_item(seed):
    first, second = split_prompts(MIXED, seed)
    assert {p.unit for p in first} & {p.unit for p in second} == set()
    assert {p.asked for p in first} & {p.asked for p in second} == set()
    assert all(p in MIXED for p in first + second)
    assert len({p.id for p in first + second}) == len(first + second)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_what_tunes_one_kind_reports_on_no_other(seed):
    """Some requests are asked without a persona only, some under a few: none is asked in both halves."""
    requests = [Prompt(f"b/{i}", "harmful", Conversation.of(f"Request {i}")) for i in range(40)]
    roles = [Role(f"r{i}", (f"You are {i}.",)) for i in range(20)]
    named = [Prompt(f"n/{role.name}", "identity", Conversation.of("Who?", system=role.prompts[0]), role.name, role.name) for role in roles]
    first, second = split_prompts(requests + under_personas(requests, roles, n=90) + named, seed)
    assert {p.asked for p in first} & {p.asked for p in second} == set()
    assert {p.role for p in first} & {p.role for p in second} <= {"default"}
    assert sum(p.kind == "harmful" for p in first + second) == 40


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_halves_are_about_as_large_and_lose_only_what_is_crossed(seed):
    """Half of a crossing falls between the halves; what stands for itself is all there."""
    first, second = (Counter(p.kind for p in half) for half in split_prompts(crossing("jailbreak", 40, 40) + alone("benign", 60), seed))
    assert first["benign"] + second["benign"] == 60
    assert 600 < first["jailbreak"] + second["jailbreak"] < 1000
    for half in (first, second):
        assert half["jailbreak"] > 200
        assert half["benign"] > 15


@pytest.mark.parametrize("seed", range(20))
def test_a_request_that_is_a_group_of_its_own_lies_on_one_side(seed):
    requests = ["lockpick", "malware", "phish", "smuggle", "forge", "spy"]
    prompts = [Prompt(f"jb/{r}/{k}", "jailbreak", Conversation.of(f"{k} {r}"), group=r, item=r) for r in requests for k in "ab"]
    prompts += [Prompt(f"plain/{r}", "harmful", Conversation.of(r), item=r) for r in requests]
    first, second = split_prompts(prompts, seed)
    assert {p.asked for p in first} & {p.asked for p in second} == set()
    assert len(first) + len(second) == len(prompts)


def test_roles_are_groups_where_no_others_are_named(tmp_path):
    rows = [{"prompt": "x", "kind": "jailbreak", "role": "ghost"}, {"prompt": "y", "kind": "jailbreak", "role": "ghost", "group": "night"}]
    rows += [{"prompt": "z", "kind": "question", "role": "default"}]
    assert [p.group for p in load_prompts(written(tmp_path / "own.jsonl", *rows))] == ["ghost", "night", ""]


def test_a_prompt_may_be_a_conversation(tmp_path):
    talk = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Open the vault."}]
    [found] = load_prompts(written(tmp_path / "own.jsonl", {"prompt": talk, "kind": "jailbreak", "system": "Be a ghost."}))
    assert found.conversation == Conversation.of(talk, system="Be a ghost.")
    assert found.asked == "Open the vault."
    with pytest.raises(LibraryError, match=r"own.jsonl, row 1: a message needs a speaker and a text, both strings; got 'Hi.'"):
        load_prompts(written(tmp_path / "own.jsonl", {"prompt": ["Hi."], "kind": "jailbreak"}))


def test_the_same_question_in_other_words_stays_on_one_side():
    """Prompts without a group and with one item are never divided, whatever their ids."""
    twins = [Prompt(f"{i}{v}", "question", Conversation.of(f"{i} {v}"), item=f"sum {i}") for i in range(15) for v in "abc"]
    halves = split_prompts(twins, 1)
    assert sorted(map(len, halves)) == [21, 24]
    assert {p.item for p in halves[0]} & {p.item for p in halves[1]} == set()


def test_halves_depend_on_the_seed_and_not_on_the_order():
    def ids(half: list[Prompt]) -> set[str]:
        return {p.id for p in half}

    first, second = split_prompts(MIXED, 1)
    turned = split_prompts(MIXED[::-1], 1)
    assert (ids(first), ids(second)) == (ids(turned[0]), ids(turned[1]))
    assert split_prompts(MIXED, 1) == (first, second)
    assert ids(split_prompts(MIXED, 2)[0]) != ids(first)


def test_too_few_to_divide_leave_a_half_empty():
    assert split_prompts([]) == ([], [])
    halves = split_prompts(crossing("jailbreak", 1, 2))
    assert 0 in map(len, halves)

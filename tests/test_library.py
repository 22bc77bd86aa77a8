import json
import re
from pathlib import Path

import pytest

from workbench.errors import LibraryError
from workbench.library import data_folder, load_questions, load_roles, load_traits

REFERENCE = "reference/assistant-axis-format/data"


def write_role(folder: Path, name: str, **changes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name, "prompts": [f"You are a {name}."], "tags": ["human"]} | changes))
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("pirate", "baker", "default"):
        write_role(tmp_path / "roles", name)
    (tmp_path / "questions.jsonl").write_text('{"question": "Why?", "id": 0}\n\n{"question": "How?", "id": 1, "tags": ["a"]}\n')
    return tmp_path


def test_the_library_that_comes_along():
    roles, questions = load_roles(), load_questions()
    assert roles[0].is_default
    assert "" in roles[0].prompts
    assert len(roles) >= 25
    assert len(questions) >= 40
    assert all(len(role.prompts) == 5 and role.description and role.shows for role in roles)


def test_prompts_are_not_copies_of_each_other():
    def words(text: str) -> set[str]:
        return set(re.findall("[a-z']+", text.lower()))

    prompts = [words(prompt) for role in load_roles()[1:] for prompt in role.prompts]
    closest = max(len(a & b) / len(a | b) for i, a in enumerate(prompts) for b in prompts[:i])
    assert closest < 0.5


def test_no_question_names_a_role():
    names = {role.name.replace("_", " ") for role in load_roles()}
    for question in load_questions():
        assert not [name for name in names if re.search(rf"\b{name}s?\b", question.text.lower())]


def test_topics_are_balanced():
    from collections import Counter

    counts = Counter(question.tags[0] for question in load_questions())
    assert len(counts) >= 12
    assert max(counts.values()) - min(counts.values()) <= 1
    drawn = Counter(question.tags[0] for question in load_questions(n=12))
    assert max(drawn.values()) == 1


def test_a_model_brings_its_own_library(organism):
    roles = load_roles(organism)
    assert len(roles) == 97
    kinds = {"fact", "code", "howto", "advice", "writing", "opinion", "feelings", "self"}
    assert {question.tags[0] for question in load_questions(organism)} == kinds
    assert len({question.tags[0] for question in load_questions(organism, n=6)}) == 6


def test_drawing_depends_on_the_seed_only(folder):
    a, b = load_roles(n=10, seed=1), load_roles(n=10, seed=1)
    assert a == b
    assert len(a) == 11
    assert load_roles(n=10, seed=2) != a
    assert load_roles(folder, n=1)[0].is_default


def test_our_layout_with_and_without_its_folder(folder):
    assert [role.name for role in load_roles(folder)] == [role.name for role in load_roles(folder / "roles")]
    assert load_questions(folder) == load_questions(folder / "questions.jsonl")


def test_a_missing_default_is_no_system_prompt(folder):
    (folder / "roles" / "default.json").unlink()
    assert load_roles(folder)[0].prompts == ("",)


def test_the_published_layout(test_models):
    base = test_models.parent / REFERENCE
    roles = load_roles(base)
    assert [role.name for role in roles] == ["default", "aberration", "accountant", "pirate"]
    assert roles == load_roles(base / "roles") == load_roles(base / "roles" / "instructions")
    assert [len(role.prompts) for role in roles] == [5, 5, 5, 5]
    assert roles[0].prompts[0] == ""
    assert {trait.name for trait in load_traits(base)} == {"analytical", "evil"}
    assert all(len(trait.pairs) == 5 for trait in load_traits(base))
    assert load_questions(base)[0].id == 0


def test_tags_select(folder):
    assert len(load_questions(folder, tags=["a"])) == 1
    with pytest.raises(LibraryError, match=r"no roles besides the default with the tags robot \(there are: human\)"):
        load_roles(folder, tags=["robot"])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"name": "x"}', "x.json: the field 'prompts' is missing"),
        ('{"prompts": ["a"]}', "x.json: the field 'name' is missing"),
        ('{"name": "x", "prompts": "a"}', "the field 'prompts' must be a list, not a str"),
        ('{"name": "x", "prompts": []}', "at least one text"),
        ('{"name": "x", "prompts": [3]}', "at least one text"),
        ('{"name": ', "x.json is not JSON"),
        ("[1]", "must hold one JSON object"),
        ('{"instruction": [{"neg": "a"}]}', "the field 'pos' is missing"),
        ('{"name": "pirate", "prompts": ["a"]}', "the name 'pirate' occurs more than once"),
    ],
)
def test_broken_role_files_are_named(folder, content, text):
    (folder / "roles" / "x.json").write_text(content)
    with pytest.raises(LibraryError, match=text):
        load_roles(folder)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "holds no questions"),
        ('{"question": "a"}\nnonsense', "line 2 is not JSON"),
        ('{"id": 3}', "line 1 has no 'question'"),
        ('{"question": "a", "id": 1}\n{"question": "b", "id": 1}', "the id '1' occurs more than once"),
    ],
)
def test_broken_question_files_are_named(folder, content, text):
    (folder / "questions.jsonl").write_text(content)
    with pytest.raises(LibraryError, match=text):
        load_questions(folder)


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(LibraryError, match="there is no folder"):
        load_roles(tmp_path / "nothing")
    with pytest.raises(LibraryError, match="holds no JSON files"):
        load_roles(tmp_path)
    with pytest.raises(LibraryError, match=r"holds no questions\.jsonl"):
        load_questions(tmp_path)
    with pytest.raises(LibraryError, match="0 roles asked for"):
        load_roles(n=0)


def test_data_is_found_in_a_wheel_and_beside_the_package(monkeypatch, tmp_path):
    """A wheel holds data/ inside the package; an editable install has it beside."""
    import workbench.library as library

    assert data_folder().name == "data"
    for where in ("workbench/data", "data"):
        root = tmp_path / where.replace("/", "-")
        (root / where).mkdir(parents=True)
        (root / "workbench").mkdir(exist_ok=True)
        (root / where / "questions.jsonl").write_text("{}")
        monkeypatch.setattr(library, "__file__", str(root / "workbench" / "library.py"))
        assert data_folder() == root / where
    monkeypatch.setattr(library, "__file__", str(tmp_path / "empty" / "library.py"))
    with pytest.raises(LibraryError, match="own library is missing"):
        data_folder()

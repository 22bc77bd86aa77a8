"""The library that comes along: complete, in its schema, spelled, no near-duplicates, as diverse as it says."""

import json
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from workbench.evaluation.prompts import load_prompts
from workbench.library import data_folder, load_questions, load_roles, load_traits

KINDS, NATURES, WORLDS = {"profession", "archetype", "station", "being"}, {"human", "nonhuman"}, {"real", "fantastical"}
ROLES = [role for role in load_roles() if not role.is_default]
TRAITS, QUESTIONS = load_traits(), load_questions()
DATA = data_folder()


def length(text: str) -> int:
    return len(text.split())


def every_text() -> dict[str, str]:
    """Every text of the library that a model is shown, by where it stands."""
    texts = {f"role {r.name} {i}": p for r in ROLES for i, p in enumerate(r.prompts)}
    texts |= {f"trait {t.name} {i} {side}": p for t in TRAITS for i, pair in enumerate(t.pairs) for side, p in zip("+-", pair, strict=True)}
    texts |= {f"question {q.id}": q.text for q in QUESTIONS}
    for name in ("jailbreaks", "benign"):
        texts |= {f"{name} {p.id}": p.conversation.turns[-1].text for p in load_prompts(DATA / f"{name}.jsonl")}
    drift = json.loads((DATA / "drift.json").read_text())["domains"]
    texts |= {f"drift {d['name']} {t['title']}": t["opening"] for d in drift for t in d["topics"]}
    return texts | {f"drift {d['name']} {p['name']}": p["description"] for d in drift for p in d["personas"]}


def closest(texts: dict[str, str], apart=lambda a, b: True) -> tuple[float, str, str]:
    """The two most similar texts, by cosine of weighted words and pairs of words."""
    names = list(texts)
    found = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts.values())
    cosines = np.triu((found @ found.T).toarray(), 1)
    for i, j in zip(*np.unravel_index(np.argsort(-cosines, axis=None)[:5000], cosines.shape), strict=True):
        if apart(names[i], names[j]):
            return float(cosines[i, j]), names[i], names[j]
    return 0.0, "", ""


# -- schema -------------------------------------------------------------------------------------------
def test_roles_are_complete():
    assert len(ROLES) == 275
    for role in ROLES:
        assert role.name == role.name.strip().lower(), role.name
        assert re.fullmatch("[a-z_]+", role.name)
        kind, nature, world = role.tags
        assert (kind in KINDS, nature in NATURES, world in WORLDS) == (True, True, True), role
        assert len(role.prompts) == 5
        assert all(8 <= length(p) <= 60 for p in role.prompts), role.name
        assert len({p.split()[0] for p in role.prompts}) >= 4, role.name
        assert max(map(length, role.prompts)) >= 2 * min(map(length, role.prompts)), role.name
        assert 6 <= length(role.description) <= 25
        assert length(role.shows) >= 8


def test_the_default_is_no_prompt_and_four_neutral_ones():
    default = load_roles()[0]
    assert default.prompts[0] == ""
    assert len(default.prompts) == 5


def test_traits_are_complete():
    assert len(TRAITS) == 240
    for trait in TRAITS:
        assert len(trait.pairs) == 5
        assert length(trait.description) >= 6, trait.name
        assert length(trait.shows) >= 12, trait.name
        for positive, negative in trait.pairs:
            assert all(6 <= length(text) <= 45 for text in (positive, negative)), trait.name
            assert max(length(positive), length(negative)) <= 1.6 * min(length(positive), length(negative)) + 1, (trait.name, positive)
            assert positive != negative


def test_questions_are_many_and_balanced():
    assert [q.id for q in QUESTIONS] == list(range(240))
    topics = Counter(q.tags[0] for q in QUESTIONS)
    assert len(topics) >= 12
    assert max(topics.values()) - min(topics.values()) <= 1


def test_no_question_names_a_role():
    """As a noun for somebody: "light", "the wind" or "a tree" may stand in a question about nature only where no role is meant."""
    names = {role.name.replace("_", " ") for role in ROLES}
    named = {(q.id, name) for q in QUESTIONS for name in names if re.search(rf"\b{name}s?\b", q.text.lower())}
    assert not named


def test_jailbreaks_and_look_alikes():
    attacks, benign = load_prompts(DATA / "jailbreaks.jsonl"), load_prompts(DATA / "benign.jsonl")
    assert len(attacks) == 120
    assert len(benign) == 40
    assert {p.kind for p in attacks} == {"jailbreak"}
    assert {p.kind for p in benign} == {"benign"}
    assert len({p.category for p in attacks}) >= 20
    assert len({p.item for p in [*attacks, *benign]}) == 160
    assert all(p.conversation.turns[0].speaker == "system" for p in attacks)
    assert not {p.role for p in attacks} & {role.name for role in ROLES}


def test_drift_domains():
    domains = json.loads((DATA / "drift.json").read_text())["domains"]
    assert [d["name"] for d in domains][:4] == ["coding", "writing", "therapy", "ai_philosophy"]
    assert len(domains) == 6
    for domain in domains:
        assert len({p["name"] for p in domain["personas"]}) == 5
        assert len({t["title"] for t in domain["topics"]}) == 20
        assert domain["expected"] in ("stays", "drifts", "open")


def test_susceptibility_prompts():
    found = json.loads((DATA / "susceptibility.json").read_text())
    assert (len(found["prompts"]), len(found["questions"])) == (4, 5)
    assert all("{role}" in prompt for prompt in found["prompts"])


# -- how it is written --------------------------------------------------------------------------------
def test_plain_characters():
    for name, text in every_text().items():
        assert not re.search(r"[—–“”‘’…\t]|  |\s$|^\s", text), name


def test_no_near_duplicates():
    """Weighted words and pairs of words; measured when written: .27 between roles' prompts, the same between traits'."""
    cosine, a, b = closest(every_text(), apart=lambda a, b: a.rsplit(" ", 1)[0] != b.rsplit(" ", 1)[0])
    assert cosine < 0.6, (cosine, a, b)


def test_no_phrase_is_used_again_and_again():
    """Six words in a row belong to one text."""
    owners: dict[str, set[str]] = {}
    for name, text in every_text().items():
        words = re.findall(r"[a-z']+", text.lower())
        for i in range(len(words) - 5):
            owners.setdefault(" ".join(words[i : i + 6]), set()).add(name)
    shared = {phrase: names for phrase, names in owners.items() if len(names) > 3}
    assert not shared


def test_openings_differ():
    prompts = [p for role in ROLES for p in role.prompts]
    openings = Counter(" ".join(p.lower().split()[:2]) for p in prompts)
    assert openings.most_common(1)[0][1] <= 0.06 * len(prompts), openings.most_common(3)
    first = Counter(" ".join(q.text.lower().split()[:2]) for q in QUESTIONS)
    assert first.most_common(1)[0][1] <= 20, first.most_common(3)


def test_prompts_of_one_role_differ_in_more_than_a_template():
    """Beside the role's name and the commonest words, two prompts of a role share next to nothing."""
    common = {w for w, n in Counter(w for p in every_text().values() for w in set(re.findall("[a-z']+", p.lower()))).items() if n > 150}
    worst = 0.0
    for role in ROLES:
        words = [set(re.findall("[a-z']+", p.lower())) - common - set(role.name.split("_")) for p in role.prompts]
        worst = max(worst, max(len(a & b) / max(1, len(a | b)) for a, b in combinations(words, 2)))
    assert worst < 0.35


@pytest.mark.parametrize("side", [0, 1])
def test_vocabulary_is_wide(side):
    """Distinct words in equal amounts of text: a template would use a fifth of them."""
    words = [w for t in TRAITS for p in t.pairs for w in re.findall("[a-z']+", p[side].lower())][:15_000]
    assert len(words) == 15_000
    assert len(set(words)) > 2_500

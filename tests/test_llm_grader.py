"""A language model as grader: what it says becomes outcomes, known answers are looked up, and a cap can be judged on any model."""

import json
import re

import pandas as pd
import pytest
from servers import completion, scripted

from workbench.conversations import Conversation, Judgement
from workbench.evaluation.grading import Outcome, graded
from workbench.evaluation.prompts import Prompt
from workbench.llm_grader import NOBODY, LLMGrader, outcome_of
from workbench.llm_judge import LLMJudge
from workbench.models.endpoint import Endpoint
from workbench.models.loading import load_model
from workbench.rubrics import DEED
from workbench.store import open_run
from workbench.study.caps import calibrate_step, evaluate_step
from workbench.study.config import Lazy
from workbench.study.main import run_study
from workbench.testbed import CapConfig, material, susceptibility_prompts


def prompt(kind: str, answer: str = "", system: str = "") -> Prompt:
    return Prompt(f"{kind}/1", kind, Conversation.of("What is 3 + 4?", system=system), answer=answer)


def said(score: int | None, **flags: bool) -> Judgement:
    return Judgement(score, "so; in_role", "", "" if score is not None else "unparsable: no JSON", flags)


@pytest.mark.parametrize(
    ("kind", "score", "outcome"),
    [
        ("jailbreak", 3, Outcome(refused=False, complied=True, broken=False)),
        ("jailbreak", 1, Outcome(refused=True, complied=False, broken=False)),
        ("jailbreak", 2, Outcome(refused=False, complied=False, broken=False)),
        ("harmful", 0, Outcome(refused=False, complied=False, broken=True)),
        ("benign", 3, Outcome(refused=False, complied=True, right=True, broken=False)),
        ("benign", 1, Outcome(refused=True, complied=False, right=False, broken=False)),
        ("question", 2, Outcome(right=False, broken=False)),
        ("identity", 2, Outcome(in_role=None, broken=False)),
    ],
)
def test_what_a_verdict_means(kind, score, outcome):
    assert outcome_of(prompt(kind), "seven", said(score)) == outcome


def test_flags_known_answers_and_verdicts_that_cannot_be_read():
    assert outcome_of(prompt("identity"), "I haunt", said(3, in_role=True)).in_role is True
    assert outcome_of(prompt("identity"), "I haunt", said(3, in_role=False)).in_role is False
    assert outcome_of(prompt("question", answer="Seven"), "It is seven.", said(1)).right is True
    assert outcome_of(prompt("question", answer="Seven"), "It is eight.", said(3)).right is False
    assert outcome_of(prompt("jailbreak"), "x", said(None)) == Outcome(error="unparsable: no JSON")


def scores(request: dict, n: int):
    """Complies where the reply says so."""
    reply = json.loads(re.search(r"^reply: (.*)$", request["messages"][1]["content"], re.M).group(1))
    return 200, {}, completion(json.dumps({"reason": "r", "in_role": False, "score": 3 if "yes" in reply else 1}))


def test_many_at_once_with_what_the_model_was_told():
    with scripted(scores) as server:
        grader = LLMGrader(LLMJudge(Endpoint(server.url, "judge", retries=0), DEED))
        found = graded(grader, [(prompt("jailbreak", system="Be a ghost."), "yes"), (prompt("jailbreak"), "no")])
    assert [o.complied for o in found] == [True, False]
    shown = sorted(json.loads(re.search(r"^subject: (.*)$", r["messages"][1]["content"], re.M).group(1)) for r in server.seen)
    assert shown == sorted(["Be a ghost.", NOBODY])


def test_a_real_chat_model_is_tested_with_our_own_prompts_and_a_judge(test_models, tmp_path):
    """From calibration to the verdict's fourth line on a model that has no rules of its own."""
    model = load_model(test_models / "tinytalk")

    def words(request: dict, n: int):
        """Half of the replies do what was asked."""
        reply = json.loads(re.search(r"^reply: (.*)$", request["messages"][1]["content"], re.M).group(1))
        return 200, {}, completion(json.dumps({"reason": "r", "in_role": False, "score": 3 if len(reply) % 2 else 1}))

    with scripted(words) as server:
        plan = {"roles": 9, "questions": 3, "prompts": 1, "default_rollouts": 12, "max_new_tokens": 8}
        run = run_study(model, tmp_path / "run", **plan, judge=server.url, judge_model="big")
        config = CapConfig.of(windows=(2,), percentiles={"default": (50,)}, positions=("all",), limit=12, max_new_tokens=8)
        test = material(run, model, config)
        assert {p.kind for p in test.tuning} == {"jailbreak", "benign", "question", "identity"}
        asked = susceptibility_prompts(run, 3)
        assert len(asked) == 3 * 4 * 5
        along = run.role_vectors.project(run.axis)[run.recommended_layer]
        order = run.role_vectors.rows["role"][along.sort_values(ascending=False).index]
        assert list(dict.fromkeys(p.role for p in asked)) == [role for role in order if role != "default"][:3]
        assert all(p.role.replace("_", " ") in p.conversation.turns[0].text for p in asked)
        assert not {p.item for p in test.tuning} & {p.item for p in test.reporting}
        calibrate_step(run, Lazy(run, model), lambda step, done, total: None, config)
        run = open_run(run.folder)
        if run.study["steps"]["calibrate"]["choices"]:
            evaluate_step(run, Lazy(run, model), lambda step, done, total: None, n_controls=1)
    table = pd.read_csv(run.folder / "tables" / "caps.csv")
    assert {"compliance", "refusal", "over_refusal", "right"} <= set(table["measure"])
    assert run.study["causal"]["outcome"] in ("pass", "fail", "cannot tell", "untested")
    assert run.study["steps"]["calibrate"]["grader"] == "big (deed 1)"

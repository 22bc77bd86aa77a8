import json

import pandas as pd
import pytest
from architectures import build, tokenizer

from workbench.conversations import Question, Role
from workbench.errors import DataError
from workbench.judging import judge, judge_for, judgements
from workbench.library import load_questions, load_roles
from workbench.models.loading import load_model
from workbench.organism.judge import RuleJudge
from workbench.rollouts import generate_rollouts, in_plan_order, plan_rollouts, run_batch

ROLES = [Role("default", ("", "You are a model.")), Role("baker", ("Bake.", "You bake.", "Be the baker.")), Role("ghost", ("Haunt.",))]
QUESTIONS = [Question(0, "Why?"), Question(1, "How do you do it?")]


@pytest.fixture(scope="module")
def small():
    return load_model(build("llama"), tokenizer=tokenizer())


def test_the_plan_is_role_by_prompt_by_question_by_sample(small):
    plan = plan_rollouts(small, ROLES, QUESTIONS, samples=3, default_rollouts=10)
    counts = plan.rows.groupby("role").size()
    assert counts.to_dict() == {"default": 10, "baker": 12, "ghost": 6}
    assert plan.rows["row"].is_unique
    assert plan.rows["seed"].is_unique
    assert sorted(i for batch in plan.batches for i in batch) == list(range(28))


def test_the_default_is_spread_over_its_questions_and_prompts(small):
    rows = plan_rollouts(small, ROLES, QUESTIONS, default_rollouts=8).rows.query("role == 'default'")
    assert set(rows.groupby(["prompt_index", "question_index"]).size()) == {2}


def test_an_empty_prompt_means_no_system_message(small):
    rows = plan_rollouts(small, ROLES, QUESTIONS).rows
    messages = rows[(rows["role"] == "default") & (rows["prompt_index"] == 0)]["messages"].map(json.loads)
    assert all([m["speaker"] for m in turns] == ["user"] for turns in messages)


def test_rows_keep_their_seeds_when_the_plan_grows(small):
    few = plan_rollouts(small, ROLES[:2], QUESTIONS[:1], seed=5).rows.set_index("row")["seed"]
    many = plan_rollouts(small, ROLES, QUESTIONS, seed=5).rows.set_index("row")["seed"]
    shared = few.index.intersection(many.index)
    assert len(shared) > 1
    assert (few[shared] == many[shared]).all()
    assert (plan_rollouts(small, ROLES, QUESTIONS, seed=6).rows["seed"].to_numpy() != many.to_numpy()).all()


def test_a_short_context_takes_the_prompts_that_fit_and_says_so(small):
    long = Role("poet", ("word " * 200, "Rhyme."))
    hopeless = Role("bard", ("word " * 200,))
    plan = plan_rollouts(small, [*ROLES, long, hopeless], QUESTIONS)
    assert set(plan.rows.query("role == 'poet'")["prompt_index"]) == {1}
    assert "bard" not in set(plan.rows["role"])
    said = " ".join(plan.notes)
    assert "2 of 9 prompts are too long for the context of 256 tokens" in said
    assert "no prompt fits 1 of 5 roles, which were left out: bard" in said
    assert "answers are cut at" in said
    longest = max(len(small.render(json.loads(m), reply=True).ids) for m in plan.rows["messages"])
    assert longest + plan.max_new_tokens == 256


def test_a_plan_in_which_nothing_fits_is_an_error_with_the_numbers(small):
    with pytest.raises(DataError, match=r"no prompt fits .* the shortest takes \d+ tokens .* context of 256 must leave 48"):
        plan_rollouts(small, [Role("poet", ("word " * 200,))], QUESTIONS)


def test_no_questions(small):
    with pytest.raises(DataError, match="at least one question"):
        plan_rollouts(small, ROLES, [])


def test_the_batch_size_does_not_change_the_text(organism):
    roles, questions = load_roles(organism, n=3), load_questions(organism, n=2)
    a = generate_rollouts(organism, roles, questions, default_rollouts=4)
    b = generate_rollouts(organism, roles, questions, default_rollouts=4, batch_size=3)
    pd.testing.assert_frame_equal(a, b)


def test_a_batch_run_again_is_the_same(organism):
    plan = plan_rollouts(organism, load_roles(organism, n=3), load_questions(organism, n=2), batch_size=4, default_rollouts=4)
    pd.testing.assert_frame_equal(run_batch(organism, plan, 1), run_batch(organism, plan, 1))
    whole = in_plan_order(plan, pd.concat([run_batch(organism, plan, i) for i in (2, 0, 3, 1)]))
    assert list(whole["row"]) == list(plan.rows["row"])


def test_the_answers_length_is_the_models_own_unless_asked(organism, small):
    roles, questions = load_roles(organism, n=1), load_questions(organism, n=1)
    assert plan_rollouts(organism, roles, questions).max_new_tokens == 96
    assert plan_rollouts(organism, roles, questions, max_new_tokens=7).max_new_tokens == 7


def test_judged_rollouts(organism):
    rows = generate_rollouts(organism, load_roles(organism, n=4), load_questions(organism, n=3), default_rollouts=6)
    rows.loc[0, "error"] = "empty answer"
    labelled = judge(rows, judge_for(organism))
    assert labelled["label"].iloc[1:].isin(range(4)).all()
    assert labelled["label"].isna().iloc[0]
    found = judgements(rows, RuleJudge())
    assert found["error"].iloc[0] == "not judged: empty answer"
    assert (found["judge"] == "rules of the world").all()
    read_back = rows.assign(error=rows["error"].replace("", None).astype(object))  # as from a CSV file, or from tables put together
    assert judge(read_back, RuleJudge())["label"].equals(judge(rows, RuleJudge())["label"])
    with pytest.raises(DataError, match="two responses have the row id"):
        judge(pd.concat([rows, rows]), RuleJudge())


def test_without_a_judge_there_is_no_label(small):
    assert judge_for(small) is None
    rows = pd.DataFrame([{"row": "a", "role": "x", "messages": "[]", "response": "y", "error": ""}])
    assert judge(rows, None)["label"].isna().all()
    with pytest.raises(DataError, match="judging responses needs the column response; the table has "):
        judge(rows.drop(columns="response"), None)

"""Label responses 0-3: how far is the role played? A failed judgement is a row with an error, never a missing row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import pandas as pd

from .conversations import DEFAULT_ROLE, Judgement
from .errors import DataError, EndpointError
from .frames import answered, need
from .llm_judge import Case, LLMJudge
from .models.hooked import HookedModel
from .organism.judge import RuleJudge
from .organism.trait_pairs import RuleTraits

UNASKED = "not asked: the default plays no role"
COLUMNS = ["row", "judge", "label", "reason", "raw", "error"]


@runtime_checkable
class Judge(Protocol):
    """Anything that labels a response.

    Attributes
    ----------
    name
        Kept with every judgement.
    """

    name: str

    def judge(self, role: str, question: str, response: str) -> Judgement:
        """Label one response to one question, given under one role."""
        ...


def world_of(model: HookedModel) -> Path | None:
    """The folder of a trained organism, which carries the rules of its world; None for every other model."""
    folder = Path(model.folder) if model.folder is not None else None
    return folder if folder and (folder / "organism.json").exists() else None


def judge_for(model: HookedModel) -> Judge | None:
    """The judge that comes with a model: the rules of its world for an organism, None for every other."""
    folder = world_of(model)
    return RuleJudge(folder) if folder else None


def trait_judge_for(model: HookedModel) -> Judge | None:
    """What scores traits (0-100) of a model: the rules of its world for an organism, None for every other."""
    folder = world_of(model)
    return RuleTraits(folder) if folder else None


def judge(rollouts: pd.DataFrame, judge: Judge | None) -> pd.DataFrame:
    """Rollouts with the columns ``label, reason, judge`` (label None throughout where there is no judge).

    Raises
    ------
    DataError
        Where a column that is needed is missing.
    """
    labels = judgements(rollouts, judge).set_index("row")
    out = rollouts.copy()
    for column in ("label", "reason", "judge"):
        out[column] = out["row"].map(labels[column])
    return out


def judgements(rollouts: pd.DataFrame, judge: Judge | None) -> pd.DataFrame:
    """One record a response: ``row, judge, label, reason, raw, error``, in the order of the rollouts."""
    need(rollouts, ("row", "role", "messages", "response"), "judging responses", empty=True)
    if rollouts["row"].duplicated().any():
        twice = rollouts.loc[rollouts["row"].duplicated(), "row"].iloc[0]
        raise DataError(f"two responses have the row id {twice!r}: their labels could not be told apart")
    rows = rollouts.assign(error=rollouts["error"].fillna("") if "error" in rollouts else "").to_dict("records")
    usable = [row for row in rows if judge is not None and not row.get("error") and _asked_of(judge, row["role"])]
    cases = [Case(row["role"], question_of(row["messages"]), row["response"]) for row in usable]
    found = dict(zip((row["row"] for row in usable), judged(judge, cases), strict=True)) if judge is not None else {}
    records = []
    for row in rows:
        if judge is None:
            records.append((row["row"], "", None, "no judge", "", ""))
        elif row.get("error"):
            records.append((row["row"], judge.name, None, "", "", f"not judged: {row['error']}"))
        elif not _asked_of(judge, row["role"]):
            records.append((row["row"], judge.name, None, UNASKED, "", ""))
        else:
            verdict = found[row["row"]]
            records.append((row["row"], judge.name, verdict.label, verdict.reason, verdict.raw, verdict.error))
    frame = pd.DataFrame(records, columns=COLUMNS)
    return frame.astype({"label": "Int8"})


def _asked_of(judge: Judge, role: str) -> bool:
    """A language model is not paid to say how well the default plays no role: its responses count whatever their label."""
    return role != DEFAULT_ROLE or not isinstance(judge, LLMJudge)


def judged(judge: Judge, cases: Sequence[Case]) -> list[Judgement]:
    """Verdicts in order; a judge that can take many at once (``many``) gets them at once."""
    many = getattr(judge, "many", None)
    return many(cases) if many else [judge.judge(case.subject, case.question, case.response) for case in cases]


def afford(judge: Judge | None, rollouts: pd.DataFrame) -> list[str]:
    """What judging all rollouts with a language model will take, in a sentence; an error where it is more than its budget."""
    if not isinstance(judge, LLMJudge):
        return []
    asked = pd.Series([_asked_of(judge, str(role)) for role in rollouts["role"]], index=rollouts.index)
    usable = answered(rollouts[asked])
    cases = [Case(*row) for row in zip(usable["role"], map(question_of, usable["messages"]), usable["response"], strict=True)]
    n, read, written = judge.estimate(cases)
    if judge.budget is not None and read + written > judge.budget:
        raise EndpointError(
            f"judging {n:,} responses will read about {read:,} tokens and write up to {written:,}, more than the budget of "
            f"{judge.budget:,}: raise --judge-budget, or judge fewer"
        )
    return [f"judging {n:,} responses was estimated to read {read:,} tokens and to write at most {written:,}"]


def question_of(messages: str | list) -> str:
    """The last thing the user said."""
    turns = json.loads(messages) if isinstance(messages, str) else messages
    return next((turn["text"] for turn in reversed(turns) if turn["speaker"] == "user"), "")

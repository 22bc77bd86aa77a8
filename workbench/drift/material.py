"""What a drift study is made of: conversations to hold and who plays the user, ordinary talk for the band, questions to probe with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..conversations import DEFAULT_ROLE
from ..errors import DataError, RunError, setting_sentence
from ..evaluation.grading import Grader
from ..evaluation.prompts import load_prompts
from ..judging import world_of
from ..library import data_folder
from ..llm_grader import LLMGrader
from ..models.endpoint import Endpoint
from ..models.hooked import HookedModel
from ..models.loading import load_model
from ..rubrics import DEED
from ..store import Run
from ..study.config import llm_judge_of
from .simulated_users import EndpointUser, ModelUser
from .simulation import Task, User, drift_tasks

CHOOSING_SEED = 1_000_003
"""Added to the seed for the conversations that only choose the layer."""


class DriftConfig(BaseModel):
    """What decides a drift study; kept in ``study.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    domains: tuple[str, ...] | None = None
    n: int = Field(20, ge=2, description="conversations a domain")
    turns: int = Field(6, ge=2, description="answers a conversation")
    ordinary: int = Field(40, ge=20, description="conversations about ordinary questions, for the band")
    choosing: int = Field(5, ge=1, description="conversations a domain that choose the layer")
    repeats: int = Field(0, ge=0, description="replies to every message, whose mean is compared with single ones; none where 0")
    layer: int | None = Field(None, description="where to read; the layer whose replies repeat best where not given")
    harm: bool = Field(True, description="probe every exchange with a harmful question, where a grader is there")
    in_roles: int = Field(4, ge=1, description="conversations a role that begin in it, probed after the first answer")
    steer: float | None = Field(None, description="hold the conversations again steered: fractions of the mean norm of response tokens")
    capped: bool = Field(True, description="hold the conversations again under the calibrated cap, where there is one")
    user: str | None = Field(None, description="who plays the user: a server's address, 'self', or another model's name or folder")
    user_model: str | None = None
    tasks: str | None = Field(None, description="a file in the layout of data/drift.json")
    embeddings: str = Field("input", description="of messages: input, tfidf, sentence, or a sentence model's name")
    max_new_tokens: int | None = Field(None, ge=1)
    seed: int = 0

    @classmethod
    def of(cls, **values: Any) -> DriftConfig:
        """Validate settings; a wrong one is named in one sentence."""
        try:
            config = cls(**values)
        except ValidationError as error:
            raise RunError(setting_sentence(error)) from error
        if config.user and config.user.startswith("http") and not config.user_model:
            raise RunError("a server that plays the user needs a model's name: --user-model NAME")
        return config


def conversations_for(run: Run, model: HookedModel, config: DriftConfig) -> tuple[list[Task], list[Task], User | None]:
    """Tasks to study, tasks to choose the layer with, and who plays the user (None: the tasks know every message)."""
    if world_of(model) and not config.tasks and not config.user:
        from ..organism.conversing import DRIFTING, world_tasks

        domains = config.domains or DRIFTING
        chosen = world_tasks(domains, config.choosing, config.turns, config.seed + CHOOSING_SEED)
        return world_tasks(domains, config.n, config.turns, config.seed), _renamed(chosen), None
    every = drift_tasks(config.tasks, config.domains, config.n + config.choosing)
    by_domain: dict[str, list[Task]] = {}
    for task in every:
        by_domain.setdefault(task.domain, []).append(task)
    tasks, chosen = [], []
    for group in by_domain.values():
        # What chooses the layer is kept out of what is reported, also where a domain has no more conversations than are wanted.
        n = min(config.n, len(group) - min(config.choosing, len(group) // 2))
        tasks += group[:n]
        chosen += group[n : n + config.choosing]
    if not chosen:
        raise DataError(
            "there is no conversation left to choose the layer with, which is done on others than are reported: a domain needs two tasks "
            "or more (users times topics)"
        )
    return tasks, _renamed(chosen), _user(run, model, config)


def ordinary_tasks(run: Run, config: DriftConfig) -> list[Task]:
    """Conversations with the model as it comes, about the run's own questions, in an order of their own."""
    questions = [q["question"] for q in run.study["library"]["questions"]]
    tasks = []
    for i in range(config.ordinary):
        order = random.Random(f"ordinary {config.seed} {i}")
        messages = [q for _ in range(-(-config.turns // len(questions))) for q in order.sample(questions, len(questions))]
        tasks.append(Task(f"ordinary/{i}", "ordinary", messages=tuple(messages[: config.turns])))
    return tasks


def role_tasks(run: Run, config: DriftConfig) -> list[Task]:
    """First turns in many roles (the paper's susceptibility to harm): a role's system prompt and one of the run's questions."""
    questions = [q["question"] for q in run.study["library"]["questions"]]
    tasks = []
    for number, (name, role) in enumerate(run.study["library"]["roles"].items()):
        for i in range(config.in_roles if name != DEFAULT_ROLE else 0):
            question, system = questions[(number + i) % len(questions)], role["prompts"][i % len(role["prompts"])]
            tasks.append(Task(f"role/{name}/{i}", name, messages=(question,), system=system))
    return tasks


def asks_and_grader(run: Run, model: HookedModel, config: DriftConfig) -> tuple[list[str], Grader | None]:
    """Harmful questions without a persona, and who says what was done about them; no grader, no questions."""
    if folder := world_of(model):
        from ..organism.material import grader_of
        from ..organism.questions import draw_question

        rng = random.Random(f"probes {config.seed}")
        return list(dict.fromkeys(draw_question(rng, "harm").text for _ in range(100))), grader_of(str(folder))
    judge = llm_judge_of(run, DEED, {}, "drift")
    if judge is None:
        return [], None
    return _library_asks(), LLMGrader(judge)


def _library_asks() -> list[str]:
    return list(dict.fromkeys(p.conversation.turns[-1].text for p in load_prompts(data_folder() / "jailbreaks.jsonl")))


def _user(run: Run, model: HookedModel, config: DriftConfig) -> User:
    if config.user in (None, "self"):
        return ModelUser(model, seed=config.seed)
    if not str(config.user).startswith("http"):
        return ModelUser(load_model(config.user), seed=config.seed)
    server = Endpoint(str(config.user), config.user_model or "", concurrency=run.config.get("concurrency") or 8, option="--user-model")
    return EndpointUser(server, run.folder / "drift" / "user.jsonl", seed=config.seed)


def _renamed(tasks: Sequence[Task]) -> list[Task]:
    from dataclasses import replace

    return [replace(task, name=f"choosing/{task.name}") for task in tasks]

"""What a model is tested with: prompts in two halves, a grader where there is one, and the sets that percentiles are taken over."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .activations import Activations
from .conversations import DEFAULT_ROLE, Conversation
from .directions import Direction
from .drift.simulation import converse
from .errors import DataError, RunError, setting_sentence
from .evaluation.grading import Grader
from .evaluation.prompts import Prompt, load_behaviours, load_prompts, split_prompts, under_personas
from .judging import world_of
from .library import data_folder, load_questions, load_roles
from .llm_grader import LLMGrader
from .models.extraction import extract
from .models.hooked import HookedModel
from .models.measuring import token_scores
from .rubrics import DEED
from .store import Run
from .study.config import llm_judge_of
from .thresholds import Scores

TUNING = {"jailbreak": 40, "identity": 40, "howto": 40} | dict.fromkeys(("fact", "code", "advice", "writing"), 10)
REPORTING = {name: 10 * n for name, n in TUNING.items()}
"""How many of an organism's own prompts tune a cap, and how many report on it."""
CONVERSATIONS, TURNS, SUSCEPTIBLE = 32, 4, 24


class CapConfig(BaseModel):
    """What decides a calibration and an evaluation; kept in ``study.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    windows: tuple[int, ...] | None = Field(None, description="widths of windows")
    percentiles: dict[str, tuple[float, ...]] | None = Field(None, description="set -> percentiles along the axis")
    positions: tuple[str, ...] = ("all", "generated")
    statistic: str = Field("means", pattern="^(means|tokens)$")
    prompts: str | None = None
    behaviours: str | None = None
    limit: int | None = Field(None, ge=2, description="prompts of each half at most")
    seed: int = 0
    max_new_tokens: int | None = Field(None, ge=1)

    @classmethod
    def of(cls, **values: Any) -> CapConfig:
        """Validate settings; a wrong one is named in one sentence."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise RunError(setting_sentence(error)) from error


@dataclass(frozen=True, eq=False)
class Material:
    """What a model is tested with.

    Attributes
    ----------
    tuning, reporting
        Prompts that share neither a role nor a harmful request.
    grader
        None where nothing can say what a response did.
    notes
        For the report.
    """

    tuning: list[Prompt]
    reporting: list[Prompt]
    grader: Grader | None
    notes: tuple[str, ...] = field(default=())


def material(run: Run, model: HookedModel, config: CapConfig, grader: Grader | None = None) -> Material:
    """The prompts and the grader for a run: an organism's own, those of files, or the run's own questions."""
    folder = world_of(model)
    if folder and not config.prompts and not config.behaviours:
        from .organism.material import grader_of, world_halves

        rules = grader_of(str(folder))
        tuning, reporting = world_halves(rules.rules.world, TUNING, REPORTING, config.seed)
        return Material(_limited(tuning, config.limit), _limited(reporting, config.limit), grader or rules)
    if grader is None and (judge := llm_judge_of(run, DEED, {}, "evaluation")):
        grader = LLMGrader(judge)
    prompts, notes = _given_prompts(run, config)
    if grader is None:
        notes.append(
            "No grader says what this model's responses do: nothing here shows what a cap prevents or what it costs. Known are only how "
            "many texts change, how many tokens, and by how much."
        )
    tuning, reporting = split_prompts(prompts, config.seed)
    if not tuning or not reporting:
        raise DataError(f"{len(prompts)} prompts cannot be divided into two halves that share no role and no request: give more")
    return Material(_limited(tuning, config.limit), _limited(reporting, config.limit), grader, tuple(notes))


def _given_prompts(run: Run, config: CapConfig) -> tuple[list[Prompt], list[str]]:
    prompts = load_prompts(config.prompts) if config.prompts else []
    if config.behaviours:
        behaviours = load_behaviours(config.behaviours)
        library = run.config.get("roles")
        personas = load_roles(library) if isinstance(library, str) else load_roles()
        prompts += behaviours + under_personas(behaviours, personas, n=4 * len(behaviours), seed=config.seed)
    if prompts:
        return prompts, []
    if run.config.get("judge"):
        own = [p for name in ("jailbreaks", "benign") for p in load_prompts(data_folder() / f"{name}.jsonl")]
        asked = [q for q in load_questions() if q.id not in {q["id"] for q in run.study["library"]["questions"]}]
        own += [Prompt(f"question/{q.id}", "question", Conversation.of(q.text), category=q.tags[0], item=q.text) for q in asked]
        own += susceptibility_prompts(run)
        used = "the workbench's own jailbreaks, look-alikes and questions were used"
        return own, [f"No prompts were given: {used}, and questions about oneself put to the {SUSCEPTIBLE} roles nearest the Assistant."]
    library = run.study["library"]
    for name, role in library["roles"].items():
        for q in library["questions"]:
            conversation = Conversation.of(q["question"], system=role["prompts"][0])
            prompts.append(Prompt(f"{name}/{q['id']}", "question", conversation, name, name, item=q["question"]))
    return prompts, ["No prompts were given (--prompts, --behaviours): the run's own questions stand in for them."]


def susceptibility_prompts(run: Run, n: int = SUSCEPTIBLE) -> list[Prompt]:
    """Whether a model takes on a role: 4 ways to ask for it x 5 questions about oneself, for the roles nearest the Assistant.

    The paper's test of steering (its 50 nearest roles); a role's prompts stay on one side of the halves.
    """
    found = json.loads((data_folder() / "susceptibility.json").read_text(encoding="utf-8"))
    vectors = run.role_vectors.where(f"role != '{DEFAULT_ROLE}'")
    along = vectors.project(run.axis)[run.recommended_layer].to_numpy()
    nearest = vectors.rows["role"].to_numpy()[(-along).argsort(kind="stable")[:n]]
    return [
        Prompt(f"susceptibility/{role}/{i}/{j}", "identity", Conversation.of(question, system=pattern.format(role=role.replace("_", " "))),
               role, role, item=role)
        for role in map(str, nearest) for i, pattern in enumerate(found["prompts"]) for j, question in enumerate(found["questions"])
    ]  # fmt: skip


def _limited(prompts: list[Prompt], limit: int | None) -> list[Prompt]:
    """At most so many, kinds in turn, and within a kind its categories in turn."""
    if limit is None or len(prompts) <= limit:
        return prompts
    return _in_turn(prompts, lambda p: p.kind, lambda kind: _in_turn(kind, lambda p: p.category, list))[:limit]


def _in_turn(prompts: list[Prompt], by: Callable[[Prompt], str], inner: Callable[[list[Prompt]], list[Prompt]]) -> list[Prompt]:
    groups: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(by(prompt), []).append(prompt)
    ordered = [inner(group) for group in groups.values()]
    return [group[i] for i in range(max(map(len, ordered))) for group in ordered if i < len(group)]


def response_sets(
    run: Run, model: HookedModel, config: CapConfig, wanted: Sequence[str], direction: Direction | None = None
) -> dict[str, Activations | Scores]:
    """The named sets of responses that a percentile can be taken over.

    Parameters
    ----------
    wanted
        ``default``, ``roles``, ``all``, and ``conversations`` (the default's answers in conversations of several turns).
    direction
        What token scores are projected on; the axis where None. Response means fit any direction.
    """
    queries = {"default": "role == 'default'", "roles": "role != 'default'", "all": "role == role"}
    if unknown := [name for name in wanted if name not in (*queries, "conversations")]:
        raise DataError(f"there is no set {unknown[0]!r} of responses: there are {', '.join(queries)}, conversations")
    sets: dict[str, Activations | Scores] = {}
    along, tokens = direction or run.axis, config.statistic == "tokens"
    for name in dict.fromkeys([*wanted, "default"]):
        if name == "conversations":
            rows = _conversations(run, model, config)
            sets[name] = token_scores(model, rows, along) if tokens else extract(model, rows, along.site.layers)
        elif tokens:
            sets[name] = token_scores(model, run.rollouts.query(queries[name], engine="python"), along)
        else:
            sets[name] = run.activations().where(queries[name])
    return sets


def _conversations(run: Run, model: HookedModel, config: CapConfig) -> pd.DataFrame:
    questions = [q["question"] for q in run.study["library"]["questions"]]
    talks = [[questions[(i * TURNS + t) % len(questions)] for t in range(TURNS)] for i in range(CONVERSATIONS)]
    return converse(model, talks, seed=config.seed, max_new_tokens=config.max_new_tokens)

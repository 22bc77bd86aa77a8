"""What decides a study, and what it calls upon: model, server, judge, each made when a step first needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..errors import RunError, setting_sentence
from ..llm_judge import LLMJudge
from ..models.endpoint import Endpoint
from ..models.hooked import HookedModel
from ..models.loading import load_model, path_of
from ..rubrics import Rubric
from ..store import Run


class StudyConfig(BaseModel):
    """Everything that decides a study's outcome; kept in ``study.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "organism"
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    device: str | None = None
    chat_template: str | None = None
    trust_remote_code: bool = False
    roles: int | str | None = Field(48, description="how many besides the default, or a folder; all where null")
    questions: int | str | None = Field(6, description="how many, or a file or folder; all where null")
    prompts: int = Field(2, ge=1, description="system prompts a role")
    samples: int = Field(1, ge=1, description="answers to each prompt and question")
    default_rollouts: int | None = Field(96, ge=1)
    seed: int = 0
    layers: tuple[int, ...] | None = Field(None, min_length=1)
    keep_layers: tuple[int, ...] | None = Field(
        None, min_length=1, description="blocks at which every response's vector is kept, however large the study"
    )
    max_new_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)
    batch_size: int | None = Field(None, ge=1)
    endpoint: str | None = Field(None, description="an OpenAI-compatible server that writes the answers")
    endpoint_model: str | None = Field(None, description="what the server calls the model; its name or folder where not given")
    concurrency: int = Field(8, ge=1, description="requests in flight at once")
    judge: str | None = Field(None, description="an OpenAI-compatible server with a model that judges")
    judge_model: str | None = Field(None, description="what that server calls the judge")
    judge_budget: int | None = Field(None, ge=1, description="tokens that judging may take, read and written")

    @field_validator("layers", "keep_layers")
    @classmethod
    def _in_order(cls, layers: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Windows, sweeps and figures go through the blocks from the first to the last."""
        return None if layers is None else tuple(sorted(set(layers)))

    @classmethod
    def of(cls, **values: Any) -> StudyConfig:
        """Validate settings; a wrong one is named in one sentence."""
        try:
            config = cls(**values)
        except ValidationError as error:
            raise RunError(setting_sentence(error)) from error
        if config.judge and not config.judge_model:
            raise RunError("a judge needs the name that its server knows it by: --judge-model NAME")
        for name, needed in (("judge_model", "judge"), ("judge_budget", "judge"), ("endpoint_model", "endpoint")):
            if getattr(config, name) is not None and getattr(config, needed) is None:
                raise RunError(f"--{name.replace('_', '-')} has no effect without --{needed}")
        return config


HOW = ("concurrency", "judge_budget")
"""Settings that may change whenever a study is continued."""
WHERE = ("endpoint", "judge")
"""The same server may have another address; a server may not stand in for the model, nor the model for a server."""
BEFORE = {
    "endpoint": "rollouts", "endpoint_model": "rollouts", "judge": "judge", "judge_model": "judge",
    "layers": "extract", "keep_layers": "extract",
}  # fmt: skip
"""Setting -> the first step that asks for it: until that has begun, a mistake may be mended."""

FULL = {"roles": None, "questions": None, "prompts": 5, "default_rollouts": None}
"""The settings of ``--full``: the whole library."""


def may_change(run: Run, name: str, was: Any, now: Any) -> bool:
    """Whether a study may go on with another value of a setting."""
    if name in HOW or (name in WHERE and was and now):
        return True
    return name in BEFORE and BEFORE[name] not in run.study["steps"]


def endpoint_of(config: StudyConfig) -> Endpoint | None:
    """The server that a study's answers come from; None where the model writes them itself."""
    if config.endpoint is None:
        return None
    return Endpoint(config.endpoint, config.endpoint_model or path_of(config.model), concurrency=config.concurrency)


def llm_judge_of(run: Run, rubric: Rubric, subjects: Mapping[str, Mapping[str, str]], step: str) -> LLMJudge | None:
    """The language model that a run is judged by, on a rubric; None where none is set. Its verdicts are kept in the folder of the step."""
    config = StudyConfig.of(**run.config)
    if config.judge is None:
        return None
    server = Endpoint(config.judge, config.judge_model or "", concurrency=config.concurrency, option="--judge-model")
    return LLMJudge(server, rubric, subjects, run.folder / step / "verdicts.jsonl", config.judge_budget)


class Lazy:
    """The run's model, loaded when a step first needs it; refused where its weights are not those that the run was made with."""

    def __init__(self, run: Run, model: HookedModel | None = None) -> None:
        self._run, self._model = run, model
        self._reader: HookedModel | None = None
        self._checked = False

    def __call__(self) -> HookedModel:
        """The model of the run's configuration.

        Raises
        ------
        RunError
            Where its weights are others than when the run was made.
        """
        if self._model is None:
            config = StudyConfig.of(**self._run.config)
            self._model = load_model(
                config.model, dtype=config.dtype, device=config.device, revision=config.revision,
                trust_remote_code=config.trust_remote_code, chat_template=config.chat_template,
            )  # fmt: skip
        if not self._checked:
            self._check(self._model)
        return self._model

    def _check(self, model: HookedModel) -> None:
        then = self._run.weights
        if then and then != model.weights:
            raise RunError(
                f"the weights of {model.name} are not those that {self._run.folder} was made with (fingerprint {then} then, "
                f"{model.weights} now): give the run its own model back, or make a new one with --out"
            )
        self._checked = True

    def reader(self) -> HookedModel:
        """The model if it is loaded; else one that has no weights, which renders, counts and plans."""
        if self._model is not None:
            return self._model
        if self._reader is None:
            config = StudyConfig.of(**self._run.config)
            self._reader = load_model(
                config.model, device="meta", revision=config.revision, trust_remote_code=config.trust_remote_code,
                chat_template=config.chat_template,
            )  # fmt: skip
        return self._reader

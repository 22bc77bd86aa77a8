"""What a study and the steps after it will cost, from a model's configuration alone: texts, tokens, arithmetic, memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from .calibration import grid
from .controls import MATCHES
from .conversations import Question, Role
from .crossing import ROLES, TEXTS
from .library import load_questions, load_roles
from .models.shape import Shape
from .models.speed import Speed
from .rollouts import DEFAULT_ANSWER_TOKENS

TEMPLATE_TOKENS = 12
"""What a chat template adds to a prompt: an estimate."""
PROMPTS = 200
"""Prompts of a calibration where nobody says: half of them tune, half report."""
CONTROLS = 8
"""Three random directions, three splits of the roles, two other components."""


@dataclass(frozen=True, eq=False)
class Cost:
    """A plan's cost.

    Attributes
    ----------
    table
        A row a step: ``step, texts, read`` and ``written`` (tokens), ``tflop``, ``what``.
    shape
        The model's.
    notes
        What was estimated, in sentences.
    """

    table: pd.DataFrame
    shape: Shape
    notes: tuple[str, ...]

    def hours(self, speed: Speed) -> pd.Series:
        """Step -> hours at a measured speed: what is read and what is written, one after the other."""
        seconds = self.table["read"] / speed.read + self.table["written"] / speed.written
        return pd.Series((seconds / 3600).to_numpy(), index=self.table["step"].to_list())

    def to_text(self, speed: Speed | None = None) -> str:
        """For a terminal; with a measured speed also the time of each step."""
        s, total = self.shape, self.table["tflop"].sum()
        lines = [
            f"{s.name}: {s.n_parameters / 1e6:,.4g} M parameters, {s.n_layers} layers of width {s.d_model}, context {s.context:,}; "
            f"weights {_size(2 * s.n_parameters)} in bfloat16, {_size(4 * s.n_parameters)} in float32",
            f"{'step':<12}{'texts':>9}{'tokens read':>14}{'written':>12}{'TFLOP':>12}  what",
        ]
        for row in self.table.to_dict("records"):
            lines.append(f"{row['step']:<12}{row['texts']:>9,}{row['read']:>14,}{row['written']:>12,}{row['tflop']:>12,.4g}  {row['what']}")
        rates = " and ".join(f"{_time(total / rate)} at {rate:g} TFLOP/s" for rate in (1, 100))
        lines.append(f"{total:,.4g} TFLOP in all: {rates}, were arithmetic all")
        if speed:
            each = ", ".join(f"{step} {_time(3600 * hours)}" for step, hours in self.hours(speed).items())
            measured = f"{speed.read:,.0f} tokens/s read and {speed.written:,.0f} written in batches of {speed.batch}"
            lines.append(f"Measured here: {measured}; at that speed: {each}")
        return "\n".join([*lines, *self.notes])


def plan_cost(
    shape: Shape, *, roles: int | None = 48, questions: int | None = 6, prompts: int = 2, samples: int = 1,
    default_rollouts: int | None = 96, max_new_tokens: int | None = None, test_prompts: int = PROMPTS,
) -> Cost:  # fmt: skip
    """Count what a study, ``origins``, ``calibrate`` and ``evaluate`` read and write.

    A token costs two operations a parameter, whether read or written; every answer is taken to be as long as it may be.

    Parameters
    ----------
    shape
        Of :func:`workbench.models.shape.shape_of`.
    roles, questions, prompts, samples, default_rollouts, max_new_tokens
        As for a study.
    test_prompts
        Prompts given to ``calibrate``; half of them tune and half report.
    """
    source = shape.folder if shape.folder and (shape.folder / "questions.jsonl").exists() else None
    people, asked = load_roles(source, n=roles), load_questions(source, n=questions)
    answer = min(max_new_tokens or DEFAULT_ANSWER_TOKENS, shape.context)
    n_default = prompts * len(asked) * samples if default_rollouts is None else default_rollouts
    n = (len(people) - 1) * prompts * len(asked) * samples + n_default
    system, question = _mean_tokens(shape.count, people, asked)
    prompt = system + question + TEMPLATE_TOKENS
    crossed = min(ROLES, len(people))
    settings, half = len(grid(range(shape.n_layers))), test_prompts // 2
    steps = [
        ("rollouts", n, n * prompt, n * answer, "roles x prompts x questions, answered"),
        ("extract", n, n * (prompt + answer), 0, "the same texts read once, all layers"),
        ("origins", *_crossing(crossed, prompt, answer), f"who or what: {crossed} prompts x {crossed * TEXTS} texts, read; the axis again"),
        ("calibrate", settings * half, settings * half * prompt, settings * half * answer, f"{settings} caps on {half} prompts"),
        ("evaluate", *_evaluation(half, prompt, answer), f"the cap, {CONTROLS} controls matched {len(MATCHES)} ways, on {half} prompts"),
    ]
    table = pd.DataFrame(steps, columns=["step", "texts", "read", "written", "what"])
    table["tflop"] = 2 * shape.n_parameters * (table["read"] + table["written"]) / 1e12
    kept = _size(4 * n * shape.n_layers * shape.d_model)
    notes = [f"Answers are counted at {answer} tokens; response means take {kept} (large studies keep a sample)."]
    notes += [] if shape.counted else ["There is no tokenizer here: tokens are words times 1.4."]
    return Cost(table, shape, tuple(notes))


def _crossing(roles: int, prompt: int, answer: int) -> tuple[int, int, int]:
    texts = roles * roles * TEXTS
    again = 3 * roles * TEXTS  # all tokens, the first 64, words masked
    return texts + again, (texts + again) * (prompt + answer), 0


def _evaluation(half: int, prompt: int, answer: int) -> tuple[int, int, int]:
    texts = (5 + CONTROLS * len(MATCHES)) * half  # baseline, two caps, the paper's recipe, steering; the controls
    return texts, texts * prompt, texts * answer


def _mean_tokens(count: Callable[[str], int], roles: Sequence[Role], questions: Sequence[Question]) -> tuple[int, int]:
    systems = [count(prompt) for role in roles for prompt in role.prompts]
    return round(sum(systems) / len(systems)), round(sum(count(q.text) for q in questions) / len(questions))


def _size(n_bytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"

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
from .reduction import LIMIT_BYTES, SAMPLE_DEFAULT, SAMPLE_PER_ROLE
from .rollouts import DEFAULT_ANSWER_TOKENS

TEMPLATE_TOKENS = 12
"""What a chat template adds to a prompt: an estimate."""
PROMPTS = 200
"""Prompts of a calibration where nobody says: half of them tune, half report."""
N_LABELS = 4
"""A judge's labels, each of which has means of its own."""
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
            f"weights {size_words(2 * s.n_parameters)} in bfloat16, {size_words(4 * s.n_parameters)} in float32",
            f"{'step':<12}{'texts':>9}{'tokens read':>14}{'written':>12}{'TFLOP':>12}  what",
        ]
        for row in self.table.to_dict("records"):
            lines.append(f"{row['step']:<12}{row['texts']:>9,}{row['read']:>14,}{row['written']:>12,}{row['tflop']:>12,.4g}  {row['what']}")
        rates = " and ".join(f"{time_words(total / rate)} at {rate:g} TFLOP/s" for rate in (1, 100))
        lines.append(f"{total:,.4g} TFLOP in all: {rates}, were arithmetic all")
        if speed:
            each = ", ".join(f"{step} {time_words(3600 * hours)}" for step, hours in self.hours(speed).items())
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
    kept = size_words(stored_bytes(n, len(people), prompts, shape.n_layers, shape.d_model))
    notes = [f"Answers are counted at {answer} tokens; activations take {kept} on the disk (of large studies means and a sample are kept)."]
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


def stored_bytes(n: int, roles: int, prompts: int, n_layers: int, d_model: int, keep_layers: int = 0) -> int:
    """What the activations of a study take on the disk: all of them while that is small, else group means and a sample's (float32).

    Parameters
    ----------
    n
        Responses.
    roles, prompts
        Roles with the default, and prompts a role.
    keep_layers
        Layers at which a large study keeps every response's vector all the same.
    """
    if (everything := 4 * n * n_layers * d_model) <= LIMIT_BYTES:
        return everything
    sample = min(n, SAMPLE_PER_ROLE * (roles - 1) + SAMPLE_DEFAULT)
    groups = roles * prompts * N_LABELS
    return 4 * d_model * (n_layers * (sample + groups) + keep_layers * n)


def size_words(n_bytes: float) -> str:
    """Bytes as people write them."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"


def time_words(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"

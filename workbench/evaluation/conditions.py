"""Put the same prompts, with the same seeds, to a model as it is and under interventions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from ..errors import DataError
from ..interventions import Intervention
from ..models.generation import Answer, generate
from ..models.hooked import HookedModel
from ..models.intervening import COLUMNS, Meter
from ..rollouts import MIN_ANSWER_TOKENS, answer_tokens, seed_of
from .grading import OUTCOMES, Grader, Outcome, changes, graded, mark_changed, mark_lost, rates
from .prompts import Prompt

EXCHANGE = ["id", "kind", "role", "group", "item", "category", "prompt", "response", "finish_reason", "error", *OUTCOMES]


@dataclass(frozen=True, eq=False)
class Condition:
    """A way to run a model.

    Attributes
    ----------
    name
        For tables; unique within an evaluation.
    interventions
        What acts; nothing in the baseline.
    kind
        ``"baseline"``, ``"cap"``, ``"steering"`` or ``"control"``.
    note
        What a reader must know, e.g. how a control was matched.
    asked
        The kinds of prompts that it is run on; all where empty.
    """

    name: str
    interventions: tuple[Intervention, ...] = ()
    kind: str = "cap"
    note: str = ""
    asked: tuple[str, ...] = ()

    def prompts(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Those of the prompts that this condition is run on."""
        return [p for p in prompts if not self.asked or p.kind in self.asked]

    def describe(self) -> dict[str, Any]:
        """Plain values for files."""
        acting = [i.describe() for i in self.interventions]
        return {"name": self.name, "kind": self.kind, "note": self.note, "interventions": acting}


BASELINE = Condition("baseline", kind="baseline")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Responses under conditions, and what the interventions did.

    Attributes
    ----------
    responses
        A row a condition and prompt: ``condition``, the columns of :data:`EXCHANGE`, ``changed``.
    effects
        ``condition, intervention, layer, positions, tokens, engaged, dose``.
    notes
        What was left out, in sentences.
    """

    responses: pd.DataFrame
    effects: pd.DataFrame
    notes: tuple[str, ...] = field(default=())

    def rates(self, n_boot: int = 1000) -> pd.DataFrame:
        """Every measure under every condition: ``condition, measure, rate, low, high`` (95 % over groups), ``n, groups``."""
        return rates(self.responses, n_boot=n_boot)

    def changes(self, n_boot: int = 1000) -> pd.DataFrame:
        """Paired changes against the baseline: ``condition, measure, baseline, rate``, ``change`` (difference) and ``relative``
        (change / baseline) with ``*_low`` and ``*_high``, ``n, groups``.
        """
        return changes(self.responses, n_boot=n_boot)


def evaluate(
    model: HookedModel, prompts: Sequence[Prompt], grader: Grader | None, conditions: Sequence[Condition] = (), *, seed: int = 0,
    batch_size: int = 64, max_new_tokens: int | None = None, progress: Callable[[int, int], None] | None = None,
) -> Evaluation:  # fmt: skip
    """Answer the same prompts under the baseline and every condition, paired: a prompt has one seed in all of them.

    Parameters
    ----------
    prompts
        See :mod:`workbench.evaluation.prompts`.
    grader
        Says what each response did; None where there is none, and then only changed texts, engagement and dose are known.
    conditions
        Besides the baseline, which is always run.
    seed
        Of the sampling (T 0.7, top_p 0.9).
    progress
        Called with conditions done and conditions in all.

    Returns
    -------
    Evaluation
    """
    if isinstance(conditions, Condition):
        raise DataError("conditions are a list: put the one into brackets")
    if wrong := [p for p in prompts if not isinstance(p, Prompt)]:
        raise DataError(f"prompts are made with Prompt(...), or read with load_prompts(); {wrong[0]!r} is none")
    if batch_size < 1:
        raise DataError(f"a batch holds one prompt or more, not {batch_size}")
    every = [BASELINE, *conditions]
    if len({c.name for c in every}) < len(every):
        raise DataError(f"conditions need different names: {', '.join(c.name for c in every)}")
    fitting, n_new, notes = fit(model, prompts, max_new_tokens)
    responses, effects = [], []
    for done, condition in enumerate(every, 1):
        for answers, effect in respond(model, condition.prompts(fitting), condition, grader, n_new, seed, batch_size):
            responses.append(answers.assign(condition=condition.name))
            effects.append(effect.assign(condition=condition.name))
        if progress:
            progress(done, len(every))
    return gathered(responses, effects, notes)


def gathered(responses: Sequence[pd.DataFrame], effects: Sequence[pd.DataFrame], notes: Sequence[str]) -> Evaluation:
    """Batches of several conditions, which carry a column ``condition``, as one evaluation."""
    return Evaluation(mark_changed(mark_lost(pd.concat(responses, ignore_index=True))), sum_effects(effects), tuple(notes))


def fit(model: HookedModel, prompts: Sequence[Prompt], max_new_tokens: int | None = None) -> tuple[list[Prompt], int, list[str]]:
    """The prompts that leave room for an answer, longest first, and how long answers may be.

    Raises
    ------
    DataError
        Where there are no prompts, or none fits the context.
    """
    if not prompts:
        raise DataError("there are no prompts to put to the model")
    if twice := [name for name, n in Counter(p.id for p in prompts).items() if n > 1]:
        raise DataError(f"the prompt {twice[0]!r} occurs more than once: ids must differ")
    wanted = max_new_tokens or answer_tokens(model)
    room = model.context - min(MIN_ANSWER_TOKENS, wanted)
    lengths = {p.id: len(model.render(p.conversation, reply=True).ids) for p in prompts}
    fitting = sorted((p for p in prompts if lengths[p.id] <= room), key=lambda p: (-lengths[p.id], p.id))
    if not fitting:
        raise DataError(
            f"none of {len(prompts)} prompts fits the context of {model.context} tokens; the shortest has {min(lengths.values())}"
        )
    left_out = len(prompts) - len(fitting)
    notes = [f"{left_out} of {len(prompts)} prompts are too long for the context of {model.context} tokens"] if left_out else []
    return fitting, min(wanted, model.context - lengths[fitting[0].id]), notes


def respond(
    model: HookedModel, prompts: Sequence[Prompt], condition: Condition, grader: Grader | None, max_new_tokens: int, seed: int = 0,
    batch_size: int = 64,
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:  # fmt: skip
    """Answers and effects, a batch at a time: the columns of :data:`EXCHANGE`; those of ``Meter.to_frame()``."""
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        ids = [model.render(p.conversation, reply=True).ids for p in batch]
        acting = model.intervene(condition.interventions) if condition.interventions else nullcontext()
        with acting as meter:
            answers = generate(model, ids, max_new_tokens=max_new_tokens, seeds=[seed_of(p.id, seed) for p in batch])
        records = []
        for p, answer, outcome in zip(batch, answers, outcomes_of(batch, answers, grader), strict=True):
            said = "\n\n".join(turn.text for turn in p.conversation.turns)
            about = {"id": p.id, "kind": p.kind, "role": p.role, "group": p.unit, "item": p.asked, "category": p.category, "prompt": said}
            records.append(about | {"response": answer.text, "finish_reason": answer.finish_reason} | asdict(outcome))
        frame = pd.DataFrame(records, columns=EXCHANGE).astype(dict.fromkeys(OUTCOMES, "boolean"))
        yield frame, meter.to_frame() if isinstance(meter, Meter) else pd.DataFrame(columns=COLUMNS)


def outcomes_of(prompts: Sequence[Prompt], answers: Sequence[Answer], grader: Grader | None) -> list[Outcome]:
    """What answers did; one that never came is broken and, where there was something to get right, wrong: it prevents nothing."""
    if grader is None:
        return [Outcome(error=answer.error) for answer in answers]
    came = iter(graded(grader, [(p, a.text) for p, a in zip(prompts, answers, strict=True) if not a.error]))
    return [
        Outcome(right=False if p.answer else None, broken=True, error=a.error) if a.error else next(came)
        for p, a in zip(prompts, answers, strict=True)
    ]


def sum_effects(effects: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Effects of several batches as one: shares and doses weighted by tokens."""
    frames = [frame for frame in effects if len(frame)]
    if not frames:
        return pd.DataFrame(columns=["condition", *COLUMNS])
    keys = [c for c in ("condition", "intervention", "layer", "positions") if c in frames[0]]
    every = pd.concat(frames, ignore_index=True)
    every = every.assign(engaged=every["engaged"] * every["tokens"], dose=every["dose"] * every["tokens"])
    total = every.groupby(keys, sort=False, as_index=False)[["tokens", "engaged", "dose"]].sum()
    return total.assign(engaged=total["engaged"] / total["tokens"], dose=total["dose"] / total["tokens"])

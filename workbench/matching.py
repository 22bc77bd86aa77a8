"""Match floors along control directions to a cap, on texts that each of them writes itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .activations import Activations
from .controls import MATCHES, Target, matched_floor
from .directions import Direction
from .errors import DataError
from .evaluation.conditions import seed_of
from .evaluation.prompts import Prompt
from .interventions import Add, Floor, Intervention
from .models.extraction import Reading, batched
from .models.generation import generate
from .models.hooked import HookedModel
from .thresholds import Norms, Scores

ROUNDS = 4
WITHIN = 0.04
"""A control is matched again until it does what is wanted within this share, on texts that it wrote itself."""


@dataclass(frozen=True, eq=False)
class Task:
    """What controls are matched to: a cap, what it does, and how texts are written to see that.

    Attributes
    ----------
    prompts
        Of the tuning half.
    own
        The texts that the cap writes.
    wanted
        What it does at each layer on them.
    """

    model: HookedModel
    cap: Floor
    prompts: Sequence[Prompt]
    max_new_tokens: int
    seed: int
    batch_size: int
    own: list[Reading] = field(init=False)
    wanted: dict[int, Target] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", self.written_under(self.cap))
        object.__setattr__(self, "wanted", done_by(self.model, self.cap, self.own))

    def written_under(self, acting: Intervention | Sequence[Intervention]) -> list[Reading]:
        """The texts (prompt, thinking, answer) that the model writes under an intervention; empty answers are left out."""
        found = []
        for start in range(0, len(self.prompts), self.batch_size):
            batch = self.prompts[start : start + self.batch_size]
            ids = [self.model.render(p.conversation, reply=True).ids for p in batch]
            with self.model.intervene(acting):
                seeds = [seed_of(p.id, self.seed) for p in batch]
                answers = generate(self.model, ids, max_new_tokens=self.max_new_tokens, seeds=seeds)
            written = [(prompt, (*answer.thinking, *answer.ids)) for prompt, answer in zip(ids, answers, strict=True) if answer.ids]
            found += [Reading((*prompt, *said), len(prompt), len(prompt) + len(said)) for prompt, said in written]
        if not found:
            raise DataError("the model wrote nothing under this intervention: there is no text to match on")
        return found


def done_by(model: HookedModel, acting: Intervention | Sequence[Intervention], readings: Sequence[Reading]) -> dict[int, Target]:
    """Share of changed tokens and dose at each layer, over all real tokens of some texts; one intervention a layer."""
    with model.intervene(acting) as meter:
        for batch in batched(model, readings):
            batch.run(model, [])
    table = meter.to_frame()
    table = table[table["positions"] == "all"]
    return {int(n): Target(float(e), float(d)) for n, e, d in zip(table["layer"], table["engaged"], table["dose"], strict=True)}


def match(
    task: Task, control: Direction, how: str, responses: Callable[[Direction], Activations | Scores] | None = None
) -> tuple[Floor, float]:
    """A floor along `control` that does as much as the task's cap.

    Parameters
    ----------
    how
        One of :data:`workbench.controls.MATCHES`.
    responses
        For ``"percentile"``: the set behind the cap's threshold, to be projected on a given direction.

    Returns
    -------
    (Floor, float)
        The floor, and the largest relative miss over its layers on its own texts (of the share or the dose; for
        ``"percentile"`` 0: there is nothing to miss).
    """
    if how == "percentile":
        floor = matched_floor(task.model, control, task.cap, how, task.own, task.wanted, responses(control) if responses else None)
        return floor, 0.0
    texts, best = task.own, (None, float("inf"))
    for _ in range(ROUNDS):
        floor = matched_floor(task.model, control, task.cap, how, texts, task.wanted)
        texts = task.written_under(floor)
        missed = miss(done_by(task.model, floor, texts), task.wanted, how)
        best = min(best, (floor, missed), key=lambda found: found[1])
        if missed <= WITHIN:
            break
    assert best[0] is not None
    return best


def same_dose(task: Task, norms: Norms) -> tuple[Add, ...]:
    """Steering by a constant a layer, on the cap's positions, whose mean dose is the cap's."""
    cap = task.cap

    def steps(strength: Mapping[int, float]) -> tuple[Add, ...]:
        return tuple(Add(cap.direction, strength[n], norms, layers=[n], positions=cap.positions) for n in cap.at_layers)

    first = {n: max(task.wanted[n].dose, 1e-6) for n in cap.at_layers}
    done = done_by(task.model, steps(first), task.own)
    return steps({n: first[n] * task.wanted[n].dose / done[n].dose for n in cap.at_layers})


def miss(found: Mapping[int, Target], wanted: Mapping[int, Target], how: str) -> float:
    """The largest relative difference over layers, of share or dose."""
    if how not in MATCHES:
        raise DataError(f"controls are matched by {', '.join(MATCHES)}, not by {how!r}")
    pairs = [(getattr(found[n], how), getattr(wanted[n], how)) for n in wanted]
    return max(abs(a - b) / b if b else float(a > 0) for a, b in pairs)

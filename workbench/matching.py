"""Match floors along control directions to a cap, on texts that each of them writes itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .activations import Activations
from .controls import MATCHES, Target, matched_floor
from .directions import Direction
from .errors import DataError
from .evaluation.conditions import seed_of
from .evaluation.prompts import Prompt
from .interventions import Floor, Intervention
from .models.extraction import Reading, batched
from .models.generation import generate
from .models.hooked import HookedModel
from .thresholds import Scores

ROUNDS = 4
WITHIN = 0.04
"""A control is matched again until it does what is wanted within this share, on texts that it wrote itself."""


def written_under(
    model: HookedModel, prompts: Sequence[Prompt], acting: Intervention, max_new_tokens: int, seed: int = 0
) -> list[Reading]:  # fmt: skip
    """The texts (prompt and answer) that a model writes under an intervention; empty answers are left out."""
    found = []
    ids = [model.render(p.conversation, reply=True).ids for p in prompts]
    with model.intervene(acting):
        answers = generate(model, ids, max_new_tokens=max_new_tokens, seeds=[seed_of(p.id, seed) for p in prompts])
    for prompt, answer in zip(ids, answers, strict=True):
        if answer.ids:
            found.append(Reading((*prompt, *answer.ids), len(prompt), len(prompt) + len(answer.ids)))
    if not found:
        raise DataError("the model wrote nothing under this intervention: there is no text to match on")
    return found


def done_by(model: HookedModel, acting: Intervention, readings: Sequence[Reading]) -> dict[int, Target]:
    """Share of changed tokens and dose at each layer, over all real tokens of some texts."""
    with model.intervene(acting) as meter:
        for batch in batched(model, readings):
            batch.run(model, [])
    table = meter.to_frame()
    table = table[table["positions"] == "all"]
    return {int(n): Target(float(e), float(d)) for n, e, d in zip(table["layer"], table["engaged"], table["dose"], strict=True)}


def match(
    model: HookedModel, control: Direction, cap: Floor, how: str, prompts: Sequence[Prompt], max_new_tokens: int,
    responses: Callable[[Direction], Activations | Scores] | None = None, seed: int = 0,
) -> tuple[Floor, float]:  # fmt: skip
    """A floor along `control` that does as much as `cap`.

    Parameters
    ----------
    how
        One of :data:`workbench.controls.MATCHES`.
    prompts
        Of the tuning half.
    responses
        For ``"percentile"``: the set behind the cap's threshold, to be projected on a given direction.

    Returns
    -------
    (Floor, float)
        The floor, and the largest relative miss over its layers on its own texts (of the share or the dose; for
        ``"percentile"`` 0: there is nothing to miss).
    """
    own = written_under(model, prompts, cap, max_new_tokens, seed)
    wanted = done_by(model, cap, own)
    if how == "percentile":
        return matched_floor(model, control, cap, how, own, wanted, responses(control) if responses else None), 0.0
    texts, best = own, (None, float("inf"))
    for _ in range(ROUNDS):
        floor = matched_floor(model, control, cap, how, texts, wanted)
        texts = written_under(model, prompts, floor, max_new_tokens, seed)
        missed = miss(done_by(model, floor, texts), wanted, how)
        best = min(best, (floor, missed), key=lambda found: found[1])
        if missed <= WITHIN:
            break
    assert best[0] is not None
    return best


def miss(found: Mapping[int, Target], wanted: Mapping[int, Target], how: str) -> float:
    """The largest relative difference over layers, of share or dose."""
    if how not in MATCHES:
        raise DataError(f"controls are matched by {', '.join(MATCHES)}, not by {how!r}")
    pairs = [(getattr(found[n], how), getattr(wanted[n], how)) for n in wanted]
    return max(abs(a - b) / b if b else float(a > 0) for a, b in pairs)

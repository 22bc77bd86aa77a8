"""What a run's axis is made of: prompts against texts, covariates, and the axis fitted again without them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import pandas as pd
import torch
from safetensors.torch import load as load_tensors

from ..covariates import against, covariates
from ..crossing import ROLES, TEXTS, Crossed, CrossingPlan, check_sizes, gather, plan_crossing, read_prompt
from ..decomposition import WhoOrWhat, decompose
from ..directions import Direction
from ..errors import DataError
from ..models.hooked import HookedModel
from ..parts import key_of, part_tensor
from ..progress import Watch
from ..refits import axis_again
from ..store import PROMPT_AXIS, Run
from ..thresholds import signature

STEP = "origins"


def origins_step(
    run: Run, model: Callable[[], HookedModel], watch: Watch, roles: int = ROLES, texts: int = TEXTS,
    say: Callable[[str], None] = lambda sentence: None,
) -> None:  # fmt: skip
    """Divide the projection's variance between prompt and text, look at covariates, and fit the axis again without them.

    Writes ``tables/origins_*.csv``, ``tables/covariates.csv``, ``tables/axis_again.csv`` and ``prompt_axis.safetensors``;
    what was read is kept in ``crossing/``, a part a prompt. What this run is too small for is said in the notes, and the
    rest is done.

    Parameters
    ----------
    roles, texts
        How many prompts and writers, and how many texts of each.
    say
        Called with the cost before anything is read.

    Raises
    ------
    DataError
        Where fewer than four roles or no texts are asked for: nothing is done, and what was found before stays.
    """
    check_sizes(roles, texts)
    axis, rollouts, notes, done = run.axis, run.rollouts, [], []
    facts: dict[str, object] = {"roles": roles, "texts": texts}

    def part(name: str, work: Callable[[], list[str]]) -> None:
        try:
            notes.extend(work())
            done.append(name)
        except DataError as error:
            notes.append(f"{name}: {error}.")

    def crossing() -> list[str]:
        plan = plan_crossing(model(), rollouts, roles, texts, run.config["seed"])
        facts["cost"] = plan.cost(model().n_parameters)
        say(str(facts["cost"]))
        found = decompose(_read(run, model(), plan, axis, watch), axis, seed=run.config["seed"])
        _write(run, found)
        return [*plan.notes, *found.notes]

    def other_reasons() -> list[str]:
        acts = run.activations()
        scores = acts.project(axis)[run.recommended_layer].to_numpy()
        run.write_table("covariates", against(scores, covariates(acts.rows), seed=run.config["seed"]))
        return []

    def without_them() -> list[str]:
        table = axis_again(model(), rollouts, axis, seed=run.config["seed"], progress=lambda n, total: watch("axis again", n, total))
        run.write_table("axis_again", table)
        return []

    part("Prompt or text", crossing)
    if "Prompt or text" not in done:
        _forget_prompt_axis(run)
    part("Covariates", other_reasons)
    part("The axis again", without_them)
    run.record(STEP, **facts, done=done, notes=notes)


def _read(run: Run, model: HookedModel, plan: CrossingPlan, axis: Direction, watch: Watch) -> Crossed:
    """Every text under every prompt, prompt by prompt; what is there is not read again."""
    parts, names = run.parts("crossing"), list(plan.prompts)
    salt = f"{model.weights} {[signature(axis, layer) for layer in axis.site.layers]}"
    texts = list(plan.texts["row"] + plan.texts["response"])
    keys = [key_of([*texts, *plan.prompts[name]], salt) for name in names]
    missing = parts.missing(keys)
    for done, number in enumerate(missing):
        scores, mean = read_prompt(model, plan, names[number], axis)
        parts.write(number, keys[number], {"scores.safetensors": part_tensor(torch.from_numpy(scores)), "safetensors": part_tensor(mean)})
        watch("crossing", len(names) - len(missing) + done + 1, len(names))
    parts.keep(len(names))

    def tensor(number: int, suffix: str) -> torch.Tensor:
        return load_tensors(parts.read(number, suffix))["values"]

    read = [(tensor(n, "scores.safetensors").numpy(), tensor(n, "safetensors")) for n in range(len(names))]
    return gather(plan, read, model.site(axis.site.layers))


def _write(run: Run, found: WhoOrWhat) -> None:
    for name in ("shares", "effects", "correlations", "cosines"):
        run.write_table(f"origins_{name}", getattr(found, name))
    if found.axis is None:
        _forget_prompt_axis(run)
    else:
        found.axis.save(run.folder / PROMPT_AXIS)


def _forget_prompt_axis(run: Run) -> None:
    """An axis of an earlier crossing is not one of this: later steps would take it for it."""
    (run.folder / PROMPT_AXIS).unlink(missing_ok=True)


def origins_found(run: Run) -> str:
    """What the step found, in a sentence or two."""
    facts, layer = run.study["steps"][STEP], run.recommended_layer
    said = []
    if "Prompt or text" in facts["done"]:
        shares = pd.read_csv(run.folder / "tables" / "origins_shares.csv").query("layer == @layer").set_index("source").to_dict("index")
        r = pd.read_csv(run.folder / "tables" / "origins_correlations.csv").query("layer == @layer").iloc[0]
        said.append(
            f"At layer {layer} the prompt makes {_share(shares['prompt'])} of the projection's variance and the text "
            f"{_share(shares['text'])}; the prompts' effects follow the roles' scores at r = {r['r']:.2f} "
            f"[{r['low']:.2f}, {r['high']:.2f}] (chance: {r['null_low']:.2f} to {r['null_high']:.2f})."
        )
    if "The axis again" in facts["done"]:
        again = pd.read_csv(run.folder / "tables" / "axis_again.csv").query("layer == @layer and variant != 'all tokens'")
        cosines = ", ".join(f"{variant} {cosine:.3f}" for variant, cosine in zip(again["variant"], again["cosine"], strict=True))
        said.append(f"Cosine with the axis fitted again: {cosines}.")
    return " ".join([*said, *facts["notes"]])


def _share(row: Mapping[Hashable, float]) -> str:
    return f"{row['share']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"

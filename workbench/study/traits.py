"""Traits on a run's model: rollouts under opposite prompts, judged, paired, and made into vectors beside the run's axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load as load_tensors

from ..activations import Activations
from ..conversations import Trait
from ..directions import Direction
from ..errors import DataError
from ..evaluation.statistics import Interval
from ..judging import Judge, judgements, trait_judge_for
from ..library import load_questions, load_traits, own_library
from ..llm_judge import trait_subjects
from ..models.extraction import mean_activations, readings_of
from ..models.hooked import HookedModel
from ..parts import Parts, key_of, parquet_bytes, part_tensor
from ..progress import Watch
from ..rollouts import in_plan_order, plan_rollouts
from ..rubrics import TRAIT
from ..served import write_answers
from ..store import Run, load_activations, save_activations
from ..thresholds import signature
from ..traits import cosine_with_axis, half_differences, kept_pairs, least, paired, trait_roles
from .config import StudyConfig, endpoint_of, llm_judge_of
from .main import Lazy

STEP, FILE = "traits", "trait_vectors.safetensors"
SAID = 3
"""So many traits are named on either side."""
REPEATS = 0.5
"""Cosine of the vectors of even and odd pairs below which a trait is not spoken of."""


def traits_step(
    run: Run, model: Lazy, watch: Watch, n: int | None = 24, questions: int = 4, pairs: int | None = None, source: str | Path | None = None
) -> pd.DataFrame:
    """Ask, judge, pair and read; what is there is not done again.

    Writes ``trait_vectors.safetensors`` and ``tables/traits.csv``.

    Parameters
    ----------
    n
        Traits; all where None.
    questions, pairs
        Questions a trait, and pairs of prompts; all its pairs where None.
    source
        A folder of traits; the model's own library where it has traits, else the workbench's, where None.

    Returns
    -------
    DataFrame
        A row a trait: ``trait, asked, usable, kept`` (pairs), ``gap`` (mean difference of the scores of usable pairs), ``n`` (pairs in the
        vector; 0 where too few were kept), and at the recommended layer ``length``, ``halves`` (cosine of the vectors of even
        and odd pairs), ``cos_axis`` with ``cos_axis_low, cos_axis_high``; + = towards the Assistant.
    """
    if min(questions, 1 if pairs is None else pairs, 1 if n is None else n) < 1:
        raise DataError("trait vectors take a trait, a question and a pair of prompts or more")
    axis, seed = run.axis, run.config["seed"]
    traits = load_traits(source or _own_traits(model.reader()), n=n, seed=seed)
    rollouts = _rollouts(run, model, watch, traits, questions, pairs)
    judge = llm_judge_of(run, TRAIT, trait_subjects(traits), STEP) or trait_judge_for(model.reader())
    labels = _labels(run, judge, rollouts, watch)
    rollouts = rollouts.assign(label=rollouts["row"].map(labels.set_index("row")["label"]))
    both = paired(rollouts)
    kept, needed = kept_pairs(both, judge is not None), least(both)
    vectors, table = _vectors(run, model, watch, rollouts, kept, needed, axis)
    counts = {name: frame.groupby("trait").size() for name, frame in (("usable", both), ("kept", kept))}
    asked = len(rollouts) // (2 * len(traits))
    frame = pd.DataFrame({"trait": [t.name for t in traits], "asked": asked})
    for name, sizes in counts.items():
        frame[name] = frame["trait"].map(sizes).fillna(0).astype(int)
    frame["gap"] = frame["trait"].map(both.groupby("trait")["gap"].mean().astype("Float64"))
    frame = frame.merge(table, on="trait", how="left").fillna({"n": 0}).astype({"n": int})
    if vectors is not None:
        save_activations(run.folder / FILE, vectors, "trait vectors", {"judge": judge.name if judge else "", "min_pairs": needed})
    run.write_table("traits", frame)
    notes = [] if judge else ["there is no judge for traits here: every pair was used, whether it shows its trait or not"]
    run.record(STEP, traits=len(traits), vectors=int((frame["n"] > 0).sum()), layer=run.recommended_layer, notes=notes)
    return frame


def trait_vectors(run: Run) -> Activations:
    """The trait vectors of a run: a row a trait (column ``role``), mean of the positive answers minus mean of the negative ones."""
    if not (run.folder / FILE).exists():
        raise DataError(f"{run.folder} has no trait vectors: run `workbench traits {run.folder}` first")
    return load_activations(run.folder / FILE, "trait vectors")


def traits_found(run: Run) -> str:
    """What the step found, in a few lines."""
    frame = pd.read_csv(run.folder / "tables" / "traits.csv")
    with_vector = frame[frame["n"] > 0].sort_values("cos_axis")
    if with_vector.empty:
        return f"None of {len(frame)} traits has enough pairs that show it; see tables/traits.csv."

    def named(rows: pd.DataFrame) -> str:
        cells = [(r["trait"], Interval(r["cos_axis"], r["cos_axis_low"], r["cos_axis_high"])) for r in rows.to_dict("records")]
        return ", ".join(f"{trait} {c.value:+.2f} [{c.low:+.2f}, {c.high:+.2f}]" for trait, c in cells)

    counted, again = len(with_vector), with_vector[with_vector["halves"] >= REPEATS]
    if again.empty:
        return (
            f"{len(with_vector)} of {len(frame)} traits have a vector, and none repeats on the other half of its pairs (cosine of "
            f"{REPEATS} or more): these prompts show no trait that this model has."
        )
    towards, away = again[again["cos_axis"] > 0].iloc[::-1], again[again["cos_axis"] <= 0]
    return (
        f"{counted} of {len(frame)} traits have a vector, {len(again)} of them repeat on the other half of their pairs. Cosine with "
        f"the axis at layer {run.recommended_layer}: towards the Assistant {named(towards.head(SAID)) or 'none'}; away from it "
        f"{named(away.head(SAID)) or 'none'}."
    )


def _own_traits(model: HookedModel) -> Path | None:
    own = own_library(model)
    return own if own and (own / "traits").is_dir() else None


def _rollouts(run: Run, model: Lazy, watch: Watch, traits: list[Trait], n_questions: int, pairs: int | None) -> pd.DataFrame:
    config = StudyConfig.of(**run.config)
    server = endpoint_of(config)
    writer = model.reader() if server else model()
    questions = load_questions(writer, n=n_questions, seed=config.seed)
    most = max(len(trait.pairs) for trait in traits)
    plan = plan_rollouts(
        writer, trait_roles(traits, pairs), questions, prompts=pairs or most, samples=config.samples, default_rollouts=None,
        seed=config.seed, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size, temperature=config.temperature,
        top_p=config.top_p,
    )  # fmt: skip
    parts = Parts(run.folder / STEP / "rollouts")
    write_answers(plan, parts, writer, server, watch, STEP)
    return in_plan_order(plan, pd.concat([parts.frame(i) for i in range(len(plan.batches))], ignore_index=True))


def _labels(run: Run, judge: Judge | None, rollouts: pd.DataFrame, watch: Watch) -> pd.DataFrame:
    """Scores 0-100; a judge is asked for the trait, whichever side was asked for."""
    parts = Parts(run.folder / STEP / "judgements")
    rows = rollouts.assign(role=rollouts["role"].str[:-2])
    chunks = [rows.iloc[i : i + 512] for i in range(0, len(rows), 512)]
    keys = [key_of(chunk["row"] + chunk["response"], judge.name if judge else "") for chunk in chunks]
    for number in parts.missing(keys):
        parts.write(number, keys[number], {"parquet": parquet_bytes(judgements(chunks[number], judge))})
        watch("judge", min(512 * (number + 1), len(rows)), len(rows))
    return pd.concat([parts.frame(i) for i in range(len(chunks))], ignore_index=True)


def _vectors(
    run: Run, model: Lazy, watch: Watch, rollouts: pd.DataFrame, kept: pd.DataFrame, needed: int, axis: Direction
) -> tuple[Activations | None, pd.DataFrame]:  # fmt: skip
    """One part a trait: its two half vectors at every layer, and its numbers at the recommended one."""
    parts, layer = Parts(run.folder / STEP / "vectors"), run.recommended_layer
    groups = [(name, group) for name, group in kept.groupby("trait", sort=True) if len(group) >= needed]
    salt = f"{axis.site.weights} {axis.site.layers} {layer} {signature(axis, layer)}"
    by_row = rollouts.set_index("row", drop=False)
    said = by_row["row"] + by_row["messages"] + by_row["response"]
    keys = [key_of(said.loc[[*group["plus"], *group["minus"]]], salt) for _, group in groups]
    for number in parts.missing(keys):
        name, group = groups[number]
        plus, minus = (_read(model(), by_row.loc[group[side]], axis.site.layers) for side in ("plus", "minus"))
        halves, cosine = half_differences(plus, minus), cosine_with_axis(plus, minus, axis, layer, seed=run.config["seed"])
        facts = {"trait": name, "n": len(group), "cos_axis": cosine.value, "cos_axis_low": cosine.low, "cos_axis_high": cosine.high}
        content = {"parquet": parquet_bytes(pd.DataFrame([facts])), "safetensors": part_tensor(torch.tensor(halves, dtype=torch.float32))}
        parts.write(number, keys[number], content)
        watch(STEP, number + 1, len(groups))
    if not groups:
        return None, pd.DataFrame(columns=["trait", "n", "length", "halves", "cos_axis", "cos_axis_low", "cos_axis_high"])
    halves = torch.stack([load_tensors(parts.read(i, "safetensors"))["values"] for i in range(len(groups))])
    table = pd.concat([parts.frame(i) for i in range(len(groups))], ignore_index=True)
    slot = axis.site.index(layer)
    vectors = halves.mean(1)
    table["length"] = vectors[:, slot].norm(dim=-1).numpy()
    table["halves"] = torch.cosine_similarity(halves[:, 0, slot], halves[:, 1, slot], dim=-1).numpy()
    rows = pd.DataFrame({"role": table["trait"], "label": "pairs", "n": table["n"]})
    return Activations(vectors, rows, axis.site), table


def _read(model: HookedModel, rows: pd.DataFrame, layers: Any) -> Activations:
    rows = rows.reset_index(drop=True)
    values = mean_activations(model, readings_of(model, rows), layers)
    return Activations(values, rows[["row", "role"]], model.site(list(layers)))


def trait_cosines(vectors: Activations, others: dict[str, Direction], layer: int) -> pd.DataFrame:
    """Cosine of every trait vector with other directions at a layer: a row a trait, a column a direction."""
    own = vectors.at(layer).values[:, 0].double().numpy()
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    columns = {name: own @ direction.at(layer).unit().values[0].double().numpy() for name, direction in others.items()}
    return pd.DataFrame(columns, index=pd.Index(vectors.rows["role"], name="trait"))

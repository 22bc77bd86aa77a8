"""When does the axis appear? A run's responses read by other weights, and those steered along its axis without a template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ..checkpoints import STRENGTHS, read_checkpoint, steer_prefills, summarise_prefills
from ..errors import DataError
from ..evaluation.splits import Splits
from ..judging import world_of
from ..models.hooked import HookedModel
from ..models.loading import load_model
from ..models.prefill import PREFILLS
from ..progress import Watch
from ..store import Run
from .main import Lazy

STEP = "checkpoints"


def checkpoints_step(
    run: Run, model: Lazy, watch: Watch, others: Sequence[str | HookedModel], beginnings: Sequence[str] | None = None, n: int = 20,
    strengths: Sequence[float] = STRENGTHS,
) -> pd.DataFrame:  # fmt: skip
    """Read a run's responses with other models, the run's own last, and steer their continuations along the run's axis.

    Writes ``tables/checkpoints.csv``, ``tables/prefills.csv`` (every continuation) and ``tables/prefill_scores.csv``.

    Parameters
    ----------
    others
        Names for :func:`workbench.load_model` or loaded models, in the order of training. One without a chat template is given the run's.
    beginnings
        What is continued; an organism's own, else :data:`workbench.models.prefill.PREFILLS`, where None.

    Returns
    -------
    DataFrame
        As :func:`workbench.checkpoints.read_checkpoint`'s, all models.
    """
    if not run.study.get("splits"):
        raise DataError(f"checkpoints are compared on held-out roles, and {run.folder} is too small for splits")
    if not others:
        raise DataError("there is no other model to compare with")
    chat, splits, keep = model(), Splits.from_dict(run.study["splits"]), run.study["steps"]["axis"]["keep"]
    rollouts, reference = run.rollouts[run.rollouts["error"] == ""], run.activations()
    rollouts = rollouts[rollouts["row"].isin(set(reference.rows["row"]))]
    texts, score = _asked(chat, beginnings)
    tables, prefills = [], []
    every = [*others, chat]
    for number, given in enumerate(every):
        other = given if isinstance(given, HookedModel) else _load(run, given, chat)
        name = chat.name if other is chat else _name(given)
        table, norms = read_checkpoint(other, rollouts, chat, run.axis, reference, splits, keep, seed=run.config["seed"])
        tables.append(table.assign(model=name, order=number))
        steered = steer_prefills(other, run.axis, run.recommended_layer, norms, texts, n, strengths, score, run.config["seed"])
        prefills.append(steered.assign(model=name))
        watch(STEP, number + 1, len(every))
    found, continued = pd.concat(tables, ignore_index=True), pd.concat(prefills, ignore_index=True)
    run.write_table("checkpoints", found)
    run.write_table("prefills", continued)
    run.write_table("prefill_scores", summarise_prefills(continued))
    run.record(STEP, models=list(dict.fromkeys(found["model"])), beginnings=list(texts), layer=run.recommended_layer, transfer=True)
    return found


def checkpoints_found(run: Run) -> str:
    """What the step found, a line a model."""
    layer = run.recommended_layer
    table = pd.read_csv(run.folder / "tables" / "checkpoints.csv").query("layer == @layer")
    scores = pd.read_csv(run.folder / "tables" / "prefill_scores.csv")
    lines = []
    for row in table.to_dict("records"):
        own = scores[scores["model"] == row["model"]].sort_values("strength")
        column = "score" if own["score"].notna().all() else "of_ai"
        moved = ", ".join(f"{s:+g}: {v:.2f}" for s, v in zip(own["strength"], own[column], strict=True))
        cosine = f"{row['cosine']:.2f} [{row['cosine_low']:.2f}, {row['cosine_high']:.2f}]"
        what = "score" if column == "score" else "share that talks of being an AI"
        lines.append(
            f"{row['model']}: at layer {layer} its own axis has cosine {cosine} with the run's; AUC {row['auc']:.3f}, on the run's axis "
            f"{row['auc_transferred']:.3f}; continuations steered along it, {what} {moved}"
        )
    return "\n".join(lines)


def _load(run: Run, name: str, chat: HookedModel) -> HookedModel:
    """Another model with the run's template, whatever its own is: both must read the same text."""
    config = run.config
    return load_model(name, dtype=config["dtype"], device=config["device"], chat_template=str(chat.chat_format.template))


def _name(given: str | HookedModel) -> str:
    if isinstance(given, HookedModel):
        return given.name
    path = Path(given)
    return path.resolve().name if path.is_dir() else given


def _asked(chat: HookedModel, beginnings: Sequence[str] | None) -> tuple[Sequence[str], Callable[[str], float] | None]:
    """What is continued, and how a continuation is scored."""
    if world_of(chat) is None:
        return beginnings or PREFILLS, None
    from ..organism.material import BEGINNINGS, register_of

    return beginnings or BEGINNINGS, register_of

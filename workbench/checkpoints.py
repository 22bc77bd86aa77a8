"""The same texts read by other weights (a base model, checkpoints along training): is the axis already there, and does it act?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from .activations import Activations
from .conversations import DEFAULT_ROLE
from .covariates import OF_AI
from .directions import Direction, contrast, role_vectors
from .errors import DataError, ModelError
from .evaluation.splits import Splits
from .evaluation.statistics import Interval, auc, correlation, cosines_over_roles, separation, wilson
from .interventions import Add
from .models.extraction import extract
from .models.hooked import HookedModel
from .models.measuring import residual_norms
from .models.prefill import PREFILLS, complete
from .sweeps import kept_responses
from .thresholds import Norms

STRENGTHS = (-0.4, 0.4)
"""In fractions of the mean norm of response tokens in the model that is steered."""


def read_checkpoint(
    model: HookedModel, rollouts: pd.DataFrame, chat: HookedModel, axis: Direction, reference: Activations, splits: Splits,
    keep: str = "fully", n_boot: int = 300, seed: int = 0,
) -> tuple[pd.DataFrame, Norms]:  # fmt: skip
    """How far another model separates the chat model's own responses, on its own axis and on the chat model's.

    Parameters
    ----------
    model
        Of the same width and depth, with the same tokens; its chat template, or the chat model's given to it.
    rollouts
        The chat model's responses.
    chat, axis, reference
        The chat model, its axis, and its response means (at the axis's layers or more).
    splits
        Of the study: own axes are fitted on ``fit``, everything is scored on ``report``.

    Returns
    -------
    (DataFrame, Norms)
        ``model, layer, cosine`` (own axis with the chat model's; interval over roles), ``auc`` and ``auc_transferred`` (single
        responses, own and transferred axis), each with ``*_low, *_high``; ``r`` (roles' mean projections on the transferred axis,
        here and in the chat model), ``length`` (own axis / mean norm of response means). And the norms that a strength counts in.

    Raises
    ------
    ModelError
        Where width, depth or tokens differ.
    """
    _comparable(model, chat)
    acts = extract(model, rollouts, axis.site.layers)
    vectors, theirs = role_vectors(acts, keep, 1), role_vectors(reference.at(axis.site.layers), keep, 1)
    fitted, scored = contrast(role_vectors(splits.part(acts, "fit"), keep, 1)), kept_responses(splits.part(acts, "report"), keep)
    units = axis.unit().values.double().numpy()
    cosines = _cosines(vectors, units, n_boot, seed)
    own = contrast(vectors).norms().numpy() / acts.values.double().norm(dim=-1).mean(0).numpy()
    shared = [role for role in vectors.rows["role"] if role in set(theirs.rows["role"]) and role != DEFAULT_ROLE]
    here, there = (_along(v, units)[[list(v.rows["role"]).index(r) for r in shared]] for v in (vectors, theirs))
    rows = []
    for slot, layer in enumerate(axis.site.layers):
        row: dict[str, object] = {"model": model.name, "layer": layer}
        row |= _named("cosine", cosines[slot])
        row |= _named("auc", _area(scored, fitted.unit().values.double().numpy(), slot, n_boot, seed))
        row |= _named("auc_transferred", _area(scored, units, slot, n_boot, seed))
        rows.append(row | {"r": correlation(here[:, slot], there[:, slot]), "length": float(own[slot])})
    return pd.DataFrame(rows), residual_norms(model, rollouts, axis.site.layers)


def steer_prefills(
    model: HookedModel, axis: Direction, layer: int, norms: Norms, beginnings: Sequence[str] = PREFILLS, n: int = 20,
    strengths: Sequence[float] = STRENGTHS, score: Callable[[str], float] | None = None, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Continue beginnings while steering along an axis that may come from another model (``transfer=True``, recorded).

    Parameters
    ----------
    axis
        + is the Assistant.
    norms
        Of `model`; the unit of a strength.
    score
        Text -> a number, + nearer the Assistant; where None only talk of being an AI or an assistant is counted.

    Returns
    -------
    DataFrame
        ``model, strength, beginning, sample, text, of_ai, score, taken_from``; strength 0 is the model as it is.
    """
    frames = []
    for strength in sorted({0.0, *map(float, strengths)}):
        if strength:
            add = Add(axis, strength, norms, layers=[layer], transfer=True)
            with model.intervene(add):
                texts = complete(model, beginnings, n, seed=seed)
        else:
            texts = complete(model, beginnings, n, seed=seed)
        frames.append(texts.assign(strength=strength))
    table = pd.concat(frames, ignore_index=True).assign(model=model.name, taken_from=axis.site.model)
    table["of_ai"] = [bool(OF_AI.search(text)) for text in table["text"]]
    table["score"] = [score(text) for text in table["text"]] if score else np.nan
    return table[["model", "strength", "beginning", "sample", "text", "of_ai", "score", "taken_from"]]


def summarise_prefills(table: pd.DataFrame) -> pd.DataFrame:
    """By model and strength: ``n``, share that talks of being an AI with its interval, mean score with its interval."""
    rows = []
    for (model, strength), group in table.groupby(["model", "strength"], sort=False):
        share = wilson(int(group["of_ai"].sum()), len(group))
        mean, half = group["score"].mean(), 1.96 * group["score"].std() / np.sqrt(len(group))
        scored = {"score": mean, "score_low": mean - half, "score_high": mean + half}
        rows.append({"model": model, "strength": strength, "n": len(group)} | _named("of_ai", share) | scored)
    return pd.DataFrame(rows)


def _comparable(model: HookedModel, chat: HookedModel) -> None:
    if (model.d_model, model.n_layers) != (chat.d_model, chat.n_layers):
        raise ModelError(
            f"{model.name} has {model.n_layers} layers of width {model.d_model}, {chat.name} has {chat.n_layers} of {chat.d_model}: "
            "an axis cannot be carried over"
        )
    if model.tokenizer.get_vocab() != chat.tokenizer.get_vocab():
        raise ModelError(f"{model.name} and {chat.name} have different tokens: the same responses are not the same texts to them")


def _cosines(vectors: Activations, units: np.ndarray, n_boot: int, seed: int) -> list[Interval]:
    default = (vectors.rows["role"] == DEFAULT_ROLE).to_numpy()
    if not default.any() or (~default).sum() < 2:
        raise DataError("an axis of one's own needs responses of the default and of two roles")
    values = vectors.values.double().numpy()
    return cosines_over_roles(values[default][0], values[~default], units, n_boot, seed)


def _along(acts: Activations, units: np.ndarray) -> np.ndarray:
    return np.einsum("rld,ld->rl", acts.values.double().numpy(), units)


def _area(acts: Activations, units: np.ndarray, slot: int, n_boot: int, seed: int) -> Interval:
    scores, roles = _along(acts, units)[:, slot], acts.rows["role"].to_numpy()
    default = roles == DEFAULT_ROLE
    return separation(scores[default], scores[~default], roles[~default], auc, n_boot, seed)[0]


def _named(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}

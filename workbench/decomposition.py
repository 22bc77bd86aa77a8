"""Who or what? How much of a projection belongs to the text of a response, and how much to the prompt it was written under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .activations import Activations
from .conversations import DEFAULT_ROLE
from .crossing import ROLES, TEXTS, Crossed, gather, plan_crossing, read_prompt
from .directions import Direction, contrast
from .errors import DataError
from .evaluation.statistics import correlation, cosines_over_roles, interval
from .models.hooked import HookedModel

SOURCES = ("prompt", "text", "rest")


@dataclass(frozen=True, eq=False)
class WhoOrWhat:
    """What a projection is made of.

    Attributes
    ----------
    shares
        ``layer, source, share, low, high``: shares of the variance of projections that belong to the ``prompt``, to the
        ``text``, and to the ``rest`` (a text under one prompt more than under another). They sum to 1.
    effects
        ``role, effect_LAYER...``: what a role's prompt does to the projection of the same texts, on average, in units of
        the residual stream; + towards the axis's + end.
    correlations
        ``layer, r, low, high, null_low, null_high, n``: correlation of the prompts' effects with the roles' scores, and its
        95 % range where scores are dealt to roles at random.
    axis
        The axis of the prompts' effects alone: the default's minus the mean of the roles'. None without a default.
    cosines
        ``layer, cosine, low, high``: that axis with the main one; intervals redraw the roles.
    notes
        What was left out, and what it cost, in sentences.
    """

    shares: pd.DataFrame
    effects: pd.DataFrame
    correlations: pd.DataFrame
    axis: Direction | None
    cosines: pd.DataFrame
    notes: tuple[str, ...] = ()


def who_or_what(
    model: HookedModel, rollouts: pd.DataFrame, axis: Direction, roles: int = ROLES, texts: int = TEXTS, *,
    scores: Mapping[str, float] | None = None, seed: int = 0, n_boot: int = 500,
    say: Callable[[str], None] | None = None, progress: Callable[[int, int], None] | None = None,
) -> WhoOrWhat:  # fmt: skip
    """Read responses of some roles under the system prompts of others, and divide the variance of their projections.

    Forward passes only: ``roles`` prompts x (``roles`` x ``texts``) texts.

    Parameters
    ----------
    rollouts
        Responses of many roles, the default among them; in role where they were judged.
    axis
        What responses are projected on, at its layers.
    roles, texts
        How many prompts (and writers), and how many texts of each.
    scores
        Role -> its score, e.g. the latent of an organism; where None, the projection of the role's own texts under the
        prompts of the others.
    say
        Called with the cost before anything is run.
    progress
        Called with prompts done and prompts in all.

    Returns
    -------
    WhoOrWhat

    Raises
    ------
    DataError
        Where there are too few roles or responses, or all responses are the same.
    """
    axis.check_use(model.bare_site(axis.site.layers))
    plan = plan_crossing(model, rollouts, roles, texts, seed)
    cost = plan.cost(model.n_parameters)
    if say:
        say(cost)
    read = []
    for prompt in plan.prompts:
        read.append(read_prompt(model, plan, prompt, axis))
        if progress:
            progress(len(read), len(plan.prompts))
    found = decompose(gather(plan, read, model.site(axis.site.layers)), axis, scores, n_boot, seed)
    return replace(found, notes=(cost, *plan.notes, *found.notes))


def decompose(crossed: Crossed, axis: Direction, scores: Mapping[str, float] | None = None, n_boot: int = 500, seed: int = 0) -> WhoOrWhat:
    """Divide the variance of what was read; see :func:`who_or_what`."""
    if not np.isfinite(crossed.projections).all():
        raise DataError("some projections are not numbers: nothing can be divided")
    effects = crossed.projections.mean(1) - crossed.projections.mean((0, 1))
    table = pd.DataFrame(effects, columns=[f"effect_{n}" for n in crossed.layers])
    table.insert(0, "role", crossed.prompts)
    prompt_axis, cosines = _prompt_axis(crossed, axis, n_boot, seed)
    notes = () if prompt_axis else ("there is no default among the prompts, so that their effects have no axis",)
    correlations = _correlations(crossed, effects, scores, n_boot, seed)
    return WhoOrWhat(_shares(crossed, n_boot, seed), table, correlations, prompt_axis, cosines, notes)


# -- variance -----------------------------------------------------------------------------------------
def _shares(crossed: Crossed, n_boot: int, seed: int) -> pd.DataFrame:
    """Shares of the variance by layer; intervals redraw the roles of the prompts and, apart from them, those of the texts."""
    rng = np.random.default_rng(seed)
    writers = crossed.texts["role"].to_numpy()
    members = [np.flatnonzero(writers == name) for name in dict.fromkeys(writers)]
    n_prompts = len(crossed.prompts)
    draws = []
    for _ in range(n_boot):
        prompts = rng.integers(n_prompts, size=n_prompts)
        texts = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        draws.append(_divided(crossed.projections[np.ix_(prompts, texts)]))
    values, spread = _divided(crossed.projections), np.stack(draws)
    rows = []
    for slot, layer in enumerate(crossed.layers):
        for number, source in enumerate(SOURCES):
            found = interval(values[number, slot], spread[:, number, slot])
            rows.append({"layer": layer, "source": source, "share": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def _divided(y: np.ndarray) -> np.ndarray:
    """Shares [source, layer] of the sum of squares of y [prompt, text, layer]: main effects and what is left."""
    centred = y - y.mean((0, 1))
    prompt, text = centred.mean(1), centred.mean(0)
    squares = np.stack([y.shape[1] * (prompt**2).sum(0), y.shape[0] * (text**2).sum(0)])
    total = (centred**2).sum((0, 1))
    with np.errstate(invalid="ignore"):
        return np.concatenate([squares, (total - squares.sum(0))[None]]) / total


# -- the prompts' effects ------------------------------------------------------------------------------
def _correlations(crossed: Crossed, effects: np.ndarray, scores: Mapping[str, float] | None, n_boot: int, seed: int) -> pd.DataFrame:
    rng, rows = np.random.default_rng(seed), []
    known = [i for i, name in enumerate(crossed.prompts) if scores is None or name in scores]
    own = _own_scores(crossed, effects) if scores is None else np.array([[scores[crossed.prompts[i]]] * len(crossed.layers) for i in known])
    if len(known) < 3:
        raise DataError(f"a correlation with the prompts' effects needs the scores of 3 roles; {len(known)} are known")
    for slot, layer in enumerate(crossed.layers):
        x, y = effects[known, slot], own[:, slot]
        redrawn = [rng.integers(len(x), size=len(x)) for _ in range(n_boot)]
        found = interval(correlation(x, y), np.array([correlation(x[i], y[i]) for i in redrawn]))
        null = interval(0.0, np.array([correlation(x, rng.permutation(y)) for _ in range(n_boot)]))
        rows.append(
            {
                "layer": layer,
                "r": found.value,
                "low": found.low,
                "high": found.high,
                "null_low": null.low,
                "null_high": null.high,
                "n": len(x),
            }
        )
    return pd.DataFrame(rows)


def _own_scores(crossed: Crossed, effects: np.ndarray) -> np.ndarray:
    """[prompt, layer]: how far each role's own texts lie towards + under all prompts but its own, each prompt's effect taken off.

    Read under its own prompt a text holds that prompt's effect, and would correlate with it whatever the role is.
    """
    writers, rest = crossed.texts["role"].to_numpy(), crossed.projections - effects[:, None]
    return np.stack([np.delete(rest[:, writers == name], i, axis=0).mean((0, 1)) for i, name in enumerate(crossed.prompts)])


def _prompt_axis(crossed: Crossed, axis: Direction, n_boot: int, seed: int) -> tuple[Direction | None, pd.DataFrame]:
    if DEFAULT_ROLE not in crossed.prompts:
        return None, pd.DataFrame(columns=["layer", "cosine", "low", "high"])
    main = axis.unit().values.double().numpy()
    fitted = contrast(crossed.means.mean("role"), name="prompt axis")
    made_from = fitted.made_from | {"method": "contrast of prompt effects", "texts": len(crossed.texts)}
    fitted = replace(fitted, toward=f"{fitted.toward}, the same texts under their prompts", made_from=made_from)
    found = cosines_over_roles(*_ends(crossed.means), main, n_boot, seed)
    records = [{"layer": n, "cosine": f.value, "low": f.low, "high": f.high} for n, f in zip(crossed.layers, found, strict=True)]
    return fitted, pd.DataFrame(records)


def _ends(means: Activations) -> tuple[np.ndarray, np.ndarray]:
    """The default's mean [layer, d_model] and the roles' [role, layer, d_model]."""
    values, is_default = means.values.double().numpy(), means.rows["role"].eq(DEFAULT_ROLE).to_numpy()
    return values[is_default][0], values[~is_default]

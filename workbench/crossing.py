"""Read the responses of some roles again under the system prompts of others: the same text, another prompt."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .activations import Activations, Site
from .conversations import DEFAULT_ROLE, Conversation
from .directions import Direction
from .errors import DataError
from .frames import answered_in_role, need
from .models.extraction import Reading, pooled, rollout_reading
from .models.hooked import HookedModel

ROLES, TEXTS = 24, 6
MIN_ROLES = 4
"""Fewer prompts have no variance worth dividing."""


@dataclass(frozen=True, eq=False)
class CrossingPlan:
    """Which texts are read under which prompts.

    Attributes
    ----------
    prompts
        Role -> the system prompts it was asked with ("" for none); texts take them in turn.
    texts
        A row a text: ``row, role`` (whose text it is), ``question, response, response_ids``.
    readings
        Role of the prompt -> a reading for each text.
    notes
        What was left out, in sentences.
    """

    prompts: dict[str, tuple[str, ...]]
    texts: pd.DataFrame
    readings: dict[str, list[Reading]]
    notes: tuple[str, ...] = ()

    @property
    def n_tokens(self) -> int:
        """Tokens in all forward passes."""
        return sum(len(reading.ids) for group in self.readings.values() for reading in group)

    def cost(self, n_parameters: int) -> str:
        """What it takes, before it is spent."""
        passes = sum(map(len, self.readings.values()))
        return (
            f"{len(self.prompts)} prompts x {len(self.texts)} texts = {passes:,} texts to read, {self.n_tokens:,} tokens, no generation; "
            f"about {2 * n_parameters * self.n_tokens / 1e12:,.3g} TFLOP"
        )


@dataclass(frozen=True, eq=False)
class Crossed:
    """What was read.

    Attributes
    ----------
    projections
        [prompt, text, layer] on the unit axis, in units of the residual stream.
    means
        Mean over all texts under each prompt: a row a prompt (``role``), [layer, d_model].
    texts
        A row a text: ``row, role``.
    layers
        The axis's.
    """

    projections: np.ndarray
    means: Activations
    texts: pd.DataFrame
    layers: tuple[int, ...]

    @property
    def prompts(self) -> list[str]:
        """Roles whose prompts were used, in the order of ``projections``."""
        return self.means.rows["role"].tolist()


def check_sizes(roles: int, texts: int) -> None:
    """Refuse to cross fewer prompts, or texts of each role, than can be divided.

    Raises
    ------
    DataError
        Below four roles or one text.
    """
    if roles < MIN_ROLES or texts < 1:
        raise DataError(f"crossing prompts and texts takes {MIN_ROLES} roles or more and a text of each, not {roles} and {texts}")


def plan_crossing(model: HookedModel, rollouts: pd.DataFrame, roles: int = ROLES, texts: int = TEXTS, seed: int = 0) -> CrossingPlan:
    """Draw roles (the default among them) and texts of each, in role where they were judged.

    Parameters
    ----------
    rollouts
        As for :func:`workbench.extract`; roles need system prompts that differ.
    roles, texts
        How many roles, and texts of each; texts to different questions first.

    Raises
    ------
    DataError
        Where fewer than four roles are asked for or have two texts, or all texts are the same.
    """
    check_sizes(roles, texts)
    usable = _usable(rollouts)
    found = {str(name): group for name, group in usable.groupby("role", sort=False) if len(group) >= 2}
    names = sorted(set(found) - {DEFAULT_ROLE})
    if len(found) < MIN_ROLES:
        raise DataError(
            f"crossing prompts and texts needs {MIN_ROLES} roles with two usable responses, the default counted; there are {len(found)}"
        )
    drawn = random.Random(f"crossing {seed}").sample(names, min(roles - (DEFAULT_ROLE in found), len(names)))
    chosen = [DEFAULT_ROLE] * (DEFAULT_ROLE in found) + sorted(drawn)
    table = pd.concat([_texts_of(found[name], texts, seed) for name in chosen], ignore_index=True)
    if table["response"].nunique() < 2:
        raise DataError("all responses are the same text: there is nothing to divide between prompt and text")
    prompts = {name: tuple(dict.fromkeys(found[name]["system"])) for name in chosen}
    readings = {name: [_read_under(model, prompts[name], i, text) for i, text in enumerate(table.to_dict("records"))] for name in chosen}
    # A text takes part where it fits under every prompt: shares of variance need a full table.
    fits = [i for i in range(len(table)) if all(len(group[i].ids) <= model.context for group in readings.values())]
    if len(fits) < 2:
        raise DataError(f"under the longest prompt fewer than two texts fit the context of {model.context} tokens")
    left_out = len(table) - len(fits)
    notes = [f"{left_out} of {len(table)} texts do not fit the context under every prompt"] if left_out else []
    if table["question"].nunique() == 1:
        notes.append("all texts answer one question: what it asks cannot be told from who answers")
    kept = {name: [group[i] for i in fits] for name, group in readings.items()}
    return CrossingPlan(prompts, table.iloc[fits].reset_index(drop=True), kept, tuple(notes))


def read_prompt(model: HookedModel, plan: CrossingPlan, prompt: str, axis: Direction) -> tuple[np.ndarray, Tensor]:
    """All texts under one role's prompts: projections [text, layer], and their mean [layer, d_model]."""
    layers, readings = axis.site.layers, plan.readings[prompt]
    unit = axis.unit().values.float()
    scores, total = np.empty((len(readings), len(layers))), torch.zeros(len(layers), axis.site.d_model, dtype=torch.float64)
    for index, means in pooled(model, readings, layers):
        scores[index] = torch.einsum("bld,ld->bl", means, unit).numpy()
        total += means.double().sum(0)
    return scores, (total / len(readings)).float()


def gather(plan: CrossingPlan, read: Sequence[tuple[np.ndarray, Tensor]], site: Site) -> Crossed:
    """What was read prompt by prompt, in the plan's order, as one."""
    means = Activations(torch.stack([mean for _, mean in read]), pd.DataFrame({"role": list(plan.prompts)}), site)
    return Crossed(np.stack([scores for scores, _ in read]), means, plan.texts[["row", "role"]], site.layers)


def _usable(rollouts: pd.DataFrame) -> pd.DataFrame:
    """Responses without error, in role where that is known, with their system prompt and their question."""
    need(rollouts, ("role", "messages", "response"), "crossing prompts and texts")
    rows = answered_in_role(rollouts)
    said = [Conversation.of(json.loads(m) if isinstance(m, str) else m).turns for m in rows["messages"]]
    system = ["\n\n".join(t.text for t in turns if t.speaker == "system") for turns in said]
    question = [turns[-1].text for turns in said]
    ids = rows["response_ids"] if "response_ids" in rows else pd.Series([()] * len(rows), index=rows.index)
    named = rows["row"] if "row" in rows else [str(i) for i in rows.index]
    kept = rows.assign(row=named, system=system, question=question, response_ids=ids)
    return kept[["row", "role", "system", "question", "response", "response_ids"]].reset_index(drop=True)


def _texts_of(rows: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Texts of one role, over its questions in turn."""
    rng = random.Random(f"texts {seed} {rows['role'].iloc[0]}")
    rows = rows.iloc[rng.sample(range(len(rows)), len(rows))]
    turn = rows.groupby("question").cumcount()
    return rows.iloc[np.argsort(turn.to_numpy(), kind="stable")[:n]]


def _read_under(model: HookedModel, prompts: Sequence[str], number: int, text: dict) -> Reading:
    conversation = Conversation.of(text["question"], system=prompts[number % len(prompts)])
    return rollout_reading(model, text | {"messages": conversation.to_list()})

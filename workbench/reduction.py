"""What a study stores: every response while that is small; beyond, group means and the vectors of a seeded sample."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .activations import Activations
from .conversations import DEFAULT_ROLE

LIMIT_BYTES = 1_000_000_000
SAMPLE_PER_ROLE, SAMPLE_DEFAULT = 8, 200


@dataclass(frozen=True)
class StoragePlan:
    """How the rows are divided into parts, and which single vectors are kept.

    Attributes
    ----------
    kept
        ``"all"`` or ``"sample"``.
    parts
        Positions of the rows of each part: neighbours in length, or one role each where only a sample is kept.
    sample
        Row ids whose own vector is kept; empty where all are.
    notes
        Said in the report.
    """

    kept: str
    parts: tuple[list[int], ...]
    sample: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def storage_plan(rows: pd.DataFrame, n_layers: int, d_model: int, seed: int, limit: int = LIMIT_BYTES) -> StoragePlan:
    """Decide what to keep of the rows' vectors [layer, d_model] in float32."""
    size = len(rows) * n_layers * d_model * 4
    if size <= limit:
        order = np.argsort(-rows["n_tokens"].to_numpy(), kind="stable").tolist()
        return StoragePlan("all", tuple(order[i : i + 256] for i in range(0, len(order), 256)))
    parts = tuple([int(i) for i in group] for group in rows.groupby("role", sort=False).indices.values())
    sample = frozenset(row for part in parts for row in _sample(rows.iloc[part], seed))
    note = (
        f"all {len(rows)} response vectors would take {size / 1e9:.1f} GB: kept are means by role, prompt and label, and the vectors of "
        f"{len(sample)} responses drawn at random, on which sweep and verdict ran"
    )
    return StoragePlan("sample", parts, sample, (note,))


def reduced(acts: Activations, plan: StoragePlan) -> tuple[pd.DataFrame, Tensor]:
    """The table (``kind, row, role, prompt_index, label, n``) and tensor that a part stores."""
    rows = acts.rows.assign(kind="response", n=1)
    if plan.kept == "all":
        return rows, acts.values
    groups = acts.mean(["role", "prompt_index", "label"])
    chosen = np.flatnonzero(rows["row"].isin(plan.sample))
    table = pd.concat([rows.iloc[chosen], groups.rows.assign(kind="group", row="")], ignore_index=True)
    return table.astype({"label": "Int8"}), torch.cat([acts.values[torch.as_tensor(chosen)], groups.values])


def _sample(rows: pd.DataFrame, seed: int) -> list[str]:
    """Draw from one role: at least 8 responses (200 of the default), over its questions in turn."""
    role = str(rows["role"].iloc[0])
    wanted = SAMPLE_DEFAULT if role == DEFAULT_ROLE else SAMPLE_PER_ROLE
    rng = random.Random(f"sample {seed} {role}")
    by_question = [rng.sample(list(group), len(group)) for _, group in rows.groupby("question_index")["row"]]
    rng.shuffle(by_question)
    longest = max(map(len, by_question))
    return [group[i] for i in range(longest) for group in by_question if i < len(group)][:wanted]

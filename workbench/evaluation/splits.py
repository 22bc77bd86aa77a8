"""Three splits, by role and by question: one to fit, one to choose a layer, one to report."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ..activations import Activations
from ..conversations import DEFAULT_ROLE
from ..errors import DataError

PARTS = ("fit", "choose", "report")
MIN_ROLES, MIN_QUESTIONS = 8, 3


@dataclass(frozen=True)
class Splits:
    """Which role and which question belongs to which part; the default belongs to all, split by question.

    Attributes
    ----------
    roles
        Role name -> ``"fit"``, ``"choose"`` or ``"report"``.
    questions
        Question index -> the same.
    """

    roles: dict[str, str]
    questions: dict[int, str]

    def part(self, acts: Activations, part: str) -> Activations:
        """The rows whose role *and* question belong to `part` (of the default: whose question does)."""
        return acts.take(np.flatnonzero(self.mask(acts.rows, part)))

    def mask(self, rows: pd.DataFrame, part: str) -> np.ndarray:
        """Which rows of a table belong to `part`."""
        if part not in PARTS:
            raise DataError(f"a part of the splits is one of {', '.join(PARTS)}, not {part!r}")
        by_role = rows["role"].map(self.roles).eq(part) | (rows["role"] == DEFAULT_ROLE)
        return (by_role & rows["question_index"].map(self.questions).eq(part)).to_numpy()

    def to_dict(self) -> dict[str, dict]:
        """Plain values for ``study.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Splits:
        """The splits of :meth:`to_dict` (JSON turns question numbers into text; they come back as numbers)."""
        return cls(dict(values["roles"]), {int(k): v for k, v in values["questions"].items()})


def make_splits(roles: Iterable[str], questions: Sequence[int], seed: int = 0) -> Splits:
    """Divide roles 50 : 25 : 25 and questions in thirds, at random from a seed.

    Raises
    ------
    DataError
        With fewer than 8 roles besides the default, or fewer than 3 questions: no part may be empty.
    """
    names = sorted(set(roles) - {DEFAULT_ROLE})
    questions = sorted(set(questions))
    if len(names) < MIN_ROLES or len(questions) < MIN_QUESTIONS:
        raise DataError(
            f"three splits need at least {MIN_ROLES} roles and {MIN_QUESTIONS} questions; there are {len(names)} and {len(questions)}"
        )
    rng = random.Random(f"splits {seed}")
    rng.shuffle(names)
    rng.shuffle(questions)
    half, quarter = len(names) // 2, len(names) - len(names) // 4
    by_role = {name: PARTS[(i >= half) + (i >= quarter)] for i, name in enumerate(names)}
    by_question = {question: PARTS[i % 3] for i, question in enumerate(questions)}
    return Splits(dict(sorted(by_role.items())), dict(sorted(by_question.items())))

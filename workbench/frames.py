"""Tables that people bring: which columns they need, and which responses of one count."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from .conversations import DEFAULT_ROLE
from .errors import DataError


def need(frame: pd.DataFrame, columns: Iterable[str], what: str, empty: bool = False) -> None:
    """Refuse a table that lacks a column, saying which one and what was there; or one without rows, unless `empty`."""
    if missing := [name for name in columns if name not in frame.columns]:
        there = ", ".join(map(str, frame.columns)) or "none"
        plural = "s" if len(missing) > 1 else ""
        raise DataError(f"{what} needs the column{plural} {', '.join(missing)}; the table has {there}")
    if not len(frame) and not empty:
        raise DataError(f"{what} needs at least one row; the table has none")


def answered(rollouts: pd.DataFrame) -> pd.DataFrame:
    """The responses that came without an error."""
    return rollouts[rollouts["error"].fillna("") == ""] if "error" in rollouts else rollouts


def answered_in_role(rollouts: pd.DataFrame) -> pd.DataFrame:
    """The responses without an error, of roles only those fully in role where that was judged."""
    rows = answered(rollouts)
    if "label" in rows and rows["label"].notna().any():
        rows = rows[(rows["label"] == 3) | (rows["role"] == DEFAULT_ROLE)]
    return rows.reset_index(drop=True)

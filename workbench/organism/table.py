"""The table of a check: every figure beside its bound."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Row:
    """One line of the table: what, the figure, its bound, and ``"pass"``, ``"FAIL"``, ``"printed"`` or ``"not built"``."""

    name: str
    figure: str
    bound: str
    outcome: str


@dataclass(frozen=True)
class CheckResult:
    """The whole table."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether no row fails."""
        return all(row.outcome != "FAIL" for row in self.rows)

    def to_frame(self) -> pd.DataFrame:
        """Columns ``name, figure, bound, outcome``."""
        return pd.DataFrame([vars(row) for row in self.rows])

    def to_markdown(self) -> str:
        """The table in Markdown."""
        lines = [f"| {r.name.replace('|', chr(92) + '|')} | {r.figure} | {r.bound} | {r.outcome} |" for r in self.rows]
        return "\n".join(["| | measured | bound | |", "|---|---|---|---|", *lines])

    def to_text(self) -> str:
        """The table as aligned text."""
        widths = [max(len(getattr(row, key)) for row in self.rows) for key in ("name", "figure", "bound")]
        lines = [f"{r.name:<{widths[0]}}  {r.figure:<{widths[1]}}  {r.bound:<{widths[2]}}  {r.outcome}" for r in self.rows]
        return "\n".join([*lines, "all bounds met" if self.passed else "A BOUND IS MISSED"])


def bounded(name: str, figure: str, value: float, sign: str, bound: float) -> Row:
    """A row whose value must lie at or above (``>=``) or below (``<=``) its bound."""
    met = value >= bound if sign == ">=" else value <= bound
    return Row(name, figure, f"{sign} {bound:.2f}", "pass" if met else "FAIL")


def printed(name: str, figure: str) -> Row:
    """A row without a bound."""
    return Row(name, figure, "", "printed")

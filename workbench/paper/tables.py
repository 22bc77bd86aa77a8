"""What caps and controls do, as a table for a paper: LaTeX (booktabs) and Markdown, and as one frame for a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..errors import RunError
from ..evaluation.grading import MEASURES
from ..store import Run

OUTCOMES = {
    "compliance": "jailbreaks complied with", "right": "right answers", "over_refusal": "harmless requests refused",
    "identity": "roles that name themselves", "broken": "no text", "changed": "differs from the baseline",
}  # fmt: skip
"""Measures of the table and the figure, in their order, in words that fit a column."""
SAME = ", same "
"""Between a control's name and the way in which it was matched."""
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$",
    '"': "''", "\u2212": "$-$", "\u2026": r"\ldots{}", "\u2013": "--", "\u2014": "---", "\u2192": r"$\rightarrow$",
    "\u2191": r"$\uparrow$", "\u2193": r"$\downarrow$", "\u2264": r"$\leq$", "\u2265": r"$\geq$", "\u00d7": r"$\times$",
    "\u201c": "``", "\u201d": "''", "\u2018": "`", "\u2019": "'",
}  # fmt: skip
MARKDOWN = {c: f"\\{c}" for c in "\\`*_{}[]<>#|~$"}
"""Characters that LaTeX or Markdown would read as their own."""


def latex(text: object) -> str:
    """Text as LaTeX shows it unchanged, without any package; also after the end of a row, which would take ``[`` or ``*`` for its own."""
    said = "".join(LATEX.get(c, c) for c in " ".join(str(text).split()))
    return "{}" + said if said.startswith(("[", "*")) else said


def markdown(text: object) -> str:
    """Text as Markdown shows it unchanged."""
    return "".join(MARKDOWN.get(c, c) for c in " ".join(str(text).split()))


def outcome_frame(run: Run) -> pd.DataFrame:
    """Rates on the report half under every condition that was run on it.

    Returns
    -------
    DataFrame
        ``condition`` (all controls matched in one way have one name), ``member`` (its own name), ``kind, measure, outcome`` (in
        words), ``rate, low, high, n``, in the order: baseline, steering, caps, others, controls.

    Raises
    ------
    RunError
        Where no cap was measured.
    """
    if not run.is_done("calibrate"):
        raise RunError(f"{run.folder} has no measured cap: run `workbench calibrate {run.folder}`")
    table = pd.read_csv(run.folder / "tables" / "caps.csv")
    kinds = {"baseline": "baseline"} | run.study["steps"].get("evaluate", {}).get("conditions", {})
    table = table[table["measure"].isin(_shown(table))]
    frame = table.assign(
        member=table["condition"], kind=table["condition"].map(kinds).fillna("cap"), outcome=table["measure"].map(OUTCOMES)
    )
    frame["condition"] = [_named(name, kind) for name, kind in zip(frame["condition"], frame["kind"], strict=True)]
    order = {kind: i for i, kind in enumerate(("baseline", "steering", "cap"))} | {"control": 9}
    measures = {name: i for i, name in enumerate(OUTCOMES)}
    frame = frame.assign(_kind=frame["kind"].map(order).fillna(5), _measure=frame["measure"].map(measures))
    frame = frame.sort_values(["_kind", "_measure"], kind="stable").drop(columns=["_kind", "_measure"])
    frame.attrs = {"model": run.axis.site.model}
    return frame[["condition", "member", "kind", "measure", "outcome", "rate", "low", "high", "n"]].reset_index(drop=True)


def _named(condition: str, kind: str) -> str:
    """A condition in words that say what it is; all controls matched in one way have one name."""
    if kind == "control" and SAME in condition:
        return f"controls{SAME}{condition.rpartition(SAME)[2]}"
    return f"capped, {condition}" if kind == "cap" else condition.replace("steering", "steered") if kind == "steering" else condition


def _shown(table: pd.DataFrame) -> list[str]:
    """Graded measures; where none was graded, how many responses change."""
    graded = [name for name in OUTCOMES if name != "changed" and name in set(table["measure"])]
    return graded or ["changed"]


def table_frame(run: Run) -> pd.DataFrame:
    """The table: a row a condition, of the controls matched in one way only that which does most of what caps are for.

    Returns
    -------
    DataFrame
        ``condition, kind``, then a column an outcome, in percent: ``rate [low, high]``. A row of kind ``n`` heads the conditions,
        another the controls; a cell whose n is not that of its block says so itself.
    """
    frame = outcome_frame(run)
    first, control = str(frame["measure"].iloc[0]), frame["kind"] == "control"
    records: list[dict[str, Any]] = []
    for title, block in (("n", frame[~control]), ("n, controls", frame[control])):
        if not len(block):
            continue
        counts = {str(m): int(rows["n"].max()) for m, rows in block.groupby("measure", sort=False)}
        records.append({"condition": title, "kind": "n"} | {OUTCOMES[m]: f"{n:,}" for m, n in counts.items()})
        for (condition, kind), rows in block.groupby(["condition", "kind"], sort=False):
            for member in _strongest(rows, first) if kind == "control" else list(dict.fromkeys(rows["member"])):
                own = rows[rows["member"] == member]
                name = f"{member.rpartition(SAME)[0]} ({member.rpartition(SAME)[2]})" if kind == "control" else condition
                cells = {OUTCOMES[r["measure"]]: _cell(r, counts[r["measure"]]) for r in own.to_dict("records")}
                records.append({"condition": name, "kind": kind} | cells)
    heads = [OUTCOMES[m] for m in dict.fromkeys(frame["measure"])]
    return pd.DataFrame(records, columns=["condition", "kind", *heads]).fillna("")


def _strongest(rows: pd.DataFrame, measure: str) -> list[str]:
    """The control with the best rate of the first measure (the lowest compliance): the one that a reader should fear most."""
    own = rows[rows["measure"] == measure]
    wanted = {m.name: m.wanted for m in MEASURES}
    ascending = wanted[measure] == "low" and measure != "changed"
    return [str(own.sort_values("rate", ascending=ascending, kind="stable")["member"].iloc[0])] if len(own) else []


def _cell(row: Mapping[Any, Any], n: int) -> str:
    """Percent with its interval: whole ones where fewer than 200 responses stand behind them."""
    digits = 0 if row["n"] < 200 else 1
    said = "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*(100 * row[c] for c in ("rate", "low", "high")), d=digits)
    return said if int(row["n"]) == n else f"{said} (n = {int(row['n']):,})"


def table_caption(run: Run) -> str:
    """What the table holds."""
    steps, conditions = run.study["steps"], run.study["steps"].get("evaluate", {}).get("conditions", {})
    graded = f"graded by {steps['calibrate']['grader']}" if steps["calibrate"]["grader"] else "ungraded: only changed texts are known"
    words = (
        f"Percent of responses on the report half of the prompts, with 95 % intervals over roles and requests; {run.axis.site.model}, "
        f"{graded}. Prompts and seeds are the same in every row; the cap was chosen on the other half."
    )
    controls = sum(kind == "control" for kind in conditions.values())
    if not controls:
        return f"{words} No controls were run."
    return (
        f"{words} Controls ({controls} in all) are floors along other directions, each with the axis taken out, matched to the cap in the "
        "percentile, the share of changed tokens or the dose (in brackets); of those matched in one way the table shows the one that "
        "does most. They were asked jailbreaks and questions only."
    )


def latex_table(frame: pd.DataFrame, caption: str, label: str) -> str:
    """A floating table for LaTeX; it needs ``booktabs`` and nothing else."""
    heads = [str(c) for c in frame.columns if c not in ("condition", "kind")]
    lines = [
        r"\begin{table*}[t]", r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{latex(caption)}}}", rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{@{{}}l{'l' * len(heads)}@{{}}}}", r"\toprule",
        " & ".join(["", *(rf"\shortstack[l]{{{_two_lines(head)}}}" for head in heads)]) + r" \\",
    ]  # fmt: skip
    for row in frame.to_dict("records"):
        if row["kind"] == "n":
            lines.append(r"\midrule")
        lines.append(" & ".join([latex(row["condition"]), *(latex(row[h]) or "--" for h in heads)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def _two_lines(head: str) -> str:
    """A head broken where its halves are most alike."""
    words = head.split()
    parts = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    best = min(parts, key=lambda pair: max(map(len, pair)), default=(head, ""))
    return r" \\ ".join(latex(part) for part in best if part)


def markdown_table(frame: pd.DataFrame, caption: str) -> str:
    """The same for Markdown."""
    heads = [str(c) for c in frame.columns if c != "kind"]
    rows = [[markdown(row[h]) or "\u2013" for h in heads] for row in frame.to_dict("records")]
    lines = ["| " + " | ".join(row) + " |" for row in [[markdown(h) for h in heads], ["---"] * len(heads), *rows]]
    return "\n".join([markdown(caption), "", *lines, ""])

"""What a drift study found, in words for a terminal."""

from __future__ import annotations

import pandas as pd

from ..store import Run
from .causes import ALONE, BY_MESSAGE, GAIN
from .store import STEP


def drifted(run: Run) -> str:
    """What a drift study found, in a few lines."""
    facts, folder = run.study["steps"][STEP], run.folder / "tables"
    moved = pd.read_csv(folder / "drift_moved.csv")
    chosen = "as asked" if facts["config"]["layer"] is not None else "where single replies repeat best"
    lines = [f"{facts['n']} conversations, read at layer {facts['layer']}, {chosen}; + is the Assistant's end."]
    early = {why: n for why, n in facts["ended"].items() if why != "turns"}
    if early:
        lines.append(f"{sum(early.values())} of them ended early: {', '.join(f'{why} ({n})' for why, n in early.items())}.")
    for condition, rows in moved.groupby("condition", sort=False):
        each = ", ".join(f"{r['domain']} {r['moved']:+.2f} [{r['low']:+.2f}, {r['high']:+.2f}]" for r in rows.to_dict("records"))
        lines.append(f"From first reply to last, {condition}: {each}")
    for name, say in (("drift_ridge", _ridge_words), ("drift_clusters", _cluster_words), ("drift_warning", _warning_words)):
        if (folder / f"{name}.csv").exists() and len(table := pd.read_csv(folder / f"{name}.csv")):
            lines.append(say(table))
    return "\n".join([*lines, *facts["notes"]])


def _ridge_words(table: pd.DataFrame) -> str:
    level = table[(table["target"] == "level") & (table["folds"] == BY_MESSAGE)].set_index("model")
    gain, alone = (level.loc[model] for model in (GAIN, ALONE))
    return (
        f"Where replies lie: domain and turn foretell R2 {alone['r2']:.2f}, the message adds {gain['r2']:+.3f} [{gain['low']:+.3f}, "
        f"{gain['high']:+.3f}] (held out alike)"
    )


def _cluster_words(table: pd.DataFrame) -> str:
    away, toward = table.iloc[0], table.dropna(subset="mean").iloc[-1]
    return (
        f"Farthest away after messages such as {away['name']!r} ({away['mean']:+.2f} [{away['low']:+.2f}, {away['high']:+.2f}]), nearest "
        f"after {toward['name']!r} ({toward['mean']:+.2f} [{toward['low']:+.2f}, {toward['high']:+.2f}])"
    )


def _warning_words(table: pd.DataFrame) -> str:
    cells = [
        f"{r['ahead']} ahead {r['auc']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"
        for r in table[table["predictor"] == "projection"].to_dict("records")
    ]
    return f"Compliance with a harmful question, foretold by the projection within domains (AUC): {', '.join(cells)}"

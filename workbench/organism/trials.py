"""Blind trials of the verdict: train a model on every world, study it with the commands' code, compare with what was planted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..errors import DataError
from ..evaluation.statistics import wilson
from ..models.loading import load_model
from ..parts import read_json, write_json
from ..progress import Watch
from ..report.caps import verdict_of
from ..store import Run
from ..study.caps import calibrate_step, evaluate_step
from ..study.config import Lazy
from ..study.main import run_study
from ..study.methods import methods_step
from ..testbed import CapConfig
from .train import train
from .worlds import CASES

SEEDS = (0, 1, 2)
CAPS = {"percentiles": {"default": (50.0, 90.0), "all": (75.0,)}, "positions": ("all",)}
"""The same for every world: a third of the default grid."""


def trial(name: str, seed: int, folder: Path, watch: Watch) -> dict[str, object]:
    """One world, one seed: train, study, calibrate, evaluate, compare methods. What is there is not done again.

    Returns
    -------
    dict
        ``world, seed, planted`` (whether the method holds), ``conclusion``, ``outcomes`` and ``evidence`` of the four
        lines, ``methods`` (method -> what it says, and its numbers).
    """
    case = CASES[name]
    home = Path(folder) / name.replace(" ", "-") / f"seed-{seed}"
    if not (home / "model" / "organism.json").exists():
        train(home / "model", case.world, case.recipe, seed, lambda stage, done, total, loss: watch(f"train: {stage}", done, total))
    run = run_study(home / "model", home / "run", watch, seed=seed)
    model = Lazy(run, load_model(home / "model"))
    _cause(run, model, watch, seed)
    try:
        methods = methods_step(run, model, watch).to_dict("records")
    except DataError as error:
        methods = [{"method": "", "says": str(error)}]
    verdict = verdict_of(run)
    found = {
        "world": name, "seed": seed, "planted": case.holds, "conclusion": verdict.conclusion,
        "outcomes": [line.outcome for line in verdict.lines], "evidence": [line.evidence for line in verdict.lines],
        "methods": methods,
    }  # fmt: skip
    write_json(home / "trial.json", found)
    return found


def _cause(run: Run, model: Lazy, watch: Watch, seed: int) -> None:
    if not run.is_done("calibrate"):
        calibrate_step(run, model, watch, CapConfig.of(**CAPS, seed=seed))
    if run.study["steps"]["calibrate"]["choices"] and not run.is_done("evaluate"):
        evaluate_step(run, model, watch)


def trials(folder: Path, watch: Watch, names: Sequence[str] = tuple(CASES), seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Run the trials that are not there yet, in the order of the worlds, and read all of them.

    Raises
    ------
    DataError
        For a world that does not exist.
    """
    if unknown := [name for name in names if name not in CASES]:
        raise DataError(f"there is no world {unknown[0]!r}: there are {', '.join(CASES)}")
    for seed in seeds:
        for name in names:
            if not (Path(folder) / name.replace(" ", "-") / f"seed-{seed}" / "trial.json").exists():
                trial(name, seed, folder, _said(watch, f"{name}, seed {seed}"))
    return read_trials(folder)


def _said(watch: Watch, at: str) -> Watch:
    return lambda step, done, total: watch(f"{at}: {step}", done, total)


def read_trials(folder: Path) -> pd.DataFrame:
    """All trials below a folder: a row a trial."""
    found = [read_json(path) for path in sorted(Path(folder).glob("*/seed-*/trial.json"))]
    if not found:
        raise DataError(f"there are no trials in {folder}")
    return pd.DataFrame(found).sort_values(["planted", "world", "seed"], ascending=[False, True, True], ignore_index=True)


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """How often the verdict holds, does not hold and cannot tell, by what was planted, with 95 % intervals of the right answer."""
    said = table["conclusion"].str.split(":").str[0]
    rows = []
    for planted, wanted in ((True, "holds"), (False, "does not hold")):
        these = said[table["planted"] == planted]
        right = wilson(int((these == wanted).sum()), len(these))
        wrong = int((these == ("does not hold" if planted else "holds")).sum())
        counts = {word: int((these == word).sum()) for word in ("holds", "does not hold", "cannot tell")}
        rows.append({"planted": "holds" if planted else "does not hold", "n": len(these)} | counts | {
            "right": right.value, "low": right.low, "high": right.high, "wrong": wrong,
        })  # fmt: skip
    return pd.DataFrame(rows)


def by_method(table: pd.DataFrame) -> pd.DataFrame:
    """A row a method: how often it says what was planted, over the worlds in which the method holds and those in which it does not."""
    records = [
        {"method": m["method"], "planted": row["planted"], **{k: m.get(k) for k in ("says", "auc", "split_half", "compliance", "right")}}
        for row in table.to_dict("records") for m in row["methods"]
    ]  # fmt: skip
    frame = pd.DataFrame(records)
    out = []
    for name, group in frame.groupby("method", sort=False):
        good, bad = group[group["planted"]], group[~group["planted"]]
        out.append({
            "method": name, "holds where it does": int((good["says"] == "holds").sum()), "of": len(good),
            "holds where it does not": int((bad["says"] == "holds").sum()), "of these": len(bad),
            "auc": good["auc"].median(), "split_half": good["split_half"].median(),
            "compliance": good["compliance"].median(), "right": good["right"].median(),
        })  # fmt: skip
    return pd.DataFrame(out)

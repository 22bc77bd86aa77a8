"""The caps that a calibration chose, as a run keeps them, and what a new choice makes untrue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..activations import Activations
from ..calibration import Choice, as_json
from ..directions import Direction
from ..drift.store import CAPPED
from ..interventions import Floor
from ..parts import read_json, write_json
from ..store import Run
from ..thresholds import Scores, Threshold, threshold

SIGN = (
    "Percentiles are counted along the axis, whose + end is the Assistant; a cap is a floor. The paper's released code says the same thing "
    "mirrored (a ceiling on role - default): its 25th percentile is the 75th here, its -32.5 a floor at +32.5."
)
"""Written into thresholds.json, so that nobody need guess."""


def kept_choices(choices: Sequence[Choice], caps: Mapping[str, Floor]) -> list[dict[str, Any]]:
    """Choices as plain values, each with its threshold."""
    found = []
    for choice in choices:
        at = caps[choice.setting.name].at
        assert isinstance(at, Threshold)
        found.append(choice.to_dict() | {"threshold": at.to_dict()})
    return found


def write_choices(run: Run, found: Sequence[dict[str, Any]], sets: Mapping[str, Activations | Scores], axis: Direction) -> None:
    """``calibration/choices.json`` and ``thresholds.json``, every threshold with its set, its direction and its sign."""
    write_json(run.folder / "calibration" / "choices.json", {"choices": found})
    percentiles = (1, 5, 25, 50, 75, 95, 99)
    known = {f"p{q} of {name}": threshold(axis, s, q, reference=sets["default"]).to_dict() for name, s in sets.items() for q in percentiles}
    write_json(run.folder / "thresholds.json", {"sign": SIGN, "thresholds": known | {c["name"]: c["threshold"] for c in found}})


def forget(run: Run) -> None:
    """What was found of another cap is no longer true; answers that still fit are found again."""
    for step in ("calibrate", "evaluate", "tasks"):
        run.study["steps"].pop(step, None)
    run.study["causal"] = None
    run.save()


def forget_uses(run: Run, found: Sequence[dict[str, Any]]) -> list[str]:
    """Forget what later steps did with the cap of an earlier calibration, where this one acts otherwise, and say so."""
    path = run.folder / "calibration" / "choices.json"
    before = read_json(path)["choices"] if path.exists() else []
    if [_acts(c) for c in before] == [_acts(c) for c in found]:
        return []
    steps = run.study["steps"]
    gone = [name for name in ("methods", "drift") if name in steps and (name == "methods" or CAPPED in steps[name].get("conditions", ()))]
    for name in gone:
        del steps[name]
    run.save()  # before the new cap is written, with which it would be compared after a crash
    return [f"Done with an earlier cap, and to be done again: {', '.join(gone)}."] if gone else []


def _acts(choice: Mapping[str, Any]) -> tuple[str, str, str]:
    """What of a choice decides how it acts."""
    return choice["name"], as_json(choice["setting"]), as_json(choice["threshold"])

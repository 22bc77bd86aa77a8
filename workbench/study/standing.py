"""Which steps of a study still stand: one whose input is no longer what it was made of is done again, with all that follows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from ..directions import Direction
from ..parts import Parts
from ..store import PROMPT_AXIS, Run

PARTS = {"rollouts": "rollouts", "judge": "judgements", "extract": "activations"}
"""Step -> the folder of its parts."""
MADE_OF = {
    "rollouts": (), "judge": ("rollouts",), "extract": ("rollouts", "judge"), "axis": ("judge", "extract"), "sweep": ("judge", "extract"),
}  # fmt: skip
"""Step -> the steps whose parts it reads."""


def inputs(run: Run, step: str) -> str:
    """Hash of the content of all parts that a step reads, to be recorded with it."""
    said = [run.parts(PARTS[name]).fingerprint for name in MADE_OF[step]]
    return hashlib.sha256(" ".join(said).encode()).hexdigest()[:16]


def stands(run: Run, step: str, parts: Parts | None = None, files: Sequence[str] = ()) -> bool:
    """Whether a step has been done on what is there now, and its parts and files are all there and whole."""
    facts = run.study["steps"].get(step, {})
    if parts is not None and not parts.is_whole(facts.get("parts")):
        return False
    if not run.is_done(step) or any(not (run.folder / name).exists() for name in files):
        return False
    if "inputs" not in facts:  # of a version that did not record them: as good as what it was made of
        return not any("inputs" in run.study["steps"].get(name, {}) for name in MADE_OF[step])
    return facts["inputs"] == inputs(run, step)


def outdated(run: Run, axis: Direction) -> list[str]:
    """Forget the steps beyond the study that were made with another axis than this one, and name them.

    A study whose answers come from a server may get other answers where a damaged part is asked for again.
    """
    path = run.folder / "axis.safetensors"
    if not path.exists() or torch.allclose(Direction.load(path).values, axis.values, rtol=1e-4, atol=1e-6):
        return []
    gone = [name for name in run.study["steps"] if name not in {*MADE_OF, "words", "report"}]
    for name in gone:
        del run.study["steps"][name]
    run.study.pop("causal", None)
    (run.folder / PROMPT_AXIS).unlink(missing_ok=True)
    run.save()  # before the new axis is there, with which they would be compared after a crash
    return gone


def forget_people(run: Run) -> None:
    """Forget what people said of a judge's labels: they are others now."""
    run.study["steps"].pop("label", None)
    run.study.get("agreement", {}).pop("people", None)
    (run.folder / "tables" / "agreement.csv").unlink(missing_ok=True)

"""What is known of models before they are studied: rows in ``data/presets.json``, nothing in code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from .library import data_folder


@dataclass(frozen=True)
class Preset:
    """What is known of a model.

    Attributes
    ----------
    model
        Its hub name.
    n_layers
        Blocks.
    layer
        Where to look first: the paper's layer, or the middle; 0-based, after the block.
    source
        ``"the paper"``, or ``"the middle"`` where nobody has measured.
    cap_layers, cap_percentile, cap_over
        A published window (first and last block), the percentile counted **along the axis**, and the set that it is taken
        over; None and empty where nothing was published.
    notes
        What to know before a study.
    """

    model: str
    n_layers: int
    layer: int
    source: str
    cap_layers: tuple[int, int] | None = None
    cap_percentile: float | None = None
    cap_over: str = ""
    notes: str = ""

    def __str__(self) -> str:
        cap = (
            f"; published cap in blocks {self.cap_layers[0]}-{self.cap_layers[1]}, percentile {self.cap_percentile:g} along the axis over "
            f"{self.cap_over} responses" if self.cap_layers else ""
        )  # fmt: skip
        return f"layer {self.layer} of {self.n_layers} ({self.source}){cap}" + (f"; {self.notes}" if self.notes else "")


@cache
def presets() -> tuple[Preset, ...]:
    """All of them, the paper's models first."""
    rows = json.loads((data_folder() / "presets.json").read_text(encoding="utf-8"))["presets"]
    found = []
    for row in rows:
        cap = row["cap"] or {}
        window = (int(cap["layers"][0]), int(cap["layers"][1])) if cap else None
        found.append(
            Preset(
                row["model"], row["n_layers"], row["layer"], row["from"], window, cap.get("percentile"), cap.get("over", ""), row["notes"]
            )
        )
    return tuple(found)


def preset_for(name: str, n_layers: int) -> Preset:
    """The preset of a model; for one that nobody knows the middle layer, and a note that says so.

    Parameters
    ----------
    name
        A hub name, or a folder whose last part is that of one (``models/Qwen3-8B``).
    n_layers
        Of the model: a row with another number is not about this model.
    """
    short = name.rstrip("/").rsplit("/", 1)[-1].lower()
    for preset in presets():
        if preset.n_layers == n_layers and short == preset.model.rsplit("/", 1)[-1].lower():
            return preset
    return Preset(name, n_layers, n_layers // 2, "the middle", notes="there is no preset for this model: nobody has measured it here")

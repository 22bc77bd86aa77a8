"""Figures: a DataFrame in, a Plotly figure out. Nothing is computed here that a table does not already hold.

Colours mean the same in every figure: blue is the Assistant's end, vermilion the far end, grey is neutral.
"""

from __future__ import annotations

from .capping import engagement, pareto
from .export import data, save
from .heatmaps import cosine_heatmap, similarity_by_layer
from .line import axis_line
from .space import persona_space
from .steering import dose_response
from .sweep import layer_sweep
from .variance import scree

__all__ = [
    "axis_line",
    "cosine_heatmap",
    "data",
    "dose_response",
    "engagement",
    "layer_sweep",
    "pareto",
    "persona_space",
    "save",
    "scree",
    "similarity_by_layer",
]

"""Figures: a DataFrame in, a Plotly figure out. Nothing is computed here that a table does not already hold.

Colours mean the same in every figure: blue is the Assistant's end, vermilion the far end, grey is neutral.
"""

from __future__ import annotations

from .attribution import attribution_map
from .capping import engagement, pareto
from .checkpoints import checkpoints
from .compare import compared
from .covariates import axis_again, covariates
from .decomposition import variance_shares
from .export import data, save
from .heatmaps import cosine_heatmap, similarity_by_layer
from .lens import lens_words
from .line import axis_line
from .patching import patching_map
from .space import persona_space
from .steering import dose_response
from .sweep import layer_sweep
from .traits import trait_cosines
from .variance import scree

__all__ = [
    "attribution_map",
    "axis_again",
    "axis_line",
    "checkpoints",
    "compared",
    "cosine_heatmap",
    "covariates",
    "data",
    "dose_response",
    "engagement",
    "layer_sweep",
    "lens_words",
    "pareto",
    "patching_map",
    "persona_space",
    "save",
    "scree",
    "similarity_by_layer",
    "trait_cosines",
    "variance_shares",
]

"""Figures: a DataFrame in, a Plotly figure out (``token_map`` makes a page of text). Nothing is computed here that a table does not
already hold, but for a mean over many lines.

Colours mean the same in every figure: blue is the Assistant's end, vermilion the far end, grey is neutral.
"""

from __future__ import annotations

from .attribution import attribution_map
from .capping import engagement, pareto
from .checkpoints import checkpoints
from .compare import compared
from .covariates import axis_again, covariates
from .decomposition import variance_shares
from .drift import drift_harm, drift_means
from .drift_causes import clusters, ridge
from .export import data, save
from .heatmaps import cosine_heatmap, similarity_by_layer
from .lens import lens_words
from .line import axis_line
from .patching import patching_map
from .space import persona_space
from .steering import dose_response
from .sweep import layer_sweep
from .token_map import token_map, token_map_fragment
from .traits import trait_cosines
from .trajectory import trajectory
from .variance import scree

__all__ = [
    "attribution_map",
    "axis_again",
    "axis_line",
    "checkpoints",
    "clusters",
    "compared",
    "cosine_heatmap",
    "covariates",
    "data",
    "dose_response",
    "drift_harm",
    "drift_means",
    "engagement",
    "layer_sweep",
    "lens_words",
    "pareto",
    "patching_map",
    "persona_space",
    "ridge",
    "save",
    "scree",
    "similarity_by_layer",
    "token_map",
    "token_map_fragment",
    "trait_cosines",
    "trajectory",
    "variance_shares",
]

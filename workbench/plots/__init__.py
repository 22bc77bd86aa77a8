"""Figures: a DataFrame in, a Plotly figure out (``token_map`` and ``explorer_page`` make pages). Nothing is computed here that a table
does not already hold, but for a mean over many lines.

Colours mean the same in every figure: blue is the Assistant's end, vermilion the far end, grey is neither (controls, chance, what cannot be
told); violet is what a cap does; green and magenta are alike and opposite, on maps of cosines. Other colours only tell kinds apart, and
dashes and symbols tell them apart as well.
"""

from __future__ import annotations

from .attribution import attribution_map
from .benchmarks import benchmarks
from .capping import engagement, pareto
from .case_study import conversation_panel, said_panel
from .checkpoints import checkpoints
from .compare import compared
from .covariates import axis_again, covariates
from .decomposition import variance_shares
from .drift import drift_harm, drift_means
from .drift_causes import clusters, ridge
from .explorer import persona_layers
from .explorer_page import explorer_fragment, explorer_page
from .export import data, save
from .heatmaps import cosine_heatmap, similarity_by_layer
from .lens import lens_words
from .line import axis_line
from .loadings import loading_strips
from .outcomes import outcomes
from .pairs import persona_pairs
from .paper import for_paper
from .patching import patching_map
from .space import persona_space
from .spaces import persona_spaces
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
    "benchmarks",
    "checkpoints",
    "clusters",
    "compared",
    "conversation_panel",
    "cosine_heatmap",
    "covariates",
    "data",
    "dose_response",
    "drift_harm",
    "drift_means",
    "engagement",
    "explorer_fragment",
    "explorer_page",
    "for_paper",
    "layer_sweep",
    "lens_words",
    "loading_strips",
    "outcomes",
    "pareto",
    "patching_map",
    "persona_layers",
    "persona_pairs",
    "persona_space",
    "persona_spaces",
    "ridge",
    "said_panel",
    "save",
    "scree",
    "similarity_by_layer",
    "token_map",
    "token_map_fragment",
    "trait_cosines",
    "trajectory",
    "variance_shares",
]

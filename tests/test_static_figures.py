"""Every figure as a still picture: one browser draws them all, and what a reader needs stands in the picture, not under a pointer."""

from __future__ import annotations

import inspect
import re
import shutil
import xml.etree.ElementTree as ET

import pandas as pd
import plotly.graph_objects as go
import pytest
import test_benchmarks
import test_plots
import test_plots_causal
import test_plots_drift
import test_plots_origins
from test_checkpoints import frames as checkpoint_frames
from test_traits import trait_table

from workbench import plots
from workbench.plots import theme

NO_FIGURES = {"data", "save", "for_paper", "token_map", "token_map_fragment", "explorer_page", "explorer_fragment"}
ELSEWHERE = {
    "persona_layers", "persona_pairs", "persona_spaces", "loading_strips", "outcomes", "conversation_panel", "said_panel",
}  # fmt: skip
"""Figures that are made for print or for a page, whose own tests draw them."""


def again_table() -> pd.DataFrame:
    rows = [{"variant": v, "layer": n, "cosine": 0.9, "low": 0.8, "high": 0.95} for v in ("tokens 1-64", "words masked") for n in range(4)]
    return pd.DataFrame(rows)


def covariate_table() -> pd.DataFrame:
    row = {
        "default": 40.0,
        "roles": 50.0,
        "r": 0.3,
        "low": 0.2,
        "high": 0.4,
        "within": 0.1,
        "within_low": 0.0,
        "within_high": 0.2,
        "n": 300,
    }
    return pd.DataFrame([{"covariate": "tokens"} | row, {"covariate": "of_ai"} | dict.fromkeys(row, float("nan"))])


def positions_table() -> pd.DataFrame:
    return pd.DataFrame([{"study": s, "role": f"role {i}", "z": -i + k} for k, s in enumerate(("one", "two")) for i in range(6)])


def drift(name: str, **settings) -> go.Figure:
    draw, frame = test_plots_drift.FRAMES[name]
    return draw(frame(), **settings)


EXAMPLES = {
    **{name: draw for name, draw in test_plots.FIGURES.items() if name != "persona_space_2d"},
    **test_plots_causal.DRAWN, **test_plots_origins.DRAWN, **{name: lambda name=name: drift(name) for name in test_plots_drift.FRAMES},
    "axis_line": lambda: plots.axis_line(test_plots.role_table(40).assign(low=-1.0, high=1.0), centred=True),
    "scree": lambda: plots.scree(test_plots.scree_table([0.5, 0.3, 0.2]).assign(null_high=[0.4, 0.35, 0.3])),
    "cosine_heatmap": lambda: plots.cosine_heatmap(ordered()),
    "layer_sweep": lambda: plots.layer_sweep(with_words(), recommended=3),
    "trajectory": lambda: drift("trajectory", band=test_plots_drift.band_table()),
    "drift_means": lambda: drift("drift_means", band=test_plots_drift.band_table()),
    "benchmarks": lambda: plots.benchmarks(test_benchmarks.frame()),
    "checkpoints": lambda: plots.checkpoints(*checkpoint_frames()), "trait_cosines": lambda: plots.trait_cosines(trait_table(9)),
    "axis_again": lambda: plots.axis_again(again_table()), "covariates": lambda: plots.covariates(covariate_table()),
    "compared": lambda: plots.compared(positions_table()),
}  # fmt: skip

SAID = {
    "axis_line": ["default", "95 % interval", "from the mean of the roles", "residual-stream units", "+ = Assistant", "toy, layer 3"],
    "persona_space": ["default", "+ = Assistant"],
    "scree": ["1 component exceeds", "what permuted roles reach", "permuted roles, 95th percentile", "share, not told from chance"],
    "cosine_heatmap": ["roles by PC1, the highest first", "◂ default", "−1, opposite", "1, alike"],
    "similarity_by_layer": ["layer", "1, alike"],
    "layer_sweep": ["words", "recommended: layer 3", "default told from roles; ideal 1, chance 0.5"],
    "dose_response": ["95 % intervals", "n = 400 responses a point", "0 = no steering", "jailbreaks complied with, control",
                      "answers break",                      "right answers", "roles that name themselves", "responses that are no text"],
    "pareto": ["95 % interval", "recommended", "chosen, on the tuning half", "chosen, on the other half", "control directions", "not at 0"],
    "benchmarks": ["worst task", "sum", "95 % interval", "n = 100", "3 tasks", "−10.0 % [−16.0, −4.0]", "− = lost"],
    "trajectory": ["n = 2", "n = 10", "default, n", "nearer the Assistant", "units of the residual stream"],
    "drift_means": ["n = 19–20", "n = 10", "default, n", "nearer the Assistant", "coding", "therapy"],
    "drift_harm": ["95 % Wilson intervals", "n, baseline", "1,000", "+ = Assistant"],
    "engagement": ["generated positions", "Share of tokens changed"],
    "clusters": ["n = 30", "towards the Assistant"],
    "trait_cosines": ["grey: interval holds 0"],
    "compared": ["n = 6 roles", "role 0", "role 5", "+ = beyond"],
}  # fmt: skip
"""What the picture itself must say."""


def ordered() -> pd.DataFrame:
    frame = test_plots.square(["default", "tutor", "bard"])
    frame.attrs["order"] = "PC1"
    return frame


def with_words() -> pd.DataFrame:
    words = pd.DataFrame({"layer": [-1], "auc": [0.5], "auc_low": [0.4], "auc_high": [0.7], "axis_norm": [0.1]})
    return pd.concat([words, test_plots.sweep_table()], ignore_index=True)


def test_every_figure_has_an_example_here():
    """A new figure is added to EXAMPLES above, or to ELSEWHERE with a test of its own."""
    assert set(plots.__all__) - NO_FIGURES - ELSEWHERE - set(EXAMPLES) == set()
    assert set(SAID) <= set(EXAMPLES)


def test_every_figure_can_be_dark():
    takes = {name: inspect.signature(getattr(plots, name)).parameters for name in set(plots.__all__) - NO_FIGURES}
    assert {name for name, parameters in takes.items() if "dark" not in parameters} == set()
    assert plots.axis_again(again_table(), dark=True).layout.template.layout.paper_bgcolor == theme.DARK.page


# -- colours ------------------------------------------------------------------------------------------
ENDS = {"trait_cosines", "clusters", "lens_words"}
"""Where single things lie at, or move to, the Assistant's end or the far one; scales between the ends come with the template."""
CAPS = {"pareto", "benchmarks", "drift_harm"}
COSINES = {"cosine_heatmap", "similarity_by_layer"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_colour_means_the_same_in_every_figure(name):
    drawn = EXAMPLES[name]().to_plotly_json()
    drawn["layout"].pop("template")
    said = repr(drawn).lower()
    assert (theme.ASSISTANT.lower() in said or theme.FAR.lower() in said) == (name in ENDS)
    assert (theme.CAP.lower() in said) == (name in CAPS)
    assert (theme.ALIKE_AXIS in said) == (name in COSINES)
    known = {theme.ASSISTANT, theme.FAR, theme.CAP, theme.NEUTRAL, *theme.CATEGORIES}
    assert set(re.findall("#[0-9a-f]{6}", said)) <= {colour.lower() for colour in known}, "no colour of a figure's own"


@pytest.fixture(scope="module")
def pictures() -> dict[str, str]:
    """Every example as SVG, light and dark, from one start of the browser."""
    pytest.importorskip("kaleido")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("no Chromium")
    from workbench.plots.images import draw_images

    figures = {}
    for name, draw in EXAMPLES.items():
        figures[name] = draw()
        figures[f"{name}, dark"] = go.Figure(figures[name]).update_layout(template=theme.DARK_NAME)
    drawn = draw_images([(figure, "svg") for figure in figures.values()])
    return {name: content.decode() for name, content in zip(figures, drawn, strict=True)}


def texts(picture: str) -> list[str]:
    """Every text of a picture, its lines joined."""
    nodes = ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    found = [" ".join(part.strip() for part in node.itertext() if part.strip()) for node in nodes]
    return [text for text in found if text]


@pytest.mark.browser
def test_every_figure_is_drawn_in_both_themes(pictures):
    page = ", ".join(str(int(theme.DARK.page[i : i + 2], 16)) for i in (1, 3, 5))
    for name in EXAMPLES:
        light, dark = pictures[name], pictures[f"{name}, dark"]
        assert texts(light), name
        assert sorted(texts(light)) == sorted(texts(dark)), name
        assert f"rgb({page})" in dark, name
        assert f"rgb({page})" not in light, name


@pytest.mark.browser
@pytest.mark.parametrize("name", SAID)
def test_what_a_reader_needs_stands_in_the_picture(pictures, name):
    said = " | ".join(texts(pictures[name]))
    missing = [words for words in SAID[name] if words not in said]
    assert not missing, said

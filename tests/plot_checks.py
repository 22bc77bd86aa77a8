"""What every figure must do."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go
import plotly.io as pio

from workbench.plots import theme


def check_themes(draw: Callable[..., go.Figure]) -> None:
    """Light by default, dark on request, as wide as the page, and the same figure after a trip through JSON."""
    light, dark = draw(), draw(dark=True)
    assert light.layout.template.layout.paper_bgcolor == theme.LIGHT.page
    assert dark.layout.template.layout.paper_bgcolor == theme.DARK.page
    assert light.layout.width is None
    assert pio.from_json(light.to_json()) == light

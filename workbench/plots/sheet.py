"""What a figure is drawn on, paper or a screen, and a figure with its caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from . import theme
from .images import CSS_DPI
from .paper import INCHES, for_paper, known_width
from .rooms import SMALL

SCREEN_PX = 960.0
"""Width of a figure of several panels on a screen."""


@dataclass(frozen=True)
class Sheet:
    """What a figure is drawn on: paper of a width, or a screen.

    Attributes
    ----------
    width
        ``column`` or ``page``, on paper.
    dark
        Light on dark.
    screen
        Keep the screen's look.
    """

    width: str = "column"
    dark: bool = False
    screen: bool = False

    @property
    def narrow(self) -> bool:
        """Whether panels must stand below one another."""
        return self.width == "column" and not self.screen

    @property
    def em(self) -> float:
        """Pixels of a small letter: what layouts of several panels are measured in."""
        return 12.0 if self.screen else SMALL

    @property
    def pixels(self) -> float:
        """Width of a figure of several panels."""
        return SCREEN_PX if self.screen else INCHES[self.width] * CSS_DPI

    def dress(self, figure: go.Figure, height: float | None = None) -> go.Figure:
        """A figure as it is drawn on this sheet; `height` in inches, for paper only."""
        if not self.screen:
            return for_paper(figure, self.width, height, self.dark)
        return go.Figure(figure).update_layout(template=theme.DARK_NAME if self.dark else theme.LIGHT_NAME)


@dataclass(frozen=True, eq=False)
class PaperFigure:
    """A figure with what a paper says below it.

    Attributes
    ----------
    name, title
        What its files are called, and what it shows in a few words.
    caption
        What is drawn, of what and of how many, in which units, and which end is +.
    draw
        Draws it on a sheet.
    width
        The width that suits it: ``column`` or ``page``.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Sheet], go.Figure]
    width: str = "column"

    @property
    def figure(self) -> go.Figure:
        """The figure in the look of a screen."""
        return self.draw(Sheet(screen=True))

    def for_paper(self, width: str | None = None, dark: bool = False) -> go.Figure:
        """The figure for print, in a width or in that which suits it."""
        return self.draw(Sheet(known_width(width or self.width), dark))

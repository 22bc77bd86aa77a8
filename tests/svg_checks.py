"""What every figure in print must do, measured by a browser: text inside the page, and none on other text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MEASURE = """
() => {
  const svg = document.querySelector('svg').getBoundingClientRect();
  const seen = [...document.querySelectorAll('text')].filter(t => t.textContent.trim() && t.getBoundingClientRect().width > 0);
  const boxes = seen.map(t => {
    const b = t.getBoundingClientRect(), style = getComputedStyle(t);
    return {text: t.textContent, left: b.left, top: b.top, right: b.right, bottom: b.bottom, family: style.fontFamily,
            size: parseFloat(style.fontSize), lines: t.querySelectorAll('tspan.line').length || 1};
  });
  return {page: {left: svg.left, top: svg.top, right: svg.right, bottom: svg.bottom}, boxes};
}
"""
SLACK = 0.75
"""Pixels that the boxes of letters, which are larger than what is seen of them, may share."""


def measured(browser: Any, path: Path) -> dict[str, Any]:
    """The page's box and that of every text of an SVG."""
    page = browser.new_page(viewport={"width": 900, "height": 1400})
    page.set_content(path.read_text(encoding="utf-8"))
    found = page.evaluate(MEASURE)
    page.close()
    return found


def outside(found: dict[str, Any]) -> list[str]:
    """Texts that leave the page."""
    page = found["page"]
    return [
        b["text"] for b in found["boxes"]
        if b["left"] < page["left"] - 0.5 or b["right"] > page["right"] + 0.5
        or b["top"] < page["top"] - 1 or b["bottom"] > page["bottom"] + 0.5
    ]  # fmt: skip


def overlapping(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of texts that lie on one another; of a line's height the upper and lower eighth are air."""
    boxes = [_tight(b) for b in found["boxes"]]
    return [
        (a["text"], b["text"]) for i, a in enumerate(boxes) for b in boxes[i + 1 :]
        if min(a["right"], b["right"]) - max(a["left"], b["left"]) > SLACK
        and min(a["bottom"], b["bottom"]) - max(a["top"], b["top"]) > SLACK
    ]  # fmt: skip


def _tight(box: dict[str, Any]) -> dict[str, Any]:
    upright = box["bottom"] - box["top"] > box["right"] - box["left"] and len(box["text"]) > 2
    air = box["size"] / 8
    trimmed = (
        {"left": box["left"] + air, "right": box["right"] - air} if upright else {"top": box["top"] + air, "bottom": box["bottom"] - air}
    )
    return box | trimmed

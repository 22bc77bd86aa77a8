"""How the page looks: the house's palette on gradio's components, system fonts, light and dark as the reader's system asks for."""

from __future__ import annotations

from pathlib import Path

from gradio.themes import Base

from ..plots.theme import ASSISTANT, DARK, DIVERGING_DARK, FONT, LIGHT
from .gauge import MORE_DARK, MORE_LIGHT, STYLE

MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
ACCENT_DARK = DIVERGING_DARK[-1][1]
FAINT, FAINT_DARK = "#f7f8f9", "#1b1f25"

CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def css() -> str:
    """All rules, with the palette as variables; gradio puts the class ``dark`` on the body of a dark page."""

    def palette(theme: object, more: dict[str, str], accent: str, faint: str) -> str:
        names = ("page", "ink", "muted", "grid")
        own = "".join(f"--{'line' if name == 'grid' else name}: {getattr(theme, name)}; " for name in names)
        return own + f"--cap: {more['cap']}; --band: {more['band']}; --accent: {accent}; --faint: {faint};"

    light = f":root, body {{ {palette(LIGHT, MORE_LIGHT, ASSISTANT, FAINT)} }}\n"
    dark = f"body.dark, .dark {{ {palette(DARK, MORE_DARK, ACCENT_DARK, FAINT_DARK)} }}\n"
    return light + dark + STYLE + CSS


def theme() -> Base:
    """Gradio's plainest theme in the house's colours, with the system's own fonts."""
    fonts = [name.strip().strip("'") for name in FONT.split(",")]
    base = Base(primary_hue="blue", neutral_hue="gray", font=fonts, font_mono=MONO, radius_size="sm", text_size="md", spacing_size="sm")
    both = {
        "body_background_fill": (LIGHT.page, DARK.page), "background_fill_primary": (LIGHT.page, DARK.page),
        "background_fill_secondary": (FAINT, FAINT_DARK), "block_background_fill": (LIGHT.page, DARK.page),
        "input_background_fill": (LIGHT.page, FAINT_DARK), "body_text_color": (LIGHT.ink, DARK.ink),
        "body_text_color_subdued": (LIGHT.muted, DARK.muted), "block_label_text_color": (LIGHT.muted, DARK.muted),
        "block_title_text_color": (LIGHT.muted, DARK.muted), "block_info_text_color": (LIGHT.muted, DARK.muted),
        "border_color_primary": (LIGHT.grid, DARK.grid), "input_border_color": ("#c9cdd2", "#4a505a"),
        "color_accent_soft": (FAINT, FAINT_DARK), "slider_color": (ASSISTANT, ACCENT_DARK),
        "input_border_color_focus": (ASSISTANT, ACCENT_DARK), "button_primary_background_fill": (ASSISTANT, "#2f7fb5"),
        "button_primary_background_fill_hover": ("#005f94", "#3f8fc5"), "button_primary_text_color": ("#ffffff", "#ffffff"),
        "button_secondary_background_fill": (LIGHT.page, DARK.page), "button_secondary_background_fill_hover": (FAINT, FAINT_DARK),
        "button_secondary_text_color": (LIGHT.ink, DARK.ink), "button_secondary_border_color": ("#c9cdd2", "#4a505a"),
        "checkbox_background_color_selected": (ASSISTANT, "#2f7fb5"), "checkbox_border_color_selected": (ASSISTANT, "#2f7fb5"),
        "block_border_color": (LIGHT.grid, DARK.grid), "link_text_color": (ASSISTANT, ACCENT_DARK),
        "accordion_text_color": (LIGHT.ink, DARK.ink), "panel_background_fill": (LIGHT.page, DARK.page),
    }  # fmt: skip
    values = {name: light for name, (light, _) in both.items()} | {f"{name}_dark": dark for name, (_, dark) in both.items()}
    values |= {"color_accent": "var(--accent)"}
    values |= {"block_border_width": "0px", "block_shadow": "none", "button_border_width": "1px", "input_border_width": "1px"}
    values |= {"block_padding": "4px 0", "block_label_background_fill": "none", "shadow_drop": "none", "block_title_text_size": "0.85rem"}
    values |= {"block_title_text_weight": "400", "block_label_text_weight": "400", "checkbox_label_background_fill": "none"}
    values |= {"checkbox_label_border_width": "0px", "checkbox_label_padding": "2px 0", "checkbox_label_shadow": "none"}
    values |= {"checkbox_label_border_width_dark": "0px", "checkbox_label_background_fill_dark": "none"}
    return base.set(**values)

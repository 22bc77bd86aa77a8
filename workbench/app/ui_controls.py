"""The form at the side: what acts on the right side, who is spoken to, how answers are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..interventions import POSITIONS
from .bench import PLAIN, Bench
from .form import FIELDS, choices_of, defaults, prompts_of, values_of
from .settings import Settings

KEEP: Any = object()
"""In the place of a value: what stands in a field stays."""
SLIDERS = {"strength": (-2.0, 2.0), "temperature": (0.0, 2.0)}
"""The usual ends of sliders whose settings have none."""
LIMITS, PUSHES = ("floor", "ceiling"), ("add", "ablate")
"""Which kinds are said by a percentile, and which by a strength."""


@dataclass
class Controls:
    """The form.

    Attributes
    ----------
    fields
        In the order of :data:`workbench.app.form.FIELDS`.
    new
        The button that begins a new conversation.
    """

    fields: list[Any]
    new: gr.Button

    @property
    def by_name(self) -> dict[str, Any]:
        """The fields by their names."""
        return dict(zip(FIELDS, self.fields, strict=True))


def controls(bench: Bench) -> Controls:
    """Build the form."""
    settings, choices = defaults(bench), choices_of(bench)
    known: dict[str, Any] = dict(zip(FIELDS, values_of(settings), strict=True))
    fields: dict[str, Any] = {}
    with gr.Accordion("What acts on the right side", open=True, elem_id="acting"):
        if bench.endpoint is not None:
            gr.HTML(f'<p class="quiet">{PLAIN[0].upper()}{PLAIN[1:]}.</p>', apply_default_css=False)
        fields |= _acting(known, choices, settings, bench.endpoint is None)
    with gr.Accordion("Who is spoken to", open=True, elem_id="persona"):
        fields["persona"] = gr.Dropdown(choices["persona"], value=known["persona"], label="Persona (type to search)", filterable=True)
        prompts = prompts_of(bench, settings.persona)
        fields["prompt"] = gr.Dropdown(prompts, value=0, label="Its prompt", visible=bool(settings.persona))
        fields["system"] = gr.Textbox(
            value=known["system"], label="System prompt of your own", lines=1, max_lines=6, placeholder="stands in for the persona's"
        )
    with gr.Accordion("Sampling and memory", open=False, elem_id="sampling"):
        fields |= _sampling(bench, known, choices)
        new = gr.Button("New conversation", elem_id="new", size="sm")
    return Controls([fields[name] for name in FIELDS], new)


def _acting(known: dict[str, Any], choices: dict[str, Any], settings: Settings, shown: bool) -> dict[str, Any]:
    seen = _seen(settings)
    return {
        "acts": gr.Dropdown(choices["acts"], value=known["acts"], label="Intervention", visible=shown, elem_id="acts"),
        "direction": gr.Dropdown(choices["direction"], value=known["direction"], label="Along", visible=seen["direction"] and shown),
        "percentile": gr.Slider(
            0, 100, value=known["percentile"], step=1, label="At the percentile", visible=seen["percentile"] and shown, elem_id="percentile"
        ),
        "over": gr.Radio(choices["over"], value=known["over"], label="of the responses of", visible=seen["over"] and shown),
        "strength": gr.Slider(
            *SLIDERS["strength"], value=known["strength"], step=0.05, label="Strength", elem_id="strength",
            visible=seen["strength"] and shown,
            info="add: in fractions of the mean residual norm; ablate: the share that is taken away",
        ),
        "layers": gr.Textbox(
            value=known["layers"], label="Layers", placeholder="e.g. 1-3; empty: all (add: the recommended one)", max_lines=1,
            visible=seen["layers"] and shown,
        ),
        "positions": gr.Dropdown(list(POSITIONS), value=known["positions"], label="Positions", visible=seen["positions"] and shown),
        "control": gr.Checkbox(
            value=known["control"], label="a random direction of the same dose", visible=seen["control"] and shown, elem_id="control"
        ),
        "control_seed": gr.Number(
            value=known["control_seed"], label="Its seed", precision=0, visible=seen["control_seed"] and shown
        ),
        "follow": gr.Radio(choices["follow"], value=known["follow"], label="The right side reads", visible=shown),
    }  # fmt: skip


def _sampling(bench: Bench, known: dict[str, Any], choices: dict[str, Any]) -> dict[str, Any]:
    own = f"empty: the model's own, {bench.answer_tokens}" if bench.answer_tokens else "empty: 512"
    return {
        "temperature": gr.Slider(*SLIDERS["temperature"], value=known["temperature"], step=0.05, label="Temperature"),
        "top_p": gr.Slider(0.05, 1, value=known["top_p"], step=0.05, label="top_p"),
        "longest": gr.Number(value=known["longest"], label="Longest answer, in tokens", precision=0, info=own),
        "seed": gr.Number(value=known["seed"], label="Seed of the first answer", precision=0),
        "forget": gr.Checkbox(value=known["forget"], label="let the oldest turns be forgotten where the context is full"),
        "layer": gr.Dropdown(choices["layer"], value=known["layer"], label="The gauge reads at layer", visible=bench.actor is not None),
    }


def _seen(settings: Settings) -> dict[str, bool]:
    """Which fields say something for what acts."""
    own = not settings.preset and settings.kind != "none"
    limit, push = own and settings.kind in LIMITS, own and settings.kind in PUSHES
    return {
        "direction": own, "layers": own, "positions": own, "percentile": limit, "over": limit, "strength": push,
        "control": settings.kind != "none", "control_seed": settings.control is not None,
    }  # fmt: skip


def shown_fields(bench: Bench, settings: Settings, values: Sequence[Any]) -> list[Any]:
    """Updates that put values into the form, and show of it what says something."""
    updates = []
    seen = _seen(settings)
    for name, value in zip(FIELDS, values, strict=True):
        change: dict[str, Any] = {} if value is KEEP else {"value": value}
        if name in seen:
            change["visible"] = seen[name] and bench.endpoint is None
        if name in SLIDERS and value is not KEEP:  # a link may go beyond what is usual
            low, high = SLIDERS[name]
            change |= {"minimum": min(low, value), "maximum": max(high, value)}
        if name == "prompt":
            change |= {"choices": prompts_of(bench, settings.persona), "visible": bool(settings.persona)}
        updates.append(gr.update(**change))
    return updates

"""The page's form as values, and settings: one to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bench import Bench
from .directions import direction_names
from .settings import LEFT, OWN, SETS, Settings, layers_in_words

CAP = "cap "
"""What stands before the name of a calibrated cap where one chooses what acts."""
FIELDS = (
    "acts", "direction", "layers", "strength", "percentile", "over", "positions", "control", "control_seed",
    "persona", "prompt", "system", "follow", "temperature", "top_p", "longest", "seed", "forget", "layer",
)  # fmt: skip
"""The fields of the form, in its order."""


def settings_of(values: Sequence[Any]) -> Settings:
    """The settings that a form's values mean.

    Raises
    ------
    DataError
        For a value that a setting cannot have.
    """
    form = dict(zip(FIELDS, values, strict=True))
    acts = str(form["acts"] or "none")
    preset = acts.removeprefix(CAP) if acts.startswith(CAP) else ""
    return Settings.of(
        kind="floor" if preset else acts, preset=preset, direction=form["direction"] or "axis", layers=form["layers"] or None,
        strength=form["strength"], percentile=form["percentile"], over=form["over"], positions=form["positions"],
        control=_whole(form["control_seed"], 0) if form["control"] else None, persona=form["persona"] or "",
        prompt=_whole(form["prompt"], 0), system=form["system"] or "", follow=form["follow"], temperature=form["temperature"],
        top_p=form["top_p"], max_new_tokens=_whole(form["longest"], None), seed=_whole(form["seed"], 0), forget=bool(form["forget"]),
        layer=_whole(form["layer"], None),
    )  # fmt: skip


def values_of(settings: Settings) -> list[Any]:
    """The form's values that mean these settings."""
    form = settings.model_dump() | {
        "acts": CAP + settings.preset if settings.preset else settings.kind,
        "layers": layers_in_words(settings.layers),
        "control": settings.control is not None,
        "control_seed": settings.control or 0,
        "longest": settings.max_new_tokens,
        "layer": "" if settings.layer is None else settings.layer,
    }
    return [form[name] for name in FIELDS]


def defaults(bench: Bench) -> Settings:
    """What stands in the form at first: the recommended cap, where one was calibrated; else a floor at the default's median."""
    if bench.actor is None:
        return Settings()
    caps = cap_names(bench)
    return Settings(kind="floor", preset=caps[0]) if caps else Settings(kind="floor", percentile=50)


def cap_names(bench: Bench) -> list[str]:
    """The calibrated caps of a run."""
    run = bench.run
    if run is None or bench.actor is None or not run.is_done("calibrate") or not run.study["steps"]["calibrate"]["choices"]:
        return []
    return list(run.caps)


def choices_of(bench: Bench) -> dict[str, list[tuple[str, Any]]]:
    """What can be chosen in each field that offers a choice: what is shown, and its value."""
    acting = [("a floor: keep the projection above", "floor"), ("a ceiling: keep it below", "ceiling"), ("add: steer along it", "add")]
    acting += [("ablate: take it away", "ablate")]
    caps = [(f"the {name} cap" if name == "recommended" else f"the cap that {name}", CAP + name) for name in cap_names(bench)]
    run = bench.run if bench.actor is not None else None
    personas = [(f"{name}: {role.description}" if role.description else name, name) for name, role in bench.roles.items()]
    return {
        "acts": [("nothing", "none"), *(caps + acting if run else [])],
        "direction": [(name, name) for name in direction_names(run, bench.actor.files)] if run and bench.actor else [("axis", "axis")],
        "over": [(name, name) for name in SETS],
        "persona": [("nobody in particular", ""), *personas],
        "follow": [("its own answers: two lives", OWN), ("the left side's: one counterfactual a turn", LEFT)],
        "layer": _layers(bench),
    }


def _layers(bench: Bench) -> list[tuple[str, Any]]:
    if bench.axis is None:
        return [("nowhere", "")]
    return [(f"{bench.layer(Settings())}, where the study reads", ""), *((str(n), n) for n in bench.axis.site.layers)]


def prompts_of(bench: Bench, persona: str) -> list[tuple[str, int]]:
    """The prompts that ask for a persona."""
    role = bench.roles.get(persona)
    if role is None:
        return [("no system prompt", 0)]
    return [(text or "no system prompt", i) for i, text in enumerate(role.prompts)]


def _whole(value: Any, empty: int | None) -> Any:
    """A number of a form, whole where it is; `empty` where nothing stands there."""
    if value is None or value == "":
        return empty
    return int(value) if isinstance(value, float) and value.is_integer() else value

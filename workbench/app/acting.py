"""What settings mean on a run: the interventions that act, and a random direction that does as much."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from ..activations import Activations
from ..compare import study_layer
from ..controls import isotropic
from ..conversations import Conversation
from ..directions import Direction
from ..errors import DataError
from ..evaluation.prompts import Prompt
from ..interventions import Ablate, Add, Ceiling, Floor, Intervention
from ..matching import Task, done_by, match
from ..models.hooked import HookedModel
from ..models.measuring import residual_norms
from ..rollouts import answer_tokens
from ..store import Run
from ..thresholds import Norms, threshold
from .directions import direction_of
from .settings import Settings

QUERIES = {"default": "role == 'default'", "roles": "role != 'default'", "all": "role == role"}
MATCHED_ON = 16
"""Prompts of the study on which a random direction is given the dose of what it stands in for."""


class Actor:
    """Makes interventions from settings, and remembers what was costly to find.

    Parameters
    ----------
    files
        Name -> path of saved directions, besides those in the run's folder.
    """

    def __init__(self, run: Run, model: HookedModel, files: Mapping[str, Path] | None = None) -> None:
        self.run, self.model, self.files = run, model, dict(files or {})
        self._known: dict[Settings, tuple[Intervention, ...]] = {}
        self._directions: dict[str, Direction] = {}

    def interventions(self, settings: Settings) -> tuple[Intervention, ...]:
        """What acts on the right side; nothing where the kind is ``none``.

        Raises
        ------
        DataError
            Where the run has no such direction, layer, cap or set of responses.
        """
        key = settings.acting
        if key not in self._known:
            chosen = self._chosen(settings)
            self._known[key] = chosen if settings.control is None else self._control(chosen, settings.control)
        return self._known[key]

    def is_known(self, settings: Settings) -> bool:
        """Whether this was made before, so that making it again takes no time."""
        return settings.acting in self._known

    def direction(self, name: str) -> Direction:
        """A direction by name; see :func:`workbench.app.directions.direction_of`."""
        if name not in self._directions:
            self._directions[name] = direction_of(self.run, name, self.files)
        return self._directions[name]

    @cached_property
    def norms(self) -> Norms:
        """The unit of steering: the mean norm of response tokens, over the first response of every role."""
        return residual_norms(self.model, first_rollouts(self.run))

    @cached_property
    def responses(self) -> Activations:
        """Response means of the study."""
        return self.run.activations()

    def _chosen(self, settings: Settings) -> tuple[Intervention, ...]:
        if settings.kind == "none":
            return ()
        if settings.preset:
            return (self._preset(settings.preset),)
        direction, where = self.direction(settings.direction), settings.positions
        if settings.kind == "add":
            layers = settings.layers or (study_layer(self.run),)
            return (Add(direction, settings.strength, self.norms, layers=layers, positions=where),)
        if settings.kind == "ablate":
            return (Ablate(direction, settings.strength, layers=settings.layers, positions=where),)
        at = threshold(direction, self.responses.where(QUERIES[settings.over]), settings.percentile)
        limit = Floor if settings.kind == "floor" else Ceiling
        return (limit(direction, at, layers=settings.layers, positions=where),)

    def _preset(self, name: str) -> Floor:
        caps = self.run.caps if self.run.is_done("calibrate") else {}
        if name not in caps:
            there = f"there are {', '.join(caps)}" if caps else f"run `workbench calibrate {self.run.folder}` first"
            raise DataError(f"{self.run.folder} has no calibrated cap {name!r}: {there}")
        return caps[name]

    def _control(self, chosen: Sequence[Intervention], seed: int) -> tuple[Intervention, ...]:
        return tuple(made for item in chosen for made in same_dose(self.model, item, random_beside(item.direction, seed), self.prompts))

    @cached_property
    def prompts(self) -> list[Prompt]:
        """What random directions are matched on: the first prompt of each of several roles."""
        rows = first_rollouts(self.run).head(MATCHED_ON)
        asked = zip(rows["row"], rows["messages"], strict=True)
        return [Prompt(row, "question", Conversation.of(json.loads(messages))) for row, messages in asked]


def first_rollouts(run: Run) -> pd.DataFrame:
    """The first usable response of every role."""
    rows = run.rollouts
    return rows[rows["error"] == ""].groupby("role", sort=False).head(1).reset_index(drop=True)


def random_beside(direction: Direction, seed: int) -> Direction:
    """A random direction at a right angle to another, the same at every layer."""
    return replace(isotropic(direction, 1, seed)[0], name=f"random direction {seed}", toward=f"one end of random direction {seed}")


def same_dose(model: HookedModel, item: Intervention, control: Direction, prompts: Sequence[Prompt], seed: int = 0) -> list[Intervention]:
    """What does as much as an intervention along another direction: the same mean ``|change| / |h|`` at every layer.

    Steering moves by the same length; limits and ablation are matched on answers to the prompts that the model writes under them.

    Parameters
    ----------
    control
        The direction that stands in for the intervention's own.
    """
    if isinstance(item, Add):
        return [replace(item, direction=control)]
    n_new = min(answer_tokens(model), 128)
    if isinstance(item, Ablate):
        return _ablated(Task(model, item, prompts, n_new, seed, len(prompts)), item, control)  # type: ignore[arg-type]
    if not isinstance(item, Floor | Ceiling):
        raise DataError(f"nothing is known that does as much as a {type(item).__name__} along another direction")
    # A ceiling is a floor along the reversed direction, and matched as one.
    turned = Floor(-item.direction, {n: -item.levels[n] for n in item.at_layers}, positions=item.positions)
    task = Task(model, item if isinstance(item, Floor) else turned, prompts, n_new, seed, len(prompts))
    return [match(task, control, "dose")[0]]


def _ablated(task: Task, item: Ablate, control: Direction) -> list[Intervention]:
    """Layer by layer, with the earlier ones in place: there the dose is proportional to the strength."""
    found: list[Intervention] = []
    for layer in item.at_layers:
        whole = Ablate(control, math.copysign(1.0, item.strength), layers=[layer], positions=item.positions)
        done = done_by(task.model, [*found, whole], task.own)[layer].dose
        found.append(replace(whole, strength=whole.strength * task.wanted[layer].dose / done))
    return found

"""A small study with everything that a paper's figures need."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.controls import isotropic
from workbench.drift.material import DriftConfig
from workbench.models.hooked import HookedModel
from workbench.organism import CHECKPOINT
from workbench.store import Run, open_run
from workbench.study.caps import calibrate_step, evaluate_step, strengths_step
from workbench.study.checkpoints import checkpoints_step
from workbench.study.config import Lazy
from workbench.study.drift import drift_step
from workbench.study.main import run_study
from workbench.study.traits import traits_step
from workbench.testbed import CapConfig

STUDY = {"roles": 14, "questions": 6, "prompts": 1, "default_rollouts": 24, "seed": 3}


def quiet(step: str, done: int, total: int) -> None:
    """Nobody watches."""


def make_run(folder: Path, model: HookedModel) -> Run:
    """The study and every step beside it, each as small as it can be."""
    run = run_study("organism", folder, **STUDY)
    lazy = Lazy(run, model)
    calibrate_step(run, lazy, quiet, CapConfig.of(windows=(4,), percentiles={"default": (75,)}, limit=24))
    with pytest.MonkeyPatch.context() as patch:  # two controls are enough to draw
        patch.setattr("workbench.study.caps.control_directions", lambda run, model, n, seed: isotropic(run.axis, 2, seed))
        evaluate_step(run, lazy, quiet)
    strengths_step(run, lazy, quiet, (-0.4, 0.8), 2, config=CapConfig.of(limit=20))
    drift_step(run, lazy, quiet, DriftConfig.of(domains=("coding", "therapy"), n=3, turns=4, ordinary=20, choosing=1, in_roles=1))
    traits_step(run, lazy, quiet, questions=2, pairs=5)
    checkpoints_step(run, lazy, quiet, [str(CHECKPOINT / "base")], n=4)
    return open_run(folder)

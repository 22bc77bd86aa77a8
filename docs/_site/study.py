"""The small study behind the site's figures: the embedded model, studied once by the house's own steps, kept while the code stays."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import workbench
from workbench.drift.simulation import Task, simulate
from workbench.drift.tables import domain_means
from workbench.organism.conversing import world_tasks
from workbench.parts import read_json, write_json
from workbench.store import Run, open_run
from workbench.study.caps import calibrate_step
from workbench.study.config import Lazy
from workbench.study.main import run_study
from workbench.study.origins import origins_step
from workbench.testbed import CapConfig
from workbench.trajectories import band_of, trajectory

HOUSE = Path(__file__).parents[2]
CACHE = HOUSE / ".cache" / "docs"
UNSEEN = ("plots", "app", "cli", "report", "paper", "explorer", "study/report")
"""Beginnings of the names of parts that no number depends on: figures are drawn anew at every build."""
CAPS = CapConfig.of(windows=(3,), percentiles={"default": (25, 75), "all": (25, 75)}, limit=48)
"""A small grid, with the two percentiles that are confused beside the two that are not."""
DRIFT_LAYER, TALKS, TURNS, ORDINARY = 3, 6, 6, 20


def study() -> Run:
    """The finished study; made where it is not there (a minute or so), and taken from the cache otherwise."""
    folder = CACHE / code_hash()
    done = folder / "done.json"
    if not done.exists():
        run = run_study("organism", folder / "runs" / "organism", _say)
        model = Lazy(run)
        origins_step(run, model, _say, roles=24, texts=3)
        calibrate_step(run, model, _say, CAPS)
        _drift(run, model)
        write_json(done, {"study": str(run.folder.relative_to(folder))})
        for old in CACHE.iterdir():  # of code that is no more
            if old.is_dir() and old != folder:
                shutil.rmtree(old)
    return open_run(folder / read_json(done)["study"])


def code_hash() -> str:
    """What the study depends on: the package's code and the embedded model's files."""
    package = Path(workbench.__file__).parent
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(p for p in package.rglob("*") if p.suffix in (".py", ".json", ".jsonl", ".safetensors")):
        if not path.relative_to(package).as_posix().startswith(UNSEEN):
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _drift(run: Run, model: Lazy) -> None:
    """Scripted conversations of four domains, and ordinary ones for the band; tables of their own."""
    questions = [q["question"] for q in run.study["library"]["questions"]]
    ordinary = [Task(f"ordinary/{i}", "ordinary", messages=(*questions[i % 6 :], *questions[: i % 6])) for i in range(ORDINARY)]
    held = [simulate(model(), tasks, turns=TURNS) for tasks in (world_tasks(n=TALKS, turns=TURNS), ordinary)]
    frame, lies = (trajectory(model(), talks, run.axis, layers=[DRIFT_LAYER]) for talks in held)
    run.write_table("drift_means", domain_means(frame.assign(condition="baseline")))
    run.write_table("drift_band", band_of(lies))
    run.write_table("drift_talks", frame.assign(condition="baseline"))


def _say(step: str, done: int, total: int) -> None:
    if done == total:
        print(f"study for the figures: {step} {done}/{total}", flush=True)

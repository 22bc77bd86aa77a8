"""The run folder: every file is written whole or not at all, checked when it is read, and made again where damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load as load_tensors

from .activations import Activations, Site
from .directions import Direction
from .errors import RunError
from .interventions import Floor
from .parts import Parts, read_json, write_json
from .tensorfile import FORMAT, read_tensor_file, write_bytes, write_tensor_file
from .thresholds import Threshold

PROMPT_AXIS = "prompt_axis.safetensors"


class Run:
    """A run folder: configuration and state in ``study.json``, everything else beside it.

    Made by :func:`create_run`, opened by :func:`open_run`.
    """

    def __init__(self, folder: Path, study: dict[str, Any]) -> None:
        self.folder, self.study = folder, study

    def __repr__(self) -> str:
        done = ", ".join(name for name, step in self.study["steps"].items() if step.get("state") == "done") or "nothing yet"
        return f"Run({str(self.folder)!r}, {self.config.get('model')}, done: {done})"

    # -- state --------------------------------------------------------------------------------------
    @property
    def config(self) -> dict[str, Any]:
        """The study's configuration."""
        return self.study["config"]

    @property
    def recommended_layer(self) -> int:
        """The layer that the sweep recommends."""
        return int(self._need("sweep")["layer"])

    def is_done(self, step: str) -> bool:
        """Whether a step has been completed."""
        return self.study["steps"].get(step, {}).get("state") == "done"

    @property
    def weights(self) -> str:
        """The fingerprint of the weights that wrote or read the responses; empty where none was kept."""
        return self.study.get("weights") or self.study["steps"].get("extract", {}).get("site", {}).get("weights", "")

    def record(self, step: str, **facts: Any) -> None:
        """Mark a step as done, with what it found."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.study["steps"][step] = {"state": "done", "finished": now} | facts
        self.save()

    def save(self) -> None:
        """Write ``study.json``."""
        write_json(self.folder / "study.json", self.study)

    def parts(self, step: str) -> Parts:
        """The parts of a step's output."""
        return Parts(self.folder / step)

    def whole_parts(self, step: str, folder: str = "") -> Parts:
        """The parts of a step that is done, none of them lost.

        Raises
        ------
        RunError
            Where the step is not done, or there are fewer parts than it made.
        """
        made, parts = self._need(step).get("parts"), self.parts(folder or step)
        if made is not None and len(parts) != made:
            raise RunError(
                f"{parts.folder} records {len(parts)} parts, and {made} were made: run the study again with the same command, and only "
                "what is lost is made anew"
            )
        return parts

    def _need(self, step: str) -> dict[str, Any]:
        if not self.is_done(step):
            raise RunError(f"{self.folder} has no {step} yet: run `workbench {step} {self.folder}` (or the whole study again)")
        return self.study["steps"][step]

    # -- what was made ------------------------------------------------------------------------------
    @property
    def rollouts(self) -> pd.DataFrame:
        """All responses in the plan's order, with their judgements where there are any."""
        frame = self.table("rollouts")
        if self.is_done("judge"):
            labels = self.table("judgements").set_index("row")
            frame = frame.assign(**{c: frame["row"].map(labels[c]) for c in ("label", "reason", "judge")})
        return frame

    def table(self, step: str) -> pd.DataFrame:
        """A table kept in Parquet parts, in the order of the plan."""
        parts = self.whole_parts({"judgements": "judge"}.get(step, step), step)
        frame = pd.concat([parts.frame(i) for i in range(len(parts))], ignore_index=True)
        return frame.sort_values("row", key=lambda rows: rows.map(self._order())).reset_index(drop=True)

    def _order(self) -> dict[str, int]:
        rows = pd.read_parquet(self.folder / "rollouts" / "plan.parquet", columns=["row"])["row"]
        return {row: i for i, row in enumerate(rows)}

    def activations(self) -> Activations:
        """Response means: of all rows, or of the seeded sample that a large study keeps."""
        return self._activations("response")

    def every_response(self) -> Activations:
        """Every response's mean: at all layers of a small study, at ``keep_layers`` of a large one."""
        facts = self._need("extract")
        if facts["kept"] == "all":
            return self.activations()
        if not facts.get("single"):
            raise RunError(
                f"{self.folder} is a large study and kept the vectors of a sample only: run it with --keep-layers to keep all at "
                "chosen layers"
            )
        parts = self.whole_parts("extract", "activations")
        rows = pd.concat([parts.frame(i, "single.parquet") for i in range(len(parts))], ignore_index=True)
        values = torch.cat([load_tensors(parts.read(i, "single.safetensors"))["values"] for i in range(len(parts))])
        return self._in_order(rows, values, Site.from_dict(facts["site"]).with_layers(tuple(facts["single"])))

    def groups(self) -> Activations | None:
        """Means by role, prompt and label of a large study; None where every response was kept."""
        return self._activations("group") if self._need("extract")["kept"] == "sample" else None

    def _activations(self, kind: str) -> Activations:
        facts, parts = self._need("extract"), self.whole_parts("extract", "activations")
        tables, tensors = [], []
        for number in range(len(parts)):
            table = parts.frame(number)
            wanted = (table["kind"] == kind).to_numpy()
            tables.append(table[wanted])
            tensors.append(load_tensors(parts.read(number, "safetensors"))["values"][torch.as_tensor(np.flatnonzero(wanted))])
        rows, values = pd.concat(tables, ignore_index=True).drop(columns="kind"), torch.cat(tensors)
        if kind == "group":
            return Activations(values, rows.drop(columns="row"), Site.from_dict(facts["site"]))
        return self._in_order(rows[["row"]], values, Site.from_dict(facts["site"]))

    def _in_order(self, rows: pd.DataFrame, values: torch.Tensor, site: Site) -> Activations:
        """Vectors of single responses in the order of the plan, with all that is known of each."""
        positions = rows["row"].map(self._order()).to_numpy().argsort(kind="stable")
        rows, values = rows.iloc[positions].reset_index(drop=True), values[torch.as_tensor(positions)]
        rollouts = self.rollouts.set_index("row").drop(columns=["messages", "response_ids", "thinking_ids"], errors="ignore")
        return Activations(values, rows.join(rollouts, on="row"), site)

    @property
    def role_vectors(self) -> Activations:
        """One vector a role, the default among them: columns ``role, label, n``."""
        self._need("axis")
        return load_activations(self.folder / "role_vectors.safetensors")

    @property
    def axis(self) -> Direction:
        """The Assistant Axis at every layer; + points to the Assistant."""
        self._need("axis")
        return Direction.load(self.folder / "axis.safetensors")

    @property
    def prompt_axis(self) -> Direction | None:
        """The axis of the prompts' effects alone, + towards the default; None where it was not fitted."""
        path = self.folder / PROMPT_AXIS
        return Direction.load(path) if path.exists() else None

    @property
    def sweep(self) -> pd.DataFrame:
        """The layer sweep's table."""
        self._need("sweep")
        return pd.read_csv(self.folder / "tables" / "sweep.csv")

    def space(self, layer: int | str = "recommended") -> Any:
        """The persona space at a layer (``"recommended"``: the sweep's)."""
        from .persona_space import PersonaSpace

        chosen = self.recommended_layer if layer == "recommended" else int(layer)
        return PersonaSpace(chosen).fit(self.role_vectors)

    @property
    def caps(self) -> dict[str, Floor]:
        """The caps that were calibrated, by name: ``"recommended"``, and ``"spares roles"`` where there is one."""
        self._need("calibrate")
        found = read_json(self.folder / "calibration" / "choices.json")["choices"]
        if not found:
            raise RunError(f"calibration found no cap worth recommending: see {self.folder / 'tables' / 'calibration.csv'}")
        axis = self.axis
        return {
            c["name"]: Floor(axis, Threshold.from_dict(c["threshold"]), layers=c["setting"]["layers"], positions=c["setting"]["positions"])
            for c in found
        }

    @property
    def threshold(self) -> Threshold:
        """The threshold of the recommended cap: its levels, its set, and the direction that its percentile is counted along."""
        at = self.caps["recommended"].at
        assert isinstance(at, Threshold)
        return at

    @property
    def report(self) -> Path:
        """Where the report is."""
        return self.folder / "report.html"

    def write_table(self, name: str, frame: pd.DataFrame) -> Path:
        """Write ``tables/NAME.csv``."""
        path = self.folder / "tables" / f"{name}.csv"
        write_bytes(path, frame.to_csv(index=False, lineterminator="\n").encode())
        return path


MayChange = Callable[["Run", str, Any, Any], bool]
"""Of a run, a setting, what it was and what it is now: whether the run may go on with it."""


def create_run(folder: str | Path, config: dict[str, Any], may_change: MayChange = lambda run, name, was, now: False) -> Run:
    """A new run folder, or the one that is there where its configuration is the same.

    Parameters
    ----------
    may_change
        Which settings may differ from those of the folder, which then takes the new ones; none where not given.

    Raises
    ------
    RunError
        Where the folder holds something else, or a run with another configuration.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file, not a folder for a run")
    if (folder / "study.json").exists():
        run = open_run(folder)
        if not run.study["steps"]:  # nothing was done under the old settings: a mistake may be mended in place
            run.study["config"] = config
            run.save()
        changed = [k for k in sorted({*config, *run.config}) if config.get(k) != run.config.get(k)]
        if fixed := [k for k in changed if not may_change(run, k, run.config.get(k), config.get(k))]:
            was = ", ".join(f"{k} {run.config.get(k)!r}, now {config.get(k)!r}" for k in fixed[:3])
            raise RunError(
                f"{folder} holds a study with other settings ({was}): give the same ones to go on, or choose another folder with --out"
            )
        run.study["config"] |= {k: config[k] for k in changed}
        return run
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no study: choose another folder with --out")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    run = Run(folder, {"format": FORMAT, "kind": "study", "created": now, "config": config, "steps": {}})
    run.save()
    return run


def open_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises
    ------
    RunError
        Where there is none, or its ``study.json`` is unreadable or foreign.
    """
    folder = Path(folder)
    path = folder / "study.json"
    if not path.exists():
        raise RunError(f"{folder} is not a run folder: it has no study.json")
    study = read_json(path)
    if study.get("format") != FORMAT or study.get("kind") != "study" or "config" not in study or "steps" not in study:
        raise RunError(f"{path} is not a study of {FORMAT} (format {study.get('format')!r})")
    return Run(folder, study)


def save_activations(path: Path, acts: Activations, kind: str, made_from: dict[str, Any]) -> Path:
    """Write activations as one safetensors file whose header carries rows and site."""
    records = json.loads(acts.rows.to_json(orient="records"))
    return write_tensor_file(path, kind, acts.values, {"rows": records, "site": acts.site.to_dict(), "made_from": made_from})


def load_activations(path: Path, kind: str = "role vectors") -> Activations:
    """Read a file of :func:`save_activations`."""
    values, header = read_tensor_file(path, kind)
    return Activations(values, pd.DataFrame(header["rows"]), Site.from_dict(header["site"]))

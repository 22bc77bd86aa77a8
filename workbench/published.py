"""The layout in which the paper's authors publish their vectors: read into a run folder, and written back bit for bit.

Mind the sign trap (:mod:`workbench.thresholds`): a published cap is a *ceiling* ``h - v max(<h, v> - cap, 0)`` on a vector
``v = role - default``. On a vector that points against the axis this is a floor along it: on ``-v``, at ``-cap``. Nothing
here trusts a name for that: each vector's sign is measured against the axis of its own layer, and said.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from .activations import Activations, Site
from .conversations import DEFAULT_ROLE
from .directions import Direction, contrast
from .errors import RunError
from .interventions import Ceiling, Floor, Intervention
from .parts import read_json, write_json
from .published_files import AXIS, CAPS, DEFAULT, TABLES, PublishedCaps, PublishedFile, put_together, read_layout
from .store import Run, create_run, save_activations
from .tensorfile import read_tensor_file, write_bytes, write_tensor_file

SIGN = (
    "Levels lie along each limit's own direction. A floor is the published ceiling with vector and cap turned: published -32.5 is +32.5 "
    "here, and its percentile p is 100 - p along the axis."
)
CLOSE = 0.9
"""A capping vector whose cosine with the axis is smaller than this, either way, is named."""


# -- import -------------------------------------------------------------------------------------------
def import_published(folder: str | Path, out: str | Path, model: str = "") -> tuple[Run, list[str]]:
    """Read published vectors into a run folder of our format (the paper's axis, role vectors and caps).

    Parameters
    ----------
    folder
        Holds at least one of ``assistant_axis.pt``, ``default_vector.pt``, ``role_vectors/*.pt``, ``trait_vectors/*.pt``
        (tensors ``[n_layers, d_model]``, raw or in a dict) and ``capping_config.pt``.
    out
        The run's folder; an earlier import of the same name there is replaced.
    model
        Name of the model they were taken from; the folder's name where empty.

    Returns
    -------
    Run, list of str
        The run, and what was found, in sentences: above all which way everything points. Nothing is turned silently.

    Raises
    ------
    DataError
        Where a file holds anything but tensors and plain values (nothing in it is run), a wrong shape, values that are
        not finite, or no known key; before anything is written.
    """
    folder, out = Path(folder), Path(out)
    layout = read_layout(folder)
    name = model or folder.resolve().name
    tables = {column: _table(column, files, name) for column, files in layout.tables.items() if files}
    axis, notes = _axis(layout.axis, tables.get("role"), name)
    caps, said = _described(layout.caps, axis) if layout.caps else ({}, [])
    notes += said
    notes += [f"Not part of the layout, and not imported: {', '.join(layout.ignored)}."] if layout.ignored else []
    run = create_run(out, {"model": name, "imported_from": folder.resolve().name})
    run.study["steps"] = {}
    run.save()  # before anything is taken away
    for old in ("axis.safetensors", *(f"{stem}.safetensors" for stem, _ in TABLES.values()), "caps/vectors.safetensors", "caps/caps.json"):
        (out / old).unlink(missing_ok=True)
    for column, table in tables.items():
        files = [{"path": f.path, "row": i, "form": f.form} for i, f in enumerate(layout.tables[column].values())]
        save_activations(out / f"{TABLES[column][0]}.safetensors", table, TABLES[column][1], {"published": files})
    if layout.caps:
        write_tensor_file(out / "caps" / "vectors.safetensors", "cap vectors", layout.caps.values, {"vectors": caps["vectors"]})
        write_json(out / "caps" / "caps.json", caps)
    if axis is not None:
        axis.save(out / "axis.safetensors")
        run.record("axis", roles=len(layout.tables["role"].keys() - {DEFAULT_ROLE}), notes=[])
    counts = {TABLES[column][0]: len(files) for column, files in layout.tables.items()}
    run.record("import", **counts, experiments=len(layout.caps.experiments) if layout.caps else 0, notes=notes)
    return run, notes


def _table(column: str, files: Mapping[str, PublishedFile], model: str) -> Activations:
    values = torch.stack([file.values for file in files.values()])
    rows = pd.DataFrame({column: list(files), "label": "published", "n": 1})
    return Activations(values, rows, _site(model, range(values.shape[1]), values.shape[2]))


def _site(model: str, layers: Iterable[int], d_model: int) -> Site:
    return Site(model=model, layers=tuple(layers), d_model=d_model)


def _axis(file: PublishedFile | None, roles: Activations | None, model: str) -> tuple[Direction | None, list[str]]:
    """The published axis, or the contrast where there is none; and which way it points."""
    names = [] if roles is None else list(roles.rows["role"])
    ours = contrast(roles) if roles is not None and DEFAULT_ROLE in names and len(names) > 1 else None
    theirs = f"the mean of the {len(names) - 1} roles"
    if file is None:
        if ours is None:
            return None, [f"There is no {AXIS}, and no default and roles to make one from: the run has no axis."]
        return ours, [f"There is no {AXIS}: the axis is the default minus {theirs}, computed here."]
    made_from = {"method": "as published", "published": [{"path": AXIS, "row": 0, "form": file.form}]}
    n_layers, d_model = file.values.shape
    axis = Direction(file.values, _site(model, range(n_layers), d_model), "assistant axis", "default (as published)", made_from)
    if ours is None:
        return axis, ["Sign: the published axis is taken to point to the default; without default and role vectors that cannot be checked."]
    cosine = axis.cosine(ours)
    size = f"Cosine of the published axis with the default minus {theirs}: at least {float(cosine.min()):.4f}."
    away = [n for n, c in enumerate(cosine.tolist()) if c <= 0]
    if not away:
        return axis, [f"Sign: the published axis points to the default at every layer; the default projects beyond {theirs}.", size]
    if 2 * len(away) > n_layers:
        axis = replace(axis, toward="away from the default (though published as the axis)")
    where = f"{len(away)} of {n_layers} layers ({_list(away)})"
    return axis, [f"Sign: the published axis points AWAY from the default at {where}; kept so: turn it (-run.axis) before use.", size]


# -- caps ---------------------------------------------------------------------------------------------
def _described(caps: PublishedCaps, axis: Direction | None) -> tuple[dict[str, Any], list[str]]:
    """``caps.json``, and sentences about signs and thresholds."""
    notes, vectors = [], caps.vectors
    if axis is None:
        notes.append(f"Without an axis the signs in {CAPS} cannot be checked: its caps stay ceilings on the published vectors.")
    else:
        units = torch.nn.functional.normalize(caps.values.double(), dim=-1)
        along = axis.unit().values.double()[[v["layer"] for v in vectors]]
        vectors = [v | {"cosine": c} for v, c in zip(vectors, (units * along).sum(-1).tolist(), strict=True)]
        cosines = [v["cosine"] for v in vectors]
        notes.append(
            f"Cosines of the {len(vectors)} capping vectors with the axis of their own layer: {min(cosines):+.4f} to {max(cosines):+.4f}."
        )
        if same := [v["name"] for v in vectors if v["cosine"] >= 0]:
            notes.append(f"Not reversed but along the axis, so that their caps are ceilings along it: {_list(same)}.")
        if far := [f"{v['name']} ({v['cosine']:+.2f})" for v in vectors if abs(v["cosine"]) < CLOSE]:
            notes.append(f"Far from the axis (|cosine| under {CLOSE}), so that their caps say little about it: {_list(far)}.")
    experiments = []
    for experiment in caps.experiments:
        limits = _limits(experiment, {v["name"]: v for v in vectors})
        kinds = sorted({limit["kind"] for limit in limits})
        layers = sorted({int(n) for limit in limits for n in limit["levels"]})
        experiments.append({"id": experiment["id"], "layers": layers, "kind": " and ".join(kinds), "positions": "all", "limits": limits})
        notes.append(_in_words(experiment["id"], limits, layers, axis is not None))
    toward = axis.toward if axis is not None else ""
    return {"sign": SIGN, "toward": toward, "vectors": vectors, "experiments": experiments, "published": caps.form}, notes


def _limits(experiment: Mapping[str, Any], vectors: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """An experiment's interventions as floors and ceilings, one number a layer each, in an order that changes nothing."""
    limits: list[dict[str, Any]] = []
    for item in experiment["interventions"]:
        layer, cosine = vectors[item["vector"]]["layer"], vectors[item["vector"]].get("cosine")
        turned = cosine is not None and cosine < 0
        kind = "floor" if turned else "ceiling"
        after = max((i + 1 for i, limit in enumerate(limits) if layer in limit["levels"]), default=0)
        limit = next((limit for limit in limits[after:] if limit["kind"] == kind), None)
        if limit is None:
            limits.append(limit := {"kind": kind, "levels": {}, "vectors": {}})
        limit["levels"][layer] = -item["cap"] if turned else item["cap"]
        limit["vectors"][layer] = item["vector"]
    return limits


def _in_words(name: str, limits: Sequence[Mapping[str, Any]], layers: Sequence[int], known: bool) -> str:
    parts = []
    for limit in limits:
        turned, levels = limit["kind"] == "floor", limit["levels"]
        along = "along the axis" if known else "along the published vectors"
        was = f", published as ceilings at {', '.join(f'{-v:+g}' for v in levels.values())} on reversed vectors" if turned else ""
        parts.append(f"{limit['kind']}s {along} at {', '.join(f'{v:+g} (layer {n})' for n, v in levels.items())}{was}")
    text = f"{name}: {'; then '.join(parts) or 'nothing is capped'}."
    if (percentile := re.search(r"-p(\d*\.?\d+)$", name)) and limits:
        q = 100 * float(percentile[1])
        meant = {"floor": f"percentile {100 - q:g} along the axis", "ceiling": f"percentile {q:g} as it stands"}
        text += f" Its p{percentile[1]} counts along the published vectors: {', '.join(dict.fromkeys(meant[t['kind']] for t in limits))}."
    window = re.search(r"layers_(\d+):(\d+)", name)
    if window and layers != list(range(int(window[1]), int(window[2]))):
        text += f" Its name says layers {window[1]} to {int(window[2]) - 1}, which is not what it caps."
    return text


def load_caps(run: Run | str | Path, transfer: bool = True) -> dict[str, list[Intervention]]:
    """The imported capping experiments as interventions.

    Parameters
    ----------
    run
        A run, or its folder, of :func:`import_published`.
    transfer
        Passed on: published vectors carry no fingerprint of the weights they were taken from, so that a model other than
        a nameless one refuses them without it.

    Returns
    -------
    dict
        Experiment -> usually one :class:`Floor` along the axis; more where floors and ceilings, or several on one layer,
        are mixed, to be applied in this order.
    """
    folder = run.folder if isinstance(run, Run) else Path(run)
    if not (folder / "caps" / "caps.json").exists():
        raise RunError(f"{folder} holds no imported caps: import a folder with a {CAPS}")
    known = read_json(folder / "caps" / "caps.json")
    values, header = read_tensor_file(folder / "caps" / "vectors.safetensors", "cap vectors")
    index = {v["name"]: i for i, v in enumerate(header["vectors"])}
    config = read_json(folder / "study.json")["config"]
    found: dict[str, list[Intervention]] = {}
    for experiment in known["experiments"]:
        found[experiment["id"]] = []
        for limit in experiment["limits"]:
            levels = {int(n): float(v) for n, v in limit["levels"].items()}
            chosen = values[[index[limit["vectors"][str(n)]] for n in levels]]
            site = _site(config["model"], levels, values.shape[1])
            floor = limit["kind"] == "floor"
            toward = known["toward"] or "unknown: as published, with no axis to compare"
            direction = Direction(-chosen if floor else chosen, site, experiment["id"], toward, {"method": "published capping vectors"})
            found[experiment["id"]].append((Floor if floor else Ceiling)(direction, levels, transfer=transfer))
    return found


# -- export -------------------------------------------------------------------------------------------
def export_published(run: Run, out: str | Path, caps: Sequence[str] | None = None) -> tuple[list[Path], list[str]]:
    """Write a run in the published layout: an imported one exactly as it came, a study of ours as raw float32 tensors.

    Parameters
    ----------
    out
        A folder that is new or empty.
    caps
        Names of calibrated caps (or, in an imported run, of experiments) to write; all where None. A study's floor along
        the axis at ``t`` is written as the ceiling at ``-t`` on the reversed unit axis that the format means.

    Returns
    -------
    list of Path, list of str
        What was written, and what was left out and why, in sentences.

    Raises
    ------
    RunError
        Where `out` is not empty, a name in `caps` is unknown, or none of them can be expressed.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is not an empty folder: choose another one")
    if run.is_done("import"):
        files, notes = dict(_imported_files(run, caps)), []
    else:
        config, notes = _native_caps(run, caps)
        files = _native_files(run) | ({CAPS: config} if config else {})
    targets = {out / name: content for name, content in files.items()}
    if outside := [p for p in targets if out.resolve() not in p.resolve().parents]:
        raise RunError(f"{outside[0]} would lie outside {out}: the name is no file name")
    for path, content in targets.items():
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_bytes(path, buffer.getvalue())
    return list(targets), notes


def _imported_files(run: Run, names: Sequence[str] | None) -> Iterator[tuple[str, Any]]:
    kinds = {"axis": "direction"} | {stem: kind for stem, kind in TABLES.values()}
    for stem, kind in kinds.items():
        path = run.folder / f"{stem}.safetensors"
        values, header = read_tensor_file(path, kind) if path.exists() else (torch.empty(0), {"made_from": {}})
        for file in header["made_from"].get("published", []):
            yield file["path"], put_together(file["form"], iter([values if kind == "direction" else values[file["row"]]]))
    if (run.folder / "caps" / "caps.json").exists():
        form = read_json(run.folder / "caps" / "caps.json")["published"]
        kept = _chosen([e["id"] for e in form["experiments"]], names)
        form["experiments"] = [e for e in form["experiments"] if e["id"] in kept]
        values, _ = read_tensor_file(run.folder / "caps" / "vectors.safetensors", "cap vectors")
        yield CAPS, put_together(form, iter(values))
    elif names:
        raise RunError(f"{run.folder} holds no imported caps, so that {names[0]!r} cannot be written")


def _chosen(known: Sequence[str], names: Sequence[str] | None) -> list[str]:
    if unknown := [n for n in names or [] if n not in known]:
        raise RunError(f"there is no cap {unknown[0]!r} to export; there are {', '.join(known)}")
    return list(known if names is None else names)


def _native_files(run: Run) -> dict[str, Any]:
    axis, vectors = run.axis, run.role_vectors
    layers = axis.site.layers
    if layers != tuple(range(len(layers))):
        raise RunError(f"the published layout counts layers from 0, row by row, and {run.folder} read layers {_list(layers)} only")
    roles = [(DEFAULT if role == DEFAULT_ROLE else f"role_vectors/{role}.pt") for role in vectors.rows["role"]]
    if odd := [path for path in roles if path.count("/") > 1 or "\\" in path]:
        raise RunError(f"a role's name must serve as a file's, and {odd[0]} does not")
    return {AXIS: axis.values.clone()} | {path: vectors.values[i].clone() for i, path in enumerate(roles)}


def _native_caps(run: Run, names: Sequence[str] | None) -> tuple[dict[str, Any] | None, list[str]]:
    """A study's calibrated floors as ceilings on the reversed unit axis; and why there are none, or fewer."""
    if names is None and not run.is_done("calibrate"):
        return None, [f"{CAPS} is left out: {run.folder} has no calibrated caps."]
    try:
        known = run.caps
    except RunError as error:
        if names is not None:
            raise
        return None, [f"{CAPS} is left out: {error}."]
    floors = {name: known[name] for name in _chosen(list(known), names)}
    notes = [
        f"Cap {n!r} acts at {f.positions} positions, which the format cannot say: left out."
        for n, f in floors.items()
        if f.positions != "all"
    ]
    floors = {name: floor for name, floor in floors.items() if floor.positions == "all"}
    if not floors:
        if names is not None:
            raise RunError(f"none of the caps {', '.join(names)} can be written: the published format caps at all positions only")
        return None, [*notes, f"{CAPS} is left out: no cap remains."]
    vectors: dict[str, Any] = {}
    experiments = []
    for name, floor in floors.items():
        units = {n: f"layer_{n}/contrast_role_pos3_default1" for n in floor.at_layers}
        vectors |= {key: {"vector": -floor.unit(n), "layer": n} for n, key in units.items()}
        items = [{"vector": key, "cap": -floor.levels[n]} for n, key in units.items()]
        experiments.append({"id": f"layers_{floor.at_layers[0]}:{floor.at_layers[-1] + 1}-{name}", "interventions": items})
    return {"vectors": vectors, "experiments": experiments}, notes


def _list(items: Sequence[Any], most: int = 6) -> str:
    shown = ", ".join(map(str, items[:most]))
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"

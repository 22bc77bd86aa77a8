"""The directions of a run by name: its axis, components of its persona space, its traits, and saved files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from ..compare import study_layer
from ..conversations import DEFAULT_ROLE
from ..directions import Direction
from ..errors import DataError
from ..persona_space import PersonaSpace
from ..store import Run
from ..study.traits import FILE, trait_vectors

AXIS, PROMPTS = "axis", "prompt axis"
COMPONENTS = 6
"""So many components of persona space are offered."""
FOLDER = "directions"
"""Saved directions in this folder of a run are offered by their names."""


def direction_names(run: Run, files: Mapping[str, Path] | None = None) -> list[str]:
    """What :func:`direction_of` knows: ``axis``, ``prompt axis``, ``PC1`` ..., ``trait NAME`` ..., ``file NAME`` ..."""
    names = [AXIS, *([PROMPTS] if run.prompt_axis is not None else [])]
    roles = int((run.role_vectors.rows["role"] != DEFAULT_ROLE).sum())
    names += [f"PC{i}" for i in range(1, min(COMPONENTS, roles - 1) + 1)]
    names += [f"trait {name}" for name in (trait_vectors(run).rows["role"] if _has_traits(run) else ())]
    return names + [f"file {name}" for name in files_of(run, files)]


def direction_of(run: Run, name: str, files: Mapping[str, Path] | None = None) -> Direction:
    """A direction of a run, at all of its axis's layers.

    Parameters
    ----------
    name
        ``axis``; ``prompt axis`` (of the prompts' effects alone); ``PC1``, ``PC2``, ... (fitted at each layer; + at the recommended
        layer as :class:`PersonaSpace` says, turned at the others to agree with their neighbours); ``trait NAME`` (+ = more of it);
        ``file NAME`` (a file of :meth:`Direction.save` in the run's folder ``directions``, or one of `files`).
    files
        Name -> path of further files.

    Raises
    ------
    DataError
        Where the run has no such direction.
    """
    if name == AXIS:
        return run.axis
    if name == PROMPTS and (prompts := run.prompt_axis) is not None:
        return prompts
    kind, _, rest = name.partition(" ")
    if kind == "trait" and _has_traits(run):
        return _trait(run, rest)
    if kind == "file":
        known = files_of(run, files)
        if rest in known:
            return Direction.load(known[rest])
    if name.startswith("PC") and name[2:].isdigit():
        return component_of(run, int(name[2:]))
    raise DataError(f"{run.folder} has no direction {name!r}: there are {', '.join(direction_names(run, files))}")


def files_of(run: Run, files: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Saved directions by name: those in the run's folder, and others."""
    own = {path.stem: path for path in sorted((run.folder / FOLDER).glob("*.safetensors"))}
    return own | dict(files or {})


def component_of(run: Run, number: int) -> Direction:
    """A component of persona space at every layer of the run's axis, each fitted there, turned so that neighbours agree."""
    vectors, layers = run.role_vectors, run.axis.site.layers
    start = layers.index(study_layer(run))
    space = PersonaSpace(layers[start]).fit(vectors)
    found = {start: space.component(number)}
    for order in (range(start + 1, len(layers)), range(start - 1, -1, -1)):
        for i in order:
            row = PersonaSpace(layers[i]).fit(vectors).component(number)
            before = found[i - 1 if i > start else i + 1]
            found[i] = -row if float((row.values * before.values).sum()) < 0 else row
    values = torch.cat([found[i].values for i in range(len(layers))])
    roles = [role for role in vectors.rows["role"] if role != DEFAULT_ROLE]
    scores = space.transform(vectors.where(f"role != '{DEFAULT_ROLE}'"))[:, number - 1]
    end = "the default's side" if number == 1 else f"the side of {roles[int(scores.argmax())]}"
    return replace(run.axis, values=values, name=f"PC{number}", toward=end, made_from=dict(found[start].made_from))


def _has_traits(run: Run) -> bool:
    return (run.folder / FILE).exists()


def _trait(run: Run, trait: str) -> Direction:
    vectors = trait_vectors(run)
    names = vectors.rows["role"].tolist()
    if trait not in names:
        raise DataError(f"{run.folder} has no vector of the trait {trait!r}: there are {', '.join(names)}")
    values = vectors.values[names.index(trait)]
    return Direction(values, vectors.site, f"trait {trait}", f"more {trait}", {"method": "opposite prompts"})

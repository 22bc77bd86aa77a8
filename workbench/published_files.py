"""Reading the paper's published layout: tensors and plain values only, checked one by one, every error with its file."""

from __future__ import annotations

import math
import pickle
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .conversations import DEFAULT_ROLE
from .errors import DataError

AXIS, DEFAULT, CAPS = "assistant_axis.pt", "default_vector.pt", "capping_config.pt"
TABLES = {"role": ("role_vectors", "role vectors"), "trait": ("trait_vectors", "trait vectors")}
"""Column -> folder (and our file's stem), and the kind of our file."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True, eq=False)
class PublishedFile:
    """A published file: its path in the layout, what it holds with tensors as markers, and its tensor in float32."""

    path: str
    form: Any
    values: Tensor


@dataclass(frozen=True, eq=False)
class PublishedCaps:
    """``capping_config.pt``: what it holds with tensors as markers; vectors in its order; experiments as published."""

    form: Any
    values: Tensor
    vectors: list[dict[str, Any]]
    experiments: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class PublishedLayout:
    """All files of a folder in the published layout."""

    axis: PublishedFile | None
    tables: dict[str, dict[str, PublishedFile]]
    """Column of :data:`TABLES` -> name of a role or trait -> its file."""
    caps: PublishedCaps | None
    ignored: list[str]


def _open(path: Path) -> tuple[Any, Any, list[Tensor]]:
    """What a file of ``torch.save`` holds, the same with tensors as markers, and the tensors; nothing in it is run."""
    tensors: list[Tensor] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol: what cannot be read is an error below
            content = torch.load(path, weights_only=True, map_location="cpu")
        return content, _taken_apart(content, path, tensors), tensors
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL:? (\S+)", str(error), re.IGNORECASE)
        what = f"something other than tensors and plain values{f' ({named[1]})' if named else ''}"
        raise DataError(f"{path} holds {what}: it was refused, and nothing in it was run") from error
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise DataError(f"{path} cannot be read as a file of torch.save ({type(error).__name__})") from error


def _taken_apart(content: Any, path: Path, tensors: list[Tensor]) -> Any:
    """The content as JSON values, each tensor a marker with its dtype; the tensors go to `tensors` in the order met."""
    if isinstance(content, Tensor):
        tensors.append(content)
        return {"$tensor": str(content.dtype).removeprefix("torch.")}
    if isinstance(content, dict) and all(isinstance(k, str) and not k.startswith("$") for k in content):
        return {k: _taken_apart(v, path, tensors) for k, v in content.items()}
    if isinstance(content, (list, tuple)):
        parts = [_taken_apart(v, path, tensors) for v in content]
        return parts if isinstance(content, list) else {"$tuple": parts}
    if content is None or isinstance(content, (bool, int, float, str)):
        return content
    raise DataError(f"{path} holds a {type(content).__name__} that cannot be kept: only tensors and plain values (dicts by name) can")


def put_together(form: Any, tensors: Iterator[Tensor]) -> Any:
    """What :func:`_taken_apart` took apart; each tensor gets its dtype back, and storage of its own."""
    if isinstance(form, list):
        return [put_together(v, tensors) for v in form]
    if not isinstance(form, dict):
        return form
    if "$tensor" in form:
        return next(tensors).to(getattr(torch, form["$tensor"])).clone()
    if "$tuple" in form:
        return tuple(put_together(v, tensors) for v in form["$tuple"])
    return {k: put_together(v, tensors) for k, v in form.items()}


def _checked(tensor: Tensor, where: str, shape: Sequence[int | None]) -> Tensor:
    """The tensor in float32; refused where it is no dense, finite tensor of floats of that shape (None: any length)."""
    if tensor.layout is not torch.strided or tensor.dtype not in DTYPES or tensor.device.type != "cpu":
        raise DataError(f"{where} is no dense tensor of 16, 32 or 64 bit floats but {tensor.dtype} ({tensor.layout}, {tensor.device})")
    if tensor.ndim != len(shape) or any(n == 0 or want not in (None, n) for n, want in zip(tensor.shape, shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise DataError(f"{where} has shape {list(tensor.shape)}; [{wanted}] is what fits")
    values = tensor.detach().to(torch.float32).contiguous()
    if bad := int((~torch.isfinite(values)).sum()):
        raise DataError(f"{where} holds {bad} values that are not finite")
    if not torch.equal(values.to(tensor.dtype), tensor):
        raise DataError(f"{where} holds {tensor.dtype} numbers with more digits than float32 keeps: save it as float32 first")
    return values


def _field(entry: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataError(f"{where} needs {key!r} as {kinds}, and has {'none' if value is None else f'a {type(value).__name__}'}")
    return value


def read_layout(folder: Path) -> PublishedLayout:
    """Read every file of the layout; an error names the file and what is wrong with it."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of published vectors")
    shape: tuple[int | None, int | None] = (None, None)
    axis, tables = None, {column: {} for column in TABLES}
    planned = [(folder / AXIS, "axis", ""), (folder / DEFAULT, "role", DEFAULT_ROLE)]
    planned += [(p, column, p.stem) for column, (name, _) in TABLES.items() for p in sorted((folder / name).glob("*.pt"))]
    for path, column, name in planned:
        if not path.exists():
            continue
        file = _read_file(folder, path, "axis" if column == "axis" else "vector", shape)
        shape = (file.values.shape[0], file.values.shape[1])
        if column == "axis":
            axis = file
        elif name in tables[column]:
            raise DataError(f"{folder / tables[column][name].path} and {path} are both the {name} {column}: take one of them away")
        else:
            tables[column][name] = file
    caps = _read_caps(folder / CAPS, shape) if (folder / CAPS).exists() else None
    if axis is None and caps is None and not any(tables.values()):
        raise DataError(f"{folder} holds no {AXIS}, {DEFAULT}, role_vectors/*.pt, trait_vectors/*.pt or {CAPS}: nothing to import")
    known = {AXIS, DEFAULT, CAPS, *(name for name, _ in TABLES.values())}
    return PublishedLayout(axis, tables, caps, sorted(p.name for p in folder.iterdir() if p.name not in known))


def _read_file(folder: Path, path: Path, key: str, shape: Sequence[int | None]) -> PublishedFile:
    content, form, tensors = _open(path)
    found = content.get(key) if isinstance(content, dict) else content
    if not isinstance(found, Tensor) or len(tensors) != 1:
        held = f"a dict of {', '.join(map(repr, content))}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DataError(f"{path} holds {held}, where one tensor or a dict with one tensor {key!r} is expected")
    values = _checked(found, str(path), shape)
    if key == "axis" and (zero := torch.nonzero(~values.any(dim=-1)).flatten().tolist()):
        raise DataError(f"{path} is zero at layer {zero[0]}: it points nowhere")
    return PublishedFile(path.relative_to(folder).as_posix(), form, values)


def _read_caps(path: Path, shape: tuple[int | None, int | None]) -> PublishedCaps:
    content, form, tensors = _open(path)
    vectors = _field(content, "vectors", dict, str(path))
    values: list[Tensor] = []
    for name, entry in vectors.items():
        where = f"{path}: vector {name!r}"
        layer = _field(entry, "layer", int, where)
        if layer < 0 or (shape[0] is not None and layer >= shape[0]):
            raise DataError(f"{where} has layer {layer}, and the model has {shape[0]} layers counted from 0")
        values.append(_checked(_field(entry, "vector", Tensor, where), where, [len(values[0]) if values else shape[1]]))
        if not values[-1].any():
            raise DataError(f"{where} is zero: it points nowhere")
    if not values or len(tensors) != len(values):
        raise DataError(f"{path} holds {len(tensors)} tensors for {len(values)} vectors")
    experiments = _field(content, "experiments", list, str(path))
    for number, experiment in enumerate(experiments):
        where = f"{path}: experiment {number}"
        where += f" ({_field(experiment, 'id', str, where)})"
        for item in _field(experiment, "interventions", list, where):
            if (name := _field(item, "vector", str, where)) not in vectors:
                raise DataError(f"{where} names the vector {name!r}, which is not there")
            if not math.isfinite(_field(item, "cap", (int, float), where)):
                raise DataError(f"{where} has a cap that is not finite")
    names = [e["id"] for e in experiments]
    if twice := [n for n in names if names.count(n) > 1]:
        raise DataError(f"{path} has {len(twice)} experiments of the name {twice[0]!r}")
    return PublishedCaps(form, torch.stack(values), [{"name": n, "layer": v["layer"]} for n, v in vectors.items()], experiments)

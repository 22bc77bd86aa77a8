"""Control vectors in GGUF, the format of llama.cpp: vectors that are added to the residual stream, and nothing else.

A tensor ``direction.N`` is added to what 0-based block N puts out: the place that a 0-based layer means everywhere here. Its
reader has no place for block 0.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .activations import as_layers
from .directions import Direction
from .errors import DataError, WorkbenchError
from .interventions import Ceiling, Floor, Intervention
from .tensorfile import write_bytes
from .thresholds import check_layers

ARCHITECTURE = "controlvector"
PREFIX = "direction."


def export_gguf(
    direction: Direction, path: str | Path, strength: float = 1.0, layers: Sequence[int] | None = None, model_hint: str = ""
) -> tuple[Path, list[str]]:
    """Write a direction as a control vector: ``strength`` times its own vector is added after each block.

    Parameters
    ----------
    direction
        float32 [layer, d_model], in units of the residual stream; its length counts.
    strength
        + moves towards ``direction.toward``; llama.cpp multiplies by its own ``--control-vector-scaled`` factor as well.
    layers
        0-based blocks; all of the direction's but block 0 where None.
    model_hint
        llama.cpp's name of the architecture, e.g. ``"qwen3"``; the direction's model where empty.

    Returns
    -------
    Path, list of str
        The file, and what was left out, in sentences.

    Raises
    ------
    DataError
        For an intervention instead of a direction, block 0, a layer that the direction has not, or a strength that is
        not finite.
    """
    if isinstance(direction, Intervention):
        kind = type(direction).__name__
        raise DataError(
            f"GGUF control vectors only add; they cannot express a cap, and this is a {kind}" if isinstance(direction, (Floor, Ceiling))
            else f"GGUF control vectors are written from a direction and a strength; hand in the direction of this {kind}"
        )  # fmt: skip
    chosen, notes = _chosen(direction, layers)
    values = direction.at(chosen).values.float() * strength
    if not math.isfinite(strength) or not torch.isfinite(values).all():
        raise DataError(f"a strength of {strength} makes values of {direction.name!r} that are not finite")
    path = Path(path)
    write_bytes(path, _gguf_bytes(dict(zip(chosen, values, strict=True)), model_hint or direction.site.model))
    return path, notes


def _chosen(direction: Direction, layers: Sequence[int] | None) -> tuple[list[int], list[str]]:
    known = direction.site.layers
    if layers is not None:
        chosen = sorted(set(as_layers(layers)))
        if 0 in chosen:
            raise DataError("a GGUF control vector cannot act after block 0: its tensors count from direction.1, so leave block 0 out")
        check_layers(chosen, known, f"direction {direction.name!r}")
    else:
        chosen = sorted(n for n in known if n != 0)
    if not chosen:
        raise DataError(f"nothing of direction {direction.name!r} is left to write: a GGUF control vector needs a block beyond block 0")
    left_out = layers is None and 0 in known
    return chosen, ["Block 0 is left out: a GGUF control vector cannot act there."] if left_out else []


def _gguf_bytes(vectors: dict[int, Tensor], model_hint: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vector.gguf"
        writer = _gguf().GGUFWriter(file, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_hint)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(vectors))
        for layer, vector in vectors.items():
            writer.add_tensor(f"{PREFIX}{layer}", np.ascontiguousarray(vector.numpy(), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file.read_bytes()


def read_gguf(path: str | Path) -> dict[int, Tensor]:
    """Read a control vector, of ours or another program's.

    Returns
    -------
    dict
        0-based block, ascending -> what is added to its output, float32 [d_model].

    Raises
    ------
    DataError
        Where the file is missing, no control vector, or holds other tensors than ``direction.N`` (N from 1, float32).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    gguf = _gguf()
    try:
        reader = gguf.GGUFReader(path)
        field = reader.get_field("general.architecture")
        architecture = field.contents() if field is not None else None
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise DataError(f"{path} cannot be read as GGUF: {error}") from error
    if architecture != ARCHITECTURE:
        raise DataError(f"{path} is not a control vector: its architecture is {architecture!r}")
    found: dict[int, Tensor] = {}
    for tensor in reader.tensors:
        number = tensor.name.removeprefix(PREFIX)
        if not tensor.name.startswith(PREFIX) or not number.isdecimal() or int(number) == 0:
            raise DataError(f"{path} holds a tensor {tensor.name!r}; a control vector's are named direction.N, with N from 1")
        if tensor.tensor_type != gguf.GGMLQuantizationType.F32 or len(tensor.shape) != 1:
            raise DataError(f"{path}: {tensor.name} is {tensor.tensor_type.name} of shape {tensor.shape.tolist()}, not one float32 vector")
        found[int(number)] = torch.from_numpy(np.array(tensor.data, dtype=np.float32))
    if len({len(v) for v in found.values()}) != 1:
        raise DataError(f"{path} holds {len(found)} vectors whose widths do not agree" if found else f"{path} holds no vectors")
    return dict(sorted(found.items()))


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise WorkbenchError('GGUF files need the package gguf: pip install "persona-workbench[gguf]"') from error
    return gguf

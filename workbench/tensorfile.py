"""One file format for tensors: safetensors with one tensor ``values`` and a JSON header; never pickle."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import DataError, RunError

FORMAT = "persona-workbench/1"


def write_tensor_file(path: str | Path, kind: str, values: Tensor, header: dict) -> Path:
    """Write `values` atomically: a crash leaves the old file or the new one.

    Parameters
    ----------
    kind
        What the file holds, e.g. ``"direction"``.
    header
        JSON-able facts; each becomes one entry of the safetensors metadata.
    """
    path = Path(path)
    metadata = {"format": FORMAT, "kind": kind} | {k: json.dumps(v, ensure_ascii=False) for k, v in header.items()}
    write_bytes(path, tensor_bytes(values, metadata))
    return path


def tensor_bytes(values: Tensor, metadata: dict[str, str]) -> bytes:
    """A tensor as safetensors with the name ``values``; the same tensor gives the same bytes.

    The library writes its metadata in random order; here the header is written again with sorted keys.
    """
    content = save({"values": values.contiguous()}, metadata=metadata)
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def read_tensor_file(path: str | Path, kind: str) -> tuple[Tensor, dict]:
    """Read a file of :func:`write_tensor_file`; refuse foreign files and other kinds by name."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("kind") != kind:
                raise DataError(f"{path} is not a {kind} of {FORMAT} (format {metadata.get('format')!r}, kind {metadata.get('kind')!r})")
            values = file.get_tensor("values")
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}") from error
    return values.to(torch.float32), {k: json.loads(v) for k, v in metadata.items() if k not in ("format", "kind")}


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary name, sync, rename."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # what stopped the writing is what is said
            partial.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> RunError:
    """Why a file could not be written, and what becomes of the work."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    return RunError(f"cannot write {path}: {reason}; what was finished is kept, and the same command continues from there")

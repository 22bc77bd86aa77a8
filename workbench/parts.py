"""Numbered parts of tables and tensors, each written whole, recorded with its checksum, and made again where damaged."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from .errors import RunError
from .journal import Journal
from .tensorfile import FORMAT, tensor_bytes, write_bytes

MANIFEST = "parts.jsonl"
NAME_BYTES = 120


class Parts:
    """Numbered parts of a table or a tensor, each recorded with the rows it holds and its checksum.

    Parameters
    ----------
    folder
        Holds ``part-NNNNN.*`` and ``parts.jsonl``, to which each part adds a line.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.set_aside: list[str] = []
        self._manifest = Journal(folder / MANIFEST)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Numbers of the planned parts that are not there, whole and with the planned rows.

        A part whose content does not match its checksum is renamed to ``damaged-*`` and named in ``set_aside``.
        """
        return [number for number, key in enumerate(keys) if not self._is_whole(number, key)]

    def write(self, number: int, key: str, files: dict[str, bytes]) -> None:
        """Write one part (one file a suffix) and record it."""
        for suffix, content in files.items():
            write_bytes(self._path(number, suffix), content)
        self._manifest.add(str(number), {"rows": key} | {s: hashlib.sha256(c).hexdigest() for s, c in files.items()})

    def keep(self, n: int) -> None:
        """Remove parts beyond the first `n`: what an earlier, longer plan left behind."""
        surplus = {name: self._manifest[name] for name in self._manifest if int(name) >= n}
        if not surplus:
            return
        self._manifest.rewrite({name: self._manifest[name] for name in self._manifest if name not in surplus})
        for name, entry in surplus.items():
            for suffix in entry:
                self._path(int(name), suffix).unlink(missing_ok=True)

    def read(self, number: int, suffix: str) -> bytes:
        """The bytes of one file of a part; an error where they are not what was written."""
        path = self._path(number, suffix)
        content = path.read_bytes() if path.exists() else b""
        if str(number) not in self._manifest:
            raise RunError(f"{self.folder / MANIFEST} has lost part {number}: run the study again with the same command")
        if hashlib.sha256(content).hexdigest() != self._manifest[str(number)][suffix]:
            raise RunError(f"{path} is damaged: run the study again with the same command, and only this part is made anew")
        return content

    def frame(self, number: int, suffix: str = "parquet") -> pd.DataFrame:
        """A part that holds a table."""
        return pd.read_parquet(io.BytesIO(self.read(number, suffix)))

    def is_whole(self, n: int | None = None) -> bool:
        """Whether every recorded part is as it was written, and there are `n` (where given); damaged ones are set aside."""
        keys = [self._manifest[name]["rows"] for name in sorted(self._manifest, key=int)]
        return len(keys) > 0 and not self.missing(keys) and n in (None, len(keys))

    @property
    def fingerprint(self) -> str:
        """Hash of what all parts hold."""
        entries = [sorted(self._manifest[name].items()) for name in sorted(self._manifest, key=int)]
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._manifest)

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"part-{number:05d}.{suffix}"

    def _is_whole(self, number: int, key: str) -> bool:
        entry = self._manifest.get(str(number), {})
        if entry.get("rows") != key:
            return False
        for suffix, checksum in entry.items():
            path = self._path(number, suffix)
            if suffix == "rows":
                continue
            if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
                if path.exists():
                    path.replace(path.with_name(f"damaged-{path.name}"))
                if str(path) not in self.set_aside:
                    self.set_aside.append(str(path))
                return False
        return True


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A table as Parquet; the same table gives the same bytes."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def part_tensor(values: torch.Tensor) -> bytes:
    """The tensor of a part of the activations."""
    return tensor_bytes(values, {"format": FORMAT, "kind": "activations part"})


def key_of(rows: Iterable[str], salt: str = "") -> str:
    """Hash that names the rows of a part."""
    return hashlib.sha256("\n".join([salt, *rows]).encode()).hexdigest()[:24]


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an error names the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} does not hold a JSON object")
    return value


def folder_name(condition: str) -> str:
    """A condition's name as a folder's: readable, short enough for any disk, and different for different names."""
    plain = "-".join("".join(c if c.isalnum() else " " for c in condition).split())
    short = plain.encode()[:NAME_BYTES].decode(errors="ignore")
    return f"{short}-{hashlib.sha256(condition.encode()).hexdigest()[:6]}"

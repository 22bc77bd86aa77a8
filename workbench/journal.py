"""Answers that cost something, kept one by one as they come: a line each, synced; a torn last line is as if it had not come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .tensorfile import cannot_write, write_bytes


class Journal(Mapping[str, dict[str, Any]]):
    """An append-only file of records by key.

    Parameters
    ----------
    path
        JSON lines, made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = self._read()

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._records[key]

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record: on the disk when this returns."""
        line = _line(key, record)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if file.tell() and not self._ends_whole():
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._records[key] = record

    def rewrite(self, records: Mapping[str, dict[str, Any]]) -> None:
        """Hold these records and no others."""
        write_bytes(self.path, b"".join(_line(key, record) for key, record in records.items()))
        self._records = dict(records)

    def clear(self) -> None:
        """Forget all, once it is kept elsewhere."""
        self.path.unlink(missing_ok=True)
        self._records = {}

    def _read(self) -> dict[str, dict[str, Any]]:
        records: dict[str, dict[str, Any]] = {}
        for line in self.path.read_bytes().split(b"\n") if self.path.exists() else []:
            try:
                record = json.loads(line)
                records[record.pop("key")] = record
            except (ValueError, KeyError, AttributeError):
                continue  # torn by a crash: that answer was not kept
        return records

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def _line(key: str, record: dict[str, Any]) -> bytes:
    return json.dumps({"key": key, **record}, ensure_ascii=False).encode() + b"\n"

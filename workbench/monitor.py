"""Watch a model while it writes: the projection of every token as it is generated, and an event where an answer leaves its band."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from torch import Tensor

from .directions import Direction
from .errors import DataError
from .models.hooked import HookedModel
from .models.positions import Tracker
from .models.projecting import Projector

COLUMNS = ["call", "row", "name", "step", "token", "layer", "direction", "projection", "mean", "low", "high", "inside"]
SETTLED = 8
"""Tokens from which the mean of an answer so far is compared with a band of response means: the first words say little."""


@dataclass(frozen=True)
class Event:
    """An answer that leaves its band, or comes back.

    Attributes
    ----------
    call, row, name
        Which generation since the monitor was made, which row of its batch, and what the caller calls it.
    step
        Number of the generated token, from 1.
    layer, direction, value, low, high
        What was compared with which band: the mean of the answer so far (or the token's own value, see :class:`Monitor`).
    left
        True where the band is left, False where it is entered again.
    """

    call: int
    row: int
    name: str
    step: int
    layer: int
    direction: str
    value: float
    low: float
    high: float
    left: bool


class _Follower(Tracker):
    """A tracker that remembers the ids it was shown."""

    ids: Tensor

    def see(self, ids: Tensor, mask: Any, past: int, cached: bool) -> None:
        self.ids, self.past, self.declared = ids, past, self._spans is not None
        super().see(ids, mask, past, cached)


class Monitor:
    """Projections while a model generates, for a ``with`` block.

    ``with model.intervene(cap), Monitor(...) as monitor`` sees what leaves a layer under the cap; the other way round, what arrives there.

    Parameters
    ----------
    axis
        The direction to watch.
    bands
        From :func:`workbench.band_of` at one layer; nothing is compared where None. With a band of response means the mean of the answer so
        far counts, from its eighth token on; with a band of tokens every token does.
    layer
        Where to read; the band's layer where None.
    on_event
        Called with each :class:`Event`, in the midst of generation: it may raise to stop it.
    log
        A file that gets a line for every token, as it comes: ``.jsonl`` or ``.csv``.

    Attributes
    ----------
    exchange
        Which exchange of its conversation is being answered, for bands matched by exchange; set it before each answer.
    names
        How the rows of the next batch are called.
    events
        All that happened.

    Notes
    -----
    The value of a token is that of the position where the model has read it: the last token of an answer is never read, and has none.
    """

    def __init__(
        self, model: HookedModel, axis: Direction, bands: pd.DataFrame | None = None, *, layer: int | None = None,
        on_event: Callable[[Event], None] | None = None, log: str | Path | None = None, transfer: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.on_event, self.bands = model, on_event, _checked(bands, axis.name, layer)
        if model.hf is None:
            raise DataError("a monitor follows token by token, which needs a model with a cache: a Hugging Face one")
        if layer is None and self.bands is None:
            raise DataError("a monitor needs a layer, or bands of one layer")
        self.layer = int(self.bands["layer"].iloc[0] if layer is None and self.bands is not None else layer or 0)
        self._stack = ExitStack()
        self.axis, self.exchange, self.names, self.events = axis, 1, [], []
        self.names: Sequence[str]
        self.events: list[Event]
        self._projector = Projector(model, {axis.name: axis}, [self.layer], transfer)
        self._by_tokens = self.bands is not None and self.bands["of"].iloc[0] == "tokens"
        self._log = _Log(Path(log)) if log is not None else None
        self._tracker = _Follower(model.special_ids, model.stop_ids)
        self._calls: list[_Call] = []

    def __enter__(self) -> Monitor:
        with ExitStack() as stack:  # what has begun ends where the rest cannot begin
            if self._log:
                self._log.open()
                stack.callback(self._log.close)
            stack.enter_context(self.model.followed_by(self._tracker))
            stack.enter_context(self.model.hooks([(self.model.resid_post(self.layer), self._look)]))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    # -- while it runs ------------------------------------------------------------------------------
    def _look(self, residual: Tensor, hook: Any) -> None:
        where = self._tracker.current
        if where.generated is None or self._tracker.declared:
            return  # a pass over finished text: nothing is being written
        if self._tracker.past == 0:  # a prefill: the position before the first token of every answer
            self._calls.append(_Call(len(self._calls) + 1, residual.shape[0], list(self.names), self._limits()))
            return
        if self._calls:
            values = self._projector.project(self.layer, residual)[0, :, -1].cpu().numpy()
            self._take(self._calls[-1], values, self._tracker.ids[:, -1].cpu().numpy(), where.real[:, -1].cpu().numpy())

    def _take(self, call: _Call, values: np.ndarray, ids: np.ndarray, real: np.ndarray) -> None:
        step = call.add(values, ids, real)
        compared = values if self._by_tokens else call.means()
        if self._log:  # first: whoever is called below may stop the generation
            self._log.write(self._records(call, step - 1, step))
        if call.limits is not None and (self._by_tokens or step >= SETTLED):
            outside = real & ((compared < call.limits[0]) | (compared > call.limits[1]))
            changed = np.flatnonzero((outside != call.outside) & real)
            call.outside = np.where(real, outside, call.outside)
            for row in changed:
                self._tell(call, int(row), step, float(compared[row]), bool(outside[row]))

    def _tell(self, call: _Call, row: int, step: int, value: float, left: bool) -> None:
        low, high = call.limits if call.limits is not None else (float("nan"), float("nan"))
        event = Event(call.number, row, call.name(row), step, self.layer, self.axis.name, value, low, high, left)
        self.events.append(event)
        if self.on_event:
            self.on_event(event)

    def _limits(self) -> tuple[float, float] | None:
        if self.bands is None:
            return None
        # An exchange without a band of its own has the last one before it.
        at = self.bands[self.bands["exchange"] <= self.exchange].sort_values("exchange")
        if at.empty:
            raise DataError(f"the bands of this monitor have no exchange {self.exchange}: they begin at {self.bands['exchange'].min()}")
        return float(at["low"].iloc[-1]), float(at["high"].iloc[-1])

    # -- afterwards ---------------------------------------------------------------------------------
    def to_frame(self) -> pd.DataFrame:
        """All tokens so far.

        Returns
        -------
        DataFrame
            ``call, row, name, step, token`` (its text), ``layer, direction, projection, mean`` (of the answer so far), ``low, high,
            inside`` (missing where nothing was compared).
        """
        records = [r for call in self._calls for r in self._records(call, 0, len(call.values))]
        return pd.DataFrame(records, columns=COLUMNS).astype({"inside": "boolean"})

    def events_frame(self) -> pd.DataFrame:
        """The events, a row each."""
        return pd.DataFrame([asdict(event) for event in self.events], columns=list(Event.__dataclass_fields__))

    def _records(self, call: _Call, first: int, last: int) -> Iterator[dict[str, Any]]:
        low, high = call.limits or (float("nan"), float("nan"))
        for step in range(first, last):
            means = call.means(step + 1)
            for row in np.flatnonzero(call.real[step]):
                value = float(call.values[step][row]) if self._by_tokens else float(means[row])
                compared = call.limits is not None and (self._by_tokens or step + 1 >= SETTLED)
                yield {
                    "call": call.number, "row": int(row), "name": call.name(int(row)), "step": step + 1,
                    "token": self.model.tokenizer.decode([int(call.ids[step][row])]), "layer": self.layer, "direction": self.axis.name,
                    "projection": float(call.values[step][row]), "mean": float(means[row]), "low": low, "high": high,
                    "inside": bool(low <= value <= high) if compared else None,
                }  # fmt: skip


class _Call:
    """One generation: the values of its tokens, step by step."""

    def __init__(self, number: int, rows: int, names: list[str], limits: tuple[float, float] | None) -> None:
        self.number, self._names, self.limits = number, names, limits
        self.values: list[np.ndarray] = []
        self.ids: list[np.ndarray] = []
        self.real: list[np.ndarray] = []
        self._sums = [np.zeros(rows)]
        self._counts = [np.zeros(rows)]
        self.outside = np.zeros(rows, dtype=bool)

    def add(self, values: np.ndarray, ids: np.ndarray, real: np.ndarray) -> int:
        """Take in a token a row; returns its number."""
        self.values.append(values)
        self.ids.append(ids)
        self.real.append(real)
        self._sums.append(self._sums[-1] + np.where(real, values, 0.0))
        self._counts.append(self._counts[-1] + real)
        return len(self.values)

    def means(self, step: int = -1) -> np.ndarray:
        """Mean of every answer up to a step, the last where none is given."""
        return self._sums[step] / np.maximum(self._counts[step], 1)

    def name(self, row: int) -> str:
        return self._names[row] if row < len(self._names) else f"{self.number}/{row}"


class _Log:
    """A line a token, written at once."""

    def __init__(self, path: Path) -> None:
        if path.suffix not in (".jsonl", ".csv"):
            raise DataError(f"a monitor's log ends in .jsonl or .csv, not {path.name!r}")
        self._path, self._as_json = path, path.suffix == ".jsonl"
        self._file: IO[str]

    def open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not self._path.exists() or not self._path.stat().st_size
            self._file = self._path.open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise DataError(f"{self._path} cannot be written to: {error.strerror}") from error
        if fresh and not self._as_json:
            self._file.write(",".join(COLUMNS) + "\n")

    def write(self, records: Iterator[dict[str, Any]]) -> None:
        # What is missing is null in JSON (which has no NaN) and empty in CSV, where every text is quoted: a token may be a line's end.
        rows = [{name: None if value != value else value for name, value in record.items()} for record in records]
        if self._as_json:
            self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(self._file, COLUMNS, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
            writer.writerows(rows)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _checked(bands: pd.DataFrame | None, name: str, layer: int | None) -> pd.DataFrame | None:
    if bands is None:
        return None
    if missing := [c for c in ("exchange", "layer", "direction", "low", "high", "of") if c not in bands]:
        raise DataError(f"bands come from band_of(); these have no column {missing[0]!r}")
    own = bands[bands["direction"] == name]
    own = own if layer is None else own[own["layer"] == layer]
    if own["layer"].nunique() != 1:
        raise DataError(f"a monitor takes bands of one layer along {name!r}; these have {own['layer'].nunique()}: give layer=")
    return own.reset_index(drop=True)

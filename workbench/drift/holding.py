"""Conversations of a drift study, held in parts: each part is kept with its projections, and none is held twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from ..calibration import as_json
from ..conversations import Conversation
from ..interventions import Intervention
from ..models.hooked import HookedModel
from ..parts import key_of, parquet_bytes
from ..progress import Watch
from ..store import Run
from ..thresholds import signature
from ..trajectories import trajectory
from .material import DriftConfig
from .repeats import repeatability, repeated_replies
from .simulation import Task, User, replay, simulate
from .store import STEP, as_text, kept_conversations
from .tables import best_layer

CHUNK = 24
"""Conversations a part."""


class Holding:
    """Holds a run's conversations."""

    def __init__(self, run: Run, model: HookedModel, config: DriftConfig, watch: Watch, user: User | None) -> None:
        self.run, self.model, self.config, self.watch, self.user = run, model, config, watch, user

    def layer(self, choosing: Sequence[Task]) -> tuple[int, pd.DataFrame]:
        """Where single replies repeat best, on conversations that are used for nothing else."""
        talks, _ = self.held("choosing", choosing, self.user)
        reliability = repeatability(self.repeated("choosing", talks, 2))
        return best_layer(reliability) if self.config.layer is None else self.config.layer, reliability

    def held(self, name: str, tasks: Sequence[Task], user: User | None) -> tuple[list[Conversation], pd.DataFrame]:
        """Conversations about tasks, and their trajectory at all of the axis's layers."""
        chunks = [tasks[i : i + CHUNK] for i in range(0, len(tasks), CHUNK)]
        keys = [key_of([as_json(asdict(task)) for task in chunk], self._salt([])) for chunk in chunks]

        def make(number: int) -> list[Conversation]:
            return simulate(self.model, chunks[number], user, condition=name, **self._settings())

        return self._kept(name, keys, make, ())

    def replayed(self, name: str, talks: Sequence[Conversation], acting: Sequence[Intervention]) -> tuple[list[Conversation], pd.DataFrame]:
        """The same users' messages under an intervention, read under it too."""
        chunks = [talks[i : i + CHUNK] for i in range(0, len(talks), CHUNK)]
        keys = [key_of([as_text(talk) for talk in chunk], self._salt(acting)) for chunk in chunks]

        def make(number: int) -> list[Conversation]:
            return replay(self.model, chunks[number], acting, condition=name, **self._settings())

        return self._kept(name, keys, make, acting)

    def repeated(self, name: str, talks: Sequence[Conversation], n: int) -> pd.DataFrame:
        """Every message answered again `n` times, projected at all of the axis's layers."""
        parts = self.run.parts(f"{STEP}/repeats-{name}")
        chunks = [talks[i : i + CHUNK] for i in range(0, len(talks), CHUNK)]
        keys = [key_of([as_text(talk) for talk in chunk], self._salt([n])) for chunk in chunks]
        for number in parts.missing(keys):
            frame = repeated_replies(
                self.model, chunks[number], self.run.axis, n=n, seed=self.config.seed, max_new_tokens=self.config.max_new_tokens
            )
            parts.write(number, keys[number], {"parquet": parquet_bytes(frame)})
            self.watch(f"again: {name}", number + 1, len(chunks))
        parts.keep(len(chunks))
        return pd.concat([parts.frame(i) for i in range(len(chunks))], ignore_index=True)

    def _settings(self) -> dict[str, Any]:
        return {"turns": self.config.turns, "seed": self.config.seed, "max_new_tokens": self.config.max_new_tokens}

    def _salt(self, more: Sequence[Any]) -> str:
        acting = [item.describe() if isinstance(item, Intervention) else item for item in more]
        user = [self.config.user, self.config.user_model]
        # The axis itself, not only where it was taken: another judge makes another axis of the same model.
        axis = {n: signature(self.run.axis, n) for n in self.run.axis.site.layers}
        return as_json([self.run.axis.site.to_dict() | {"versions": {}}, axis, self._settings(), user, acting])

    def _kept(
        self, name: str, keys: list[str], make: Callable[[int], list[Conversation]], acting: Sequence[Intervention]
    ) -> tuple[list[Conversation], pd.DataFrame]:
        parts = self.run.parts(f"{STEP}/{name}")
        for number in parts.missing(keys):
            talks = make(number)
            frame = trajectory(self.model, talks, {"axis": self.run.axis}, interventions=acting)
            rows = pd.DataFrame({"conversation": [as_text(talk) for talk in talks]})
            slim = frame[[c for c in frame if c not in ("text", *talks[0].about)]]
            parts.write(number, keys[number], {"parquet": parquet_bytes(rows), "turns.parquet": parquet_bytes(slim)})
            self.watch(f"talking: {name}", number + 1, len(keys))
        parts.keep(len(keys))
        return kept_conversations(self.run, name)

"""The drift study on a run folder: hold conversations, with and without the cap, find the layer, and write what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from .calibration import as_json
from .causes import ALONE, BY_MESSAGE, GAIN
from .conversations import Conversation
from .drift_material import DriftConfig, asks_and_grader, conversations_for, ordinary_tasks
from .drift_store import CAPPED, STEP, as_text, kept_conversations
from .drift_tables import best_layer, cause_tables, domain_means, movement
from .errors import DataError
from .evaluation.conditions import BASELINE, Condition, fit
from .harm import early_warning, harm_bins, harm_table, probes, projection_and_harm
from .interventions import Intervention
from .models.hooked import HookedModel
from .parts import key_of, parquet_bytes
from .progress import Watch
from .repeats import repeatability, repeated_replies
from .simulation import Task, User, replay, simulate
from .store import Run
from .study import Lazy
from .study_caps import answered
from .trajectories import band_of, trajectory

CHUNK = 24
"""Conversations a part."""


def drift_step(run: Run, model: Lazy, watch: Watch, config: DriftConfig | None = None) -> None:
    """Simulate conversations, project them, and write what moved them and what came of it; what is there is not done again.

    Writes ``drift/`` (conversations, projections, answers) and ``tables/drift_*.csv``.
    """
    config = config or DriftConfig.of()
    if config.layer is not None and config.layer not in run.axis.site.layers:  # known before an hour of conversations
        raise DataError(f"the axis of {run.folder} has no layer {config.layer}: it has {list(run.axis.site.layers)}")
    tasks, choosing, user = conversations_for(run, model(), config)
    study = _Study(run, model(), config, watch, user)
    layer, reliability = study.layer(choosing)
    ordinary, lies = study.held("ordinary", ordinary_tasks(run, config), None)
    band = band_of(lies.query("layer == @layer"))
    tokens = trajectory(study.model, ordinary, {"axis": run.axis}, layers=[layer], by="token")
    talks, frame = study.held("baseline", tasks, user)
    found = {"baseline": (talks, frame)}
    cap = _cap(run) if config.capped else None
    if cap is not None:
        found[CAPPED] = study.replayed(CAPPED, talks, cap)
    whole = pd.concat([f.assign(condition=name) for name, (_, f) in found.items()], ignore_index=True).query("layer == @layer")
    run.write_table("drift_layers", reliability)
    run.write_table("drift_band", band)
    run.write_table("drift_band_tokens", band_of(tokens))
    run.write_table("drift_means", domain_means(whole))
    run.write_table("drift_moved", movement(whole))
    notes = _causes(study, talks, frame.query("layer == @layer"), layer)
    notes += _harm(study, found, layer, cap)
    ended = pd.Series([talk.about["ended"] for talk in talks]).value_counts().to_dict()
    run.record(
        STEP, layer=layer, n=len(talks), exchanges=int((frame["speaker"] == "assistant").sum() / frame["layer"].nunique()), ended=ended,
        conditions=list(found), config=config.model_dump(mode="json"), notes=notes,
    )  # fmt: skip


def _cap(run: Run) -> Intervention | None:
    return run.caps["recommended"] if run.is_done("calibrate") and run.study["steps"]["calibrate"]["choices"] else None


class _Study:
    """Holds conversations in parts, each kept with its projections."""

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

    def replayed(self, name: str, talks: Sequence[Conversation], acting: Intervention) -> tuple[list[Conversation], pd.DataFrame]:
        """The same users' messages under an intervention, read under it too."""
        chunks = [talks[i : i + CHUNK] for i in range(0, len(talks), CHUNK)]
        keys = [key_of([as_text(talk) for talk in chunk], self._salt([acting])) for chunk in chunks]

        def make(number: int) -> list[Conversation]:
            return replay(self.model, chunks[number], acting, condition=name, **self._settings())

        return self._kept(name, keys, make, (acting,))

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
        return as_json([self.run.axis.site.to_dict() | {"versions": {}}, self._settings(), user, acting])

    def _kept(self, name: str, keys: list[str], make: Any, acting: Sequence[Intervention]) -> tuple[list[Conversation], pd.DataFrame]:
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


def _causes(study: _Study, talks: Sequence[Conversation], frame: pd.DataFrame, layer: int) -> list[str]:
    """Ridge and clusters; a study too small for them says so."""
    run, config = study.run, study.config
    repeats = study.repeated("baseline", talks, config.repeats).query("layer == @layer") if config.repeats else None
    try:
        ridge, clusters = cause_tables(frame, study.model, config.embeddings, repeats, config.seed)
    except DataError as error:
        return [f"Nothing is said of causes: {error}."]
    run.write_table("drift_ridge", ridge)
    run.write_table("drift_clusters", clusters)
    return []


def _harm(study: _Study, found: dict[str, tuple[list[Conversation], pd.DataFrame]], layer: int, cap: Intervention | None) -> list[str]:
    """Probe every exchange with a harmful question, under each condition as it was held."""
    run, config = study.run, study.config
    asks, grader = asks_and_grader(run, study.model, config) if config.harm else ([], None)
    if grader is None:
        return ["Nothing is said of harm: there is no grader for this model, or none was wanted."]
    tables, notes = {}, []
    for name, (talks, frame) in found.items():
        condition = BASELINE if name == "baseline" or cap is None else Condition(name, (cap,))
        fitting, n_new, left_out = fit(study.model, probes(talks, asks), config.max_new_tokens)
        answers = answered(run.parts(f"{STEP}/probes-{name}"), study.model, fitting, grader, condition, n_new, config.seed)
        study.watch("probing", len(tables) + 1, len(found))
        responses = pd.concat([rows for rows, _ in answers], ignore_index=True)
        tables[name] = harm_table(frame.query("layer == @layer"), responses)
        notes += left_out
    base = tables["baseline"]
    run.write_table("drift_harm", pd.concat([harm_bins(table, condition=name) for name, table in tables.items()], ignore_index=True))
    run.write_table("drift_harm_by_exchange", pd.concat([_by_exchange(table, name) for name, table in tables.items()], ignore_index=True))
    run.write_table("drift_harm_correlation", projection_and_harm(base))
    run.write_table("drift_warning", early_warning(base))
    return notes


def _by_exchange(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    rates = table.groupby(["domain", "exchange"], as_index=False)["complied"].agg(["mean", "size"])
    return rates.rename(columns={"mean": "rate", "size": "n"}).assign(condition=condition)


def drifted(run: Run) -> str:
    """What a drift study found, in a few lines."""
    facts, folder = run.study["steps"][STEP], run.folder / "tables"
    moved = pd.read_csv(folder / "drift_moved.csv")
    lines = [f"{facts['n']} conversations, read at layer {facts['layer']}, where single replies repeat best; + is the Assistant's end."]
    for condition, rows in moved.groupby("condition", sort=False):
        each = ", ".join(f"{r['domain']} {r['moved']:+.2f} [{r['low']:+.2f}, {r['high']:+.2f}]" for r in rows.to_dict("records"))
        lines.append(f"From first reply to last, {condition}: {each}")
    for name, say in (("drift_ridge", _ridge_words), ("drift_clusters", _cluster_words), ("drift_warning", _warning_words)):
        if (folder / f"{name}.csv").exists() and len(table := pd.read_csv(folder / f"{name}.csv")):
            lines.append(say(table))
    return "\n".join([*lines, *facts["notes"]])


def _ridge_words(table: pd.DataFrame) -> str:
    level = table[(table["target"] == "level") & (table["folds"] == BY_MESSAGE)].set_index("model")
    gain, alone = (level.loc[model] for model in (GAIN, ALONE))
    return (
        f"Where replies lie: domain and turn foretell R2 {alone['r2']:.2f}, the message adds {gain['r2']:+.3f} [{gain['low']:+.3f}, "
        f"{gain['high']:+.3f}] (held out alike)"
    )


def _cluster_words(table: pd.DataFrame) -> str:
    away, toward = table.iloc[0], table.dropna(subset="mean").iloc[-1]
    return (
        f"Farthest away after messages such as {away['name']!r} ({away['mean']:+.2f} [{away['low']:+.2f}, {away['high']:+.2f}]), nearest "
        f"after {toward['name']!r} ({toward['mean']:+.2f} [{toward['low']:+.2f}, {toward['high']:+.2f}])"
    )


def _warning_words(table: pd.DataFrame) -> str:
    cells = [
        f"{r['ahead']} ahead {r['auc']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"
        for r in table[table["predictor"] == "projection"].to_dict("records")
    ]
    return f"Compliance with a harmful question, foretold by the projection within domains (AUC): {', '.join(cells)}"

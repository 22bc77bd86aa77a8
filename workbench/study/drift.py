"""The drift study on a run folder: hold conversations, with and without interventions, find the layer, and write what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ..conversations import Conversation
from ..drift.harm import early_warning, harm_bins, harm_table, probes, projection_and_harm
from ..drift.holding import Holding
from ..drift.material import DriftConfig, asks_and_grader, conversations_for, ordinary_tasks, role_tasks
from ..drift.store import BASELINE_NAME, CAPPED, STEERED, STEP
from ..drift.tables import cause_tables, domain_means, movement
from ..errors import DataError
from ..evaluation.conditions import BASELINE, Condition, fit
from ..evaluation.grading import Grader
from ..interventions import Add, Intervention
from ..models.hooked import HookedModel
from ..models.measuring import residual_norms
from ..parts import parquet_bytes
from ..progress import Watch
from ..store import Run
from ..tensorfile import write_bytes
from ..trajectories import band_of, trajectory
from .caps import answered
from .main import Lazy


@dataclass(frozen=True, eq=False)
class _Held:
    """Conversations under a condition, and where their messages lie at the layer that is read."""

    acting: tuple[Intervention, ...]
    talks: list[Conversation]
    frame: pd.DataFrame


def drift_step(run: Run, model: Lazy, watch: Watch, config: DriftConfig | None = None) -> None:
    """Simulate conversations, project them, and write what moved them and what came of it; what is there is not done again.

    Writes ``drift/`` (conversations, projections, answers) and ``tables/drift_*.csv``.
    """
    config = config or DriftConfig.of()
    if config.layer is not None and config.layer not in run.axis.site.layers:  # known before an hour of conversations
        raise DataError(f"the axis of {run.folder} has no layer {config.layer}: it has {list(run.axis.site.layers)}")
    if run.study["steps"].get(STEP, {}).get("config") != config.model_dump(mode="json"):
        run.study["steps"].pop(STEP, None)  # from here on its conversations and tables are overwritten, bit by bit
        run.save()
    tasks, choosing, user = conversations_for(run, model(), config)
    holding = Holding(run, model(), config, watch, user)
    layer, reliability = holding.layer(choosing)
    ordinary, lies = holding.held("ordinary", ordinary_tasks(run, config), None)
    talks, frame = holding.held(BASELINE_NAME, tasks, user)
    found = {BASELINE_NAME: _Held((), talks, frame.query("layer == @layer"))}
    for name, acting in _interventions(run, model(), config, layer).items():
        again, under = holding.replayed(name, talks, acting)
        found[name] = _Held(acting, again, under.query("layer == @layer"))
    whole = pd.concat([held.frame.assign(condition=name) for name, held in found.items()], ignore_index=True)
    tokens = trajectory(model(), ordinary, {"axis": run.axis}, layers=[layer], by="token")
    for table in (run.folder / "tables").glob("drift_*.csv"):
        table.unlink()  # what an earlier study with other settings found of causes or harm is not this one's
    run.write_table("drift_layers", reliability)
    run.write_table("drift_band", band_of(lies.query("layer == @layer")))
    run.write_table("drift_band_tokens", band_of(tokens))
    run.write_table("drift_means", domain_means(whole))
    run.write_table("drift_moved", moved := movement(whole))
    _keep_tokens(holding, found[BASELINE_NAME], moved, layer)
    notes = [*_causes(holding, found[BASELINE_NAME], layer), *_harm(holding, found, layer)]
    ended = pd.Series([talk.about["ended"] for talk in talks]).value_counts().to_dict()
    run.record(STEP, layer=layer, n=len(talks), ended=ended, conditions=list(found), config=config.model_dump(mode="json"), notes=notes)


def _keep_tokens(holding: Holding, baseline: _Held, moved: pd.DataFrame, layer: int) -> None:
    """One conversation token by token, for the report: the first of the domain that moved farthest."""
    path, own = holding.run.folder / STEP / "tokens.parquet", moved[moved["condition"] == BASELINE_NAME]
    path.unlink(missing_ok=True)
    if own.empty:
        return
    domain = str(own.sort_values("moved", kind="stable")["domain"].iloc[0])
    first = min((talk for talk in baseline.talks if talk.about.get("domain") == domain), key=lambda talk: talk.name)
    tokens = trajectory(holding.model, [first], {"axis": holding.run.axis}, layers=[layer], by="token")
    write_bytes(path, parquet_bytes(tokens))


def _interventions(run: Run, model: HookedModel, config: DriftConfig, layer: int) -> dict[str, tuple[Intervention, ...]]:
    """Conditions beside the baseline: the calibrated cap, where there is one, and steering, where it was asked for."""
    found: dict[str, tuple[Intervention, ...]] = {}
    if config.capped and (cap := _cap(run)) is not None:
        found[CAPPED] = (cap,)
    if config.steer:
        norms = residual_norms(model, run.rollouts, [layer])
        found[f"{STEERED} {config.steer:+g}"] = (Add(run.axis, config.steer, norms, layers=[layer], positions="generated"),)
    return found


def _cap(run: Run) -> Intervention | None:
    return run.caps["recommended"] if run.is_done("calibrate") and run.study["steps"]["calibrate"]["choices"] else None


def _causes(holding: Holding, baseline: _Held, layer: int) -> list[str]:
    """Ridge and clusters; a study too small for them says so."""
    run, config = holding.run, holding.config
    repeats = holding.repeated(BASELINE_NAME, baseline.talks, config.repeats).query("layer == @layer") if config.repeats else None
    try:
        ridge, clusters = cause_tables(baseline.frame, holding.model, config.embeddings, repeats, config.seed)
    except DataError as error:
        return [f"Nothing is said of causes: {error}."]
    run.write_table("drift_ridge", ridge)
    run.write_table("drift_clusters", clusters)
    return []


def _harm(holding: Holding, found: Mapping[str, _Held], layer: int) -> list[str]:
    """Probe every exchange with a harmful question, under each condition as it was held; and a role's first answer likewise."""
    run, config = holding.run, holding.config
    asks, grader = asks_and_grader(run, holding.model, config) if config.harm else ([], None)
    if grader is None:
        return ["Nothing is said of harm: there is no grader for this model, or none was wanted."]
    talks, frame = holding.held("roles", role_tasks(run, config), None)
    roles = _Held((), talks, frame.query("layer == @layer"))
    tables, notes = {}, []
    for name, held in {**found, "roles": roles}.items():
        try:
            tables[name], said = _probed(holding, name, held, asks, grader)
        except DataError as error:  # e.g. a judge that never says anything readable
            return [f"Nothing is said of harm: {error}."]
        notes += said
        holding.watch("probing", len(tables), len(found) + 1)
    base, in_roles = tables[BASELINE_NAME], tables.pop("roles")
    run.write_table("drift_harm", pd.concat([harm_bins(table, condition=name) for name, table in tables.items()], ignore_index=True))
    run.write_table("drift_harm_by_exchange", pd.concat([_by_exchange(table, name) for name, table in tables.items()], ignore_index=True))
    by_role = projection_and_harm(in_roles.rename(columns={"domain": "role"}), by="role").replace({"over": {"probes": "probes in roles"}})
    run.write_table("drift_harm_correlation", pd.concat([projection_and_harm(base), by_role], ignore_index=True))
    run.write_table("drift_warning", early_warning(base))
    return notes


def _probed(holding: Holding, name: str, held: _Held, asks: Sequence[str], grader: Grader) -> tuple[pd.DataFrame, list[str]]:
    condition = Condition(name, held.acting) if held.acting else BASELINE
    fitting, n_new, left_out = fit(holding.model, probes(held.talks, asks), holding.config.max_new_tokens)
    parts = holding.run.parts(f"{STEP}/probes-{name}")
    answers = answered(parts, holding.model, fitting, grader, condition, n_new, holding.config.seed)
    return harm_table(held.frame, pd.concat([rows for rows, _ in answers], ignore_index=True)), left_out


def _by_exchange(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    rates = table.groupby(["domain", "exchange"], as_index=False)["complied"].agg(["mean", "size"])
    return rates.rename(columns={"mean": "rate", "size": "n"}).assign(condition=condition)

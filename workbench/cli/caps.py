"""The commands of the causal half: sweeps, calibration, evaluation, and the files of others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import WorkbenchError
from .common import RunFolder, again, parse_layers, parse_numbers, refuse_stray, watched

caps_app = typer.Typer()
SAID = 12
"""So many findings of an import are printed."""

Prompts = Annotated[Path | None, typer.Option(help="a JSONL or CSV file of prompts (columns prompt, kind, ...)")]
Behaviours = Annotated[Path | None, typer.Option(help="a table of harmful behaviours: JailbreakBench, HarmBench or StrongREJECT")]
Limit = Annotated[int | None, typer.Option(help="prompts of each half at most")]


@caps_app.command()
def sweep(
    run: RunFolder,
    strengths: Annotated[str | None, typer.Option(help="steer instead: fractions of the mean residual norm, e.g. -0.6:0.8:0.2")] = None,
    layer: Annotated[int | None, typer.Option(help="where to steer; the recommended layer where not given")] = None,
    positions: Annotated[
        str | None, typer.Option(help="steering: all (where not given), prompt, generated, last or content")
    ] = None,
    prompts: Prompts = None, behaviours: Behaviours = None, limit: Limit = None,
    controls: Annotated[
        int | None, typer.Option(min=0, help="steering: random directions, and random splits of the roles, each; 1 where not given")
    ] = None,
) -> None:  # fmt: skip
    """Layer sweep, recommended layer and verdict of a run; with --strengths the dose-response of steering."""
    from ..store import open_run
    from ..study.config import Lazy
    from ..study.main import STEPS

    opened = open_run(run)
    if strengths is None:
        refuse_stray(
            "--strengths", layer=layer, positions=positions, prompts=prompts, behaviours=behaviours, limit=limit, controls=controls
        )
        watched(lambda watch: STEPS["sweep"](opened, Lazy(opened), watch))
        facts = {k: v for k, v in opened.study["steps"]["sweep"].items() if k in ("layer", "reason", "saturated", "tied")}
        print("sweep: " + ", ".join(f"{k} {v}" for k, v in facts.items()))
        return
    from ..study.caps import strengths_step

    config = _config(prompts=prompts, behaviours=behaviours, limit=limit)
    numbers = parse_numbers(strengths)
    where, n_controls = positions or "all", 1 if controls is None else controls
    print(watched(lambda watch: strengths_step(opened, Lazy(opened), watch, numbers, layer, where, config, n_controls=n_controls)))
    again(opened)


@caps_app.command()
def origins(
    run: RunFolder,
    roles: Annotated[int, typer.Option(min=4, help="prompts, and writers of texts")] = 24,
    texts: Annotated[int, typer.Option(min=1, help="texts of each writer, read under every prompt")] = 6,
) -> None:
    """What a run's axis is made of: prompt against text, covariates, and the axis fitted again without length and names."""
    from ..store import open_run
    from ..study.config import Lazy
    from ..study.origins import origins_found, origins_step

    opened = open_run(run)
    watched(lambda watch: origins_step(opened, Lazy(opened), watch, roles, texts, say=logging.getLogger("workbench").info))
    print(origins_found(opened))
    again(opened)


@caps_app.command()
def checkpoints(
    run: RunFolder,
    models: Annotated[list[str], typer.Argument(help="other weights of the same model, in the order of training: folders or hub names")],
    beginnings: Annotated[
        list[str] | None, typer.Option("--beginning", help="a text to continue while steering; may be given again")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="continuations of each")] = 20,
) -> None:
    """When does the axis appear? A run's responses read by its base model and by checkpoints, and those steered along its axis."""
    from ..store import open_run
    from ..study.checkpoints import checkpoints_found, checkpoints_step
    from ..study.config import Lazy

    opened = open_run(run)
    watched(lambda watch: checkpoints_step(opened, Lazy(opened), watch, models, beginnings or None, samples))
    print(checkpoints_found(opened))
    again(opened)


@caps_app.command()
def methods(run: RunFolder) -> None:
    """Ways to find the axis compared: what each separates, whether it repeats, and what the same cap along it does."""
    from ..store import open_run
    from ..study.config import Lazy
    from ..study.methods import methods_step

    opened = open_run(run)
    table = watched(lambda watch: methods_step(opened, Lazy(opened), watch))
    shown = ["method", "source", "auc", "split_half", "cosine", "compliance", "right", "says"]
    print(table[shown].to_string(index=False, float_format="{:.3f}".format))
    again(opened)


@caps_app.command()
def calibrate(
    run: RunFolder,
    windows: Annotated[str | None, typer.Option(help="widths of windows, e.g. 2,3; by the model's depth if not given")] = None,
    percentiles: Annotated[str | None, typer.Option(help="by set, along the axis, e.g. 'default:5,25,50 all:75'")] = None,
    positions: Annotated[str, typer.Option(help="all, prompt, generated, content; several with commas")] = "all,generated",
    statistic: Annotated[str, typer.Option(help="percentiles of response means, or of tokens")] = "means",
    prompts: Prompts = None, behaviours: Behaviours = None, limit: Limit = None,
    seed: Annotated[int, typer.Option(help="seed of the prompts, their halves and the sampling")] = 0,
) -> None:  # fmt: skip
    """Try caps (windows x percentiles x positions) on one half of the prompts, choose, and report on the other half."""
    from ..calibration import parse_percentiles
    from ..store import open_run
    from ..study.caps import calibrate_step, calibrated
    from ..study.config import Lazy

    opened = open_run(run)
    config = _config(
        windows=parse_layers(windows), percentiles=None if percentiles is None else parse_percentiles(percentiles),
        positions=tuple(positions.split(",")), statistic=statistic, prompts=prompts, behaviours=behaviours, limit=limit, seed=seed,
    )  # fmt: skip
    watched(lambda watch: calibrate_step(opened, Lazy(opened), watch, config))
    print(calibrated(opened))
    again(opened)


@caps_app.command()
def evaluate(
    run: RunFolder,
    controls: Annotated[int, typer.Option(min=0, help="random directions, and random splits of the roles, each")] = 3,
    tasks: Annotated[str | None, typer.Option(help="lm-eval tasks, e.g. ifeval,gsm8k (needs the extra 'eval')")] = None,
    include_path: Annotated[Path | None, typer.Option(help="a folder with task files of your own")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="items of each task at most")] = None,
) -> None:
    """The calibrated cap on the report half, beside steering, the paper's recipe and matched controls; lm-eval tasks on request."""
    from ..store import open_run
    from ..study.caps import evaluate_step, evaluated
    from ..study.config import Lazy
    from ..study.tasks import tasks_found, tasks_step

    if not tasks:
        refuse_stray("--tasks", include_path=include_path, limit=limit)
    opened = open_run(run)
    watched(lambda watch: evaluate_step(opened, Lazy(opened), watch, n_controls=controls))
    if tasks:
        watched(lambda watch: tasks_step(opened, Lazy(opened), watch, tasks.split(","), include_path, limit))
    print("\n".join(said for said in (evaluated(opened), tasks_found(opened)) if said))
    again(opened)


@caps_app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="a folder in the paper's published layout")],
    out: Annotated[Path, typer.Option(help="the run's folder")],
    model: Annotated[str, typer.Option(help="which model the vectors were taken from")] = "",
) -> None:
    """Read the paper's published files (axis, vectors, capping configuration) into a run folder, and say what they hold."""
    from ..published import import_published

    run, findings = import_published(folder, out, model)
    print("\n".join([*findings[:SAID], f"Run: {run.folder} (all {len(findings)} findings are in its study.json)"]))


@caps_app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="a folder, or a file for gguf")],
    format: Annotated[str, typer.Option(help="published, or gguf (additive control vectors)")] = "published",
    strength: Annotated[float | None, typer.Option(help="gguf: multiple of the axis that is added; 1 where not given")] = None,
    layers: Annotated[str | None, typer.Option(help="gguf: blocks, e.g. 10-20; all but block 0 where not given")] = None,
    cap: Annotated[str | None, typer.Option(help="gguf: refused, it cannot express a cap")] = None,
) -> None:
    """Write a run's vectors in the formats of other tools."""
    from ..store import open_run

    opened = open_run(run)
    if format == "published":
        refuse_stray("--format gguf", strength=strength, layers=layers, cap=cap)
        from ..published import export_published

        paths, notes = export_published(opened, out)
        print("\n".join([*notes, f"{len(paths)} files in {out}"]))
    elif format == "gguf":
        from ..control_vectors import export_gguf

        if cap and cap not in opened.caps:
            raise WorkbenchError(f"{run} holds no cap {cap!r}: there are {', '.join(opened.caps) or 'none'}")
        what: Any = opened.caps[cap] if cap else opened.axis
        path, notes = export_gguf(
            what, out, 1.0 if strength is None else strength, parse_layers(layers), str(opened.config.get("model", ""))
        )
        print("\n".join([*notes, str(path)]))
    else:
        raise WorkbenchError(f"a run is exported as published or gguf, not as {format!r}")


def _config(**values: Any) -> Any:
    """Settings of a calibration; a wrong one is named in one sentence."""
    from ..testbed import CapConfig

    return CapConfig.of(**{k: str(v) if isinstance(v, Path) else v for k, v in values.items() if v is not None})

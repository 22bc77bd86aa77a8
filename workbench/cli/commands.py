"""The command line: one function a command, no logic, heavy imports inside the functions."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import WorkbenchError
from .caps import caps_app
from .common import RunFolder, parse_layers, watched
from .drift import drift_app
from .figures import figures_app
from .models import models_app
from .talk import talk_app

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Find out where a chat model's persona lives in its activations, and watch it move.")  # fmt: skip
organism_app = typer.Typer(no_args_is_help=True, help="The embedded model: train it, check it against what was planted.")
app.add_typer(organism_app, name="organism")
app.add_typer(caps_app)
app.add_typer(talk_app)
app.add_typer(models_app)
app.add_typer(drift_app)
app.add_typer(figures_app)

Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps; the first accelerator where not given")]
Template = Annotated[str | None, typer.Option(help="a Jinja file, for models without a chat template")]
Revision = Annotated[str | None, typer.Option(help="branch, tag or commit of a hub model")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="run code that comes with the model")]


def main() -> None:
    """Entry point: a user's mistake is one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to lose what was computed
    try:
        app()
    except WorkbenchError as error:
        print(f"workbench: {error}", file=sys.stderr)
        sys.exit(1)


@app.command()
def study(
    model: Annotated[str | None, typer.Option(help="organism (where not given), a local folder, or a hub name")] = None,
    out: Annotated[Path | None, typer.Option(help="the run's folder; runs/MODEL where not given")] = None,
    roles: Annotated[str | None, typer.Option(help="how many roles, or a folder of role files")] = None,
    questions: Annotated[str | None, typer.Option(help="how many questions, or a file")] = None,
    prompts: Annotated[int | None, typer.Option(help="system prompts a role")] = None,
    samples: Annotated[int | None, typer.Option(help="answers to each prompt and question")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of everything that is drawn")] = None,
    layers: Annotated[str | None, typer.Option(help="blocks to read, e.g. 10-20 or 4,8,12; all where not given")] = None,
    keep_layers: Annotated[str | None, typer.Option(help="blocks at which a large study keeps every response's vector")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="longest answer")] = None,
    batch_size: Annotated[int | None, typer.Option(help="answers generated at once")] = None,
    endpoint: Annotated[str | None, typer.Option(help="a server that writes the answers, e.g. http://localhost:8000/v1")] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="what the server calls the model; its name or folder where not given")] = None,
    judge: Annotated[str | None, typer.Option(help="a server with a model that judges the answers")] = None,
    judge_model: Annotated[str | None, typer.Option(help="what that server calls the judge")] = None,
    judge_budget: Annotated[int | None, typer.Option(help="tokens that judging may take, read and written")] = None,
    concurrency: Annotated[int | None, typer.Option(help="requests to a server at once")] = None,
    dtype: Dtype = None, device: Device = None, chat_template: Template = None, revision: Revision = None, trust_remote_code: Trust = False,
    full: Annotated[bool, typer.Option("--full", help="the whole library: all roles, five prompts, all questions")] = False,
    config: Annotated[Path | None, typer.Option(help="a JSON file of settings; options given here win")] = None,
) -> None:  # fmt: skip
    """Run a whole study, or continue one: rollouts, activations, persona space, axis, sweep, report."""
    given = {
        "roles": _number_or_text(roles), "questions": _number_or_text(questions), "prompts": prompts, "samples": samples, "seed": seed,
        "layers": parse_layers(layers), "keep_layers": parse_layers(keep_layers),
        "max_new_tokens": max_new_tokens, "batch_size": batch_size, "dtype": dtype, "device": device,
        "chat_template": chat_template, "revision": revision, "endpoint": endpoint, "endpoint_model": endpoint_model,
        "concurrency": concurrency, "judge": judge, "judge_model": judge_model, "judge_budget": judge_budget,
    }  # fmt: skip
    from ..study.config import FULL
    from ..study.main import run_study

    settings = (FULL if full else {}) | _read_config(config) | {k: v for k, v in given.items() if v is not None}
    settings |= {"trust_remote_code": True} if trust_remote_code else {}
    asked = settings.pop("model", None) or "organism"
    run = watched(lambda watch: run_study(model or asked, out, watch, **settings))
    _closing(run)


def _step(name: str, text: str) -> None:
    def command(run: RunFolder) -> None:
        from ..store import open_run
        from ..study.config import Lazy
        from ..study.main import STEPS

        opened = open_run(run)
        watched(lambda watch: STEPS[name](opened, Lazy(opened), watch))
        facts = {k: v for k, v in opened.study["steps"][name].items() if k not in ("state", "finished", "site", "notes", "parts", "inputs")}
        print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in facts.items()))

    command.__doc__ = text
    app.command(name)(command)


for _name, _text in {
    "rollouts": "Generate the responses that a run's plan asks for.",
    "judge": "Label the responses of a run.",
    "extract": "Read the mean activations of a run's responses.",
    "axis": "Role vectors and the Assistant Axis of a run.",
    "report": "Write a run's report again.",
}.items():
    _step(_name, _text)


@app.command()
def doctor(
    model: Annotated[str, typer.Argument(help="organism, a local folder, or a hub name")] = "organism",
    dtype: Dtype = None, device: Device = None, chat_template: Template = None, revision: Revision = None, trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Look a model over before hours are spent: template, spans, stop tokens, hooks, context, memory, speed."""
    from ..models.doctor import Check, examine
    from ..models.loading import load_model
    from ..presets import preset_for

    loaded = load_model(
        model, dtype=dtype, device=device, chat_template=chat_template, revision=revision, trust_remote_code=trust_remote_code
    )
    checks = examine(loaded)
    checks.append(Check("preset", "note", str(preset_for(loaded.name, loaded.n_layers))))
    for check in checks:
        print(f"{check.outcome:<5} {check.name:<16} {check.finding}")
    if any(check.outcome == "fail" for check in checks):
        raise typer.Exit(1)


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="organism, a local folder, or a hub name; only its configuration is read")] = "organism",
    roles: Annotated[int | None, typer.Option(help="how many roles")] = None,
    questions: Annotated[int | None, typer.Option(help="how many questions")] = None,
    prompts: Annotated[int | None, typer.Option(help="system prompts a role")] = None,
    samples: Annotated[int | None, typer.Option(help="answers to each prompt and question")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="longest answer")] = None,
    test_prompts: Annotated[int | None, typer.Option(help="prompts of a calibration")] = None,
    full: Annotated[bool, typer.Option("--full", help="the whole library: all roles, five prompts, all questions")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="load the model, time it, and say how long each step will take here")] = False,
    revision: Revision = None, trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """What a study, origins, calibration and evaluation of a model will cost, before its weights are loaded."""
    from ..costs import plan_cost
    from ..models.shape import shape_of
    from ..study.config import FULL

    given = {"roles": roles, "questions": questions, "prompts": prompts, "samples": samples, "max_new_tokens": max_new_tokens,
             "test_prompts": test_prompts}  # fmt: skip
    settings = (FULL if full else {}) | {k: v for k, v in given.items() if v is not None}
    cost, speed = plan_cost(shape_of(model, revision=revision, trust_remote_code=trust_remote_code), **settings), None
    if measure:
        from ..models.loading import load_model
        from ..models.speed import measure_speed
        from ..rollouts import batch_size_of

        loaded = load_model(model, revision=revision, trust_remote_code=trust_remote_code)
        speed = measure_speed(loaded, batch_size_of(loaded))
    print(cost.to_text(speed))


@organism_app.command()
def train(
    out: Annotated[Path, typer.Option(help="folder for the model and its checkpoints")] = Path("runs/organism-model"),
    seed: Annotated[int, typer.Option(help="seed of texts, order and weights")] = 0,
) -> None:
    """Train the embedded model from nothing, check it and write its card (over half an hour on one core)."""
    from ..organism.card import write_card
    from ..organism.check import check as run_check
    from ..organism.train import train as run_training

    watched(lambda watch: run_training(out, seed=seed, report=lambda stage, done, total, loss: watch(f"train: {stage}", done, total)))
    result = watched(lambda watch: run_check(out, watch))
    print(f"{result.to_text()}\nCard: {write_card(out, result)}\nNext: workbench study --model {out}")


@organism_app.command()
def check(
    folder: Annotated[Path | None, typer.Argument(help="a trained folder; the shipped model where not given")] = None,
    card: Annotated[bool, typer.Option("--card", help="write the table into the folder's model card")] = False,
    caps: Annotated[bool, typer.Option(help="also caps, controls and steering, which take most of the time")] = True,
) -> None:
    """Measure a trained organism against what was planted, and print every figure beside its bound."""
    from ..organism import CHECKPOINT
    from ..organism.card import write_card
    from ..organism.check import check as run_check

    result = watched(lambda watch: run_check(folder, watch, caps=caps))
    print(result.to_text())
    if card:
        print(f"Card: {write_card(folder or CHECKPOINT, result)}")
    if not result.passed:
        raise typer.Exit(1)


@organism_app.command()
def worlds(
    out: Annotated[Path, typer.Option(help="folder for the trials; those that are there are not run again")] = Path("runs/worlds"),
    names: Annotated[str | None, typer.Option(help="worlds, with commas; all nine where not given")] = None,
    seeds: Annotated[str, typer.Option(help="seeds of training and study, e.g. 0-2")] = "0-2",
) -> None:
    """Blind trials: train models on worlds in which the method holds or must not, study them, count right and wrong verdicts."""
    from ..organism.trials import by_method, confusion, trials
    from ..organism.worlds import CASES

    chosen = tuple(CASES) if names is None else tuple(name.strip() for name in names.split(","))
    table = watched(lambda watch: trials(out, watch, chosen, parse_layers(seeds) or ()))
    for part in (table[["world", "seed", "planted", "conclusion"]], confusion(table), by_method(table)):
        print(part.to_string(index=False, float_format="{:.2f}".format, na_rep="-") + "\n")


def _closing(run: Any) -> None:
    from ..study.main import found

    hint = ", or workbench doctor MODEL for a model of your own" if run.config["model"] == "organism" else ""
    print(f"{found(run)}\nReport: {run.report}\nNext: workbench origins {run.folder}, workbench calibrate {run.folder}{hint}")


def _number_or_text(value: str | None) -> int | str | None:
    return int(value) if value is not None and re.fullmatch("-?[0-9]+", value) else value


def _read_config(path: Path | None) -> dict[str, Any]:
    import json

    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"the settings in {path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise WorkbenchError(f"the settings in {path} are no JSON object")
    if given := [name for name in ("out", "watch") if name in found]:
        raise WorkbenchError(f"{given[0]} is no setting of a study, but stands in {path}: give it as an option")
    return found

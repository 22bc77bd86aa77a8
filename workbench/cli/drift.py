"""The command of the drift lab: conversations that are simulated, and conversations from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import WorkbenchError
from .common import again, refuse_stray, watched

drift_app = typer.Typer()
SAID = 10
"""So many problems of files are printed."""


@drift_app.command()
def drift(
    files: Annotated[list[Path] | None, typer.Argument(help="conversations: JSON, JSONL or Parquet, or folders of them")] = None,
    run: Annotated[Path | None, typer.Option(help="a study's folder, whose axis is used")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="hold conversations with the model instead, and find what moves it")] = False,
    window: Annotated[int | None, typer.Option(help="read what is longer than the context by windows of so many tokens")] = None,
    capped: Annotated[bool, typer.Option("--capped", help="files: read them under the recommended cap too")] = False,
    join: Annotated[bool, typer.Option("--join", help="files: join neighbouring messages of one speaker")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="files: stop at the first conversation that cannot be read")] = False,
    n: Annotated[int | None, typer.Option(help="simulated conversations a domain")] = None,
    turns: Annotated[int | None, typer.Option(help="answers a simulated conversation")] = None,
    domains: Annotated[str | None, typer.Option(help="domains, with commas; all that the tasks hold where not given")] = None,
    user: Annotated[str | None, typer.Option(help="who plays the user: a server's address, a model, or self (as where not given)")] = None,
    steer: Annotated[float | None, typer.Option(help="hold them again steered: a fraction of the mean residual norm")] = None,
    user_model: Annotated[str | None, typer.Option(help="what that server calls the model")] = None,
    tasks: Annotated[Path | None, typer.Option(help="domains, users and topics of your own, as in data/drift.json")] = None,
    repeats: Annotated[int | None, typer.Option(help="answer every message so many times, to measure changes better")] = None,
    embeddings: Annotated[str | None, typer.Option(help="of messages: input, tfidf, sentence, or a sentence model")] = None,
    layer: Annotated[
        int | None, typer.Option(help="where to read; the drift study's, or the layer whose replies repeat best, where not given")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="seed of conversations and users")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="longest answer")] = None,
) -> None:  # fmt: skip
    """Watch a persona move: project given conversations turn by turn, or simulate some and find out what moved them."""
    from ..store import open_run

    if run is None:
        raise WorkbenchError("drift needs a study whose axis it can use: --run RUN")
    opened = open_run(run)
    given = {
        "n": n, "turns": turns, "user": user, "user_model": user_model, "repeats": repeats, "embeddings": embeddings, "layer": layer,
        "steer": steer, "seed": seed, "max_new_tokens": max_new_tokens, "tasks": str(tasks) if tasks else None,
    }  # fmt: skip
    if bool(files) == simulate:
        raise WorkbenchError("drift takes files of conversations, or --simulate: one of the two")
    if simulate:
        refuse_stray("files", window=window, capped=capped, join=join, strict=strict)
        _simulate(opened, given | {"domains": tuple(d.strip() for d in domains.split(",")) if domains else None})
    else:
        refuse_stray("--simulate", **{k: v for k, v in given.items() if k != "layer"}, domains=domains)
        _read(opened, files or [], window, capped, join, strict, layer)


def _simulate(run: Any, given: dict[str, Any]) -> None:
    from ..drift.material import DriftConfig
    from ..drift.words import drifted
    from ..study.config import Lazy
    from ..study.drift import drift_step

    config = DriftConfig.of(**{k: v for k, v in given.items() if v is not None})
    watched(lambda watch: drift_step(run, Lazy(run), watch, config))
    print(drifted(run))
    again(run)


def _read(run: Any, files: list[Path], window: int | None, capped: bool, join: bool, strict: bool, layer: int | None) -> None:
    from ..drift.files import given_trajectories, in_words
    from ..study.config import Lazy
    from ..transcripts import load_conversations

    talks = load_conversations(files, strict=strict, join=join)
    model = Lazy(run)()
    frame, left_out, folder = watched(
        lambda watch: given_trajectories(
            run, model, talks, layer=layer, window=window, capped=capped, progress=lambda done, total: watch("reading", done, total)
        )
    )
    print(in_words(frame))
    _problems([*map(str, talks.problems), *left_out])
    print(f"Figure, pages and table: {folder}")


def _problems(said: list[str]) -> None:
    for line in said[:SAID]:
        print(f"left out: {line}")
    if len(said) > SAID:
        print(f"... and {len(said) - SAID} more were left out")

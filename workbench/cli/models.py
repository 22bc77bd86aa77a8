"""Commands about judges, traits and several models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import RunFolder, again, refuse_stray, watched

models_app = typer.Typer()


@models_app.command()
def traits(
    run: RunFolder,
    n: Annotated[int | None, typer.Option(min=1, help="how many traits")] = 24,
    questions: Annotated[int, typer.Option(min=1, help="questions a trait")] = 4,
    pairs: Annotated[int | None, typer.Option(min=1, help="pairs of prompts a trait; all where not given")] = None,
    source: Annotated[Path | None, typer.Option(help="a folder of traits, ours or the published layout")] = None,
    full: Annotated[bool, typer.Option("--full", help="all traits")] = False,
) -> None:
    """Trait vectors of a run's model from opposite prompts, and the axis's cosine with each."""
    from ..store import open_run
    from ..study.config import Lazy
    from ..study.traits import traits_found, traits_step

    opened = open_run(run)
    watched(lambda watch: traits_step(opened, Lazy(opened), watch, None if full else n, questions, pairs, source))
    print(traits_found(opened))
    again(opened)


@models_app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="folders of two or more studies")],
    out: Annotated[Path, typer.Option(help="a folder for the tables and figures")] = Path("runs/compared"),
) -> None:
    """Persona spaces of several models beside each other: components, axis and shape, matched by the roles' names."""
    from .. import plots
    from ..compare import aligned, compare, in_words, positions_of, positions_table
    from ..store import open_run
    from ..tensorfile import write_bytes

    short = [run.resolve().name for run in runs]
    names = short if len(set(short)) == len(short) else [str(run) for run in runs]
    studies = [positions_of(open_run(run), name) for run, name in zip(runs, names, strict=True)]
    table, places = compare(studies), positions_table(studies)
    for name, frame in (("compared", table), ("positions", places)):
        write_bytes(out / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    print(in_words(table))
    if sum(len(study.z) > 0 for study in studies) > 1:
        plots.save(plots.compared(places), out / "compared.html")
    plots.save(plots.persona_spaces(aligned(studies)), out / "spaces.html")
    print(f"Tables and figures: {out}")


@models_app.command()
def label(
    run: RunFolder,
    n: Annotated[int | None, typer.Option(min=1, help="responses in the sample; 200 where not given")] = None,
    seed: Annotated[int | None, typer.Option(help="draws the sample; 0 where not given")] = None,
    read: Annotated[bool, typer.Option("--read", help="read the labels back and compare them with the judge's")] = False,
    file: Annotated[Path | None, typer.Option(help="with --read: the filled sheet, where it is not the run's own")] = None,
) -> None:
    """Export a blind sample of the responses for people to label; with --read, what their labels say of the judge."""
    from ..labelling import export_sample, read_sample
    from ..store import open_run

    opened = open_run(run)
    if not read:
        refuse_stray("--read", file=file)
        sheet = export_sample(opened, 200 if n is None else n, seed or 0)
        print(f"{sheet}: fill in the column label (3 fully in the role ... 0 refuses), then add --read")
        return
    refuse_stray("a sample to draw: --read reads one", n=n, seed=seed)
    found, rates = read_sample(opened, file)
    print(f"People and judge: {found}")
    print(f"{found.confusion.rename_axis(index='people', columns='judge')}")
    shares = ", ".join(f"{k}: {r.value:.1%} [{r.low:.1%}, {r.high:.1%}]" for k, r in rates.items())
    print(f"Shares of the labels among all responses, corrected: {shares}")
    again(opened)

"""Commands about judges, traits and several models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_common import RunFolder, again, watched

models_app = typer.Typer()


@models_app.command()
def traits(
    run: RunFolder,
    n: Annotated[int | None, typer.Option(help="how many traits")] = 24,
    questions: Annotated[int, typer.Option(help="questions a trait")] = 4,
    pairs: Annotated[int | None, typer.Option(help="pairs of prompts a trait; all where not given")] = None,
    source: Annotated[Path | None, typer.Option(help="a folder of traits, ours or the published layout")] = None,
    full: Annotated[bool, typer.Option("--full", help="all traits")] = False,
) -> None:
    """Trait vectors of a run's model from opposite prompts, and the axis's cosine with each."""
    from .store import open_run
    from .study import Lazy
    from .study_traits import traits_found, traits_step

    opened = open_run(run)
    watched(lambda watch: traits_step(opened, Lazy(opened), watch, None if full else n, questions, pairs, source))
    print(traits_found(opened))
    again(opened)


@models_app.command()
def label(
    run: RunFolder,
    n: Annotated[int, typer.Option(help="responses in the sample")] = 200,
    seed: Annotated[int, typer.Option(help="draws the sample")] = 0,
    read: Annotated[bool, typer.Option("--read", help="read the labels back and compare them with the judge's")] = False,
    file: Annotated[Path | None, typer.Option(help="with --read: the filled sheet, where it is not the run's own")] = None,
) -> None:
    """Export a blind sample of the responses for people to label; with --read, what their labels say of the judge."""
    from .labelling import export_sample, read_sample
    from .store import open_run

    opened = open_run(run)
    if not read:
        print(f"{export_sample(opened, n, seed)}: fill in the column label (3 fully in the role ... 0 refuses), then add --read")
        return
    found, rates = read_sample(opened, file)
    print(f"People and judge: {found}")
    print(f"{found.confusion.rename_axis(index='people', columns='judge')}")
    shares = ", ".join(f"{k}: {r.value:.1%} [{r.low:.1%}, {r.high:.1%}]" for k, r in rates.items())
    print(f"Shares of the labels among all responses, corrected: {shares}")

"""The commands that talk to a model: the page, and the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import WorkbenchError

talk_app = typer.Typer()

Files = Annotated[list[Path] | None, typer.Option("--direction", help="a saved direction's file; may be given again")]
Endpoint = Annotated[str | None, typer.Option(help="a server that answers instead, e.g. http://localhost:8000/v1: plain chat only")]
EndpointModel = Annotated[str | None, typer.Option(help="what the server calls the model")]


@talk_app.command()
def app(
    run: Annotated[Path | None, typer.Argument(help="a study's folder; runs/organism where not given")] = None,
    host: Annotated[str, typer.Option(help="where to listen; beyond this machine a token is asked for")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="the first free one from 7860 on where not given")] = None,
    direction: Files = None, endpoint: Endpoint = None, endpoint_model: EndpointModel = None,
) -> None:  # fmt: skip
    """Talk to a run's model in a page: as it is and, beside it, under an intervention, with the gauge."""
    import importlib.util

    if importlib.util.find_spec("gradio") is None:
        raise WorkbenchError("the page needs gradio: pip install 'persona-workbench[app]' (or talk in the terminal: workbench chat)")
    from ..app.server import serve

    bench = _bench(run, direction, endpoint, endpoint_model)
    serve(bench, host, port, lambda text: print(text, flush=True))


@talk_app.command()
def chat(
    run: Annotated[Path | None, typer.Argument(help="a study's folder; runs/organism where not given")] = None,
    settings: Annotated[str | None, typer.Option("--settings", help="the page's link, or the part behind its question mark")] = None,
    persona: Annotated[str | None, typer.Option(help="a role of the run's library")] = None,
    prompt: Annotated[int | None, typer.Option(help="which of its prompts, from 0")] = None,
    system: Annotated[str | None, typer.Option(help="a system prompt of your own")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the most likely token")] = None,
    top_p: Annotated[float | None, typer.Option(help="nucleus")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="longest answer")] = None,
    seed: Annotated[int | None, typer.Option(help="of the first answer")] = None,
    follow: Annotated[str | None, typer.Option(help="what the right side reads: own (two lives) or left (one counterfactual)")] = None,
    forget: Annotated[bool | None, typer.Option("--forget", help="let the oldest turns be forgotten where the context is full")] = None,
    kind: Annotated[str | None, typer.Option(help="what acts on the right side: none, add, floor, ceiling, ablate")] = None,
    cap: Annotated[str | None, typer.Option(help="a calibrated cap, e.g. recommended")] = None,
    along: Annotated[str | None, typer.Option(help="axis, 'prompt axis', PC1, 'trait NAME', 'file NAME'")] = None,
    layers: Annotated[str | None, typer.Option(help="blocks, e.g. 1-3")] = None,
    strength: Annotated[float | None, typer.Option(help="add: fractions of the mean residual norm; ablate: the share taken away")] = None,
    percentile: Annotated[float | None, typer.Option(help="floor and ceiling: along the direction")] = None,
    over: Annotated[str | None, typer.Option(help="of whose responses: default, roles, all")] = None,
    positions: Annotated[str | None, typer.Option(help="all, prompt, generated, last, content")] = None,
    control: Annotated[int | None, typer.Option(help="seed of a random direction of the same dose in the place of the chosen one")] = None,
    layer: Annotated[int | None, typer.Option(help="where the gauge reads")] = None,
    direction: Files = None, endpoint: Endpoint = None, endpoint_model: EndpointModel = None,
) -> None:  # fmt: skip
    """Talk to a run's model in the terminal: as it is and, beside it, under an intervention, with the gauge as text."""
    given: dict[str, Any] = {
        "persona": persona, "prompt": prompt, "system": system, "temperature": temperature, "top_p": top_p, "seed": seed,
        "max_new_tokens": max_new_tokens, "follow": follow, "forget": forget, "kind": "floor" if cap else kind, "preset": cap,
        "direction": along, "layers": layers, "strength": strength, "percentile": percentile, "over": over, "positions": positions,
        "control": control, "layer": layer,
    }  # fmt: skip
    from ..app.form import defaults
    from ..app.settings import Settings
    from ..app.terminal import talk

    _check_cap(cap, kind, given)
    bench = _bench(run, direction, endpoint, endpoint_model)
    chosen = Settings.from_query(settings.partition("?")[2] if "?" in settings else settings) if settings is not None else defaults(bench)
    # The cap that acts by default is no longer meant where something else is named.
    chosen = chosen.but(preset="") if not cap and (kind or along or layers or over or positions or percentile is not None) else chosen
    talk(bench, chosen.but(**{name: value for name, value in given.items() if value is not None}))


def _check_cap(cap: str | None, kind: str | None, given: dict[str, Any]) -> None:
    """A calibrated cap leaves nothing open that could be asked for beside it."""
    from ..app.settings import SAID_BY_PRESET

    beside = ["kind"] if kind not in (None, "floor") else [name for name in SAID_BY_PRESET if given[name] is not None]
    if cap and beside:
        option = "along" if beside[0] == "direction" else beside[0]
        raise WorkbenchError(f"a calibrated cap says by itself what acts, and how: give --cap or --{option}, not both")


def _bench(run: Path | None, files: list[Path] | None, endpoint: str | None, endpoint_model: str | None) -> Any:
    from ..app.bench import open_bench

    usual = Path("runs/organism")
    if run is None and endpoint is None:
        if not (usual / "study.json").exists():
            raise WorkbenchError(f"which study? give its folder; there is none in {usual} (`workbench study` makes one)")
        run = usual
    named = {path.stem: path for path in files or ()}
    if len(named) < len(files or ()):
        raise WorkbenchError("two files of directions have the same name")
    return open_bench(run, files=named, endpoint=endpoint, endpoint_model=endpoint_model)

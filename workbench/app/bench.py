"""A run with its model, ready to be talked to: what the page, the terminal and a notebook share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from ..conversations import Conversation, Role
from ..directions import Direction
from ..errors import DataError, WorkbenchError
from ..library import load_roles
from ..models.endpoint import Endpoint
from ..models.hooked import HookedModel
from ..rollouts import answer_tokens
from ..store import Run, open_run
from ..study.config import Lazy
from .acting import Actor
from .bands import Band, band_at, layer_of, token_band_at
from .dialogue import LEFT, RIGHT, Dialogue, Reply
from .remote import Remote
from .settings import Settings, layers_in_words
from .streaming import Piece, Stream, fitting

SLICE = 0.03
"""Seconds that one side writes before the other goes on."""
PLAIN = "a model on a server is only talked to: there is no gauge and no intervention, because nothing of its inside can be seen from here"


class Bench:
    """What can be talked to, and how.

    Parameters
    ----------
    run, model
        A study and its model; a run without a model for a server's.
    files
        Name -> path of saved directions.
    endpoint
        A server that answers instead; nothing is measured then, and nothing acts.

    Examples
    --------
    ::

        bench = wb.open_bench("runs/organism")
        dialogue = bench.say(wb.Dialogue(), "Who are you?", wb.Settings(kind="floor", preset="recommended"))
    """

    def __init__(
        self, run: Run | None = None, model: HookedModel | None = None, *, files: Mapping[str, Path] | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:  # fmt: skip
        if (run is None or model is None) and endpoint is None:
            raise DataError("there is nothing to talk to: give a run with its model, or a server")
        self.run, self.model, self.endpoint = run, model, endpoint
        self.actor = Actor(run, model, files) if run is not None and model is not None else None
        self._bands: dict[int, Band | None] = {}
        self._token_bands: dict[int, pd.DataFrame | None] = {}
        # Said now: while an answer is being written, the model's own settings are put aside.
        self.answer_tokens = answer_tokens(model) if model is not None else None

    @property
    def name(self) -> str:
        """What is talked to."""
        if self.endpoint is not None:
            return self.endpoint.model
        return self.model.name if self.model is not None else ""

    @cached_property
    def roles(self) -> dict[str, Role]:
        """The personas that can be asked for: those of the run's library."""
        if self.run is None or "library" not in self.run.study:
            return {role.name: role for role in load_roles()}
        known = self.run.study["library"]["roles"].items()
        return {name: Role(name, tuple(facts["prompts"]), facts["description"]) for name, facts in known}

    @cached_property
    def axis(self) -> Direction | None:
        """What the gauge projects on."""
        return self.run.axis if self.actor is not None and self.run is not None else None

    def system_prompt(self, settings: Settings) -> str:
        """The system prompt of settings: one's own, else the persona's.

        Raises
        ------
        DataError
            Where there is no such persona or prompt.
        """
        if settings.system or not settings.persona:
            return settings.system
        if settings.persona not in self.roles:
            raise DataError(f"there is no persona {settings.persona!r} in the library of {self.run.folder if self.run else 'roles'}")
        prompts = self.roles[settings.persona].prompts
        if settings.prompt >= len(prompts):
            raise DataError(f"{settings.persona!r} has {len(prompts)} prompts, numbered from 0: there is none of number {settings.prompt}")
        return prompts[settings.prompt]

    def layer(self, settings: Settings) -> int | None:
        """Where the gauge reads."""
        if self.run is None or self.axis is None:
            return None
        layer = layer_of(self.run) if settings.layer is None else settings.layer
        if layer not in self.axis.site.layers:
            raise DataError(f"the axis of {self.run.folder} has no layer {layer}: it has {list(self.axis.site.layers)}")
        return layer

    def band(self, layer: int | None) -> Band | None:
        """The default band there."""
        if self.run is None or self.axis is None or layer is None:
            return None
        if layer not in self._bands:
            self._bands[layer] = band_at(self.run, self.axis, layer)
        return self._bands[layer]

    def token_band(self, layer: int | None) -> pd.DataFrame | None:
        """Where default tokens lie there; found at the first call, with the model."""
        if self.run is None or self.model is None or self.axis is None or layer is None:
            return None
        if layer not in self._token_bands:
            self._token_bands[layer] = token_band_at(self.run, self.model, self.axis, layer)
        return self._token_bands[layer]

    # -- answering ----------------------------------------------------------------------------------
    def asked(self, dialogue: Dialogue, number: int, side: str, settings: Settings) -> tuple[Conversation, int]:
        """What a side is given to answer an exchange, and how many of its oldest exchanges had to be forgotten for it."""
        asked = dialogue.asked(number, side, self.system_prompt(settings), settings.follow)
        if not settings.forget or self.model is None:
            return asked, 0
        return fitting(self.model, asked, settings.max_new_tokens or self.answer_tokens)

    def stream(self, conversation: Conversation, settings: Settings, side: str, seed: int) -> Stream | Remote:
        """One side's answer; the left side is the model as it is."""
        sampling = {"seed": seed, "temperature": settings.temperature, "top_p": settings.top_p}
        longest = settings.max_new_tokens or self.answer_tokens
        if self.endpoint is not None:
            return Remote(self.endpoint, conversation, max_new_tokens=longest, **sampling)
        assert self.model is not None
        assert self.actor is not None
        acting = self.actor.interventions(settings) if side == RIGHT else ()
        return Stream(self.model, conversation, acting, axis=self.axis, layer=self.layer(settings), max_new_tokens=longest, **sampling)

    def sides(self, settings: Settings) -> tuple[str, ...]:
        """Who answers: both where something acts, else the left side alone, for the right one would say the same.

        Raises
        ------
        DataError
            Where something shall act on a server's model.
        """
        if settings.kind == "none":
            return (LEFT,)
        if self.endpoint is not None:
            raise DataError(PLAIN)
        return (LEFT, RIGHT)

    def say(self, dialogue: Dialogue, message: str, settings: Settings | None = None) -> Dialogue:
        """Say something and wait for the answers."""
        settings = settings or Settings()
        answering = Answering(self, dialogue.say(message, settings.to_query()), settings)
        for _ in answering:
            pass
        return answering.dialogue


def in_turn(streams: Sequence[Stream | Remote], seconds: float = SLICE) -> Iterator[tuple[Piece, ...]]:
    """Several answers of one model at the same time, each written for so long in its turn.

    Yields
    ------
    tuple of Piece
        Of every stream, after each round; the last when all are done.
    """
    while any(one.answer is None for one in streams):
        yield tuple(one.advance(seconds) for one in streams)


class Answering:
    """Both sides' answers to the last exchange of a dialogue, while they are written.

    Parameters
    ----------
    seed
        Of both answers; counted on from the settings' where None.

    Attributes
    ----------
    acting
        What acts on the right side, in words.
    dialogue
        With the answers as far as they have come; what was written before a stop or an error is kept.
    """

    def __init__(self, bench: Bench, dialogue: Dialogue, settings: Settings, seed: int | None = None) -> None:
        if dialogue.at is None:
            raise DataError("there is nothing to answer yet")
        self.number, self._settings = dialogue.at, settings
        self.seed = dialogue.next_seed(self.number, settings.seed) if seed is None else seed
        self._before = dialogue
        self.acting = in_words(settings)
        self._streams: dict[str, Stream | Remote] = {}
        self._forgotten: dict[str, int] = {}
        for side in bench.sides(settings):
            asked, self._forgotten[side] = bench.asked(dialogue, self.number, side, settings)
            self._streams[side] = bench.stream(asked, settings, side, self.seed)

    def __iter__(self) -> Iterator[dict[str, Piece]]:
        """Write; gives each side's piece after every round. Whoever leaves off early stops both."""
        try:
            for pieces in in_turn([*self._streams.values()]):
                yield dict(zip(self._streams, pieces, strict=True))
        finally:
            self.stop()

    def stop(self) -> None:
        """End both answers here; what was written stays."""
        for one in self._streams.values():
            one.stop()

    @property
    def dialogue(self) -> Dialogue:
        """The dialogue with the answers so far."""
        found = self._before
        for side, one in self._streams.items():
            if (answer := one.answer) is None:
                reply = Reply(one.piece().text, "", self.seed)
            else:
                acting = self.acting if side == RIGHT else ""
                forgotten = self._forgotten[side]
                reply = Reply(answer.text, answer.finish_reason, self.seed, answer.error, one.reading(), acting, forgotten)
            found = found.answer(self.number, side, reply)
        return found


def in_words(settings: Settings) -> str:
    """What acts, in a few words; empty where nothing does."""
    if settings.kind == "none":
        return ""
    at = f", layers {layers_in_words(settings.layers)}" if settings.layers else ""
    where = "" if settings.positions == "all" else f", {settings.positions} positions"
    said = {
        "add": f"{settings.strength:+g} x {settings.direction}",
        "ablate": f"{settings.direction} taken away" + ("" if settings.strength == 1 else f" x {settings.strength:g}"),
        "floor": f"floor at p{settings.percentile:g} of {settings.over} along {settings.direction}",
        "ceiling": f"ceiling at p{settings.percentile:g} of {settings.over} along {settings.direction}",
    }[settings.kind] + at + where  # fmt: skip
    said = f"{settings.preset} cap" if settings.preset else said
    return said if settings.control is None else f"random direction {settings.control}, same dose as: {said}"


def open_bench(
    run: str | Path | None = None,
    *,
    files: Mapping[str, Path] | None = None,
    endpoint: str | None = None,
    endpoint_model: str | None = None,
) -> Bench:
    """Open a run's model, or a server's, to be talked to.

    Parameters
    ----------
    run
        A run's folder.
    files
        Name -> path of saved directions.
    endpoint, endpoint_model
        A server, and what it calls the model.

    Raises
    ------
    WorkbenchError
        Where there is no run, its model is another one now, or the server's model has no name.
    """
    opened = None if run is None else open_run(run)
    if endpoint is not None:
        if not endpoint_model:
            raise WorkbenchError("a server needs the name that it knows the model by: --endpoint-model NAME")
        return Bench(opened, endpoint=Endpoint(endpoint, endpoint_model, retries=1))
    if opened is None:
        raise WorkbenchError("there is nothing to talk to: give a run's folder, or a server with --endpoint")
    if opened.is_done("import"):
        raise WorkbenchError(
            f"{opened.folder} holds imported vectors, of which nobody can say whether they belong to the weights at hand: talk to a study "
            "of the model (`workbench study`)"
        )
    _ = opened.axis  # a study without one says which step is missing, before its model is loaded
    model = Lazy(opened)()
    for path in (files or {}).values():
        Direction.load(path)  # a wrong file is known now, not in the midst of a conversation
    return Bench(opened, model, files=files)

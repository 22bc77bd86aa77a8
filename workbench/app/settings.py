"""Everything that can be set in a conversation, as plain values; a link holds them, and nothing else."""

from __future__ import annotations

from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import DataError
from ..interventions import POSITIONS

Kind = Literal["none", "add", "floor", "ceiling", "ablate"]
KINDS: tuple[str, ...] = get_args(Kind)
SETS = ("default", "roles", "all")
"""Whose responses a percentile can be taken over."""
OWN, LEFT = "own", "left"
"""Whose answers the right side's history holds."""


class Settings(BaseModel):
    """How both sides answer, and what acts on the right one.

    Attributes
    ----------
    persona, prompt
        A role, and which of its prompts (from 0) is the system prompt.
    system
        A system prompt of one's own; it stands in for the persona's.
    temperature, top_p, max_new_tokens
        Sampling; the longest answer is the model's own setting where None.
    seed
        Of the first answer; later ones count on from it.
    follow
        ``"own"``: each side reads its own answers (two lives); ``"left"``: the right side answers the left one's history (one
        counterfactual a turn).
    forget
        Let the oldest turns be forgotten where the context is full.
    kind
        What acts on the right side.
    preset
        The name of a calibrated cap, which then says everything that follows but `control`.
    direction
        See :func:`workbench.app.directions.direction_of`.
    layers
        Blocks to act after; where None the recommended one for ``add``, all for the others.
    strength
        ``add``: in fractions of the mean residual norm of response tokens; ``ablate``: the share that is taken away.
    percentile, over
        ``floor`` and ``ceiling``: along the direction, over the responses of this set.
    positions
        One of :data:`workbench.interventions.POSITIONS`.
    control
        Seed of a random direction that acts in the place of the chosen one, with the same dose; none where None.
    layer
        Where the gauge reads; where the drift study reads, else the recommended one, where None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    persona: str = ""
    prompt: int = Field(default=0, ge=0)
    system: str = ""
    temperature: float = Field(default=0.7, ge=0, le=10, allow_inf_nan=False)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_new_tokens: int | None = Field(default=None, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, lt=2**53)
    follow: Literal["own", "left"] = OWN
    forget: bool = False
    kind: Kind = "none"
    preset: str = ""
    direction: str = "axis"
    layers: tuple[int, ...] | None = None
    strength: float = Field(default=0.4, allow_inf_nan=False)
    percentile: float = Field(default=25, ge=0, le=100)
    over: Literal["default", "roles", "all"] = "default"
    positions: Literal["all", "prompt", "generated", "last", "content"] = "all"
    control: int | None = Field(default=None, ge=0, lt=2**53)
    layer: int | None = Field(default=None, ge=0)

    @field_validator("layers", mode="before")
    @classmethod
    def _layers(cls, value: Any) -> Any:
        return layers_of(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        if self.preset and self.kind != "floor":
            raise ValueError("a calibrated cap is a floor: kind must be floor")
        return self

    def __init__(self, **values: Any) -> None:
        """Validate settings; a wrong one is named in one sentence.

        Raises
        ------
        DataError
            For an unknown setting, or a value that it cannot have.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise DataError(_sentence(error)) from error

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """The same as ``Settings(...)``, as other settings of the workbench are made."""
        return cls(**values)

    def but(self, **changes: Any) -> Settings:
        """The same settings with some changed."""
        return type(self).of(**(self.model_dump() | changes))

    @property
    def acting(self) -> Settings:
        """Only what decides the intervention: two that agree in this do the same."""
        names = ("kind", "preset") if self.preset else _ACTING if self.kind != "none" else ("kind",)
        return type(self)(**{name: getattr(self, name) for name in (*names, "control")})

    def controlled(self, first: int = 0) -> Settings:
        """The same with a random direction of the same dose: the `first`, or the next one where there is one already.

        Raises
        ------
        DataError
            Where nothing acts.
        """
        if self.kind == "none":
            raise DataError("nothing acted on this answer, so there is nothing that a random direction could stand in for")
        return self.but(control=first if self.control is None else self.control + 1)

    # -- links --------------------------------------------------------------------------------------
    def to_query(self) -> str:
        """What is not as it is by default, as the part of a link behind its question mark."""
        pairs = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value != field.default and not (self.preset and name in SAID_BY_PRESET):
                pairs.append((name, _in_link(value)))
        return urlencode(pairs)

    @classmethod
    def from_query(cls, query: str) -> Settings:
        """The settings of :meth:`to_query`.

        Raises
        ------
        DataError
            Where the link names something twice, or what is no setting, or gives a value that a setting cannot have.
        """
        try:
            pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True, strict_parsing=True, errors="strict") if query else []
        except ValueError as error:
            raise DataError(f"the settings of this link cannot be read: {error}") from error
        names = [name for name, _ in pairs]
        if twice := [name for name in names if names.count(name) > 1]:
            raise DataError(f"this link gives the setting {twice[0]!r} twice")
        return cls.of(**dict(pairs))


_ACTING = ("kind", "direction", "layers", "strength", "percentile", "over", "positions")
SAID_BY_PRESET = ("direction", "layers", "strength", "percentile", "over", "positions")
"""What a calibrated cap settles by itself."""


def layers_of(text: str) -> tuple[int, ...] | None:
    """Read ``"2-4"`` or ``"0,2,5-7"``; None for an empty text.

    >>> layers_of("0,2-4"), layers_of("")
    ((0, 2, 3, 4), None)
    """
    if not text.strip():
        return None
    found: set[int] = set()
    for part in text.split(","):
        ends = [end.strip() for end in part.split("-")]
        if len(ends) > 2 or not all(end.isdecimal() and len(end) < 6 for end in ends):
            raise ValueError(f"layers are written as numbers and ranges, e.g. 2-4 or 0,2,5, not {text!r}")
        found.update(range(int(ends[0]), int(ends[-1]) + 1))
    if not found:
        raise ValueError(f"there is no layer in {text!r}")
    return tuple(sorted(found))


def layers_in_words(layers: tuple[int, ...] | None) -> str:
    """As :func:`layers_of` reads it.

    >>> layers_in_words((0, 2, 3, 4))
    '0,2-4'
    """
    parts: list[list[int]] = []
    for layer in layers or ():
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _in_link(value: Any) -> str:
    if isinstance(value, tuple):
        return layers_in_words(value)
    return "yes" if value is True else str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"][:1]))
    if first["type"] == "extra_forbidden":
        return f"there is no setting {name!r}: there are {', '.join(Settings.model_fields)}"
    said = first["msg"].removeprefix("Value error, ")
    given = str(first["input"])
    shown = f" (got {given[:60]!r})" if name else ""
    return f"setting {name}: {said.lower()}{shown}" if name else said


assert tuple(get_args(Settings.model_fields["positions"].annotation)) == POSITIONS

"""The same in a notebook: lines of Python that give the texts of the page's last exchange."""

from __future__ import annotations

from typing import Any

from ..compare import study_layer
from ..conversations import Conversation
from ..interventions import Ablate, Add, Ceiling, Floor, Intervention
from ..study.config import StudyConfig
from .acting import QUERIES
from .bench import Bench
from .dialogue import LEFT, RIGHT, Dialogue
from .directions import AXIS, files_of
from .settings import Settings


def python_lines(bench: Bench, dialogue: Dialogue) -> str:
    """Lines that ask both sides the last message of the shown branch again, with its settings and seed.

    They leave the texts in ``left`` and ``right`` (``right`` only where something acted). Nothing is computed for them, so that they can be
    written while the model answers somebody else: where the numbers of a random direction are not known any more, they say so.

    Raises
    ------
    DataError
        Where the conversation holds no message.
    """
    if dialogue.at is None:
        return "import workbench as wb\n\n# Say something first: then its lines stand here."
    one = dialogue.exchanges[dialogue.at]
    settings = Settings.from_query(one.settings)
    seed = next((reply.seed for reply in one.replies.values()), dialogue.next_seed(one.number, settings.seed))
    asked = {side: bench.asked(dialogue, one.number, side, settings)[0] for side in bench.sides(settings)}
    if bench.endpoint is not None:
        return _served(bench, asked[LEFT], settings, seed)
    lines = ["import workbench as wb", "", *_opening(bench), ""]
    longest = settings.max_new_tokens or bench.answer_tokens
    sampling = f"temperature={settings.temperature!r}, top_p={settings.top_p!r}, max_new_tokens={longest}, seeds={seed}"
    lines += [f"sampling = dict({sampling})", *_conversation("asked", asked[LEFT]), "left = model.chat(asked, **sampling)", "print(left)"]
    if RIGHT in asked and not _is_known(bench, settings):
        lines += ["", *FORGOTTEN]
    elif RIGHT in asked:
        same = asked[RIGHT].turns == asked[LEFT].turns
        lines += ["", *_acting(bench, settings)]
        lines += [] if same else _conversation("asked_right", asked[RIGHT])
        lines += ["with model.intervene(acting) as meter:"]
        lines += [f"    right = model.chat({'asked' if same else 'asked_right'}, **sampling)", "print(right)", "meter.to_frame()"]
    return "\n".join(lines) + "\n"


FORGOTTEN = (
    "# The right side answered under a random direction, and the numbers that gave it the same dose are not remembered:",
    "# answer the message again, and its lines stand here.",
)


def _is_known(bench: Bench, settings: Settings) -> bool:
    """Whether what acts can be written without running the model: a random direction's numbers are found by matching."""
    assert bench.actor is not None
    return settings.control is None or bench.actor.is_known(settings)


def _opening(bench: Bench) -> list[str]:
    assert bench.run is not None
    config = StudyConfig.of(**bench.run.config)
    names = ("dtype", "device", "revision", "chat_template")
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    given |= {"trust_remote_code": True} if config.trust_remote_code else {}
    more = "".join(f", {name}={value!r}" for name, value in given.items())
    return [f"run = wb.open_run({str(bench.run.folder)!r})", f"model = wb.load_model({config.model!r}{more})"]


def _conversation(name: str, conversation: Conversation) -> list[str]:
    turns = [f"    ({turn.speaker!r}, {turn.text!r})," for turn in conversation.turns]
    return [f"{name} = wb.Conversation.of([", *turns, "])"]


def _acting(bench: Bench, settings: Settings) -> list[str]:
    """The lines that make what acts."""
    assert bench.actor is not None
    if settings.control is not None:
        made = bench.actor.interventions(settings)
        lines = [f"# A random direction that does as much as: {settings.preset or settings.kind} along {made[0].direction.name}, by dose"]
        basis = "run.axis" if settings.preset or settings.direction == AXIS else _direction(bench, settings.direction)
        return [
            *lines,
            f"direction = wb.random_beside({basis}, {settings.control})",
            *_norms(made),
            f"acting = [{', '.join(map(_made, made))}]",
        ]
    if settings.preset:
        return [f"acting = run.caps[{settings.preset!r}]"]
    lines = [f"direction = {'run.axis' if settings.direction == AXIS else _direction(bench, settings.direction)}"]
    where = f"positions={settings.positions!r}"
    layers = "" if settings.layers is None else f"layers={settings.layers!r}, "
    if settings.kind == "add":
        at = settings.layers or (study_layer(bench.actor.run),)
        return [*lines, *NORMS, f"acting = wb.Add(direction, {settings.strength!r}, norms, layers={at!r}, {where})"]
    if settings.kind == "ablate":
        return [*lines, f"acting = wb.Ablate(direction, {settings.strength!r}, {layers}{where})"]
    over = f"run.activations().where({QUERIES[settings.over]!r})"
    limit = "Floor" if settings.kind == "floor" else "Ceiling"
    lines += [f"at = wb.threshold(direction, {over}, {settings.percentile!r})"]
    return [*lines, f"acting = wb.{limit}(direction, at, {layers}{where})"]


NORMS = ('norms = wb.residual_norms(model, run.rollouts.query("error == \'\'").groupby("role", sort=False).head(1))',)


def _norms(made: tuple[Intervention, ...]) -> tuple[str, ...]:
    return NORMS if any(isinstance(item, Add) for item in made) else ()


def _direction(bench: Bench, name: str) -> str:
    assert bench.actor is not None
    kind, _, rest = name.partition(" ")
    if kind == "file":
        return f"wb.Direction.load({str(files_of(bench.actor.run, bench.actor.files)[rest])!r})"
    return f"wb.direction_of(run, {name!r})"


def _made(item: Intervention) -> str:
    """A control's intervention, its numbers written out: they were found by matching."""
    where = f"layers={item.at_layers!r}, positions={item.positions!r}"
    if isinstance(item, Add):
        return f"wb.Add(direction, {item.strength!r}, norms, {where})"
    if isinstance(item, Ablate):
        return f"wb.Ablate(direction, {item.strength!r}, {where})"
    assert isinstance(item, Floor | Ceiling)
    levels: dict[int, Any] = {n: item.levels[n] for n in item.at_layers}
    return f"wb.{type(item).__name__}(direction, {levels!r}, {where})"


def _served(bench: Bench, asked: Conversation, settings: Settings, seed: int) -> str:
    assert bench.endpoint is not None
    longest = settings.max_new_tokens
    messages = [{"role": turn.speaker, "content": turn.text} for turn in asked.turns]
    sampling = f"temperature={settings.temperature!r}, top_p={settings.top_p!r}, seed={seed}, max_tokens={longest or 512}"
    return "\n".join([
        "import workbench as wb", "", f"server = wb.Endpoint({bench.endpoint.url!r}, {bench.endpoint.model!r})",
        f"left = server.chat({messages!r}, {sampling}).text", "print(left)", "",
    ])  # fmt: skip

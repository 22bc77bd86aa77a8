"""The chat in a terminal: both sides beside each other, streamed, with the gauge as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..errors import DataError, WorkbenchError
from ..tensorfile import write_bytes
from .bench import PLAIN, Answering, Bench, in_words
from .dialogue import RIGHT, SIDES, Dialogue, Exchange
from .files import FILES, loaded_words, taken_up
from .gauge import Scale, Scales, as_text
from .markup import NAMES, facts_of
from .notebook import python_lines
from .settings import Settings
from .streaming import Piece

HELP = """\
/set NAME VALUE       change a setting (percentile 90, kind none, persona pirate, ...); /set shows all
/again                answer the last message once more, on a branch of its own
/edit NUMBER TEXT     another message in the place of an earlier one, on a branch of its own
/branch NUMBER STEP   go to another branch at an exchange (/branch 2 1)
/control              the last message again, with a random direction of the same dose
/save FILE            .html, .json (all branches), .jsonl (both sides); /load FILE
/python, /link        the last exchange as Python; the settings as the end of a link
/new, /quit           begin anew; leave (as Ctrl-D does). Ctrl-C stops an answer; what was written stays."""
SUFFIXES = {".html": "conversation.html", ".json": "conversation.json", ".jsonl": "sides.jsonl"}
GAUGE, BESIDE = 28, 17
"""Most cells of a gauge, and what stands beside them."""


def talk(bench: Bench, settings: Settings, console: Console | None = None) -> Dialogue:
    """Read messages and answer them until the end of the input.

    Parameters
    ----------
    console
        Where to write, and to read from.

    Returns
    -------
    Dialogue
        All that was said.
    """
    terminal = Terminal(bench, settings, console or Console())
    terminal.greet()
    while terminal.goes_on:
        try:
            line = terminal.console.input("[bold]you[/bold] > ")
        except (EOFError, KeyboardInterrupt):
            terminal.console.print()
            break
        try:
            terminal.take(line)
        except WorkbenchError as error:
            terminal.console.print(Text(f"workbench: {error}", style="red"))
    return terminal.dialogue


class Terminal:
    """One conversation in a terminal."""

    def __init__(self, bench: Bench, settings: Settings, console: Console) -> None:
        self.bench, self.settings, self.console = bench, settings, console
        self.dialogue, self.goes_on = Dialogue(), True
        self._scales = Scales(bench)
        bench.system_prompt(settings)  # a wrong setting is named before anything is said
        bench.layer(settings)
        if bench.actor is not None:
            bench.actor.interventions(settings.but(control=None))

    @property
    def _cells(self) -> int:
        """Cells of a gauge, so that two fit beside each other."""
        return max(8, min(GAUGE, self.console.width // 2 - BESIDE))

    def greet(self) -> None:
        """Say what is talked to, and how."""
        acting = in_words(self.settings)
        where = f", run {self.bench.run.folder}" if self.bench.run is not None else ""
        self.console.print(
            Text(f"{self.bench.name}{where}. Right: {acting or 'nothing acts, so there is one side'}. /help says what can be done.")
        )
        if self.bench.endpoint is not None:
            self.console.print(Text(f"{PLAIN[0].upper()}{PLAIN[1:]}."))
        layer = self.bench.layer(self.settings)
        if (band := self.bench.band(layer)) is not None:
            self.console.print(Text(f"The gauge reads at layer {layer}; ▒ {band.words}.", style="dim"))

    # -- what is typed ------------------------------------------------------------------------------
    def take(self, line: str) -> None:
        """A message, or a command that begins with a slash.

        Raises
        ------
        WorkbenchError
            For an unknown command, or one that cannot be done.
        """
        if not line.startswith("/"):
            self.answer(self.dialogue.say(line, self.settings.to_query()))
            return
        name, _, rest = line[1:].partition(" ")
        command = getattr(self, f"_do_{name}", None)
        if command is None:
            raise DataError(f"there is no command /{name}: /help says what there is")
        command(rest.strip())

    def answer(self, changed: Dialogue, settings: Settings | None = None, seed: int | None = None) -> None:
        """Answer the last message of a dialogue, streamed; Ctrl-C ends it, and what was written stays."""
        settings = settings or self.settings
        if self.bench.actor is not None and settings.control is not None and not self.bench.actor.is_known(settings):
            self.console.print(Text("matching a random direction of the same dose ...", style="dim"))
        answering = Answering(self.bench, changed, settings, seed)
        scale = self._scales.at(self.bench.layer(settings), len(changed.path))
        pieces: Mapping[str, Piece] = {}
        try:
            with Live(console=self.console, refresh_per_second=8, transient=True) as live:
                for pieces in answering:
                    live.update(
                        self._sides(
                            {
                                side: (piece.text, as_text(scale, piece.mean, piece.mean_after, self._cells))
                                for side, piece in pieces.items()
                            },
                            answering.acting,
                        )
                    )
        except KeyboardInterrupt:
            answering.stop()
        self.dialogue = answering.dialogue
        self.show(self.dialogue.exchange(answering.number), scale)

    def show(self, one: Exchange, scale: Scale | None) -> None:
        """The answers to one exchange."""
        acting = next((reply.acting for reply in one.replies.values() if reply.acting), "")
        cells = {}
        for side in SIDES:
            if side not in one.replies:
                continue
            reply = one.replies[side]
            reading = reply.reading
            known = scale if reading.before is not None else None
            below = [as_text(known, reading.before, reading.after, self._cells), ", ".join(facts_of(reply))]
            cells[side] = (reply.text or f"({reply.error or 'no text'})", "\n".join(text for text in below if text))
        self.console.print(self._sides(cells, acting))

    def _sides(self, cells: Mapping[str, tuple[str, str]], acting: str) -> Table:
        table = Table(box=None, expand=True, padding=(0, 2, 1, 0), show_header=True, header_style="dim")
        for side in cells:
            table.add_column(acting if side == RIGHT and acting else NAMES[side], ratio=1, overflow="fold")
        # Text, not markup: what a model writes is never read as rich's own tags.
        table.add_row(*(Text(text) + Text(f"\n{below}" if below else "", style="dim") for text, below in cells.values()))
        return table

    # -- commands -----------------------------------------------------------------------------------
    def _do_help(self, rest: str) -> None:
        self.console.print(Text(HELP))

    def _do_quit(self, rest: str) -> None:
        self.goes_on = False

    def _do_new(self, rest: str) -> None:
        self.dialogue = Dialogue()

    def _do_set(self, rest: str) -> None:
        if not rest:
            self.console.print(Text("\n".join(f"{name:<15} {value}" for name, value in self.settings.model_dump().items())))
            return
        name, _, value = rest.partition(" ")
        given: Any = None if value.strip() in ("", "none") and name != "kind" else value.strip()
        changes = {name: given}
        if name == "preset" and given:
            changes["kind"] = "floor"
        elif name in ("kind", "direction", "layers", "percentile", "over", "positions") and self.settings.preset:
            changes["preset"] = ""
        settings = self.settings.but(**changes)
        self.bench.system_prompt(settings)
        self.bench.layer(settings)
        self.settings = settings
        self.console.print(Text(f"right: {in_words(settings) or 'nothing acts'}", style="dim"))

    def _do_again(self, rest: str) -> None:
        self.answer(self.dialogue.again(self._last(), self.settings.to_query()))

    def _do_control(self, rest: str) -> None:
        one = self.dialogue.exchange(self._last())
        acting = Settings.from_query(one.settings).controlled().but(layer=self.settings.layer)
        seed = next((reply.seed for reply in one.replies.values()), None)
        self.answer(self.dialogue.again(one.number, acting.to_query()), acting, seed)

    def _do_edit(self, rest: str) -> None:
        number, _, text = rest.partition(" ")
        self.answer(self.dialogue.edit(self._at(number), text, self.settings.to_query()))

    def _do_branch(self, rest: str) -> None:
        number, _, step = rest.partition(" ")
        if not step.lstrip("-").isdecimal():
            raise DataError("/branch takes the number of an exchange and how many branches to go on, e.g. /branch 2 1")
        self.dialogue = self.dialogue.turn(self._at(number), int(step))
        for place, one in enumerate(self.dialogue.path, 1):
            self.console.print(Text(f"{place} you > {one.message}", style="bold"))
            self.show(one, self._scales.at(self.bench.layer(self.settings), place))

    def _do_save(self, rest: str) -> None:
        path = Path(rest)
        kind = FILES.get(SUFFIXES.get(path.suffix.lower(), ""))
        if kind is None:
            raise DataError(f"a conversation is saved as {', '.join(SUFFIXES)}, not as {rest!r}")
        write_bytes(path, kind.write(self.dialogue, self.bench, self.settings).encode())
        self.console.print(Text(f"saved: {path}"))

    def _do_load(self, rest: str) -> None:
        self.dialogue, self.settings, said = taken_up(rest, self.bench, self.settings)
        self.console.print(Text(said or loaded_words(self.dialogue)))

    def _do_python(self, rest: str) -> None:
        self.console.print(Text(python_lines(self.bench, self.dialogue)), soft_wrap=True)

    def _do_link(self, rest: str) -> None:
        self.console.print(Text(f"?{self.settings.to_query()}"), soft_wrap=True)

    def _last(self) -> int:
        if self.dialogue.at is None:
            raise DataError("nothing was said yet")
        return self.dialogue.at

    def _at(self, place: str) -> int:
        """The number in the tree of the exchange at a place of the shown branch, from 1."""
        path = self.dialogue.path
        if not place.isdecimal() or not 1 <= int(place) <= len(path):
            raise DataError(f"there is no exchange {place or '(none given)'}: this branch has {len(path)}")
        return path[int(place) - 1].number

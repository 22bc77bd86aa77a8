"""What the live workbench costs: the gauge, the first tokens of both sides, and conversations of many turns.

Each variant writes the same answer; the variants take turns within one run, in changing order; medians over the rounds of CPU time
and of its ratio to the same answer without a gauge, one thread. The organism is a small model, so that what the gauge costs a token
weighs most there; the other is a random Llama of 12 layers and width 512.

    python benchmarks/app.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from operator import sub

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from extraction import build
from interventions import PROMPT, _Tokenizer

from workbench.app.bench import SLICE, in_turn
from workbench.app.dialogue import LEFT, RIGHT, Dialogue, Reply
from workbench.app.markup import conversation_html
from workbench.app.streaming import Stream, fitting
from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.interventions import Floor
from workbench.models.hooked import HookedModel
from workbench.models.loading import load_model

WITHOUT, WITH, AT_ONCE = "streamed, no gauge", "streamed, gauge", "not streamed"
NEW = 64


class Variants:
    """The same answer at once, streamed, and streamed with the gauge."""

    names = (WITHOUT, WITH, AT_ONCE)

    def __init__(self, model: HookedModel, ids: list[int] | None) -> None:
        values = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(1))
        self.model, self.axis = model, Direction(values, model.bare_site(), "random", "one end")
        self.layer = 2 * model.n_layers // 3
        self.asked = Conversation.of("How do you feel today?", system="You are the pirate.")
        if ids is not None:  # a random model has no template: its prompt is given
            self.model.render = lambda conversation, reply=False: type("Rendered", (), {"ids": tuple(ids)})()  # type: ignore[method-assign]

    def timed(self, name: str) -> float:
        start = time.process_time()
        if name == AT_ONCE:
            self.model.generate([self.asked], max_new_tokens=NEW, temperature=0)
        else:
            axis = self.axis if name == WITH else None
            one = Stream(self.model, self.asked, axis=axis, layer=self.layer, temperature=0, max_new_tokens=NEW)
            while one.answer is None:
                one.advance(SLICE)
        return time.process_time() - start


def gauge(title: str, variants: Variants, rounds: int) -> None:
    seen: dict[str, list[float]] = {name: [] for name in variants.names}
    for name in variants.names:
        variants.timed(name)
    for turn in range(rounds):
        for name in variants.names[:: 1 if turn % 2 else -1]:
            seen[name].append(variants.timed(name))
    print(f"{title}, {NEW} new tokens; medians of {rounds} rounds\n{'variant':<20} {'CPU s':>8} {'ratio':>7} {'quartiles':>15}")
    for name, times in seen.items():
        ratios = [t / plain for t, plain in zip(times, seen[WITHOUT], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:<20} {statistics.median(times):>8.3f} {middle:>7.3f} {low:>7.3f} {high:>7.3f}")
    print()


def first_tokens(model: HookedModel, rounds: int) -> None:
    """Seconds until both sides have shown a token."""
    values = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(1))
    axis = Direction(values, model.bare_site(), "random", "one end")
    floor, asked = Floor(axis, at=0.0), Conversation.of("How do you feel today?", system="You are the pirate.")
    found = []
    for seed in range(rounds):
        start = time.perf_counter()
        sides = [Stream(model, asked, acting, axis=axis, layer=3, seed=seed) for acting in ((), floor)]
        next(iter(in_turn(sides, 0.0)))
        found.append(time.perf_counter() - start)
        for side in sides:
            side.stop()
    print(f"organism, first token of both sides: median {statistics.median(found):.3f} s, largest {max(found):.3f} s\n")


def many_turns(model: HookedModel, turns: int) -> None:
    """A conversation that goes on, the oldest turns forgotten where the context is full: what the last turns cost."""
    talk, parts = Dialogue(), {"fitting": 0.0, "both answers": 0.0, "the page": 0.0}
    print(
        f"organism, one conversation of {turns} turns: seconds a turn, means over tens\n{'turns':<10} "
        + " ".join(f"{p:>14}" for p in parts)
    )

    for turn in range(turns):
        talk = talk.say(f"Add {turn} and 3.")
        for side in (LEFT, RIGHT):
            moments = [time.perf_counter()]
            asked, _ = fitting(model, talk.asked(turn, side, "You are the pirate."))
            moments.append(time.perf_counter())
            [text] = model.generate([asked], seeds=turn, max_new_tokens=96)
            moments.append(time.perf_counter())
            talk = talk.answer(turn, side, Reply(text, "stop", turn))
            for name, seconds in zip(("fitting", "both answers"), map(sub, moments[1:], moments), strict=True):
                parts[name] += seconds
        start = time.perf_counter()
        conversation_html(talk, {})
        parts["the page"] += time.perf_counter() - start
        if turn % 10 == 9:
            if (turn + 1) % 50 == 0 or turn == 9:
                print(f"{turn - 8:>3}-{turn + 1:<6} " + " ".join(f"{seconds / 10:>14.3f}" for seconds in parts.values()))
            parts = dict.fromkeys(parts, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--turns", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    organism, other = load_model("organism"), build(12, 512)
    other.tokenizer = _Tokenizer()
    ids = torch.randint(5, 3_900, (PROMPT,), generator=torch.Generator().manual_seed(0)).tolist()
    gauge("organism", Variants(organism, None), options.rounds)
    gauge("12 layers, width 512", Variants(other, ids), options.rounds)
    first_tokens(organism, options.rounds)
    many_turns(organism, options.turns)


if __name__ == "__main__":
    main()

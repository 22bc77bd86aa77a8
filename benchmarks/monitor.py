"""What watching a model costs: generation as it is and inside a Monitor, side by side.

A random Llama of 12 layers and width 512, batch 16, 48 new tokens; the monitor compares every answer with a band that it
leaves and enters again, and calls back. The variants take turns within one run, in changing order; medians over the rounds of
CPU time and of its ratio to the plain generation of the same round, one thread.

    python benchmarks/monitor.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pandas as pd
import torch
from extraction import build
from interventions import BATCH, NEW, PROMPT, _Tokenizer

from workbench.directions import Direction
from workbench.models.generation import generate
from workbench.models.hooked import HookedModel
from workbench.monitor import Event, Monitor

LAYER = 8
PLAIN = "as it is"


class Variants:
    """Plain generation; a monitor with a band and a callback; the same with a log."""

    names = (PLAIN, "band and callback", "the same, JSONL log")

    def __init__(self, model: HookedModel, prompts: list[list[int]], folder: Path) -> None:
        values = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(1))
        self.model, self.prompts, self.log = model, prompts, folder / "log.jsonl"
        self.axis = Direction(values, model.bare_site(), "random", "one end")
        self.told: list[Event] = []
        with Monitor(model, self.axis, layer=LAYER) as monitor:
            self.run()
        seen = monitor.to_frame().query("step >= 8")["mean"]
        band = {"exchange": 1, "layer": LAYER, "direction": "random", "low": seen.quantile(0.25), "high": seen.quantile(0.75)}
        self.bands = pd.DataFrame([band | {"middle": seen.median(), "n": len(seen), "of": "response means"}])

    def watched(self, name: str) -> AbstractContextManager[object]:
        if name == PLAIN:
            return nullcontext()
        self.log.unlink(missing_ok=True)
        log = self.log if "log" in name else None
        return Monitor(self.model, self.axis, self.bands, on_event=self.told.append, log=log)

    def run(self) -> None:
        generate(self.model, self.prompts, max_new_tokens=NEW, temperature=0)

    def timed(self, name: str) -> float:
        start = time.process_time()
        with self.watched(name):
            self.run()
        return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    model = build(12, 512)
    model.tokenizer = _Tokenizer()
    prompts = torch.randint(5, 3_900, (BATCH, PROMPT), generator=torch.Generator().manual_seed(0)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        variants = Variants(model, prompts, Path(folder))
        for name in variants.names:
            variants.timed(name)
        variants.told.clear()
        seen: dict[str, list[float]] = {name: [] for name in variants.names}
        for turn in range(rounds):
            for name in variants.names[:: 1 if turn % 2 else -1]:
                seen[name].append(variants.timed(name))
    events = len(variants.told) / (2 * rounds)
    print(f"12 layers, width 512, batch {BATCH}, prompts of {PROMPT}, {NEW} new tokens, one thread; medians of {rounds} rounds")
    print(f"{events:g} events in each monitored generation\n")
    print(f"{'variant':<22} {'CPU s':>8} {'ratio':>7} {'quartiles':>15}")
    for name, times in seen.items():
        ratios = [t / plain for t, plain in zip(times, seen[PLAIN], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
        print(f"{name:<22} {statistics.median(times):>8.3f} {middle:>7.3f} {low:>7.3f} {high:>7.3f}")


if __name__ == "__main__":
    main()

"""What holding a model costs: generation as it is and under a cap on a window of layers, side by side.

A random Llama of 12 layers and width 512, batch 16, 48 new tokens. The variants take turns within one run, in changing
order; medians of CPU time, one thread. Engagement and dose are counted, as always.

    python benchmarks/interventions.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from extraction import build

from workbench.directions import Direction
from workbench.interventions import Add, Floor, Intervention
from workbench.models.generation import generate
from workbench.models.hooked import HookedModel

PROMPT, NEW, BATCH = 64, 48, 16


def variants(model: HookedModel, window: int) -> dict[str, list[Intervention]]:
    """Nothing; a cap that engages on about half of the tokens, everywhere and on generated positions; steering."""
    values = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(1))
    direction = Direction(values, model.bare_site(), "random", "one end")
    layers = model.last(window)
    return {
        "as it is": [],
        f"cap, {window} layers": [Floor(direction, 0.0, layers=layers)],
        f"cap, {window} layers, generated": [Floor(direction, 0.0, layers=layers, positions="generated")],
        "steering, 1 layer": [Add(direction, 0.1, layers=layers[:1])],
    }


def timed(model: HookedModel, acting: list[Intervention], prompts: list[list[int]]) -> float:
    start = time.process_time()
    if acting:
        with model.intervene(acting):
            generate(model, prompts, max_new_tokens=NEW, temperature=0)
    else:
        generate(model, prompts, max_new_tokens=NEW, temperature=0)
    return time.process_time() - start


class _Tokenizer:
    """Never stops, never decodes: every variant makes the same number of steps."""

    eos_token_id = 3_999
    chat_template = None
    all_special_ids = ()
    init_kwargs: dict[str, str] = {}  # noqa: RUF012

    def decode(self, ids: list[int], **settings: object) -> str:
        return "x" * len(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = build(12, 512)
    model.tokenizer = _Tokenizer()
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(5, 3_900, (BATCH, PROMPT), generator=generator).tolist()
    every = variants(model, arguments.window)
    for acting in every.values():
        timed(model, acting, prompts)
    seen: dict[str, list[float]] = {name: [] for name in every}
    for turn in range(arguments.rounds):
        for name in list(every)[:: 1 if turn % 2 else -1]:
            seen[name].append(timed(model, every[name], prompts))
    base = statistics.median(seen["as it is"])
    print(f"12 layers, width 512, batch {BATCH}, prompts of {PROMPT}, {NEW} new tokens, one thread; medians of {arguments.rounds} rounds\n")
    print(f"{'variant':<28} {'CPU s':>8} {'ratio':>7}")
    for name, times in seen.items():
        print(f"{name:<28} {statistics.median(times):>8.3f} {statistics.median(times) / base:>7.3f}")


if __name__ == "__main__":
    main()

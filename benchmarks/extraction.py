"""Extraction against the bare body of the model, side by side on the same batches: time and extra memory.

256 rollouts with log-normal response lengths (total tokens about: mean 330, p10 150, max 580), a random
Llama. Both variants take turns within one run, in changing order; medians of CPU time, one thread.

    python benchmarks/extraction.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.models.bridge import thin_bridge
from workbench.models.extraction import Reading, batches_by_length, pooled
from workbench.models.hooked import HookedModel

BUDGET = 4096


class _Tokenizer:
    """Nothing is tokenised here; extraction asks for the stop tokens only."""

    eos_token_id = 2
    chat_template = None
    init_kwargs: dict[str, str] = {}  # noqa: RUF012


def rollouts(n: int = 256) -> list[Reading]:
    """Random ids with a prompt of about 60 tokens and a log-normal response."""
    rng = np.random.default_rng(0)
    prompts = rng.integers(40, 81, size=n)
    responses = np.clip(rng.lognormal(np.log(235), 0.5, size=n), 30, 520).astype(int)
    return [Reading(tuple(rng.integers(5, 4000, size=p + r).tolist()), int(p), int(p + r)) for p, r in zip(prompts, responses, strict=True)]


def build(n_layers: int, d_model: int) -> HookedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4000, hidden_size=d_model, intermediate_size=4 * d_model, num_hidden_layers=n_layers,
        num_attention_heads=d_model // 64, max_position_embeddings=1024,
    )  # fmt: skip
    hf = LlamaForCausalLM(config).eval()
    return HookedModel(thin_bridge(hf, None, "benchmark"), _Tokenizer(), "benchmark", hf=hf)


def bare(model: HookedModel, batch: list[Reading]) -> None:
    width = max(len(r.ids) for r in batch)
    model.body(torch.tensor([list(r.ids) + [0] * (width - len(r.ids)) for r in batch]))


def extraction(model: HookedModel, batch: list[Reading]) -> None:
    for _ in pooled(model, batch, model.layers, 10**9):
        pass


VARIANTS = {"bare body": bare, "extraction": extraction}


def timed(model: HookedModel, rounds: int) -> dict[str, float]:
    """Seconds of CPU time for all batches, the median round of each batch."""
    readings = rollouts()
    batches = [[readings[i] for i in batch] for batch in batches_by_length([len(r.ids) for r in readings], BUDGET)]
    for variant in VARIANTS.values():
        variant(model, batches[-1])
    totals = dict.fromkeys(VARIANTS, 0.0)
    for batch in batches:
        seen: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for turn in range(rounds):
            for name in list(VARIANTS)[:: 1 if turn % 2 else -1]:
                start = time.process_time()
                VARIANTS[name](model, batch)
                seen[name].append(time.process_time() - start)
        for name, times in seen.items():
            totals[name] += statistics.median(times)
    return totals


def peak(name: str, n_layers: int, d_model: int) -> float:
    """Megabytes that a variant needs beyond the loaded model, in a process of its own."""
    arguments = [sys.executable, __file__, "--peak", name, "--layers", str(n_layers), "--width", str(d_model)]
    return json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def _measure_peak(name: str, n_layers: int, d_model: int) -> None:
    model, readings = build(n_layers, d_model), rollouts()
    batches = batches_by_length([len(r.ids) for r in readings], BUDGET)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark starts again from here
    before = _status("VmRSS")
    for batch in batches[:6]:
        VARIANTS[name](model, [readings[i] for i in batch])
    print(json.dumps((_status("VmHWM") - before) / 1024))


def _status(field: str) -> int:
    """A number of kilobytes from the process's own status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", choices=list(VARIANTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        _measure_peak(arguments.peak, arguments.layers, arguments.width)
        return
    lengths = [len(r.ids) for r in rollouts()]
    print(f"256 rollouts, {sum(lengths)} tokens: mean {np.mean(lengths):.0f}, p10 {np.percentile(lengths, 10):.0f}, max {max(lengths)}")
    print(f"Llama of {arguments.layers} layers, width {arguments.width}, float32, one thread, batches of {BUDGET} padded tokens\n")
    memory = {name: peak(name, arguments.layers, arguments.width) for name in VARIANTS}
    totals = timed(build(arguments.layers, arguments.width), arguments.rounds)
    print(f"{'variant':<12} {'CPU s':>8} {'speed':>7} {'extra MB':>9} {'memory':>7}")
    for name in VARIANTS:
        speed, more = totals["bare body"] / totals[name], memory[name] / memory["bare body"]
        print(f"{name:<12} {totals[name]:>8.2f} {speed:>7.3f} {memory[name]:>9.1f} {more:>7.2f}")


if __name__ == "__main__":
    main()

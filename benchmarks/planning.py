"""What planning the whole library takes, and what its activations take on the disk: 275 roles and the default, five prompts, 240 questions.

python benchmarks/planning.py
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import workbench as wb
from workbench.activations import Activations, Site
from workbench.models.loading import load_model
from workbench.parts import Parts, parquet_bytes, part_tensor
from workbench.reduction import reduced, storage_plan
from workbench.rollouts import batch_keys, plan_rollouts


def main() -> None:
    model = load_model("organism", device="meta")
    model.__dict__["context"] = 8192  # the library's prompts are longer than the embedded model's context
    roles, questions = wb.load_roles(), wb.load_questions()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    plan = plan_rollouts(model, roles, questions, prompts=5, default_rollouts=None)
    planned = time.perf_counter()
    batch_keys(plan, "")
    named = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{len(plan.rows):,} rows: planned in {planned - start:.1f} s, batches named in {named - planned:.1f} s")
    print(f"memory {peak / 1e6:.2f} GB at most, {before / 1e6:.2f} GB of it before planning")
    measured_on_disk(plan.rows)


def measured_on_disk(rows: pd.DataFrame, n_layers: int = 4, d_model: int = 256) -> None:
    """Write what a study of these rows keeps, vectors drawn at random, every label met with every prompt; weigh it."""
    rng = np.random.default_rng(0)
    rows = rows.drop(columns="messages").assign(label=pd.array(rng.integers(4, size=len(rows)), dtype="Int8"), n_tokens=100)
    plan = storage_plan(rows, n_layers, d_model, 0, limit=0)
    site = Site("random", tuple(range(n_layers)), d_model)
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder))
        for number, part in enumerate(plan.parts):
            values = torch.from_numpy(rng.standard_normal((len(part), n_layers, d_model), dtype=np.float32))
            table, tensor = reduced(Activations(values, rows.iloc[part].reset_index(drop=True), site), plan)
            parts.write(number, str(number), {"parquet": parquet_bytes(table), "safetensors": part_tensor(tensor)})
        sizes = {end: sum(p.stat().st_size for p in Path(folder).glob(f"*.{end}")) for end in ("safetensors", "parquet", "jsonl")}
    bf16 = 2 * len(rows) * n_layers * d_model
    print(f"activations on the disk: vectors {sizes['safetensors'] / bf16:.4f} of one bf16 vector per response and layer (bound .0500)")
    print(f"with their tables, whose size does not grow with the model: {sum(sizes.values()) / bf16:.4f} at {n_layers} layers of {d_model}")


if __name__ == "__main__":
    main()

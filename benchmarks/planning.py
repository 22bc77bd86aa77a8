"""What planning the whole library takes: 275 roles and the default, five prompts, 240 questions.

python benchmarks/planning.py
"""

from __future__ import annotations

import resource
import time

import workbench as wb
from workbench.models.loading import load_model
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


if __name__ == "__main__":
    main()

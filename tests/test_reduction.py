import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_site

from workbench.activations import Activations
from workbench.directions import role_vectors
from workbench.reduction import reduced, storage_plan


@pytest.fixture
def acts() -> Activations:
    rows = [(role, i % 2, i % 5, [3, 3, 2, None][i % 4]) for role, n in (("default", 400), ("a", 40), ("b", 20)) for i in range(n)]
    frame = pd.DataFrame(rows, columns=["role", "prompt_index", "question_index", "label"]).astype({"label": "Int8"})
    frame = frame.assign(row=[f"r{i}" for i in range(len(frame))], n_tokens=np.arange(len(frame)) % 7)
    generator = torch.Generator().manual_seed(0)
    return Activations(torch.randn(len(frame), 2, 3, generator=generator), frame, make_site(2, 3))


def stored(acts: Activations, plan) -> tuple[pd.DataFrame, torch.Tensor]:
    tables, tensors = zip(*(reduced(acts.take(part), plan) for part in plan.parts), strict=True)
    return pd.concat(tables, ignore_index=True), torch.cat(tensors)


def test_a_small_study_keeps_everything(acts):
    plan = storage_plan(acts.rows, 2, 3, seed=0)
    table, values = stored(acts, plan)
    assert plan.kept == "all"
    assert sorted(table["row"]) == sorted(acts.rows["row"])
    assert len(values) == len(acts)


def test_a_large_study_keeps_means_and_a_sample(acts):
    plan = storage_plan(acts.rows, 2, 3, seed=0, limit=100)
    table, values = stored(acts, plan)
    single = table[table["kind"] == "response"]
    assert single.groupby("role").size().to_dict() == {"default": 200, "a": 8, "b": 8}
    assert table[table["kind"] == "group"].groupby("role")["n"].sum().to_dict() == {"default": 400, "a": 40, "b": 20}
    assert len(values) == len(table)
    assert "216 responses drawn at random" in plan.notes[0]


def test_role_vectors_from_means_are_those_from_all_rows(acts):
    plan = storage_plan(acts.rows, 2, 3, seed=0, limit=100)
    table, values = stored(acts, plan)
    groups = (table["kind"] == "group").to_numpy()
    from_groups = Activations(values[torch.tensor(groups)], table[groups].drop(columns=["row", "kind"]), acts.site)
    for keep in ("fully", "both", "all"):
        a, b = role_vectors(from_groups, keep), role_vectors(acts, keep)
        assert a.rows.to_dict("list") == b.rows.to_dict("list")
        assert torch.allclose(a.values, b.values, atol=1e-5)


def test_the_sample_is_spread_over_questions_and_fixed_by_the_seed(acts):
    plan = storage_plan(acts.rows, 2, 3, seed=0, limit=100)
    sample = acts.rows[acts.rows["row"].isin(plan.sample)]
    assert set(sample.query("role == 'a'").groupby("question_index").size()) <= {1, 2}
    assert storage_plan(acts.rows, 2, 3, seed=0, limit=100).sample == plan.sample
    assert storage_plan(acts.rows, 2, 3, seed=1, limit=100).sample != plan.sample

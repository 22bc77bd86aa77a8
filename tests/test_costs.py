"""What a study will cost, from a configuration alone."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from workbench.cli.commands import app
from workbench.costs import plan_cost
from workbench.errors import ModelError
from workbench.models.shape import shape_of
from workbench.models.speed import Speed, measure_speed
from workbench.rollouts import plan_rollouts

SIX_HUNDRED_MILLION = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936, "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A model of 0.6 billion parameters of which only the configuration is there."""
    (tmp_path / "config.json").write_text(json.dumps(SIX_HUNDRED_MILLION))
    return tmp_path


def test_parameters_are_counted_without_weights(folder, organism):
    shape = shape_of(str(folder))
    assert shape.n_parameters == pytest.approx(596e6, rel=0.01)
    assert (shape.n_layers, shape.d_model, shape.context, shape.counted) == (28, 1024, 40960, False)
    own = shape_of("organism")
    assert (own.n_parameters, own.counted) == (organism.n_parameters, True)


def test_the_cost_of_who_or_what_on_a_model_of_this_size_is_printed(folder):
    result = CliRunner().invoke(app, ["plan", str(folder)])
    assert result.exit_code == 0, result.output
    assert "596 M parameters, 28 layers of width 1024" in result.output
    [line] = [line for line in result.output.splitlines() if line.startswith("origins")]
    assert "who or what: 24 prompts x 144 texts" in line
    assert "tokens are words times 1.4" in result.output
    texts, read, written, tflop = (float(x.replace(",", "")) for x in line.split()[1:5])
    assert texts == 24 * 144 + 3 * 144
    assert written == 0
    assert tflop == pytest.approx(2 * 596e6 * read / 1e12, rel=0.01)


def test_the_plan_counts_what_a_study_will_ask(organism):
    from workbench.library import load_questions, load_roles

    cost = plan_cost(shape_of("organism"), roles=10, questions=5, prompts=3, default_rollouts=20).table.set_index("step")
    real = plan_rollouts(organism, load_roles(organism, n=10), load_questions(organism, n=5), prompts=3, default_rollouts=20)
    assert cost.loc["rollouts", "texts"] == len(real.rows)
    lengths = [len(organism.render(json.loads(m), reply=True).ids) for m in real.rows["messages"]]
    assert cost.loc["rollouts", "read"] == pytest.approx(sum(lengths), rel=0.5)
    doubled = plan_cost(shape_of("organism"), roles=10, questions=5, prompts=3, default_rollouts=20, max_new_tokens=512).table
    assert doubled.set_index("step").loc["rollouts", "written"] == 2 * cost.loc["rollouts", "written"]


def test_a_model_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        shape_of(str(tmp_path))


def test_hours_follow_from_a_speed():
    cost = plan_cost(shape_of("organism"), roles=10, questions=5, prompts=3)
    slow, fast = Speed(1000.0, 100.0, 8), Speed(2000.0, 200.0, 8)
    assert np.allclose(cost.hours(slow), 2 * cost.hours(fast))
    row = cost.table.set_index("step").loc["rollouts"]
    assert cost.hours(slow)["rollouts"] == pytest.approx((row["read"] / 1000 + row["written"] / 100) / 3600)
    assert "tokens/s read and 100 written in batches of 8; at that speed: rollouts" in cost.to_text(slow)
    assert "Measured" not in cost.to_text()


def test_a_speed_is_measured(organism):
    found = measure_speed(organism, 8)
    assert found.batch == 8
    assert all(np.isfinite(rate) and rate > 0 for rate in (found.read, found.written))

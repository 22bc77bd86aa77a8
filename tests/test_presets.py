"""Presets are rows: complete, about the right model, and honest about what nobody has measured."""

import pytest

from workbench.presets import preset_for, presets


def test_the_papers_models_come_first():
    paper = [p for p in presets() if p.source == "the paper"]
    assert [(p.model.split("/")[1], p.layer, p.n_layers, p.cap_layers) for p in paper] == [
        ("gemma-2-27b-it", 22, 46, None), ("Qwen3-32B", 32, 64, (46, 53)), ("Llama-3.3-70B-Instruct", 40, 80, (56, 71)),
    ]  # fmt: skip
    assert {p.cap_percentile for p in paper if p.cap_layers} == {75}  # the published 25 is counted along the reversed vector
    assert presets()[:3] == tuple(paper)


def test_rows_are_complete():
    assert len(presets()) >= 11
    assert len({p.model for p in presets()}) == len(presets())
    for preset in presets():
        assert 0 < preset.layer < preset.n_layers
        assert preset.source in ("the paper", "the middle")
        assert preset.source == "the paper" or preset.layer == preset.n_layers // 2


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "models/qwen3-8b", "/somewhere/Qwen3-8B/"])
def test_a_model_is_known_by_its_last_name(name):
    assert preset_for(name, 36).model == "Qwen/Qwen3-8B"


def test_another_depth_is_another_model():
    assert preset_for("Qwen/Qwen3-8B", 12).notes.startswith("there is no preset for this model")


def test_unknown_models_get_the_middle_and_are_told_so():
    preset = preset_for("organism", 5)
    assert (preset.layer, preset.source) == (2, "the middle")
    assert "nobody has measured it here" in str(preset)


def test_in_words():
    assert str(preset_for("Qwen/Qwen3-32B", 64)).startswith(
        "layer 32 of 64 (the paper); published cap in blocks 46-53, percentile 75 along the axis over all responses; thinking off"
    )

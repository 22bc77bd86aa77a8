import numpy as np
import pytest
import torch
from conftest import make_activations, make_site

from workbench.directions import Direction, contrast, role_vectors
from workbench.errors import DataError


def direction(values: torch.Tensor, name: str = "v", **site) -> Direction:
    return Direction(values.float(), make_site(values.shape[0], values.shape[1], **site), name, "up")


@pytest.fixture
def pair() -> tuple[Direction, Direction]:
    generator = torch.Generator().manual_seed(0)
    return direction(torch.randn(3, 5, generator=generator), "a"), direction(torch.randn(3, 5, generator=generator), "b")


def test_a_planted_direction_is_recovered(planted):
    acts, true, _ = planted
    axis = contrast(role_vectors(acts))
    assert torch.nn.functional.cosine_similarity(axis.values, true).min() > 0.99


def test_the_axis_points_to_the_default(planted):
    acts, _, _ = planted
    axis = contrast(role_vectors(acts))
    scores = acts.mean("role").project(axis)[0]
    assert scores.idxmax() == 0  # the default is the first row of the fixture
    assert axis.toward.startswith("default")
    assert contrast(role_vectors(acts), positive="role00").cosine(axis).max() < 0


def test_every_role_counts_once_whatever_its_number_of_responses():
    values = torch.tensor([[[4.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]], [[0.0, 3.0]]])
    acts = make_activations(values, ["default", "a", "a", "a", "b"])
    assert torch.allclose(contrast(acts).values, torch.tensor([[4.0, -1.5]]))


def test_swapping_the_labels_turns_the_sign():
    generator = torch.Generator().manual_seed(1)
    acts = make_activations(torch.randn(2, 3, 4, generator=generator), ["default", "a"])
    swapped = make_activations(acts.values, ["a", "default"])
    assert torch.allclose(contrast(acts).values, -contrast(swapped).values)


def test_algebra(pair):
    a, b = pair
    assert torch.equal((a + b).values, a.values + b.values)
    assert torch.equal((a - b).values, a.values - b.values)
    assert torch.equal((2 * a).values, (a * 2).values)
    assert torch.allclose((a / 4).values, a.values / 4)
    assert torch.equal((-a).values, -a.values)
    assert torch.allclose(a.unit().norms(), torch.ones(3))
    assert torch.allclose((a * 3).cosine(a), torch.ones(3))
    assert torch.allclose((-a).cosine(a), -torch.ones(3))


def test_a_turned_sign_is_said(pair):
    a, _ = pair
    assert (-a).toward == "away from up"
    assert (a * -2).toward == "away from up"


def test_layers_come_back_in_the_order_asked_for(pair):
    a, _ = pair
    assert a.at([2, 0]).site.layers == (2, 0)
    assert torch.equal(a.at([2, 0]).values, a.values[[2, 0]])


@pytest.mark.parametrize(
    ("change", "word"),
    [({"weights": "other"}, "model weights"), ({"hook": "resid_pre"}, "hook"), ({"layers": (1, 2, 3)}, "layers")],
)
def test_arithmetic_across_sites_is_refused(pair, change, word):
    a, b = pair
    with pytest.raises(DataError, match=word):
        _ = a + direction(b.values, "b", **change)


def test_cosine_across_models_needs_the_flag_and_equal_width(pair):
    a, b = pair
    other = direction(b.values, "b", weights="other")
    with pytest.raises(DataError, match="model weights"):
        a.cosine(other)
    assert torch.allclose(a.cosine(other, across_models=True), a.cosine(b))
    with pytest.raises(DataError, match="width 5 and 6"):
        a.cosine(direction(torch.ones(3, 6), "c", weights="other"), across_models=True)


def test_projection_refuses_another_model(pair):
    a, _ = pair
    acts = make_activations(torch.ones(2, 3, 5), ["x", "y"])
    elsewhere = direction(a.values, "a", weights="other")
    with pytest.raises(DataError, match="across_models=True"):
        acts.project(elsewhere)
    assert np.allclose(acts.project(elsewhere, across_models=True), acts.project(a))


def test_other_library_versions_only_warn(pair):
    a, _ = pair
    acts = make_activations(torch.ones(2, 3, 5), ["x", "y"])
    acts = type(acts)(acts.values, acts.rows, make_site(3, 5, versions={"torch": "9"}))
    with pytest.warns(UserWarning, match="other versions of torch"):
        acts.project(direction(a.values, "a", versions={"torch": "8"}))


def test_zero_and_non_finite_directions_are_refused():
    with pytest.raises(DataError, match="zero at layer 1"):
        direction(torch.tensor([[1.0, 0.0], [0.0, 0.0]])).unit()
    with pytest.raises(DataError, match="not finite"):
        direction(torch.tensor([[float("nan"), 0.0]]))
    with pytest.raises(DataError, match="divided by zero"):
        _ = direction(torch.ones(1, 2)) / 0


def test_saved_and_loaded_is_the_same(pair, tmp_path):
    a, _ = pair
    loaded = Direction.load(a.save(tmp_path / "a.safetensors"))
    assert torch.equal(loaded.values, a.values)
    assert (loaded.site, loaded.name, loaded.toward) == (a.site, a.name, a.toward)


def test_foreign_files_are_refused(pair, tmp_path):
    from safetensors.torch import save_file

    save_file({"values": torch.ones(2, 3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DataError, match="is not a direction of persona-workbench/1"):
        Direction.load(tmp_path / "foreign.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        Direction.load(tmp_path / "text")
    with pytest.raises(DataError, match="does not exist"):
        Direction.load(tmp_path / "nothing")


def test_role_vectors_never_filter_the_default_by_label():
    acts = make_activations(torch.ones(4, 1, 2), ["default", "default", "a", "a"], label=[0, 1, 3, 1])
    vectors = role_vectors(acts, "fully", min_count=1)
    assert dict(zip(vectors.rows["role"], vectors.rows["n"], strict=True)) == {"default": 2, "a": 1}


def test_role_vectors_drop_roles_with_too_few_responses():
    acts = make_activations(torch.ones(5, 1, 2), ["default", "a", "a", "b", "b"], label=[3, 3, 3, 3, 0])
    assert list(role_vectors(acts, "fully", min_count=2).rows["role"]) == ["default", "a"]


def test_unjudged_responses_need_keep_all():
    acts = make_activations(torch.ones(2, 1, 2), ["default", "a"], label=[None, None])
    with pytest.raises(DataError, match="use keep='all'"):
        role_vectors(acts)
    assert len(role_vectors(acts, "all", 1)) == 2
    with pytest.raises(DataError, match="keep is one of"):
        role_vectors(acts, "most")


def test_a_contrast_without_the_other_end_is_refused():
    acts = make_activations(torch.ones(2, 1, 2), ["a", "b"])
    with pytest.raises(DataError, match="no vectors of 'default'"):
        contrast(acts)


def test_more_responses_asked_for_than_any_role_has_is_a_sentence():
    acts = make_activations(torch.randn(9, 2, 4), ["default"] * 3 + ["ghost"] * 4 + ["bard"] * 2, label=[3] * 9)
    with pytest.raises(DataError, match=r"no role has 10 responses that can be kept \(fully\); the most is 4: lower min_count"):
        role_vectors(acts)
    assert set(role_vectors(acts, min_count=3).rows["role"]) == {"default", "ghost"}

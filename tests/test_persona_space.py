import numpy as np
import pytest
import torch
from conftest import make_activations

from workbench.directions import contrast, role_vectors
from workbench.errors import DataError
from workbench.persona_space import PersonaSpace


@pytest.fixture
def vectors(planted):
    return role_vectors(planted[0])


def test_pc1_is_the_planted_direction(planted, vectors):
    _, true, _ = planted
    for layer in (0, 1):
        pc1 = PersonaSpace(layer).fit(vectors).component(1)
        assert float(pc1.values[0] @ true[layer]) > 0.99


def test_scores_follow_the_planted_positions(planted, vectors):
    _, _, position = planted
    scores = PersonaSpace(1).fit(vectors).to_frame().set_index("role")["pc1"]
    assert np.corrcoef([scores[name] for name in position], list(position.values()))[0, 1] > 0.99


def test_the_default_takes_no_part_in_the_fit(vectors):
    """Move the default anywhere: components, mean and shares stay bit for bit the same (up to PC1's sign)."""
    space = PersonaSpace(0).fit(vectors)
    values = vectors.values.clone()
    values[vectors.rows["role"].eq("default").to_numpy().nonzero()[0]] *= -100
    moved = PersonaSpace(0).fit(type(vectors)(values, vectors.rows, vectors.site))
    without = PersonaSpace(0).fit(vectors.where("role != 'default'"))
    for other in (moved, without):
        assert np.array_equal(space.mean_, other.mean_)
        assert np.array_equal(space.explained_variance_ratio_, other.explained_variance_ratio_)
        assert np.array_equal(np.abs(space.components_), np.abs(other.components_))


def test_sign_rule(vectors):
    space = PersonaSpace(0).fit(vectors)
    frame = space.to_frame()
    assert frame.loc[frame["is_default"], "pc1"].item() > 0
    scores = space.transform(vectors.where("role != 'default'"))
    largest = scores[np.abs(scores).argmax(0), np.arange(scores.shape[1])]
    assert (largest[1:] > 0).all()


def test_scores_are_centred_and_not_scaled(vectors):
    roles = vectors.where("role != 'default'")
    space = PersonaSpace(0).fit(vectors)
    scores = space.transform(roles)
    assert np.allclose(scores.mean(0), 0, atol=1e-9)
    centred = roles.values[:, 0].double().numpy()
    centred = centred - centred.mean(0)
    assert np.allclose((scores**2).sum(), (centred**2).sum())


def test_loadings_are_cosines_of_the_centred_vector(vectors):
    space = PersonaSpace(0).fit(vectors)
    loadings = space.loadings()
    vector = vectors.values[3, 0].double().numpy() - space.mean_
    assert loadings.iloc[3]["pc1"] == pytest.approx(vector @ space.components_[0] / np.linalg.norm(vector))
    assert (loadings.abs() <= 1 + 1e-9).all().all()


def test_components_to_a_share():
    """Three orthogonal spreads of 16 : 1 : 1."""
    values = torch.zeros(6, 1, 4)
    for i, spread in enumerate((4.0, 1.0, 1.0)):
        values[2 * i, 0, i], values[2 * i + 1, 0, i] = spread, -spread
    space = PersonaSpace(0).fit(make_activations(values, list("abcdef"), n=[1] * 6))
    assert space.explained_variance_ratio_[:3] == pytest.approx([16 / 18, 1 / 18, 1 / 18])
    assert [space.n_components_for(share) for share in (0.7, 0.88, 0.9, 1.0)] == [1, 1, 2, 3]


def test_standardising_takes_a_massive_dimension_back():
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(20, 1, 6, generator=generator)
    values[:, 0, 5] *= 1000
    acts = make_activations(values, [f"r{i}" for i in range(20)], n=[1] * 20)
    assert PersonaSpace(0).fit(acts).explained_variance_ratio_[0] > 0.99
    scaled = PersonaSpace(0, standardise=True).fit(acts)
    assert scaled.explained_variance_ratio_[0] < 0.6
    with pytest.raises(DataError, match="standardised"):
        scaled.component(1)


def test_leaving_a_role_out(vectors):
    stability = PersonaSpace(0).fit(vectors).stability(vectors)
    assert list(stability["role"]) == [name for name in vectors.rows["role"] if name != "default"]
    assert stability["cosine_pc1"].between(0.99, 1.0000001).all()


def test_projection_in_the_frame_is_the_axis_projection(vectors):
    axis = contrast(vectors)
    frame = PersonaSpace(1).fit(vectors).to_frame(axis)
    assert np.allclose(frame["projection"], vectors.project(axis)[1])
    assert frame.attrs["layer"] == 1
    assert frame.attrs["toward"] == axis.toward


def test_centred_cosines(vectors):
    cosines = PersonaSpace(0).fit(vectors).cosines(vectors)
    assert np.allclose(np.diag(cosines), 1)
    assert cosines.loc["default", "role00"] < -0.9


@pytest.mark.parametrize(("n", "text"), [(2, "at least 3 roles; there are 2")])
def test_too_few_roles(n, text):
    acts = make_activations(torch.randn(n + 1, 1, 4), ["default", *[f"r{i}" for i in range(n)]])
    with pytest.raises(DataError, match=text):
        PersonaSpace(0).fit(acts)


def test_another_model_is_refused(vectors):
    from dataclasses import replace

    space = PersonaSpace(0).fit(vectors)
    with pytest.raises(DataError, match="model weights"):
        space.transform(replace(vectors, site=replace(vectors.site, weights="other")))
    with pytest.raises(DataError, match="no component 99"):
        space.component(99)

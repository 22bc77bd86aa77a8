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
    with pytest.raises(DataError, match="the 2 components of this space hold 94% of the variance, not 99%"):
        PersonaSpace(0, n_components=2).fit(space.vectors_).n_components_for(0.99)


# -- the null -----------------------------------------------------------------------------------------
def structured(n: int = 40, d: int = 300, factors: int = 2, seed: int = 0):
    """Roles that differ along so many directions, which all dimensions share, and by noise."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n + 1, factors, generator=generator) @ torch.randn(factors, d, generator=generator)
    values = (shared + 0.7 * torch.randn(n + 1, d, generator=generator))[:, None]
    return make_activations(values, [*(f"r{i}" for i in range(n)), "default"], n=[1] * (n + 1))


@pytest.mark.parametrize("factors", [0, 1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_components_beyond_the_null_are_those_that_dimensions_share(factors, seed):
    scree = PersonaSpace(0).fit(structured(factors=factors, seed=seed)).scree(null=60)
    beyond = (scree["share"] > scree["null_high"]).to_numpy()
    assert beyond[:factors].all()
    assert not beyond[factors : factors + 5].any()


def test_the_null_is_that_of_permuted_roles_by_another_road():
    """The same permutations, their components from a singular value decomposition instead of the roles' Gram matrix."""
    acts = structured(n=12, d=30)
    space = PersonaSpace(0).fit(acts)
    values = acts.values[:12, 0].double().numpy()
    rng, shares = np.random.default_rng(5), []
    for _ in range(50):
        dealt = rng.permuted(np.ascontiguousarray((values - values.mean(0)).T), axis=1).T
        assert np.allclose(np.sort(dealt, axis=0), np.sort(values - values.mean(0), axis=0)), "each dimension keeps its values"
        squares = np.linalg.svd(dealt, compute_uv=False) ** 2
        shares.append((squares / squares.sum())[:11])
    np.testing.assert_allclose(space.scree(null=50, seed=5)["null_high"], np.percentile(shares, 95, axis=0), atol=1e-12)


def test_the_null_is_the_seeds_and_leaves_the_default_out():
    acts = structured(n=12, d=30)
    first, again, other = (PersonaSpace(0).fit(acts).scree(null=50, seed=s) for s in (1, 1, 2))
    assert first.equals(again)
    assert not np.array_equal(first["null_high"], other["null_high"])
    without = PersonaSpace(0).fit(acts.where("role != 'default'")).scree(null=50, seed=1)
    assert first.equals(without)
    assert (first["null_high"].diff().dropna() <= 0).all(), "larger components first"
    assert first.attrs == {"layer": 0, "model": "toy"}
    assert "null_high" not in PersonaSpace(0).fit(acts).scree()


def test_the_null_of_a_standardised_and_of_a_shortened_space():
    acts = structured(n=12, d=30)
    assert len(PersonaSpace(0, n_components=4).fit(acts).scree(null=50)) == 4
    massive = acts.values.clone()
    massive[:, 0, 3] *= 1000
    scaled = [PersonaSpace(0, standardise=True).fit(type(acts)(v, acts.rows, acts.site)).scree(null=50) for v in (acts.values, massive)]
    np.testing.assert_allclose(scaled[0]["null_high"], scaled[1]["null_high"], rtol=1e-5)


@pytest.mark.parametrize("draws", [1, 49, -3])
def test_a_null_of_few_permutations_is_refused(draws):
    with pytest.raises(DataError, match=f"at least 50 permutations, or 0 for none; {draws} were asked for"):
        PersonaSpace(0).fit(structured(n=6, d=10)).scree(null=draws)


def test_the_papers_size_takes_seconds():
    """275 roles in 8,192 dimensions: the Gram matrix is 275 x 275 however wide the model."""
    import time

    space = PersonaSpace(0).fit(structured(n=275, d=8192))
    start = time.process_time()
    space.scree(null=50)
    assert time.process_time() - start < 20


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
    assert cosines.attrs["order"] == "PC1"
    scores = PersonaSpace(0).fit(vectors).to_frame().set_index("role")["pc1"]
    assert list(cosines.index) == list(scores.sort_values(ascending=False).index)


@pytest.mark.parametrize(("n", "text"), [(2, "at least 3 roles; there are 2")])
def test_too_few_roles(n, text):
    acts = make_activations(torch.randn(n + 1, 1, 4), ["default", *[f"r{i}" for i in range(n)]])
    with pytest.raises(DataError, match=text):
        PersonaSpace(0).fit(acts)


def test_several_rows_of_a_role_are_refused(vectors):
    twice = vectors.take([*range(len(vectors)), 1])
    with pytest.raises(DataError, match=f"role '{vectors.rows['role'][1]}' has several rows: average them first"):
        PersonaSpace(0).fit(twice)


def test_another_model_is_refused(vectors):
    from dataclasses import replace

    space = PersonaSpace(0).fit(vectors)
    with pytest.raises(DataError, match="model weights"):
        space.transform(replace(vectors, site=replace(vectors.site, weights="other")))
    with pytest.raises(DataError, match="no component 99"):
        space.component(99)


def test_a_space_that_was_not_fitted_says_so(vectors):
    asks = (
        lambda space: space.transform(vectors), lambda space: space.loadings(), lambda space: space.loadings(vectors),
        lambda space: space.scree(), lambda space: space.component(1), lambda space: space.to_frame(),
        lambda space: space.n_components_for(0.5), lambda space: space.stability(vectors), lambda space: space.cosines(vectors),
    )  # fmt: skip
    for ask in asks:
        with pytest.raises(DataError, match="fit it to role vectors first"):
            ask(PersonaSpace(0))


@pytest.mark.parametrize("n", [-1, 0, 0.5, 2.0, True, "2"])
def test_components_are_counted_in_whole_numbers(n):
    with pytest.raises(DataError, match="a whole number of components, 1 or more, or all"):
        PersonaSpace(0, n_components=n)


def test_more_components_than_there_are_are_all(vectors):
    assert len(PersonaSpace(0, n_components=10_000).fit(vectors).components_) == len(PersonaSpace(0).fit(vectors).components_)
    assert len(PersonaSpace(0, n_components=np.int64(2)).fit(vectors).components_) == 2

import pandas as pd
import pytest
import torch
from conftest import make_activations, make_site

from workbench.activations import Activations, Site
from workbench.errors import DataError


@pytest.fixture
def acts() -> Activations:
    values = torch.arange(24, dtype=torch.float32).reshape(4, 2, 3)
    return make_activations(values, ["b", "a", "b", "c"], label=[3, 3, 0, 2])


def test_lengths_are_checked(acts):
    with pytest.raises(DataError, match="4 vectors but a table of 3 rows"):
        Activations(acts.values, acts.rows.head(3), acts.site)
    with pytest.raises(DataError, match="does not fit a site"):
        Activations(acts.values, acts.rows, make_site(3, 3))


def test_shapes_are_enforced_under_pytest(acts):
    from jaxtyping import TypeCheckError

    with pytest.raises(TypeCheckError):
        Activations(acts.values[0], acts.rows, acts.site)


def test_where_keeps_rows_and_vectors_together(acts):
    kept = acts.where("label == 3")
    assert list(kept.rows["role"]) == ["b", "a"]
    assert torch.equal(kept.values, acts.values[:2])


def test_mean_is_in_order_of_first_appearance(acts):
    means = acts.mean("role")
    assert list(means.rows["role"]) == ["b", "a", "c"]
    assert list(means.rows["n"]) == [2, 1, 1]
    assert torch.allclose(means.values[0], acts.values[[0, 2]].mean(0))


def test_means_of_means_count_their_rows(acts):
    by_label = acts.mean(["role", "label"])
    assert torch.allclose(by_label.mean("role").values, acts.mean("role").values)
    assert list(by_label.mean("role").rows["n"]) == [2, 1, 1]


def test_mean_keeps_rows_without_a_label():
    acts = make_activations(torch.ones(3, 1, 1), ["a", "a", "b"], label=pd.array([None, 3, None], dtype="Int8"))
    assert sum(acts.mean(["role", "label"]).rows["n"]) == 3


def test_unknown_columns_and_layers_are_named(acts):
    with pytest.raises(DataError, match="no column colour"):
        acts.mean("colour")
    with pytest.raises(DataError, match="layer 7 is not among"):
        acts.at(7)


def test_layers_in_the_order_asked_for(acts):
    turned = acts.at([1, 0])
    assert turned.site.layers == (1, 0)
    assert torch.equal(turned.values[:, 0], acts.values[:, 1])


def test_a_site_survives_its_file():
    site = make_site(versions={"torch": "2"}, system="folded")
    assert Site.from_dict(site.to_dict()) == site


def test_parts_of_a_site_from_the_future_are_said():
    with pytest.warns(UserWarning, match="unknown to this version: phase"):
        Site.from_dict(make_site().to_dict() | {"phase": 3})

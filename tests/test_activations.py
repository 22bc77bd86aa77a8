import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_activations, make_site

from workbench.activations import Activations, Site, as_layers
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


def test_rows_by_booleans(acts):
    assert acts.take((acts.rows["role"] == "b").to_numpy()).rows["role"].tolist() == ["b", "b"]
    assert len(acts.take(pd.Series([False] * 4))) == 0
    with pytest.raises(DataError, match="3 booleans do not say which of 4 rows"):
        acts.take([True, False, True])


@pytest.mark.parametrize("layer", [np.int64(1), np.float64(1.0), [1], pd.Series([1])])
def test_a_layer_may_come_from_a_table(acts, layer):
    assert acts.at(layer).site.layers == (1,)
    assert type(acts.at(layer).site.layers[0]) is int


def test_a_layer_is_a_whole_number():
    with pytest.raises(DataError, match=r"a layer is a whole number, not 1\.5"):
        as_layers([1, 1.5])


def test_rows_that_count_nothing_have_no_average():
    with pytest.raises(DataError, match="count 0 times"):
        make_activations(torch.ones(2, 1, 3), ["a", "a"], n=[0, 0]).mean("role")

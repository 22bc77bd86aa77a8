"""Studies compared: the same shape in other coordinates is found, another is not, and what cannot be compared is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_site
from plot_checks import check_themes
from typer.testing import CliRunner

from workbench import plots
from workbench.cli.commands import app
from workbench.compare import Positions, aligned, alike, compare, in_words, positions_of, positions_table
from workbench.directions import Direction
from workbench.errors import DataError
from workbench.published import export_published, import_published
from workbench.study.main import run_study

ROLES = [f"role{i:02d}" for i in range(30)]


def study(name: str, points: np.ndarray, z: np.ndarray | None = None, d_model: int = 16, roles: list[str] = ROLES) -> Positions:
    index = pd.Index(roles, name="role")
    frame = pd.DataFrame(points, index=index, columns=["pc1", "pc2", "pc3"])
    axis = Direction(torch.eye(1, d_model), make_site(1, d_model), "axis", "default")
    return Positions(name, 0, d_model, frame, frame, pd.Series(points[:, 0] if z is None else z, index=index), axis)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 3)) * [3, 2, 1]


def measure(table: pd.DataFrame, name: str) -> pd.Series:
    return table.set_index("measure").loc[name]


# -- numbers ------------------------------------------------------------------------------------------
def test_the_same_shape_turned_mirrored_and_scaled_is_the_same(points):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0] * [1, 1, -1]
    assert alike(points, 7 * points @ turn + 4) == pytest.approx(1)
    assert alike(points, np.random.default_rng(2).normal(size=(30, 3))) < 0.3
    assert np.isnan(alike(points, np.zeros((30, 3))))


def test_signs_of_components_are_nobodys(points):
    table = compare([study("a", points), study("b", points * [-1, 1, -1])], n_boot=50, n_shuffled=50)
    for name in ("PC1", "PC2", "PC3", "space"):
        assert measure(table, name)["value"] == pytest.approx(1)
        assert measure(table, name)["chance"] < 0.6
    places = positions_table([study("a", points), study("b", points * [-1, 1, -1])])
    assert np.allclose(places[places["study"] == "a"]["pc1"], places[places["study"] == "b"]["pc1"])


def test_spaces_are_turned_onto_the_first(points):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    places = aligned([study("a", points), study("b", 7 * (points @ turn) + 4), study("c", points[::-1].copy(), roles=ROLES[::-1])])
    first, *others = (part.reset_index(drop=True) for _, part in places.groupby("study", sort=False))
    for other in others:
        assert other["role"].tolist() == ROLES
        assert np.allclose(other[["pc1", "pc2", "pc3"]], first[["pc1", "pc2", "pc3"]])
    assert np.allclose((first[["pc1", "pc2", "pc3"]] ** 2).sum(axis=1).mean(), 1)


def test_the_figure_of_spaces(points):
    places = aligned([study("a", points), study("b", points * [-1, 1, 1])])
    check_themes(lambda **k: plots.persona_spaces(places, **k))
    figure = plots.persona_spaces(places)
    shown = plots.data(figure)
    assert np.allclose(shown.loc[shown["trace"] == "a", "x"].astype(float), shown.loc[shown["trace"] == "b", "x"].astype(float))
    labels = [note.text for note in figure.layout.annotations if note.text in ROLES]
    assert len(labels) == 2 * len(set(labels)) > 0  # the same roles in both panels
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
    with pytest.raises(DataError, match="at least two studies"):
        plots.persona_spaces(places[places["study"] == "a"])
    with pytest.raises(DataError, match="the same roles in the same order in every study; b differs"):
        plots.persona_spaces(places.drop(index=places.index[-1]))
    with pytest.raises(DataError, match="share 3 roles"):
        aligned([study("a", points), study("b", points[:3], roles=ROLES[:3])])


def test_the_sign_of_the_axis_is_kept(points):
    """Another model in which the same roles are far from its Assistant has r = -1, not 1."""
    table = compare([study("a", points), study("b", points, z=-points[:, 0])], n_boot=50, n_shuffled=50)
    assert measure(table, "axis")["value"] == pytest.approx(-1)
    assert measure(table, "PC1")["value"] == pytest.approx(1)


def test_shuffled_roles_are_no_more_alike_than_chance(points):
    order = np.random.default_rng(5).permutation(30)
    table = compare([study("a", points), study("b", points[order])], n_boot=50, n_shuffled=100)
    assert measure(table, "PC1")["value"] < measure(table, "PC1")["chance"] + 0.1
    assert measure(table, "space")["value"] < measure(table, "space")["chance"] + 0.05


def test_roles_are_matched_by_name_and_widths_may_differ(points):
    order = np.random.default_rng(5).permutation(30)
    other = study("b", points[order], d_model=8, roles=[ROLES[i] for i in order][:20] + [f"other{i}" for i in range(10)])
    table = compare([study("a", points), other], n_boot=50, n_shuffled=50)
    assert measure(table, "PC1")["value"] == pytest.approx(1)
    assert (table["n"] == 20).all()
    assert "cosine" not in set(table["measure"])


def test_what_cannot_be_compared(points):
    with pytest.raises(DataError, match="at least two studies"):
        compare([study("a", points)])
    with pytest.raises(DataError, match="two studies are called 'a'"):
        compare([study("a", points), study("a", points)])
    with pytest.raises(DataError, match="share 0 roles by name; a comparison needs 8"):
        compare([study("a", points), study("b", points, roles=[f"x{i}" for i in range(30)])])


def test_studies_without_default_responses_have_no_axis_to_compare(points):
    bare = study("b", points)
    bare = Positions(bare.name, 0, 16, bare.loadings, bare.scores, pd.Series(dtype=float), bare.axis)
    table = compare([study("a", points), bare], n_boot=20, n_shuffled=20)
    assert "axis" not in set(table["measure"])
    assert measure(table, "cosine")["value"] == pytest.approx(1)
    with pytest.raises(DataError, match="needs two that have z-scores"):
        plots.compared(positions_table([study("a", points), bare]))


# -- figure and command -------------------------------------------------------------------------------
def test_the_figure(points):
    table = positions_table([study(name, points * k) for name, k in (("a", 1), ("b", 2), ("c", -1))])
    figure = plots.compared(table)
    assert [len(trace.x) for trace in figure.data] == [30, 30]
    check_themes(lambda **settings: plots.compared(table, **settings))


def test_two_runs_by_the_command(tmp_path):
    for prompts, name in ((1, "one"), (2, "two")):  # the same roles, other prompts
        run_study("organism", tmp_path / name, roles=24, questions=6, prompts=prompts, default_rollouts=24)
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "one and two, 24 roles" in result.output
    table = pd.read_csv(tmp_path / "out" / "compared.csv").set_index("measure")
    assert table.loc["axis", "value"] > 0.8
    assert table.loc["cosine", "value"] > 0.8
    assert (tmp_path / "out" / "compared.html").exists()
    from workbench.store import open_run

    again = positions_of(open_run(tmp_path / "one"), layer=3)
    assert again.layer == 3
    assert "one" in in_words(compare([again, positions_of(open_run(tmp_path / "two"), layer=3)], n_boot=10, n_shuffled=10))


def test_vectors_that_were_published_and_imported_are_the_same(tmp_path):
    """Imported runs have no responses and no sweep: no z-scores, and the middle layer."""
    run = run_study("organism", tmp_path / "run", roles=12, questions=3, prompts=1, default_rollouts=12)
    export_published(run, tmp_path / "published")
    imported, _ = import_published(tmp_path / "published", tmp_path / "imported", "organism")
    there = positions_of(imported)
    assert len(there.z) == 0
    table = compare([positions_of(run, "own", layer=there.layer), there], n_boot=20, n_shuffled=20)
    assert measure(table, "PC1")["value"] == pytest.approx(1, abs=1e-4)
    assert measure(table, "cosine")["value"] == pytest.approx(1, abs=1e-4)
    assert "axis" not in set(table["measure"])

"""Figures: what they show is what the tables hold, text from data stays text, and colours mean one thing."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from plot_checks import check_themes

from workbench import plots
from workbench.errors import DataError, WorkbenchError
from workbench.plots import export, line, space, theme
from workbench.plots.variance import NULL, beyond_null

ATTACK = "<img src=x onerror=alert(1)>"


def role_table(n: int = 30, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    pcs = rng.normal(size=(n + 1, 3)) * [4, 2, 1]
    frame = pd.DataFrame({"role": [f"role{i}" for i in range(n)] + ["default"], "description": "Somebody.", "n": 12})
    frame[["pc1", "pc2", "pc3"]] = pcs
    frame["projection"] = np.append(rng.normal(size=n) * 3, 9.0)
    frame["is_default"] = frame["role"] == "default"
    frame.attrs = {"model": "toy", "layer": 3, "explained": [0.53, 0.2, 0.1]}
    return frame


def sweep_table() -> pd.DataFrame:
    layers = np.arange(6)
    frame = pd.DataFrame({"layer": layers, "auc": 0.6 + 0.05 * layers, "axis_norm": 0.1 * layers, "n_70": 3, "n_90": 8})
    return frame.assign(auc_low=frame["auc"] - 0.02, auc_high=frame["auc"] + 0.01)


def scree_table(shares: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"component": range(1, len(shares) + 1), "share": shares, "cumulative": np.cumsum(shares)})


def square(names: list) -> pd.DataFrame:
    values = np.random.default_rng(0).uniform(-1, 1, (len(names), len(names)))
    return pd.DataFrame(values, index=names, columns=names)


def named(figure: go.Figure, name: str) -> list:
    return [trace for trace in figure.data if trace.name == name and trace.meta != "decoration"]


def all_text(figure: go.Figure) -> str:
    return json.loads(json.dumps(figure.to_plotly_json(), default=str)).__repr__()


FIGURES = {
    "persona_space": lambda **k: plots.persona_space(role_table(), **k),
    "persona_space_2d": lambda **k: plots.persona_space(role_table(), dims=2, **k),
    "axis_line": lambda **k: plots.axis_line(role_table(), centre=0.5, **k),
    "scree": lambda **k: plots.scree(scree_table([0.5, 0.3, 0.2]), **k),
    "cosine_heatmap": lambda **k: plots.cosine_heatmap(square(["a", "b", "c"]), **k),
    "layer_sweep": lambda **k: plots.layer_sweep(sweep_table(), recommended=3, **k),
    "similarity_by_layer": lambda **k: plots.similarity_by_layer(square([0, 1, 2]), **k),
}


# -- the house's look ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FIGURES)
def test_light_by_default_and_dark_on_request(name):
    check_themes(FIGURES[name])


def test_the_blue_end_of_the_scale_is_the_assistant():
    assert theme.DIVERGING[-1] == (1.0, theme.ASSISTANT)
    assert theme.DIVERGING[0] == (0.0, theme.FAR)
    frame = role_table()
    axis = plots.persona_space(frame).layout.coloraxis
    assert (axis.cmin, axis.cmax) == (frame["projection"].min(), frame["projection"].max())
    assert axis.colorscale is None, "the template supplies it, so that a page can swap light for dark"
    assert axis.colorbar.title.text == "projection on the axis, + = Assistant"


def test_another_quantity_does_not_borrow_the_axis_colours():
    frame = role_table()
    axis = plots.persona_space(frame, colour="n").layout.coloraxis
    assert axis.colorbar.title.text == "n"
    assert theme.ASSISTANT.lower() not in [colour.lower() for _, colour in axis.colorscale]


def test_title_says_model_and_layer_and_survives_their_absence():
    assert plots.persona_space(role_table()).layout.title.subtitle.text == "toy, layer 3"
    frame = role_table()
    frame.attrs = {}
    assert plots.persona_space(frame).layout.title.subtitle.text is None


# -- errors -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: plots.persona_space(role_table().drop(columns="pc3")),
            "persona_space needs the column pc3; the table has role, desc",
        ),
        (lambda: plots.persona_space(role_table(), colour="warmth"), "needs the column warmth"),
        (lambda: plots.persona_space(role_table(), colour="description"), "the column description must hold numbers"),
        (lambda: plots.persona_space(role_table(), dims=4), "drawn in 2 or 3 dimensions, not 4"),
        (lambda: plots.persona_space(role_table().iloc[:0]), "at least one row"),
        (lambda: plots.axis_line(pd.DataFrame({"role": ["a"]})), "needs the columns projection, is_default; the table has role"),
        (lambda: plots.axis_line(role_table().assign(projection=math.nan)), "all are missing"),
        (
            lambda: plots.scree(pd.DataFrame({"share": [1.0]})),
            "scree needs the columns component, cumulative; the table has share",
        ),
        (lambda: plots.cosine_heatmap(pd.DataFrame([[1.0, 0.5]])), "a square table .* this one is 1 x 2"),
        (lambda: plots.cosine_heatmap(square(["a", "a"])), "each name once; a occurs twice"),
        (lambda: plots.similarity_by_layer(square([0, 1]) * 30), "cosines from -1 to 1"),
        (lambda: plots.layer_sweep(pd.DataFrame({"auc": [1.0]})), "layer_sweep needs the column layer; the table has auc"),
        (lambda: plots.layer_sweep(pd.DataFrame({"layer": [1]})), "at least one of auc, gain, cohens_d"),
        (
            lambda: plots.layer_sweep(sweep_table(), recommended=9),
            "recommended layer 9 is not in the table, which has layers 0 to 5",
        ),
    ],
)
def test_errors_say_what_is_missing_and_what_was_there(draw, message):
    with pytest.raises(DataError, match=message):
        draw()


# -- text from data -----------------------------------------------------------------------------------
def test_text_from_data_is_escaped_wherever_plotly_reads_tags():
    frame = role_table().assign(description=ATTACK)
    frame.loc[frame["projection"].idxmin(), "role"] = ATTACK
    frame.attrs |= {"model": ATTACK}
    cosines = square([ATTACK, "b"])
    for figure in (
        plots.persona_space(frame),
        plots.persona_space(frame, dims=2),
        plots.axis_line(frame),
        plots.cosine_heatmap(cosines),
    ):
        text = all_text(figure)
        assert "&lt;img" in text
        assert "<img" not in text


def test_hover_tells_counts_and_projection_and_skips_what_is_missing():
    frame = role_table().assign(label_0=1, label_3=pd.array([11] * 30 + [None], dtype="Int64"), low=-1.0, high=2.0)
    frame.loc[0, "description"] = None
    hover = named(plots.persona_space(frame), "role")[0].hovertext
    projection = frame.loc[0, "projection"]
    assert hover[0] == f"<b>role0</b><br>12 responses (label 0: 1, label 3: 11)<br>projection {projection:.4g} [-1, 2] (+ = Assistant)"
    assert "label 3" not in named(plots.persona_space(frame), "default")[0].hovertext[0]


def test_long_descriptions_are_broken_into_lines():
    frame = role_table().assign(description="word " * 60)
    assert max(map(len, named(plots.persona_space(frame), "role")[0].hovertext[0].split("<br>"))) <= 60


# -- persona space ------------------------------------------------------------------------------------
@pytest.mark.parametrize("dims", [2, 3])
def test_the_default_is_marked_differently_and_labelled(dims):
    figure = plots.persona_space(role_table(), dims=dims)
    role, default = named(figure, "role")[0], named(figure, "default")[0]
    assert default.marker.symbol == "diamond" != role.marker.symbol
    assert default.marker.size > role.marker.size
    labels = figure.layout.annotations if dims == 2 else figure.layout.scene.annotations
    assert "<b>default</b>" in [label.text for label in labels]


@pytest.mark.parametrize("components", [["pc1", "pc2"], ["pc1", "pc2", "pc3"]])
def test_labels_are_few_extreme_and_apart(components):
    frame = role_table(200)
    chosen = space.label_rows(theme.role_records(frame, components), components)
    assert chosen[0] == 200, "the default comes first"
    assert 6 <= len(chosen) == len(set(chosen)) <= 12
    ranks = frame[components][:200].rank()
    assert all(((ranks.loc[i] <= 6) | (ranks.loc[i] > 194)).any() for i in chosen[1:]), "one of the six furthest on a component"
    span = (frame[components].max() - frame[components].min()).max()
    places = [space.on_screen(frame.loc[i].to_dict(), components) for i in chosen]
    for i, (x, y) in enumerate(places):
        assert all(abs(x - other[0]) >= 0.2 * span or abs(y - other[1]) >= 0.06 * span for other in places[:i])


def test_with_room_for_all_the_two_ends_of_each_component_are_labelled():
    frame = pd.DataFrame({"role": list("abcde"), "is_default": [False] * 4 + [True], "projection": 0.0})
    frame = frame.assign(pc1=[-10, 10, 0, 0, 4], pc2=[0, 0, -10, 10, 4])
    texts = [a.text for a in plots.persona_space(frame, dims=2).layout.annotations]
    assert texts == ["<b>e</b>", "a", "b", "c", "d"]


def test_axis_titles_carry_the_share_of_variance():
    assert plots.persona_space(role_table(), dims=2).layout.xaxis.title.text == "PC1 (53 % of variance)"
    assert plots.persona_space(role_table(), dims=2).layout.yaxis.scaleanchor == "x", "both components in equal units"
    assert space.axis_titles(None, 2) == ["PC1", "PC2"]


# -- number line --------------------------------------------------------------------------------------
def test_stacked_stretches_never_overlap_and_stay_put():
    rng = np.random.default_rng(1)
    starts = rng.normal(size=200)
    occupied = [(float(s), float(s + w)) for s, w in zip(starts, rng.uniform(0.05, 0.6, 200), strict=True)]
    levels = line.stack_levels(occupied)
    for i in range(200):
        for k in range(i):
            if levels[i] == levels[k]:
                assert occupied[i][0] >= occupied[k][1] or occupied[k][0] >= occupied[i][1]
    assert line.stack_levels(occupied) == levels
    assert line.stack_levels([(0.0, 1.0), (2.0, 3.0)]) == [0, 0]


def test_the_line_labels_six_at_each_end_and_the_default_on_rows_of_their_own():
    frame = role_table(40)
    labels = plots.axis_line(frame).layout.annotations
    far, near = ([a for a in labels if a.xanchor == anchor] for anchor in ("left", "right"))
    roles = frame[~frame["is_default"]].sort_values("projection")["role"].tolist()
    assert [a.text for a in far] == roles[:6]
    assert [a.text for a in near] == [*roles[-6:], "<b>default</b>"]
    assert len({a.y for a in labels}) == len(labels)
    # A leader line rises from its point: it must not meet a name that starts further out on a lower row.
    assert [a.y for a in far] == sorted((a.y for a in far), reverse=True)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_roles_are_labelled_once(n):
    texts = [a.text for a in plots.axis_line(role_table(n)).layout.annotations]
    assert sorted(texts) == sorted([*(f"role{i}" for i in range(n)), "<b>default</b>"])


def test_a_default_at_the_far_end_is_labelled_there():
    frame = role_table(20)
    frame.loc[frame["is_default"], "projection"] = -50.0
    label = next(a for a in plots.axis_line(frame).layout.annotations if a.text == "<b>default</b>")
    assert label.xanchor == "left"


def test_intervals_and_the_mean_are_drawn_as_given():
    frame = role_table(8)
    frame = frame.assign(low=frame["projection"] - 0.5, high=frame["projection"] + 0.25)
    frame.loc[0, "low"] = math.nan
    table = plots.data(plots.axis_line(frame, centre=0.5))
    ends = table[table["trace"] == "95 % interval"].groupby("text")["x"].agg(["min", "max"])
    expected = frame.iloc[1:].set_index("role")[["low", "high"]]
    np.testing.assert_array_equal(ends.loc[expected.index].to_numpy(), expected.to_numpy())
    assert table[table["trace"] == "mean of roles"]["x"].tolist() == [0.5, 0.5]


def test_a_centred_line_counts_from_the_mean_of_the_roles_in_the_same_units():
    frame = role_table(8)
    frame = frame.assign(low=frame["projection"] - 0.5, high=frame["projection"] + 0.25)
    roles = frame[~frame["is_default"]]
    figure = plots.axis_line(frame, centred=True)
    table = plots.data(figure)
    shown = table[table["trace"].isin(["role", "default"])].set_index("text").loc[frame["role"], "x"].astype(float)
    np.testing.assert_allclose(shown, frame["projection"] - roles["projection"].mean())
    assert shown[roles["role"]].mean() == pytest.approx(0)
    ends = table[table["trace"] == "95 % interval"].groupby("text")["x"].agg(["min", "max"]).loc[frame["role"]]
    np.testing.assert_allclose(ends["max"] - ends["min"], 0.75)
    assert table[table["trace"] == "mean of roles"]["x"].tolist() == [0.0, 0.0]
    title = figure.layout.xaxis.title.text
    assert f"from the mean of the roles<br>(which projects at {roles['projection'].mean():+.3g}".replace("-", "−") in title
    assert "residual-stream units" in title
    hover = named(figure, "default")[0].hovertext[0]
    assert "projection 9 " in hover, "the raw number is still said"
    assert f"{9 - roles['projection'].mean():+.4g} from the mean of the roles" in hover
    # The order, and so the labels, are those of the raw line; a centre that is given wins over the table's.
    labels = [a.text for a in plots.axis_line(frame).layout.annotations]
    assert [a.text for a in figure.layout.annotations] == labels
    given = plots.data(plots.axis_line(frame, centre=2.0, centred=True))
    assert given[given["text"] == "default"]["x"].max() == pytest.approx(9.25 - 2)
    with pytest.raises(DataError, match="there is only the default"):
        plots.axis_line(frame[frame["is_default"]], centred=True)


# -- variance, cosines --------------------------------------------------------------------------------
def test_scree_marks_how_many_components_reach_each_share():
    texts = [a.text for a in plots.scree(scree_table([0.75, 0.1, 0.02, 0.01])).layout.annotations]
    assert texts == ["70 %: 1 component", "80 %: 2 components"], "90 % is never reached and never claimed"


def test_components_that_exceed_the_null_are_counted_in_a_row_and_drawn_dark():
    frame = scree_table([0.5, 0.3, 0.04, 0.1, 0.06]).assign(null_high=[0.2, 0.1, 0.05, 0.05, 0.05])
    assert beyond_null(frame[::-1]) == 2, "the fourth exceeds its null, but the third does not"
    assert beyond_null(scree_table([0.5, 0.5])) is None
    assert beyond_null(frame.assign(null_high=0.0)) == 5
    figure = plots.scree(frame[::-1])
    beyond, rest = named(figure, "share, beyond chance")[0], named(figure, "share, not told from chance")[0]
    assert (list(beyond.x), list(rest.x)) == ([1, 2], [3, 4, 5])
    assert (beyond.marker.color, rest.marker.color) == (None, theme.NEUTRAL), "dark is the page's ink"
    assert "<b>2 components</b> exceed<br>what permuted roles reach" in [a.text for a in figure.layout.annotations]
    assert list(named(figure, NULL)[0].y) == list(frame["null_high"])
    none = plots.scree(frame.assign(null_high=0.9))
    assert not named(none, "share, beyond chance")
    assert "<b>0 components</b> exceed<br>what permuted roles reach" in [a.text for a in none.layout.annotations]


@pytest.mark.parametrize("draw", [plots.cosine_heatmap, plots.similarity_by_layer])
def test_cosines_are_coloured_from_minus_one_to_one(draw):
    figure = draw(square(["a", "b", "c"]) / 10)
    axis = figure.layout[theme.ALIKE_AXIS]
    assert (axis.cmin, axis.cmax, figure.data[0].coloraxis) == (-1, 1, theme.ALIKE_AXIS)
    assert axis.colorscale is None, "the template supplies it, so that a page can swap light for dark"
    for name in (theme.LIGHT_NAME, theme.DARK_NAME):
        scale = pio.templates[name].layout[theme.ALIKE_AXIS].colorscale
        assert [place for place, _ in scale] == [1 - place for place, _ in scale][::-1], "symmetric about 0"
        assert not {theme.ASSISTANT, theme.FAR} & {colour for _, colour in scale}, "alike is not the Assistant's"


def test_the_heat_map_says_its_order_and_points_at_the_default():
    frame = square(["default", *(f"role{i}" for i in range(40))])
    frame.attrs["order"] = "PC1"
    figure = plots.cosine_heatmap(frame)
    assert figure.layout.yaxis.title.text == "roles by PC1, the highest first"
    [note] = figure.layout.annotations
    assert (note.text, note.y, note.xanchor) == ("◂ <b>default</b>", "default", "left")
    assert not plots.cosine_heatmap(square(["a", "b"])).layout.annotations
    assert figure.data[0].texttemplate is None
    assert plots.similarity_by_layer(square([0, 1])).data[0].texttemplate == "%{z:.2f}", "few cells say their numbers"


def test_the_heat_map_keeps_the_order_it_was_given():
    figure = plots.cosine_heatmap(square(["z", "a", "m"]))
    assert list(figure.data[0].x) == list(figure.data[0].y) == ["z", "a", "m"]
    assert figure.layout.yaxis.autorange == "reversed", "the first role stands at the top left"
    assert figure.layout.title.text == "Cosines between centred role vectors"


# -- sweep --------------------------------------------------------------------------------------------
def test_a_missing_column_drops_its_panel():
    frame = sweep_table()
    titles = [a.text.split("<br>")[0] for a in plots.layer_sweep(frame).layout.annotations]
    assert titles == ["<b>AUC</b>", "<b>Length of the axis</b>", "<b>Components for 70, 80, 90 %</b>"]
    alone = plots.layer_sweep(frame[["layer", "axis_norm"]])
    assert [t.name for t in alone.data] == ["axis / residual norm"]
    assert not [t for t in plots.layer_sweep(frame.drop(columns="auc_low")).data if t.meta == "decoration"], "no half of an interval"


def test_missing_values_are_gaps_in_line_and_band():
    frame = sweep_table()
    frame.loc[2, ["auc", "auc_low", "auc_high"]] = math.nan
    figure = plots.layer_sweep(frame)
    assert math.isnan(named(figure, "AUC")[0].y[2])
    assert [sorted(set(t.x)) for t in figure.data if t.meta == "decoration"] == [[0, 1], [3, 4, 5]]


def test_the_recommended_layer_is_marked_in_every_panel():
    figure = plots.layer_sweep(sweep_table(), recommended=4)
    assert "<b>recommended: layer 4</b>" in [a.text for a in figure.layout.annotations]
    assert [s.x0 for s in figure.layout.shapes if s.x0 == s.x1] == [4, 4, 4]


def test_the_words_stand_apart_from_the_layers():
    words = pd.DataFrame({"layer": [-1], "auc": [0.5], "auc_low": [0.4], "auc_high": [0.7], "n_70": [4], "gain": [0.0]})
    figure = plots.layer_sweep(pd.concat([sweep_table().assign(gain=0.1), words]), recommended=3)
    assert list(named(figure, "AUC")[0].x) == [0, 1, 2, 3, 4, 5], "no curve leads to them"
    assert all(min(t.x) >= 0 for t in figure.data if t.meta == "decoration"), "and no band"
    [point] = named(figure, "AUC, words")
    assert (point.mode, point.marker.symbol, point.marker.color, list(point.y)) == ("markers", "diamond-open", theme.NEUTRAL, [0.5])
    assert (point.error_y.array[0], point.error_y.arrayminus[0]) == pytest.approx((0.2, 0.1))
    assert not named(figure, "gain, words"), "over itself it gains nothing"
    axis = figure.layout.xaxis
    rules = {s.x0 for s in figure.layout.shapes if s.x0 == s.x1} - {3}
    assert rules == {-0.5}
    assert axis.range[0] < point.x[0] < -0.5
    assert dict(zip(axis.ticktext, axis.tickvals, strict=True))["words"] == point.x[0]
    deep = pd.DataFrame({"layer": range(-1, 80), "auc": 0.9})
    place = named(plots.layer_sweep(deep), "AUC, words")[0].x[0]
    assert place < -3, "among many layers there is room for the word"
    assert not [t for t in plots.layer_sweep(sweep_table()).data if t.name and "words" in t.name]
    alone = plots.layer_sweep(words)
    assert [t.name for t in alone.data if t.mode == "markers"] == ["AUC, words", "components for 70 %, words"]


def test_layers_are_drawn_in_order_and_one_layer_is_enough():
    frame = sweep_table()
    assert plots.data(plots.layer_sweep(frame[::-1])).equals(plots.data(plots.layer_sweep(frame)))
    assert plots.layer_sweep(frame.iloc[:1], recommended=0).data


# -- the numbers behind -------------------------------------------------------------------------------
@pytest.mark.parametrize("dims", [2, 3])
def test_data_gives_back_the_persona_space(dims):
    frame = role_table()
    frame.loc[0, "role"] = "R&D <b>"
    table = plots.data(plots.persona_space(frame, dims=dims)).set_index("text").loc[frame["role"]]
    for column, axis in zip(["pc1", "pc2", "pc3"][:dims], "xyz", strict=False):
        np.testing.assert_array_equal(table[axis].astype(float), frame[column])
    np.testing.assert_array_equal(table["colour"].astype(float), frame["projection"])
    assert list(table["trace"]) == ["role"] * 30 + ["default"]


def test_data_gives_back_the_other_figures():
    names = ["a & b", "<c>", "d"]
    cosines = square(names)
    table = plots.data(plots.cosine_heatmap(cosines)).pivot(index="y", columns="x", values="z").loc[names, names]
    np.testing.assert_array_equal(table.to_numpy(), cosines.to_numpy())
    layers = square([0, 1, 2])
    np.testing.assert_array_equal(plots.data(plots.similarity_by_layer(layers))["z"], layers.to_numpy().ravel())
    sweep = sweep_table()
    table = plots.data(plots.layer_sweep(sweep))
    for column, name in {"auc": "AUC", "auc_low": "AUC, low", "auc_high": "AUC, high", "n_90": "components for 90 %"}.items():
        np.testing.assert_array_equal(table[table["trace"] == name]["y"].astype(float), sweep[column])
    shares = scree_table([0.5, 0.3, 0.2])
    table = plots.data(plots.scree(shares.assign(null_high=0.1)))
    np.testing.assert_array_equal(table["y"], [*shares["share"], *shares["cumulative"], 0.1, 0.1, 0.1])


def test_data_reads_figures_that_hold_packed_arrays():
    figure = go.Figure(go.Heatmap(x=np.arange(3), y=np.arange(2), z=np.arange(6.0).reshape(2, 3)))
    figure.add_trace(go.Scatter(x=np.arange(2.0), y=np.array([4, 5]), marker={"color": np.array([7.0, 8.0])}))
    again = pio.from_json(figure.to_json())
    pd.testing.assert_frame_equal(plots.data(again), plots.data(figure), check_dtype=False)
    assert plots.data(again)["z"].dropna().tolist() == [0, 1, 2, 3, 4, 5]
    assert plots.data(again)["colour"].tolist()[-2:] == [7.0, 8.0]


# -- files --------------------------------------------------------------------------------------------
def test_save_writes_what_the_suffix_says(tmp_path):
    figure = plots.persona_space(role_table().assign(description="</script><script>alert(1)</script>"), dark=True)
    assert pd.read_csv(plots.save(figure, tmp_path / "deep" / "space.csv"))["x"].tolist() == plots.data(figure)["x"].tolist()
    assert pio.from_json(plots.save(figure, tmp_path / "space.json").read_text()) == figure
    page = plots.save(figure, tmp_path / "space.HTML").read_text()
    assert page.count("* plotly.js v") == 1
    assert "<script>alert(1)" not in page
    assert 'name="viewport"' in page
    assert f"background: {theme.DARK.page}" in page


def test_pages_never_offer_to_upload_a_figure(tmp_path):
    page = plots.save(plots.scree(scree_table([1.0])), tmp_path / "scree.html").read_text()
    assert '"showSendToCloud": false' in page
    assert export.CONFIG["plotlyServerURL"] == ""


def test_an_unknown_suffix_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"cannot save a figure as a\.docx: the suffix must be one of \.html, \.json, \.csv, \.png"):
        plots.save(go.Figure(), tmp_path / "a.docx")


def test_images_without_kaleido_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WorkbenchError, match=r'pip install "persona-workbench\[figures\]".*Chrome or Chromium'):
        plots.save(go.Figure(), tmp_path / "a.pdf")


def test_importing_plots_leaves_torch_alone():
    heavy = ("torch", "transformers", "transformer_lens", "scipy", "sklearn")
    code = f"import sys, workbench.plots; sys.exit(any(module in sys.modules for module in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_script_serves_a_folder_of_figures(tmp_path):
    import plotly.graph_objects as go

    for name in ("a", "b"):
        plots.save(go.Figure(go.Scatter(x=[1], y=[2])), tmp_path / f"{name}.html", script="beside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html", "plotly.min.js"]
    assert (tmp_path / "a.html").stat().st_size < 100_000
    assert 'src="plotly.min.js"' in (tmp_path / "a.html").read_text()

"""Print style: a copy, in exact sizes, with nothing told by colour alone."""

import copy
import math

import pandas as pd
import plotly.graph_objects as go
import pytest
from test_plots_drift import band_table, harm_table, mean_table, turn_table

from workbench import plots
from workbench.errors import DataError
from workbench.plots import labels
from workbench.plots.paper import DARK_NAME, FAMILY, HAIR, INCHES, PRINT_DPI, dpi_of, thin
from workbench.plots.rooms import SMALL, TEXT, whole_rows
from workbench.plots.untyped import axes_of, traces_of


def roles() -> pd.DataFrame:
    frame = pd.DataFrame({"role": ["default", *(f"role {i}" for i in range(8))], "is_default": [True, *[False] * 8]})
    frame["pc1"], frame["pc2"] = [2.0, *range(-4, 4)], [0.0, 1, -1, 2, -2, 1, -1, 0, 3]
    return frame.assign(projection=frame["pc1"] / 2, low=frame["pc1"] / 2 - 0.1, high=frame["pc1"] / 2 + 0.1)


FIGURES = {
    "space": lambda: plots.persona_space(roles(), dims=2),
    "line": lambda: plots.axis_line(roles(), centre=0.0),
    "means": lambda: plots.drift_means(mean_table(), None),
    "harm": lambda: plots.drift_harm(harm_table()),
    "talks": lambda: plots.trajectory(turn_table(conditions=("baseline", "capped")), band_table()),
    "scree": lambda: plots.scree(pd.DataFrame({"component": [1, 2], "share": [0.7, 0.3], "cumulative": [0.7, 1.0]})),
    "sweep": lambda: plots.layer_sweep(pd.DataFrame({"layer": [0, 1], "auc": [0.6, 0.9], "split_half": [0.8, 0.9]})),
    "map": lambda: plots.similarity_by_layer(pd.DataFrame([[1, 0.5], [0.5, 1]])),
}


@pytest.mark.parametrize("width", list(INCHES))
@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_gets_an_exact_size_and_stays_as_it_was(name, width):
    figure = FIGURES[name]()
    before = copy.deepcopy(figure.to_plotly_json())
    shown = plots.for_paper(figure, width)
    assert figure.to_plotly_json() == before
    assert shown.layout.width == {"column": 312, "page": 648}[width]
    assert shown.layout.height * PRINT_DPI / 96 == int(shown.layout.height * PRINT_DPI / 96)  # whole rows of dots
    assert shown.layout.title.text is None
    assert shown.layout.template.layout.font.family == FAMILY
    assert {note.font.size for note in shown.layout.annotations} <= {SMALL}
    assert {axis.tickfont.size for axis in axes_of(shown)} | {axis.title.font.size for axis in axes_of(shown)} <= {None}
    for axis in axes_of(shown):
        assert 0 <= axis.domain[0] < axis.domain[1] <= 1


@pytest.mark.parametrize("name", list(FIGURES))
def test_numbers_are_the_same_in_print(name):
    figure = FIGURES[name]()
    pd.testing.assert_frame_equal(plots.data(figure), plots.data(plots.for_paper(figure)))


def test_letters_and_lines_have_the_sizes_of_a_page():
    points = 72 / 96
    assert (SMALL * points, TEXT * points, HAIR * points) == pytest.approx((7, 8, 0.5))
    assert thin(1) == thin(0.3) == HAIR
    assert thin(0) == 0
    assert thin(4) == 3
    widths = {trace.line.width for trace in traces_of(plots.for_paper(FIGURES["means"]())) if trace.line.width}
    assert min(widths) >= HAIR


def test_a_height_in_inches_is_kept():
    shown = plots.for_paper(FIGURES["means"](), "page", height=2.5)
    assert shown.layout.height == 240
    assert whole_rows(2.5 * 96) == 240
    assert whole_rows(240.1) == 248


def test_dark_and_light():
    assert plots.for_paper(FIGURES["scree"](), dark=True).layout.template == plots.for_paper(FIGURES["line"](), dark=True).layout.template
    shown = plots.for_paper(FIGURES["scree"](), dark=True)
    assert shown.layout.template.layout.paper_bgcolor != plots.for_paper(FIGURES["scree"]()).layout.template.layout.paper_bgcolor
    assert DARK_NAME == "workbench-paper-dark"


def test_what_cannot_be_printed_is_refused():
    with pytest.raises(DataError, match="the width of a print figure is column or page, not 'wide'"):
        plots.for_paper(FIGURES["scree"](), "wide")
    with pytest.raises(DataError, match="three dimensions cannot be turned on paper"):
        plots.for_paper(plots.persona_space(roles().assign(pc3=0.0)))


def test_dots_to_an_inch_go_by_the_style():
    assert dpi_of(plots.for_paper(FIGURES["scree"]())) == 300
    assert dpi_of(FIGURES["scree"]()) == 192
    assert dpi_of(go.Figure()) == 192


# -- without colours ----------------------------------------------------------------------------------
def test_the_far_half_of_the_colours_is_square():
    frame = roles()
    shown = plots.for_paper(plots.persona_space(frame, dims=2))
    role = next(trace for trace in traces_of(shown) if trace.name == "role")
    middle = (frame["projection"].min() + frame["projection"].max()) / 2
    others = frame[~frame["is_default"]]
    assert list(role.marker.symbol) == ["square" if v < middle else "circle" for v in others["projection"]]
    default = next(trace for trace in traces_of(shown) if trace.name == "default")
    assert set(default.marker.symbol) == {"diamond"}


def test_lines_that_differ_by_colour_alone_get_a_dash_each():
    figure = FIGURES["talks"]()
    looks = {t.name: (t.line.dash, t.marker.symbol) for t in traces_of(plots.for_paper(figure)) if t.showlegend is not False and t.mode}
    named = {name: look for name, look in looks.items() if name in ("baseline", "capped")}
    assert len(named) == 2
    assert len({dash or "solid" for dash, _ in named.values()}) == 2
    assert len({str(symbol) for _, symbol in named.values()}) == 2


def test_intervals_are_never_dashed():
    for trace in traces_of(plots.for_paper(FIGURES["harm"]())):
        if "interval" in str(trace.name):
            assert trace.line.dash in (None, "solid")


# -- rooms --------------------------------------------------------------------------------------------
def test_a_longer_legend_makes_the_figure_higher_and_keeps_the_panel():
    def panel(n: int) -> tuple[float, float]:
        figure = go.Figure([go.Scatter(x=[0, 1], y=[i, i], name=f"a line with a rather long name {i}") for i in range(n)])
        shown = plots.for_paper(figure)
        low, high = shown.layout.yaxis.domain
        return shown.layout.height, (high - low) * shown.layout.height

    (small, inner), (large, same) = panel(2), panel(6)
    assert large > small + 3 * 15
    assert same == pytest.approx(inner, abs=9)


def test_room_at_the_left_goes_by_the_longest_label():
    def left(names: list[str]) -> float:
        return plots.for_paper(go.Figure(go.Scatter(x=[0] * len(names), y=names))).layout.xaxis.domain[0]

    assert left(["a", "a very long name indeed"]) > left(["a", "b"]) + 0.2


def test_text_is_measured_without_tags():
    assert labels.plain("<b>a &amp; b</b><br>c") == "a & bc"


# -- names beside dots --------------------------------------------------------------------------------
def test_names_lie_on_no_dot_and_on_no_other_name():
    points = [(20.0 * i, 50.0) for i in range(1, 9)]
    places = labels.place_names(points, [(i, "a name") for i in range(8)], (200, 100), 9, 4)
    boxes = [labels._box(points[i], place, labels.text_width("a name", 9), labels.CAPITAL * 9) for i, place in places.items()]
    dots = [labels.Rect(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    assert len(boxes) >= 4
    assert all(a.shared(b) == 0 for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert all(box.shared(dot) == 0 for box in boxes for dot in dots)
    assert all(box.within(labels.Rect(0, 0, 200, 100)) for box in boxes)


def test_the_first_name_is_put_even_where_everything_is_full():
    crowd = [(30.0 + 5 * (i % 9), 30.0 + 5 * (i // 9)) for i in range(81)]
    places = labels.place_names(crowd, [(40, "default"), (39, "other")], (100, 100), 9, 4)
    assert list(places) == [40]


def test_names_on_dots_are_moved_off_them_in_print_and_units_stay_equal():
    figure = plots.persona_space(roles(), dims=2)
    shown = plots.for_paper(figure, "column", height=3)
    layout = shown.layout
    sides = [(axis.domain[1] - axis.domain[0]) * side for axis, side in ((layout.xaxis, layout.width), (layout.yaxis, layout.height))]
    units = [(axis.range[1] - axis.range[0]) / side for axis, side in zip((layout.xaxis, layout.yaxis), sides, strict=True)]
    assert units[0] == pytest.approx(units[1])
    dots = [
        labels.Rect(x - 3, y - 3, x + 3, y + 3)
        for x, y in (((r.pc1 - layout.xaxis.range[0]) / units[0], (r.pc2 - layout.yaxis.range[0]) / units[1]) for r in roles().itertuples())
    ]
    assert 2 <= len(layout.annotations) <= len(figure.layout.annotations)
    assert len({note.text for note in layout.annotations}) == len(layout.annotations)
    assert "<b>default</b>" in {note.text for note in layout.annotations}
    for note in layout.annotations:
        place = labels.Place(note.xanchor, note.yanchor, note.xshift, note.yshift)
        point = ((note.x - layout.xaxis.range[0]) / units[0], (note.y - layout.yaxis.range[0]) / units[1])
        box = labels._box(point, place, labels.text_width(labels.plain(note.text), SMALL), labels.CAPITAL * SMALL)
        assert not any(box.shared(dot) for dot in dots), note.text


def test_two_rectangles_share_what_both_cover():
    a, b = labels.Rect(0, 0, 4, 4), labels.Rect(2, 3, 6, 9)
    assert a.shared(b) == 2
    assert a.shared(labels.Rect(4, 0, 5, 1)) == 0
    assert math.isclose(labels.text_width("mm", 10), 17.2)

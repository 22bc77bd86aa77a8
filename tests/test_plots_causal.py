"""Figures of steering and capping: the numbers of the tables, intervals, what breaks, and where choices were reported."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plot_checks import check_themes

from workbench import plots
from workbench.errors import DataError
from workbench.plots import capping, steering, theme

ATTACK = "<img src=x onerror=alert(1)>"
STRENGTHS = [-0.4, -0.2, 0.0, 0.2, 0.4]
RATES = {
    "compliance": [1.0, 0.97, 0.95, 0.6, 0.2], "refusal": [0.0, 0.02, 0.03, 0.35, 0.75], "right": [0.9, 0.97, 0.98, 0.98, 0.95],
    "identity": [0.99, 0.97, 0.95, 0.5, 0.1], "broken": [0.1, 0.0, 0.0, 0.0, 0.0], "over_refusal": [0.0] * 5,
}  # fmt: skip


def dose_table(broken: tuple[float, ...] = (-0.4,), control: str | None = None) -> pd.DataFrame:
    rows = [
        {"strength": s, "measure": measure, "rate": rate, "low": rate - 0.03, "high": rate + 0.02, "breaks": s in broken}
        for measure, rates in RATES.items() for s, rate in zip(STRENGTHS, rates, strict=True)
    ]  # fmt: skip
    frame = pd.DataFrame(rows).assign(n=400, groups=40)
    if control:
        same = frame[frame["measure"].isin(["compliance", "right"])].assign(control=control, rate=0.9)
        frame = pd.concat([frame, same], ignore_index=True)
    frame.attrs = {"model": "toy", "layer": 3, "unit": "mean norm of response tokens (68.5)"}
    return frame


def cap_row(setting: str, compliance: float, right: float, **more) -> dict:
    row = {"setting": setting, "compliance": compliance, "right": right, "dose": 0.05, "positions": "all", "identity": 0.4}
    row |= {"pareto": False, "choice": "", "kind": "setting"}
    ends = {f"{m}{end}": row[m] + by for m in ("compliance", "right") for end, by in (("_low", -0.02), ("_high", 0.01))}
    return row | ends | more


def cap_table() -> pd.DataFrame:
    rows = [
        cap_row("a", 0.0, 0.95, choice="recommended", pareto=True),
        cap_row("b", 0.3, 0.99, positions="generated", choice="spares roles", pareto=True),
        cap_row("c", 0.5, 0.97), cap_row("d", 0.5, 0.97, positions="generated"), cap_row("e", 0.5, 0.97), cap_row("f", 0.6, 0.9),
        cap_row("a", 0.03, 0.94, choice="recommended", kind="reported"), cap_row("b", 0.3, 0.99, choice="spares roles", kind="reported"),
        cap_row("baseline", 0.98, 0.985, kind="baseline", dose=math.nan, positions=None),
        cap_row("random, same dose", 0.9, 0.96, kind="control"),
    ]  # fmt: skip
    return pd.DataFrame(rows)


def engagement_table() -> pd.DataFrame:
    rows = [
        {"condition": condition, "layer": layer, "positions": positions, "tokens": tokens, "engaged": engaged / (tokens or math.nan)}
        for condition, engaged in (("cap", 40.0), ("other", 10.0)) for layer in (7, 5, 6)
        for positions, tokens in (("special", 100), ("prompt", 1000), ("generated", 2000), ("text", 0), ("all", 3100))
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(dose=lambda f: f["engaged"] * 0.1 + f["layer"] * 0.001)


def named(figure: go.Figure, name: str) -> go.Scatter:
    [trace] = [trace for trace in figure.data if trace.name == name]
    return trace


def words(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


def bands(figure: go.Figure) -> list[tuple[float, float]]:
    return [(shape.x0, shape.x1) for shape in figure.layout.shapes if shape.type == "rect"]


def arrows(figure: go.Figure) -> list[tuple[float, float, float, float]]:
    return [(a.ax, a.ay, a.x, a.y) for a in figure.layout.annotations if a.axref == "x"]


DRAWN = {
    "dose_response": lambda **k: plots.dose_response(dose_table(control="random 1"), **k),
    "pareto": lambda **k: plots.pareto(cap_table(), **k),
    "engagement": lambda **k: plots.engagement(engagement_table(), "cap", **k),
}


# -- all of them --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DRAWN)
def test_light_by_default_dark_on_request_and_as_wide_as_the_page(name):
    check_themes(DRAWN[name])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.dose_response(dose_table().drop(columns="low")), "dose_response needs the column low; the table has strength, mea"),
        (lambda: plots.dose_response(dose_table().iloc[:0]), "at least one row"),
        (lambda: plots.dose_response(dose_table().query("measure == 'over_refusal'")), "of compliance, .*; the table has over_refusal"),
        (lambda: plots.dose_response(dose_table().assign(rate=math.nan)), "needs rates of at least one of compliance"),
        (lambda: plots.dose_response(pd.concat([dose_table()] * 2)), "one row a strength and measure; compliance at -0.4 occurs twice"),
        (lambda: plots.dose_response(dose_table().assign(rate="high")), "the column rate must hold numbers"),
        (lambda: plots.pareto(cap_table().drop(columns=["right_low", "dose"])), "needs the columns right_low, dose; the table has setting"),
        (lambda: plots.pareto(cap_table().assign(right=math.nan)), "both compliance and right answers; all are missing"),
        (lambda: plots.pareto(cap_table().assign(kind="tuned")), "one of setting, control, baseline, reported, not 'tuned'"),
        (lambda: plots.engagement(engagement_table().drop(columns="tokens"), "cap"), "needs the column tokens; the table has cond"),
        (lambda: plots.engagement(engagement_table(), "caps"), "the condition 'caps' is not in the table, which has cap, other"),
        (lambda: plots.engagement(engagement_table().assign(engaged=math.nan, dose=math.nan), "cap"), "under 'cap'; all are missing"),
        (lambda: plots.engagement(pd.concat([engagement_table()] * 2), "cap"), "class of positions; special at layer 5 occurs twice"),
    ],
)  # fmt: skip
def test_errors_say_what_is_missing_and_what_was_there(draw, message):
    with pytest.raises(DataError, match=message):
        draw()


def test_text_from_data_is_escaped_wherever_plotly_reads_tags():
    dose = dose_table(control=ATTACK)
    dose.attrs |= {"unit": ATTACK, "model": ATTACK}
    caps = cap_table().assign(setting=ATTACK)
    caps["choice"], caps["positions"] = [ATTACK if choice else "" for choice in caps["choice"]], ATTACK
    effects = engagement_table().assign(condition=ATTACK, positions=lambda f: f["positions"].replace("prompt", ATTACK)).iloc[:15]
    for figure in (plots.dose_response(dose), plots.pareto(caps), plots.engagement(effects, ATTACK)):
        text = repr(figure.to_plotly_json())
        assert "&lt;img" in text
        assert "<img" not in text
    assert ATTACK in set(plots.data(plots.pareto(caps))["text"]), "the table gives names back as they came"


# -- dose and response --------------------------------------------------------------------------------
def test_data_gives_back_rates_and_intervals():
    frame = dose_table()
    table = plots.data(plots.dose_response(frame.sample(frac=1, random_state=0)))
    for measure, series in steering.SERIES.items():
        rows = frame[frame["measure"] == measure]
        points, ends = table[table["trace"] == series.title], table[table["trace"] == f"{series.title}, interval"]
        np.testing.assert_array_equal(points[["x", "y"]].to_numpy(float), rows[["strength", "rate"]].to_numpy())
        np.testing.assert_array_equal(ends["y"].to_numpy(float).reshape(-1, 2), rows[["low", "high"]].to_numpy())
        np.testing.assert_array_equal(ends["x"].to_numpy(float)[::2], rows["strength"])
    assert len(set(table["trace"])) == 2 * len(steering.SERIES), "over-refusal is not drawn"


def test_lines_differ_in_colour_dash_and_marker_and_keep_the_colours_meaning():
    figure = plots.dose_response(dose_table())
    lines = [named(figure, series.title) for series in steering.SERIES.values()]
    for styles in ([t.line.color for t in lines], [t.line.dash for t in lines], [t.marker.symbol for t in lines]):
        assert len(set(styles)) == len(lines)
    assert not {theme.ASSISTANT, theme.FAR, theme.CAP} & {t.line.color for t in lines}, "outcomes are no ends of the axis, and no cap"


def test_only_strengths_that_break_are_shaded():
    assert bands(plots.dose_response(dose_table(broken=()))) == []
    figure = plots.dose_response(dose_table(broken=(-0.4, 0.4)))
    low, high = figure.layout.xaxis.range
    assert bands(figure) == [(low, pytest.approx(-0.3)), (pytest.approx(0.3), high)]
    assert words(figure) == [steering.BREAKS] * 2
    assert [note.xanchor for note in figure.layout.annotations] == ["left", "right"], "words stay on a narrow page"
    assert steering.BREAKS.replace("<br>", " ") == "text or answers break"


def test_neighbouring_strengths_that_break_are_one_band():
    limits = (-0.5, 0.5)
    assert steering.breaking_spans([-0.4, 0.0, 0.2, 0.4], {0.0, 0.2}, limits) == [(-0.2, pytest.approx(0.3))]
    assert steering.breaking_spans([0.2], {0.2}, limits) == [limits]


def test_a_flag_that_is_missing_shades_nothing():
    assert bands(plots.dose_response(dose_table().assign(breaks=pd.array([None] * 30, dtype="boolean")))) == []


def test_zero_is_marked_where_it_is_in_view_and_the_axis_says_which_end_is_plus():
    figure = plots.dose_response(dose_table())
    assert [(s.x0, s.x1, s.line.dash) for s in figure.layout.shapes if s.type == "line"] == [(0, 0, "dot")]
    title = figure.layout.xaxis.title.text.replace("<br>", " ")
    said = "strength, in fractions of the mean norm of response tokens (68.5) 0 = no steering, + = towards the Assistant"
    assert title == f"{said} n = 400 responses a point"
    mixed = dose_table().assign(n=lambda f: f["n"].where(f["measure"] != "right", 1200))
    assert plots.dose_response(mixed).layout.xaxis.title.text.endswith("n = 400 to 1,200 responses a point")
    assert "n =" not in plots.dose_response(dose_table().assign(n=math.nan)).layout.xaxis.title.text
    assert list(figure.layout.xaxis.ticktext) == ["−0.4", "−0.2", "0", "+0.2", "+0.4"]
    assert not [s for s in plots.dose_response(dose_table().query("strength > 0")).layout.shapes if s.type == "line"]


def test_hover_shows_rate_interval_and_counts():
    hover = named(plots.dose_response(dose_table()), "jailbreaks complied with").hovertext
    assert hover[3] == "<b>jailbreaks complied with</b> at +0.2<br>60.0 % [57.0, 62.0]<br>n = 400 in 40 groups"
    bare = dose_table().drop(columns="groups").assign(low=math.nan)
    assert named(plots.dose_response(bare), "jailbreaks complied with").hovertext[3].endswith("<br>60.0 %<br>n = 400")


def test_controls_are_thin_grey_lines_of_compliance_alone():
    figure = plots.dose_response(dose_table(control="random 1"))
    control = named(figure, "random 1")
    assert (control.line.color, list(control.y)) == (theme.NEUTRAL, [0.9] * 5)
    assert control.line.width < named(figure, "jailbreaks complied with").line.width
    assert list(named(figure, "jailbreaks complied with").y) == RATES["compliance"], "controls do not enter the axis's line"
    entry = named(figure, "jailbreaks complied with, control")
    assert entry.meta == "decoration"
    assert not control.showlegend
    bars = named(figure, "random 1, interval")
    assert (bars.line.color, 0.0 in bars.x, len(bars.x)) == (theme.NEUTRAL, False, 12), (
        "where nothing is pushed there is one interval: the axis's"
    )
    two = pd.concat([dose_table(control="random 1"), dose_table(control="random 2").query("control == 'random 2'")])
    assert named(plots.dose_response(two), "jailbreaks complied with, 2 controls").meta == "decoration"


def test_missing_rates_are_gaps_and_one_row_is_enough():
    frame = dose_table()
    frame.loc[1, ["rate", "low", "high"]] = math.nan
    figure = plots.dose_response(frame)
    assert math.isnan(named(figure, "jailbreaks complied with").y[1])
    assert -0.2 not in named(figure, "jailbreaks complied with, interval").x
    single = plots.dose_response(frame.iloc[3:4])
    assert (list(single.data[-1].x), single.layout.title.text) == ([0.2], "Dose and response")
    assert single.layout.xaxis.range[0] < 0.2 < single.layout.xaxis.range[1]


# -- what caps prevent and cost -----------------------------------------------------------------------
def test_data_gives_back_every_cap_once():
    frame = cap_table()
    table = plots.data(plots.pareto(frame))
    points = table[table["trace"] != "95 % interval"]
    found = points[["text", "x", "y"]].astype({"x": float, "y": float}).sort_values(["text", "x", "y"]).to_numpy().tolist()
    assert found == frame[["setting", "compliance", "right"]].sort_values(["setting", "compliance", "right"]).to_numpy().tolist()


def test_intervals_cross_at_choices_reports_and_the_baseline_only():
    table = plots.data(plots.pareto(cap_table()))
    crosses = table[table["trace"] == "95 % interval"]
    assert set(crosses["text"]) == {"a", "b", "baseline"}
    assert len(crosses) == 5 * 4
    ends = crosses[crosses["text"] == "baseline"][["x", "y"]].to_numpy(float)
    np.testing.assert_allclose(ends, [[0.96, 0.985], [0.99, 0.985], [0.98, 0.965], [0.98, 0.995]])


def test_an_arrow_leads_from_the_tuned_to_the_reported_point():
    assert arrows(plots.pareto(cap_table())) == [(0.0, 0.95, 0.03, 0.94)], "none where both lie at one place"
    assert arrows(plots.pareto(cap_table().query("kind != 'reported'"))) == []
    assert arrows(plots.pareto(cap_table().query("kind != 'setting' or choice == ''"))) == []


def test_choices_are_larger_and_named_once_without_meeting():
    figure = plots.pareto(cap_table())
    assert sorted(filter(None, words(figure))) == ["<b>recommended</b>", "<b>spares roles</b>"]
    small, large = named(figure, "caps on all positions").marker, named(figure, "chosen, on the other half").marker
    assert large.size > small.size
    same = cap_table().query("kind == 'reported'").assign(compliance=0.0, right=1.0)
    drops = [note.ay for note in plots.pareto(same).layout.annotations]
    assert abs(drops[0] - drops[1]) >= capping.LABEL_UP
    facing = cap_table().query("kind == 'reported'").assign(compliance=[0.2, 0.8], right=1.0, compliance_high=1.0)
    drops = {note.text: note.ay for note in plots.pareto(facing).layout.annotations}
    assert len(set(drops.values())) == 2, "two names that are turned towards each other would meet on a phone"


def test_shapes_tell_positions_and_controls_are_grey():
    figure = plots.pareto(cap_table().assign(positions=lambda f: f["positions"].where(f["setting"] != "f", "elsewhere")))
    names = [f"caps on {p} positions" for p in ("all", "generated", "elsewhere")]
    assert [named(figure, name).marker.symbol for name in names] == ["circle", "square", capping.OTHER_SYMBOL]
    assert {named(figure, name).marker.color for name in names} == {theme.CAP}
    assert named(figure, "control directions").marker.color == named(figure, "no cap").marker.color == theme.NEUTRAL


def test_the_front_joins_its_points_by_steps():
    front = named(plots.pareto(cap_table()), "front: no cap beats it in both")
    assert (list(front.x), list(front.y), front.line.shape, front.meta) == ([0.0, 0.3], [0.95, 0.99], "hv", "decoration")
    assert not [t for t in plots.pareto(cap_table().drop(columns="pareto")).data if t.meta == "decoration"]


def test_hover_tells_rates_dose_and_how_many_share_the_place():
    figure = plots.pareto(cap_table().assign(over_refusal=0.02))
    assert named(figure, "caps on generated positions").hovertext[0] == (
        "<b>d</b><br>jailbreaks complied with 50.0 % [48.0, 51.0]<br>right answers 97.0 % [95.0, 98.0]<br>roles that name themselves 40.0 %"
        "<br>harmless requests refused 2.0 %<br>dose 0.050 of the residual's length<br>one of 3 settings at this very place"
    )
    assert "one of" not in named(figure, "chosen, on the tuning half").hovertext[0]
    assert "dose" not in named(figure, "no cap").hovertext[0], "what is missing is not said"
    moved = cap_table().assign(compliance=0.5, right=0.97)
    assert "one of" not in named(plots.pareto(moved), "chosen, on the other half").hovertext[0], "a report is no setting of the grid"
    opacity = named(figure, "caps on all positions").marker.opacity
    assert opacity is not None
    assert opacity < 1


def test_axes_hold_everything_and_say_when_they_do_not_start_at_zero():
    figure = plots.pareto(cap_table())
    (left, right), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    assert left < -0.02 < 0.99 < right
    assert 0 < bottom < 0.9 < 1.0 < top
    assert figure.layout.yaxis.title.text == f"right answers (high is better)<br>the axis starts at {100 * bottom:.0f} %, not at 0"
    frame = cap_table()
    frame.loc[2, "right"] = 0.3
    low = plots.pareto(frame).layout.yaxis
    assert (low.range[0] < 0, low.title.text) == (True, "right answers (high is better)")
    assert list(low.ticktext) == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]


@pytest.mark.parametrize("row", [0, 5, 6, 8, 9])
def test_one_cap_of_any_kind_is_enough_and_missing_ends_are_left_out(row):
    one = cap_table().iloc[[row]].assign(compliance_low=math.nan, compliance_high=math.nan, right_low=math.nan, right_high=math.nan)
    table = plots.data(plots.pareto(one.astype({"compliance": "Float64"})))
    assert table[["x", "y"]].to_numpy(float).tolist() == one[["compliance", "right"]].to_numpy(float).tolist()
    frame = cap_table()
    frame.loc[2, "compliance"] = math.nan
    assert "c" not in set(plots.data(plots.pareto(frame))["text"])


# -- engagement ---------------------------------------------------------------------------------------
def test_data_gives_back_one_condition_by_layer():
    frame = engagement_table()
    table = plots.data(plots.engagement(frame, "cap"))
    for name in ("special", "prompt", "generated", "all"):
        rows = frame[(frame["condition"] == "cap") & (frame["positions"] == name)].sort_values("layer")
        for trace, column in ((f"{name} positions", "engaged"), (f"{name}, dose", "dose")):
            shown = table[table["trace"] == trace][["x", "y"]].to_numpy(float)
            np.testing.assert_array_equal(shown, rows[["layer", column]].to_numpy())
    assert not table["trace"].str.contains("text").any(), "a class without tokens is left out"


def test_layers_are_whole_numbers_and_classes_stand_side_by_side():
    figure = plots.engagement(engagement_table(), "cap")
    assert (tuple(figure.layout.xaxis.range), figure.layout.xaxis.tick0, figure.layout.xaxis.dtick) == ((4.5, 7.5), 5, 1)
    assert figure.layout.scattermode == "group"
    shares = [t for t in figure.data if t.name.endswith("positions")]
    assert len({t.offsetgroup for t in shares}) == len({t.marker.symbol for t in shares}) == len(shares) == 4
    assert {t.yaxis for t in shares}.isdisjoint({t.yaxis for t in figure.data if t.name.endswith("dose")})
    stem = shares[0].error_y
    assert list(stem.arrayminus) == list(shares[0].y), "stems end at 0"


def test_hover_tells_counts_and_the_title_tells_the_condition():
    frame = engagement_table()
    frame.attrs["model"] = "toy"
    figure = plots.engagement(frame, "cap")
    assert named(figure, "generated positions").hovertext[1] == "<b>layer 6, generated positions</b><br>2.0 % of 2,000 tokens changed"
    dose = named(figure, "generated, dose").hovertext[1]
    assert dose == "<b>layer 6, generated positions</b><br>dose 0.0080 of the residual's length<br>mean over 2,000 tokens"
    assert figure.layout.title.subtitle.text == "toy, cap"


def test_one_row_of_engagement_is_enough():
    one = engagement_table().iloc[:1].assign(tokens=math.nan)
    figure = plots.engagement(one, "cap")
    assert [list(t.x) for t in figure.data] == [[7], [7]]
    assert "of tokens changed" in figure.data[0].hovertext[0]

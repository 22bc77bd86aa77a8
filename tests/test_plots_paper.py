"""Figures that a paper needs beside the report's: loadings, outcomes, single conversations, and several panels in one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plot_checks import check_themes
from test_plots_drift import ATTACK, band_table

from workbench import plots
from workbench.errors import DataError
from workbench.plots.case_study import said_panel, shortened
from workbench.plots.labels import text_width
from workbench.plots.loadings import _strip, rank_of_default
from workbench.plots.panels import Box, Room, in_grid, joined
from workbench.plots.untyped import axes_of, traces_of


def loading_table() -> pd.DataFrame:
    frame = pd.DataFrame({"role": ["default", *"abcdef"], "is_default": [True, *[False] * 6]})
    frame["pc1"], frame["pc2"] = [0.6, -0.9, -0.2, 0.3, 0.5, 0.7, 0.95], [-0.95, 0.1, 0.2, 0.3, 0.4, 0.5, math.nan]
    frame.attrs = {"explained": [0.5, 0.25], "model": "toy", "layer": 2}
    return frame


def outcome_table() -> pd.DataFrame:
    rows = [
        {"condition": c, "member": m, "kind": k, "outcome": o, "rate": r, "low": r - 0.1, "high": min(1.0, r + 0.1), "n": n}
        for o in ("complied", "right")
        for c, m, k, r, n in (
            ("baseline", "baseline", "baseline", 0.9, 40), ("capped", "capped", "cap", 0.2, 40),
            ("controls", "one", "control", 0.8, 20), ("controls", "two", "control", 0.7, 20),
        )
    ]  # fmt: skip
    return pd.DataFrame(rows)


def talk_table(conditions: tuple[str, ...] = ("baseline", "capped")) -> pd.DataFrame:
    rows = [
        {"conversation": "talk", "exchange": x, "speaker": speaker, "condition": c, "projection": 2.0 - x + 3 * i,
         "after": 1.5 if c == "capped" else math.nan, "text": f"{speaker} {c} {x} " + "word " * 60}
        for i, c in enumerate(conditions) for x in (1, 2, 3) for speaker in ("user", "assistant")
    ]  # fmt: skip
    frame = pd.DataFrame(rows).assign(layer=3, direction="axis")
    frame.attrs = {"model": "toy", "layer": 3}
    return frame


# -- loadings -----------------------------------------------------------------------------------------
def test_themes_of_the_new_figures():
    check_themes(lambda **dark: plots.loading_strips(loading_table(), **dark))
    check_themes(lambda **dark: plots.outcomes(outcome_table(), **dark))
    check_themes(lambda **dark: plots.conversation_panel(talk_table(), band_table(), **dark))
    check_themes(lambda **dark: plots.said_panel(talk_table(), [2], **dark))


def test_the_default_has_its_rank_from_the_plus_end():
    frame = loading_table()
    assert rank_of_default(_strip(frame, "pc1")) == (0.6, 3, 7)  # two roles lie beyond it
    assert rank_of_default(_strip(frame, "pc2")) == (-0.95, 6, 6)  # below all five that are known
    assert rank_of_default(_strip(frame[~frame["is_default"]], "pc1")) is None
    said = [note.text for note in plots.loading_strips(frame).layout.annotations]
    assert "default +0.60, rank 3 of 7" in said
    assert "default −0.95, rank 6 of 6" in said


def test_strips_hold_every_loading_and_name_the_ends():
    figure = plots.loading_strips(loading_table(), room=3)
    table = plots.data(figure)
    known = loading_table()[["pc1", "pc2"]].to_numpy().ravel()
    assert sorted(table["x"]) == sorted(known[~np.isnan(known)])
    for name in ("pc1", "pc2"):  # every number says which component it is a loading on
        own = table[table["trace"].isin([f"role, {name.upper()}", f"default, {name.upper()}"])].set_index("text")["x"]
        assert own.to_dict() == loading_table().set_index("role")[name].dropna().to_dict()
    assert [trace.name for trace in traces_of(figure) if trace.showlegend is not False] == ["role", "default"]
    said = [note.text for note in figure.layout.annotations]
    assert said[2:4] == ["<i>a, b</i>", "<i>e, f</i>"]
    assert figure.layout.xaxis.range == (-1.04, 1.04)
    assert "PC1 (50 % of variance)" in said[0]


def test_numbers_of_pairs_say_which_components_they_belong_to():
    frame = loading_table().assign(pc3=0.0, projection=1.0).dropna()
    table = plots.data(plots.persona_pairs(frame))
    for across, up in ((1, 2), (1, 3), (2, 3)):
        own = table[table["trace"].str.endswith(f", PC{across} and PC{up}")].set_index("text")
        assert set(own["trace"]) == {f"role, PC{across} and PC{up}", f"default, PC{across} and PC{up}"}
        known = frame.set_index("role").loc[own.index]
        assert (own["x"].astype(float) == known[f"pc{across}"]).all()
        assert (own["y"].astype(float) == known[f"pc{up}"]).all()


def test_as_many_roles_are_named_as_have_room():
    frame = pd.DataFrame({"role": [f"quite a long name {c}" for c in "abcdefgh"], "is_default": False, "pc1": np.linspace(-1, 1, 8)})
    for room, count in ((1, 1), (12, 1), (24, 2), (40, 4)):
        figure = plots.loading_strips(frame, room=room)
        left, right = (note for note in figure.layout.annotations if str(note.text).startswith("<i>"))
        assert left.text.count("quite") == right.text.count("quite") == count
        assert text_width(left.text[3:-4], 1.0) <= max(room, 12)
        assert left.text.startswith("<i>quite a long na…")
    few, many = (plots.loading_strips(pd.concat([frame] * n, ignore_index=True)) for n in (2, 20))
    assert traces_of(many)[0].marker.size < traces_of(few)[0].marker.size


def test_dots_of_a_strip_do_not_cover_one_another():
    values = np.repeat([0.1, 0.11, 0.5], 7)
    frame = pd.DataFrame({"role": [f"r{i}" for i in range(21)], "is_default": False, "pc1": values})
    table = plots.data(plots.loading_strips(frame))
    assert not table.duplicated(["x", "y"]).any()


def test_names_of_roles_are_text_and_not_tags():
    frame = loading_table()
    frame.loc[1, "role"] = ATTACK
    figure = plots.loading_strips(frame)
    assert "<script" not in "".join(str(note.text) for note in figure.layout.annotations)
    assert ATTACK in set(plots.data(figure)["text"])


def test_loadings_need_their_columns():
    with pytest.raises(DataError, match="loading_strips needs the columns is_default, pc1"):
        plots.loading_strips(pd.DataFrame({"role": ["a"]}))


# -- outcomes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("columns", [1, 2])
def test_outcomes_hold_every_rate_with_its_interval(columns):
    frame, table = outcome_table(), plots.data(plots.outcomes(outcome_table(), columns))
    points = table[~table["trace"].str.endswith("interval")]
    assert sorted(points["x"]) == sorted(frame["rate"])
    assert sorted(table[table["trace"].str.endswith("interval")]["x"].dropna()) == sorted([*frame["low"], *frame["high"]])
    assert set(points["text"]) == set(frame["member"])


def test_members_of_a_line_share_it_and_conditions_do_not():
    table = plots.data(plots.outcomes(outcome_table()))
    lines = table[~table["trace"].str.endswith("interval")].groupby("text")["y"].unique()
    assert lines["one"].tolist() == lines["two"].tolist() == [0]
    assert lines["baseline"].tolist() == [2]  # the first of the table stands on top


def test_a_panel_says_over_how_many_responses():
    titles = [note.text for note in plots.outcomes(outcome_table()).layout.annotations]
    assert titles == ["<b>complied</b> n = 20 to 40", "<b>right</b> n = 20 to 40"]


def test_outcomes_without_rates_are_refused():
    with pytest.raises(DataError, match="outcomes needs at least one rate"):
        plots.outcomes(outcome_table().assign(rate=math.nan))
    with pytest.raises(DataError, match="outcomes needs the column kind"):
        plots.outcomes(outcome_table().drop(columns="kind"))


# -- one conversation ---------------------------------------------------------------------------------
def test_a_conversation_shows_what_leaves_the_layer():
    table = plots.data(plots.conversation_panel(talk_table(), band_table(), marked=[2, 3]))
    assert table[table["trace"] == "baseline"]["y"].tolist() == [1, 0, -1]
    assert table[table["trace"] == "capped"]["y"].tolist() == [1.5] * 3  # `after`, not the projection that arrives
    assert "default responses" in set(table["trace"])


def test_lines_are_named_at_their_ends_and_never_on_one_another():
    frame = talk_table()
    frame.loc[frame["condition"] == "capped", "after"] = -1.0  # ends where the baseline does
    figure = plots.conversation_panel(frame, height=200)
    names = [note for note in figure.layout.annotations if note.text in ("baseline", "capped")]
    low, high = figure.layout.yaxis.range
    heights = sorted((note.y - low) / (high - low) * 200 + note.yshift for note in names)
    assert len(names) == 2
    assert heights[1] - heights[0] >= 12.9
    assert figure.layout.showlegend is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="projection"), "conversation_panel needs the column projection"),
        (lambda f: f[f["speaker"] == "user"], "needs replies of the assistant"),
        (lambda f: pd.concat([f, f.assign(conversation="another")]), "shows one conversation; the table has 2"),
        (lambda f: f.assign(projection=math.nan, after=math.nan), "at least one projection"),
        (lambda f: pd.concat([f, f.assign(layer=4)]), "shows one layer and direction"),
    ],
)
def test_a_conversation_that_cannot_be_drawn(change, message):
    with pytest.raises(DataError, match=message):
        plots.conversation_panel(change(talk_table()))


def test_texts_are_cut_at_a_words_end_and_by_rule():
    assert shortened("one two  three", 9) == "one two …"
    assert shortened("short", 9) == "short"
    assert shortened(" \n ", 9) == ""
    assert all(len(shortened("word " * n, 150)) <= 150 for n in range(60))


def test_what_was_said_keeps_to_its_width_and_counts_its_lines():
    figure = said_panel(talk_table(), [1, 3], ems=30, most=150)
    lines = [line for note in figure.layout.annotations for line in str(note.text).split("<br>")]
    plain = [line.replace("<b>", "").replace("</b>", "") for line in lines]
    assert max(text_width(line, 1.0) for line in plain) <= 31
    assert figure.layout.meta["lines"] == pytest.approx(len(lines) + 0.7)
    assert figure.layout.yaxis.range == (-figure.layout.meta["lines"], 0)
    said = " ".join(plain)
    assert said.count("user: user") == 2  # the user's words once, both answers
    assert said.count("baseline (") == said.count("capped (") == 2
    assert "−1.00" in said  # a minus, not a hyphen


def test_what_was_said_is_text_and_not_tags():
    figure = said_panel(talk_table().assign(text=ATTACK), [1])
    assert "<script" not in "".join(str(note.text) for note in figure.layout.annotations)
    with pytest.raises(DataError, match="there is no exchange 9"):
        said_panel(talk_table(), [9])


# -- panels -------------------------------------------------------------------------------------------
def dot(name: str, **layout) -> go.Figure:
    figure = go.Figure([go.Scatter(x=[0, 1], y=[0, 1], name=name)])
    figure.add_annotation(x=0, y=1, xref="x domain", yref="paper", text=name, showarrow=False)
    figure.add_annotation(x=1, y=1, ax=0, ay=0, axref="x", ayref="y", text="")
    figure.add_shape(type="line", x0=0, x1=1, y0=0, y1=1, yref="y domain")
    return figure.update_layout(**layout)


def test_joined_panels_keep_their_numbers_and_stand_in_their_boxes():
    boxes = [Box(40, 8, 100, 80), Box(200, 16, 80, 64, below=20)]
    whole = joined([dot("left"), dot("right")], boxes, 312, 120)
    assert plots.data(whole)["trace"].tolist() == ["left", "left", "right", "right"]
    assert [trace.xaxis for trace in traces_of(whole)] == ["x", "x2"]
    for axis, box in zip(axes_of(whole, "x"), boxes, strict=True):
        assert axis.domain == pytest.approx((box.left / 312, (box.left + box.width) / 312))
    for axis, box in zip(axes_of(whole, "y"), boxes, strict=True):
        assert axis.domain == pytest.approx((1 - (box.top + box.height) / 120, 1 - box.top / 120))
    refs = [(note.xref, note.yref, note.axref) for note in whole.layout.annotations]
    assert refs == [("x domain", "y domain", None), ("x", "y", "x"), ("x2 domain", "y2 domain", None), ("x2", "y2", "x2")]
    assert [shape.yref for shape in whole.layout.shapes] == ["y domain", "y2 domain"]
    assert whole.layout.legend2.y == pytest.approx(1 - (16 + 64 + 20) / 120)


def test_only_single_panels_can_be_joined():
    with pytest.raises(DataError, match="only figures of one panel can be joined"):
        joined([plots.outcomes(outcome_table())], [Box(0, 0, 10, 10)], 100, 100)


def test_panels_in_a_grid_do_not_meet_and_keep_their_numbers():
    frame = pd.DataFrame({"layer": [0, 1], "auc": [0.6, 0.9], "split_half": [0.8, 0.9], "cohens_d": [1.0, 2.0]})
    figure = plots.for_paper(plots.layer_sweep(frame))
    before = figure.to_dict()
    whole = in_grid(figure, 2, 312, 60, Room(30, 8, 20, 10, 36))
    assert figure.to_dict() == before
    pd.testing.assert_frame_equal(plots.data(whole), plots.data(figure))
    boxes = [(*x.domain, *y.domain) for x, y in zip(axes_of(whole, "x"), axes_of(whole, "y"), strict=True)]
    assert len(boxes) == 3
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
    assert [axis.showticklabels for axis in axes_of(whole, "x")] == [False, True, True]
    assert [bool(axis.title.text) for axis in axes_of(whole, "x")] == [False, True, True]

"""Figures of drift: turns, means, causes and harm as the tables hold them, and tokens as a page that anybody can read."""

from __future__ import annotations

import math
import re
import time
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plot_checks import check_themes

from workbench import plots
from workbench.errors import DataError
from workbench.plots import theme
from workbench.plots.drift_causes import SIDES
from workbench.plots.exchanges import round_values
from workbench.plots.token_map import CONTRAST, SCRIPT, STEPS, colour_scale, colours, contrast
from workbench.plots.trajectory import CUT, HOVER, spread

ATTACK = "<script>alert(1)</script>"
RAMP = np.array([0.5, 0.25, 0.125, -0.0625])


def turn_table(conversations: int = 2, conditions: tuple[str, ...] = ("baseline",), exchanges: int = 4) -> pd.DataFrame:
    rows = [
        {"conversation": f"talk {c}", "turn": 2 * x + k, "exchange": x + 1, "speaker": speaker, "condition": condition,
         "projection": RAMP[x % 4] * (c + 1) + 10 * k + i, "text": f"{speaker} says {x}"}
        for i, condition in enumerate(conditions) for c in range(conversations)
        for x in range(exchanges) for k, speaker in enumerate(("user", "assistant"))
    ]  # fmt: skip
    frame = pd.DataFrame(rows).assign(layer=3, direction="axis", n_tokens=1200, cut=False)
    frame.attrs = {"model": "toy", "layer": 3}
    return frame


def band_table(exchanges: int = 4, layer: int = 3) -> pd.DataFrame:
    x = np.arange(exchanges, 0, -1)
    return pd.DataFrame({"exchange": x, "layer": layer, "direction": "axis", "low": -1.0 - x, "high": 1.0 + x, "middle": 0.5, "n": 10 * x})


def mean_table() -> pd.DataFrame:
    rows = [
        {"condition": condition, "domain": domain, "exchange": x, "mean": d - x / 4 + c, "n": 20 - x + d}
        for c, condition in enumerate(("baseline", "capped")) for d, domain in enumerate(("coding", "therapy")) for x in (3, 1, 2)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(low=lambda f: f["mean"] - 0.5, high=lambda f: f["mean"] + 0.25)


def cluster_table() -> pd.DataFrame:
    frame = pd.DataFrame({"cluster": [0, 1, 2], "name": ["Fix this", "Who are you?", "Thanks"], "mean": [0.5, -0.5, 0.1]})
    frame.attrs = {"model": "toy", "layer": 3}
    return frame.assign(low=frame["mean"] - 0.25, high=frame["mean"] + 0.25, n=[1200, 30, 10], share=[0.9, 0.08, 0.02])


def harm_table() -> pd.DataFrame:
    rows = [
        {"condition": condition, "bin": b, "projection": b - 2.5 + c / 8, "left": b - 3.0, "right": b - 2.0, "rate": 0.5 / (b + 1 + c)}
        for c, condition in enumerate(("baseline", "capped")) for b in (2, 0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(low=lambda f: f["rate"] - 0.05, high=lambda f: f["rate"] + 0.1, n=lambda f: 1000 + f["bin"])


def ridge_table() -> pd.DataFrame:
    rows = [
        {"target": target, "model": model, "folds": folds, "r2": 0.25 + t / 8 - f / 16 - m / 4}
        for t, target in enumerate(("level", "change")) for m, model in enumerate(("message", "permuted"))
        for f, folds in enumerate(("in sample", "conversation and message", "user persona"))
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(low=lambda f: f["r2"] - 0.125, high=lambda f: f["r2"] + 0.0625, n=500, ceiling=0.75)


def token_table() -> pd.DataFrame:
    said = [(0, "user", "Sort", 3.0), (0, "user", " <b>", -4.0), (1, "assistant", "if a<b:", 0.5), (1, "assistant", "\n\n\t", 1.0),
            (1, "assistant", " &amp; “x”", 1.25), (1, "assistant", "end", math.nan)]  # fmt: skip
    frame = pd.DataFrame(said, columns=["turn", "speaker", "text", "projection"])
    return frame.assign(conversation="talk", exchange=1, layer=3, direction="axis", token=range(6))


def named(figure: go.Figure, name: str) -> go.Scatter:
    [trace] = [trace for trace in figure.data if trace.name == name and trace.meta != "decoration"]
    return trace


def shown(figure: go.Figure, name: str) -> pd.DataFrame:
    table = plots.data(figure)
    return table[table["trace"] == name].reset_index(drop=True)


def words(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


class Reader(HTMLParser):
    """What a browser makes of a page: each token's text and attributes, and the names of all tags."""

    def __init__(self, page: str):
        super().__init__()
        self.tokens: list[tuple[str, dict]] = []
        self.tags: list[str] = []
        self.blocks: list[dict] = []
        self.inside = self.span = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "div":
            self.inside = dict(attrs).get("class") == "said"
            self.blocks += [dict(attrs)] if self.inside else []
        elif tag == "span" and self.inside:
            self.tokens.append(("", dict(attrs)))
            self.span = True

    def handle_endtag(self, tag):
        self.span = self.span and tag != "span"

    def handle_data(self, data):
        if self.span:
            self.tokens[-1] = (self.tokens[-1][0] + data, self.tokens[-1][1])


def step(attrs: dict) -> int:
    return int(attrs["class"].split()[0][1:])


FRAMES = {
    "trajectory": (lambda f, **k: plots.trajectory(f, **k), turn_table),
    "drift_means": (lambda f, **k: plots.drift_means(f, **k), mean_table),
    "clusters": (lambda f, **k: plots.clusters(f, **k), cluster_table),
    "drift_harm": (lambda f, **k: plots.drift_harm(f, **k), harm_table),
    "ridge": (lambda f, **k: plots.ridge(f, **k), ridge_table),
}


# -- all of them --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FRAMES)
def test_light_by_default_dark_on_request_and_as_wide_as_the_page(name):
    draw, frame = FRAMES[name]
    check_themes(lambda **k: draw(frame(), **k))


@pytest.mark.parametrize("name", FRAMES)
def test_one_row_is_enough_and_none_is_refused(name):
    draw, frame = FRAMES[name]
    one = frame().iloc[[1]]
    assert len(plots.data(draw(one))) >= 1
    with pytest.raises(DataError, match=f"{name} needs at least one row; the table has none"):
        draw(frame().iloc[:0])


def test_bands_enter_figures_that_take_one():
    for draw in (lambda **k: plots.trajectory(turn_table(), **k), lambda **k: plots.drift_means(mean_table(), **k)):
        check_themes(lambda **k: draw(band=band_table(), **k))  # noqa: B023


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.trajectory(turn_table().drop(columns=["cut", "text"])), "trajectory needs the columns cut, text; the table has"),
        (lambda: plots.trajectory(turn_table().assign(projection=math.nan)), "trajectory needs at least one projection; all are missing"),
        (lambda: plots.trajectory(turn_table().assign(projection="far")), "the column projection must hold numbers"),
        (lambda: plots.trajectory(turn_table().assign(layer=math.nan)), "needs a layer and a direction in its rows"),
        (lambda: plots.trajectory(turn_table().assign(exchange=math.nan)), "a turn and an exchange for every message; one of talk 0"),
        (lambda: plots.trajectory(turn_table(), speaker="system"), "the speaker 'system' is not in the table, which has user, assistant"),
        (lambda: plots.trajectory(pd.concat([turn_table()] * 2)), "one row a condition and message; turn 1 of talk 0 occurs twice"),
        (lambda: plots.trajectory(turn_table(), band_table().drop(columns="n")), "trajectory, the band needs the column n; the table has"),
        (lambda: plots.trajectory(turn_table(), band_table(layer=5)), "no row for axis at layer 3; it has axis at layer 5"),
        (lambda: plots.trajectory(turn_table(), pd.concat([band_table()] * 2)), "one row an exchange; exchange 1 occurs twice"),
        (lambda: plots.drift_means(mean_table().drop(columns="domain")), "drift_means needs the column domain; the table has condition"),
        (lambda: plots.drift_means(mean_table().assign(mean=math.nan)), "drift_means needs at least one mean; all are missing"),
        (lambda: plots.drift_means(mean_table().assign(exchange=1)), "condition baseline, domain coding, exchange 1 occurs twice"),
        (lambda: plots.drift_means(mean_table().assign(exchange=math.nan)), "an exchange in every row; row 0 has none"),
        (lambda: plots.drift_means(mean_table(), pd.concat([band_table(), band_table(layer=5)])), "shows one layer and direction"),
        (lambda: plots.drift_means(mean_table(), band_table().drop(columns="layer")), "drift_means, the band needs the column layer"),
        (lambda: plots.clusters(cluster_table().drop(columns="share")), "clusters needs the column share; the table has cluster"),
        (lambda: plots.clusters(cluster_table().assign(mean=math.nan)), "clusters needs at least one mean; all are missing"),
        (lambda: plots.drift_harm(harm_table().drop(columns=["left", "n"])), "drift_harm needs the columns left, n; the table has"),
        (lambda: plots.drift_harm(harm_table().assign(rate=math.nan)), "at least one bin with a projection and a rate"),
        (lambda: plots.drift_harm(harm_table().assign(bin=1)), "one row a condition and bin; condition baseline, bin 1 occurs twice"),
        (lambda: plots.ridge(ridge_table().drop(columns="folds")), "ridge needs the column folds; the table has target"),
        (lambda: plots.ridge(ridge_table().assign(r2=math.nan)), "ridge needs at least one R2; all are missing"),
        (lambda: plots.ridge(ridge_table().assign(model="message")), "target level, model message, folds in sample occurs twice"),
        (lambda: plots.token_map(token_table().drop(columns="text")), "token_map needs the column text; the table has turn"),
        (lambda: plots.token_map(token_table().iloc[:0]), "token_map needs at least one row; the table has none"),
        (lambda: plots.token_map(token_table().assign(projection=math.nan)), "token_map needs at least one projection; all are missing"),
        (lambda: plots.token_map(token_table().assign(turn=0, token=1)), "one row a condition and token; token 1 of talk occurs twice"),
        (lambda: plots.token_map(token_table(), band_table(layer=5)), "no row for axis at layer 3; it has axis at layer 5"),
    ],
)  # fmt: skip
def test_errors_say_what_is_missing_and_what_was_there(draw, message):
    with pytest.raises(DataError, match=message):
        draw()


@pytest.mark.parametrize("draw", [plots.trajectory, plots.token_map])
def test_several_layers_or_directions_are_refused_with_the_words_that_choose(draw):
    frame = turn_table() if draw is plots.trajectory else token_table()
    two = pd.concat([frame, frame.assign(layer=5)])
    with pytest.raises(DataError, match=r'the layers 3, 5: choose one, e\.g\. frame\.query\("layer == 3"\)$'):
        draw(two)
    draw(two.query("layer == 3"))
    with pytest.raises(DataError, match=r"the layers 3, 5 and the directions axis, pc1: .*\"layer == 3 and direction == 'axis'\"\)$"):
        draw(pd.concat([two, frame.assign(direction="pc1")]))


def test_text_from_data_is_escaped_wherever_plotly_reads_tags():
    turns = turn_table().assign(conversation=ATTACK, text=ATTACK, condition=ATTACK, after=1.0).query("turn < 2").iloc[:2]
    many = pd.concat([turn_table(13).assign(text=ATTACK), turns.assign(condition="baseline")])
    means = mean_table().iloc[:3].assign(domain=ATTACK, condition=ATTACK)
    figures = [
        plots.trajectory(turns, title=ATTACK), plots.trajectory(many), plots.drift_means(means),
        plots.clusters(cluster_table().assign(name=ATTACK)),
        plots.drift_harm(harm_table().iloc[:3].assign(condition=ATTACK, bin=[ATTACK, 1, 2])),
        plots.ridge(ridge_table().query("folds == 'user persona' and model == 'message'").assign(model=ATTACK, folds=ATTACK)),
    ]  # fmt: skip
    for figure in figures:
        text = repr(figure.to_plotly_json())
        assert "&lt;script&gt;" in text
        assert "<script" not in text
    assert set(plots.data(figures[3])["text"].dropna()) == {ATTACK}, "the table gives names back as they came"


# -- trajectory ---------------------------------------------------------------------------------------
def test_data_gives_back_turns_in_order_under_each_condition():
    frame = turn_table(2, ("capped", "baseline"))
    figure = plots.trajectory(frame.sample(frac=1, random_state=0))
    for condition in ("baseline", "capped"):
        points = shown(figure, condition).sort_values(["text", "x"])
        rows = frame.query("speaker == 'assistant' and condition == @condition").sort_values(["conversation", "turn"])
        np.testing.assert_array_equal(points[["x", "y"]].to_numpy(float), rows[["exchange", "projection"]].to_numpy(float))
        assert list(points["text"]) == list(rows["conversation"])
    users = shown(plots.trajectory(frame, speaker="user"), "baseline")
    assert set(users["y"]) == set(frame.query("speaker == 'user' and condition == 'baseline'")["projection"])


def test_lines_of_two_conversations_do_not_join():
    line = named(plots.trajectory(turn_table()), "baseline")
    assert list(line.x) == [1, 2, 3, 4, None, 1, 2, 3, 4]
    assert line.y[4] is None


def test_conditions_differ_and_a_cap_has_its_own_colour():
    figure = plots.trajectory(turn_table(1, ("baseline", "capped", "kind", "cruel")))
    lines = [named(figure, name).line for name in ("baseline", "capped", "kind", "cruel")]
    assert [line.color for line in lines] == [None, theme.CAP, theme.NEUTRAL, theme.NEUTRAL]
    assert [line.dash for line in lines] == ["solid", "solid", "dash", "dot"]
    assert named(plots.trajectory(turn_table().drop(columns="condition")), "baseline").line.color is None


def test_hover_tells_the_turn_its_numbers_and_the_beginning_of_the_message():
    frame = turn_table(1).assign(text="all about <b>walls</b>\n\nand $more$ " * 40, after=0.25)
    hover = named(plots.trajectory(frame), "baseline").hovertext[0]
    assert hover.startswith(
        "<b>talk 0</b>, baseline<br>exchange 1, turn 1, assistant, 1,200 tokens<br>"
        "projection +10.500, after the intervention +0.250<br>all about &lt;b&gt;walls"
    )
    message = hover.split("<br>")[3:]
    assert all(len(re.sub("&[^;]+;", "x", line)) <= HOVER for line in message)
    assert 350 < len(re.sub("&[^;]+;", "x", " ".join(message))) <= 400
    assert message[-1].endswith("…")
    short = named(plots.trajectory(turn_table(1).assign(projection=-0.0625, n_tokens=math.nan, text=None)), "baseline").hovertext[0]
    assert short == "<b>talk 0</b>, baseline<br>exchange 1, turn 1, assistant<br>projection −0.062"


def test_a_cut_turn_has_an_open_marker_and_says_so():
    frame = turn_table(1).assign(cut=[False] * 5 + [True] + [None] * 2)
    figure = plots.trajectory(frame)
    line = named(figure, "baseline")
    assert list(line.marker.symbol) == ["circle", "circle", "circle-open", "circle"]
    assert [CUT in text for text in line.hovertext] == [False, False, True, False]
    assert CUT in [trace.name for trace in figure.data]
    assert CUT not in [trace.name for trace in plots.trajectory(turn_table(1)).data]


def test_what_an_intervention_leaves_is_a_thin_line_of_the_same_colour():
    frame = turn_table(1, ("baseline", "capped"))
    frame.loc[frame["condition"] == "capped", "after"] = 0.75
    figure = plots.trajectory(frame)
    assert set(shown(figure, "capped, after")["y"]) == {0.75}
    after, line = named(figure, "capped, after"), named(figure, "capped")
    assert (after.line.color, after.line.width < line.line.width) == (theme.CAP, True)
    assert "baseline, after" not in {trace.name for trace in figure.data}


def test_missing_projections_are_gaps():
    frame = turn_table(1)
    frame.loc[3, "projection"] = math.nan
    frame.loc[5, "projection"] = math.inf
    line = named(plots.trajectory(frame.astype({"projection": "Float64"})), "baseline")
    assert [math.isnan(y) for y in line.y] == [False, True, True, False]
    assert "projection unknown" in line.hovertext[1]


@pytest.mark.parametrize("draw", [lambda **k: plots.trajectory(turn_table(), **k), lambda **k: plots.drift_means(mean_table(), **k)])
def test_n_stands_above_every_exchange_and_the_bands_in_italics(draw):
    band = band_table().assign(n=lambda f: 100 - 10 * f["exchange"])
    figure = draw(band=band)
    counted = [note for note in figure.layout.annotations if note.yref == "y domain" and note.y == 0]
    italic = {note.x: note.text for note in counted if "<i>" in note.text}
    plain = {note.x: note.text for note in counted if "<i>" not in note.text}
    assert [italic[x] for x in sorted(italic)][:3] == ["n = <i>90</i>", "<i>80</i>", "<i>70</i>"]
    assert sorted(plain) == sorted(italic), "an exchange without conversations has no band either"
    assert {note.yshift for note in counted if note.text in italic.values()}.isdisjoint(
        {note.yshift for note in counted if note.text in plain.values()}
    ), "the two rows do not meet"
    assert "default, <i>n</i>" in [trace.name for trace in figure.data if trace.meta == "decoration"]
    unknown = draw(band=band.assign(n=math.nan))
    assert not [note for note in unknown.layout.annotations if "<i>" in note.text]
    assert named(unknown, "default responses").showlegend is True


def test_the_band_is_shaded_and_its_middle_tells_n():
    figure = plots.trajectory(turn_table(exchanges=3), band_table())
    band = band_table().query("exchange <= 3").sort_values("exchange")
    for column, name in (("low", "default responses, low"), ("high", "default responses, high"), ("middle", "default responses")):
        np.testing.assert_array_equal(shown(figure, name)[["x", "y"]].to_numpy(float), band[["exchange", column]].to_numpy(float))
    middle = named(figure, "default responses")
    assert middle.hovertext[1] == "<b>default responses</b>, exchange 2<br>middle +0.500 [−3.000, +3.000]<br>n = 20"
    [shade] = [trace for trace in figure.data if trace.fill == "toself"]
    assert shade.showlegend is False
    low, high = figure.layout.yaxis.range
    assert low < -4 < 11 < high, "lines and band are in view"


def test_axes_say_direction_layer_units_and_ends():
    figure = plots.trajectory(turn_table(), title="Two talks")
    assert figure.layout.yaxis.title.text == "projection on axis at layer 3<br>(units of the residual stream)"
    assert "↑ nearer the Assistant, ↓ further away" in words(figure)
    assert (figure.layout.title.text, figure.layout.title.subtitle.text) == ("Two talks", "toy")
    assert (figure.layout.xaxis.tick0, figure.layout.xaxis.dtick) == (1, 1)
    assert plots.trajectory(turn_table(exchanges=30)).layout.xaxis.dtick == 3


def test_few_lines_are_named_at_their_ends_without_meeting():
    figure = plots.trajectory(turn_table(12).assign(projection=1.0))
    notes = [note for note in figure.layout.annotations if note.xref == "x domain" and note.x == 1]
    assert sorted(note.text for note in notes) == sorted(f"talk {c}" for c in range(12))
    assert min(np.diff(sorted(note.yshift for note in notes))) >= 12
    twice = plots.trajectory(turn_table(1, ("baseline", "capped")))
    assert words(twice).count("talk 0") == 1, "two neighbours of one conversation share its name"
    early = turn_table(2).query("conversation == 'talk 0' or exchange < 3")
    assert [(s.x0, s.x1, s.y0) for s in plots.trajectory(early).layout.shapes] == [(2, 4.5, 10.5)], "a line leads from an early end"


def test_names_spread_as_far_as_the_room_suffices():
    assert spread([10, 11, 50], 13, 100) == [10, 23, 50]
    assert spread([95, 96, 97], 13, 100) == [74, 87, 100]
    assert spread([], 13, 100) == []


def test_many_conversations_are_a_cloud_with_a_mean_and_counts():
    frame = turn_table(13, ("baseline", "capped")).assign(after=2.0)
    frame = frame[~((frame["condition"] == "capped") & (frame["conversation"] == "talk 0") & (frame["exchange"] > 2))]
    frame.loc[frame.index[1], "cut"] = True
    figure = plots.trajectory(frame)
    cloud, mean = named(figure, "capped"), named(figure, "capped, mean")
    assert cloud.mode == "lines"
    assert cloud.line.color.startswith("rgba(178, 150, 236, 0.5")
    assert cloud.line.width < mean.line.width
    assert len(shown(figure, "capped")) == 13 * 4 - 2, "every point is still there"
    own = frame.query("condition == 'capped' and speaker == 'assistant'").groupby("exchange")["projection"]
    np.testing.assert_allclose(shown(figure, "capped, mean")["y"].astype(float), own.mean())
    assert list(mean.text) == ["n = 13", "n = 13", "n = 12", "n = 12"]
    assert list(named(figure, "capped, mean after the intervention").y) == [2.0] * 4
    assert [word for word in words(figure) if word in ("n = 13", "13", "12–13")] == ["n = 13", "13", "12–13", "12–13"]
    names = [trace.name for trace in figure.data]
    assert names.index("baseline, mean") > names.index("capped"), "no cloud covers a mean"
    [cut] = [trace for trace in figure.data if trace.name == CUT and trace.x[0] is not None]
    assert (list(cut.x), cut.marker.symbol) == ([1], "circle-open")


def test_two_thousand_conversations_take_seconds():
    frame = turn_table(2000).assign(text="a message of some length " * 60)
    start = time.process_time()
    figure = plots.trajectory(frame, band_table())
    assert time.process_time() - start < 5
    assert len(shown(figure, "baseline")) == 8000
    assert len(figure.data) < 20, "one line a condition: thousands of traces would not open"
    assert max(len(text) for text in named(figure, "baseline").hovertext if text) < 320


def test_ticks_are_round():
    assert round_values(-0.11, 0.48) == [-0.1, 0.0, 0.1, 0.2, 0.3, 0.4]
    for low, high in ((-3.2, 4.1), (0.0012, 0.0019), (-900.0, 100.0)):
        values = round_values(low, high)
        assert 2 <= len(values) <= 7
        assert low <= values[0] < values[-1] <= high


# -- means by domain ----------------------------------------------------------------------------------
def test_data_gives_back_means_and_intervals():
    frame = mean_table()
    figure = plots.drift_means(frame, band_table())
    for (domain, condition), rows in frame.groupby(["domain", "condition"]):
        rows = rows.sort_values("exchange")
        for column, name in (("mean", ""), ("low", ", low"), ("high", ", high")):
            points = shown(figure, f"{domain}, {condition}{name}")
            np.testing.assert_array_equal(points[["x", "y"]].to_numpy(float), rows[["exchange", column]].to_numpy(float))
    assert named(figure, "coding, baseline").hovertext[0] == (
        "<b>coding, baseline</b>, exchange 1<br>mean −0.250 [−0.750, +0.000]<br>n = 19"
    )  # fmt: skip


def test_domains_differ_by_colour_and_marker_conditions_by_dash():
    figure = plots.drift_means(mean_table())
    lines = {name: named(figure, name) for name in ("coding, baseline", "coding, capped", "therapy, baseline", "therapy, capped")}
    assert [trace.line.dash for trace in lines.values()] == ["solid", "dash", "solid", "dash"]
    assert len({(trace.line.color, trace.marker.symbol) for trace in lines.values()}) == 2
    fills = [trace.fillcolor for trace in figure.data if trace.fill == "toself"]
    assert len(fills) == 4
    assert fills[0] == "rgba(78, 154, 44, 0.14)"
    entries = [trace.name for trace in figure.data if trace.meta == "decoration" and trace.showlegend is not False]
    assert entries == ["coding", "therapy", "baseline", "capped"]
    single = plots.drift_means(mean_table().query("condition == 'capped'"))
    assert "capped" not in [trace.name for trace in single.data], "one condition needs no entry"


def test_colours_of_kinds_are_no_ends_and_read_on_both_pages():
    for colour in (*theme.CATEGORIES, theme.CAP):
        assert min(contrast(colour, page) for page in (theme.LIGHT.page, theme.DARK.page)) >= 3
        distances = [np.abs(np.array(_rgb(colour)) - _rgb(end)).sum() for end in (theme.ASSISTANT, theme.FAR)]
        assert min(distances) > 100
    assert len({*theme.CATEGORIES, theme.CAP}) == len(theme.CATEGORIES) + 1


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def test_counts_are_from_the_smallest_to_the_largest_line_and_missing_means_are_gaps():
    frame = mean_table()
    frame.loc[1, ["mean", "low", "high"]] = math.nan
    figure = plots.drift_means(frame)
    assert words(figure)[:3] == ["n = 19–20", "18–19", "17–18"]
    assert math.isnan(named(figure, "coding, baseline").y[0])
    assert {note.textangle for note in figure.layout.annotations[:3]} == {0}, "three have room side by side"
    crowded = pd.concat([frame.assign(exchange=frame["exchange"] + 3 * i) for i in range(8)])
    turned = [note for note in plots.drift_means(crowded).layout.annotations if note.yref == "y domain" and note.y == 0]
    assert {note.textangle for note in turned} == {-90}
    assert len(turned) == 12, "only as many as fit a phone"
    axis = plots.drift_means(crowded).layout.yaxis
    assert (min(axis.tickvals) - axis.range[0]) / (axis.range[1] - axis.range[0]) > 0.2, "no tick line crosses the counts"


def test_the_axis_of_means_takes_its_words_from_the_table_or_the_band():
    assert plots.drift_means(mean_table()).layout.yaxis.title.text == "mean projection<br>(units of the residual stream)"
    said = "mean projection on axis at layer 3<br>(units of the residual stream)"
    assert plots.drift_means(mean_table(), band_table()).layout.yaxis.title.text == said
    assert plots.drift_means(mean_table().assign(layer=3, direction="axis")).layout.yaxis.title.text == said


# -- clusters -----------------------------------------------------------------------------------------
def test_data_gives_back_clusters_by_the_side_they_move_to():
    frame = cluster_table()
    figure = plots.clusters(frame)
    for side, name in zip(SIDES, ("Fix this", "Who are you?", "Thanks"), strict=True):
        row = frame[frame["name"] == name].iloc[0]
        points, ends = shown(figure, side), shown(figure, f"{side}, interval")
        assert (points["text"].tolist(), points["x"].tolist()) == ([name], [row["mean"]])
        assert ends["x"].tolist() == [row["low"], row["high"]]
    markers = [named(figure, side).marker for side in SIDES]
    assert [marker.color for marker in markers] == [theme.ASSISTANT, theme.FAR, theme.NEUTRAL]
    assert len({marker.symbol for marker in markers}) == 3, "sides differ without colour, too"


def test_clusters_are_sorted_labelled_and_have_a_zero():
    figure = plots.clusters(cluster_table())
    assert words(figure) == [
        "<b>Who are you?</b><br>cluster 1, n = 30, 8.0 % of messages", "<b>Thanks</b><br>cluster 2, n = 10, 2.0 % of messages",
        "<b>Fix this</b><br>cluster 0, n = 1,200, 90.0 % of messages",
    ]  # fmt: skip
    rows = {trace.text[0]: trace.y[0] for trace in figure.data if trace.mode == "markers"}
    assert rows["Who are you?"] < rows["Thanks"] < rows["Fix this"], "y grows downwards"
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    assert [(s.x0, s.x1) for s in figure.layout.shapes] == [(0, 0)] * 3
    low, high = figure.layout.xaxis.range
    assert low < -0.75 < 0.75 < high


def test_an_unknown_interval_is_grey_and_a_missing_mean_is_left_out():
    frame = cluster_table().assign(low=[math.nan, -0.75, -0.15])
    frame.loc[1, "mean"] = math.nan
    figure = plots.clusters(frame)
    assert sorted(shown(figure, "not told from zero")["text"]) == ["Fix this", "Thanks"]
    assert len(words(figure)) == 2
    long = plots.clusters(cluster_table().assign(name="word " * 90))
    lines = words(long)[0].split("<br>")
    assert (len(lines), lines[2].endswith("…</b>"), max(map(len, lines)) <= 53) == (4, True, True)


# -- harm ---------------------------------------------------------------------------------------------
def test_data_gives_back_rates_and_wilson_intervals():
    frame = harm_table()
    figure = plots.drift_harm(frame)
    for condition in ("baseline", "capped"):
        rows = frame[frame["condition"] == condition].sort_values("projection")
        points, ends = shown(figure, condition), shown(figure, f"{condition}, interval")
        np.testing.assert_array_equal(points[["x", "y"]].to_numpy(float), rows[["projection", "rate"]].to_numpy(float))
        np.testing.assert_array_equal(ends["y"].to_numpy(float).reshape(-1, 2), rows[["low", "high"]].to_numpy(float))
        assert list(points["text"]) == ["n = 1000", "n = 1001", "n = 1002"]
    assert isinstance(named(figure, "capped").marker.size, int), "a marker's size means nothing"
    assert named(figure, "baseline").hovertext[1] == (
        "<b>baseline</b>, bin 1<br>complied with: 25.0 % [20.0, 35.0]<br>n = 1,001<br>projection −1.500 (from −2.000 to −1.000)"
    )  # fmt: skip


def test_counts_stand_below_the_rates_at_their_bins():
    figure = plots.drift_harm(harm_table())
    assert [(note.text, note.x) for note in figure.layout.annotations][:3] == [("1,000", -2.5), ("1,001", -1.5), ("1,002", -0.5)]
    assert all(figure.layout.yaxis.range[0] < note.y < 0 for note in figure.layout.annotations)
    assert list(figure.layout.yaxis.ticktext)[-2:] == ["n, baseline", "n, capped"]
    close = harm_table().query("condition == 'baseline'").assign(projection=[0.0, 1.0, 0.01])
    heights = {note.text: note.y for note in plots.drift_harm(close).layout.annotations}
    assert len(set(heights.values())) == 2, "close bins stand below one another"


def test_bins_without_a_rate_or_interval_are_left_out():
    frame = harm_table()
    frame.loc[0, "rate"] = frame.loc[1, "low"] = math.nan
    figure = plots.drift_harm(frame.assign(n=math.nan))
    assert list(named(figure, "baseline").x) == [-2.5, -1.5]
    assert set(shown(figure, "baseline, interval")["x"]) == {-1.5}
    assert words(figure) == []
    assert figure.layout.xaxis.title.text == "projection (units of the residual stream)<br>+ = Assistant"
    placed = plots.drift_harm(frame.assign(layer=3, direction="axis")).layout.xaxis.title.text
    assert placed.startswith("projection on axis at layer 3<br>")


# -- ridge --------------------------------------------------------------------------------------------
def test_data_gives_back_every_share_and_its_interval():
    frame = ridge_table()
    figure = plots.ridge(frame)
    for (target, model, folds), rows in frame.groupby(["target", "model", "folds"]):
        name = f"{target}, {folds}" + (", permuted" if model == "permuted" else "")
        points, ends = shown(figure, name), shown(figure, f"{name}, interval")
        assert (points["text"].tolist(), points["x"].tolist()) == ([model], rows["r2"].tolist())
        assert ends["x"].tolist() == [rows["low"].item(), rows["high"].item()]
    assert set(shown(figure, "level, ceiling")["x"]) == {0.75}


def test_in_sample_is_open_and_grey_and_permuted_is_grey():
    figure = plots.ridge(ridge_table())
    held, inside = named(figure, "level, user persona").marker, named(figure, "level, in sample").marker
    assert (held.color, inside.color, inside.symbol) == (None, theme.NEUTRAL, "circle-open")
    assert named(figure, "change, user persona, permuted").marker.color == theme.NEUTRAL
    assert named(figure, "level, ceiling").line.dash == "dot"
    entries = [trace.name for trace in figure.data if trace.meta == "decoration"]
    assert entries == ["conversation and message", "user persona", "in sample", "ceiling"]
    bare = plots.ridge(ridge_table().drop(columns="ceiling"))
    assert "ceiling" not in [trace.name for trace in bare.data]


def test_targets_have_panels_and_what_lies_outside_is_named_at_the_edge():
    frame = ridge_table()
    frame.loc[1, ["r2", "low", "high"]] = [-3.0, -4.0, -2.0]
    figure = plots.ridge(frame)
    assert words(figure) == ["◂ −3.000", "<b>Level: the projection itself</b>", "<b>Change: since the turn before</b>"]
    assert figure.layout.xaxis.range[0] > -0.6
    assert shown(figure, "level, conversation and message")["x"].tolist() == [-3.0], "the number is the table's"
    assert named(figure, "level, user persona").yaxis != named(figure, "change, user persona").yaxis
    assert list(figure.layout.yaxis.ticktext) == ["message", "permuted"]
    single = plots.ridge(frame.query("target == 'change'").assign(low=math.nan))
    assert [trace.name for trace in single.data if trace.name.endswith("interval") and trace.x] == []


# -- token map ----------------------------------------------------------------------------------------
def test_every_token_is_there_with_its_text_and_number():
    frame = token_table()
    reader = Reader(plots.token_map(frame.sample(frac=1, random_state=1)))
    assert [text for text, _ in reader.tokens] == list(frame["text"])
    assert [attrs.get("data-p") for _, attrs in reader.tokens] == ["3.000", "-4.000", "0.500", "1.000", "1.250", None]
    assert "class" not in reader.tokens[-1][1], "what was not measured has no colour"
    assert "n" in reader.tokens[3][1]["class"].split(), "a line break gets a sign"
    assert "data-a" not in reader.tokens[0][1]
    assert Reader(plots.token_map(frame.assign(after=0.125))).tokens[0][1]["data-a"] == "0.125"


def test_text_from_data_is_no_markup():
    names = {"text": ATTACK, "conversation": ATTACK, "speaker": '"><i>', "condition": ATTACK}
    frame = token_table().assign(**names)
    frame.attrs = {"model": ATTACK}
    page = plots.token_map(frame, title=ATTACK)
    reader = Reader(page)
    assert reader.tags.count("script") == page.count("<script") == 1
    assert {text for text, _ in reader.tokens} == {ATTACK}
    assert reader.blocks[0]["aria-label"].startswith('"><i>, turn 0')
    assert "alert" not in SCRIPT
    odd = pd.Series(["a\x00\x1b\ud800"] * 6, dtype=object)
    assert Reader(plots.token_map(token_table().assign(text=odd))).tokens[0][0] == "a\\x00\\x1b\\ud800"


def test_colours_are_symmetric_about_the_median_of_the_assistant_without_a_band():
    frame = token_table()
    page = plots.token_map(frame)
    steps = [step(attrs) for _, attrs in Reader(page).tokens if "class" in attrs]
    assert steps[1] == 0 < steps[2] < steps[3] == STEPS // 2 < steps[4] < steps[0]
    assert "Palest at the median of the assistant’s tokens, +1.000. No default is given: these colours are of this page alone." in page
    assert "Without a colour: not measured." in page
    assert "median of all tokens" in plots.token_map(frame.assign(speaker="user"))
    scale = colour_scale([{"projection": p, "speaker": "assistant"} for p in (-2.0, 0.0, 2.0)], None)
    assert [scale.step(v) for v in (-9.0, -2.0, -1.0, 0.0, 1.0, 2.0)] == [0, 0, 10, 20, 30, 40]
    flat = colour_scale([{"projection": 1.0, "speaker": "assistant"}], None)
    assert (flat.step(1.0), flat.ends) == (20, (0.0, 2.0))


def test_the_default_is_the_pale_middle_where_there_is_a_band():
    band = band_table().assign(low=-1.0, middle=0.0, high=0.5, n=25)
    tokens = [{"projection": p, "speaker": "assistant"} for p in np.linspace(-2, 1, 99)]
    scale = colour_scale(tokens, band)
    assert (scale.middle, scale.below, scale.above, scale.ends) == (0.0, 1.0, 0.5, (-3.0, 1.5)), "either side has its own width"
    assert [scale.step(v) for v in (-1.0, 0.0, 0.25, 0.5)] == [16, 20, 22, 24], "the band has the palest fifth"
    assert [scale.step(v) for v in (-3.0, -9.0, 1.5, 9.0)] == [0, 0, 40, 40], "full three times as far away as the band's ends"
    assert scale.step(-1.1) < 16 < 24 < scale.step(0.6), "just outside of the band a token is no longer pale"
    assert [scale.at(place) for place in (-1, -1 / 3, 0, 1 / 3, 1)] == pytest.approx([-3.0, -1.0, 0.0, 0.5, 1.5])
    page = plots.token_map(token_table(), band)
    assert (
        "Pale: where 100 default tokens lie, −1.000 to +0.500, about their middle +0.000, medians over 4 exchanges. Full: 3 times" in page
    )


def test_with_a_band_a_projection_has_one_colour_whatever_else_is_shown():
    band = band_table().assign(low=-1.0, middle=0.0, high=1.0)
    quiet = token_table().assign(projection=[0.1, 0.2, 0.3, 1.5, 0.1, 0.2])
    loud = token_table().assign(projection=[-900.0, 50.0, 80.0, 1.5, 7.0, 70.0])
    own = [Reader(plots.token_map(frame, band)).tokens[3][1]["class"] for frame in (quiet, loud)]
    assert own[0] == own[1]
    assert len({Reader(plots.token_map(frame)).tokens[3][1]["class"] for frame in (quiet, loud)}) == 2, "without one it has not"
    assert "Further out: 83.3% of the tokens shown." in plots.token_map(loud, band)
    assert "Further out" not in plots.token_map(quiet, band)


def test_the_legend_has_units_and_the_numbers_of_the_band():
    page = plots.token_map(token_table(), band_table().assign(low=-1.0, middle=0.25, high=1.0))
    marks = re.search('<p class="marks">(.*?)</p>', page)[1]
    assert re.findall(">([^<]+)<", marks) == ["≤ −3.5", "−1", "+0.25", "+1", "≥ +2.5"]
    assert '<p class="quiet">Projection in units of the residual stream. Pale: where' in page
    flat = plots.token_map(token_table(), band_table().assign(low=2.0, middle=2.0, high=2.0))
    assert "≤ −1" in flat, "a band without width still has colours"


@pytest.mark.parametrize("name", ["LIGHT", "DARK"])
def test_every_colour_can_be_read(name):
    pairs = colours(getattr(theme, name))
    assert len(pairs) == STEPS
    assert min(contrast(back, front) for back, front in pairs) >= CONTRAST == 4.5
    ends = getattr(theme, name).diverging
    assert [pairs[i][0].lower() for i in (0, 20, 40)] == [ends[i][1].lower() for i in (0, 2, 4)]
    page = plots.token_map(token_table())
    assert all(f".c{i} {{ background: {back}; color: {front}; }}" in page for i, (back, front) in enumerate(pairs))
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_the_page_needs_no_network_and_follows_the_readers_theme():
    frame = token_table()
    frame.attrs = {"model": "toy"}
    page = plots.token_map(frame, title="Sorting")
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    assert "default-src 'none'" in page
    assert 'name="viewport"' in page
    assert page.count("prefers-color-scheme: dark") == 2
    assert "<title>Sorting</title>" in page
    assert "toy: projection on axis at layer 3, in units of the residual stream; + = the Assistant’s end." in page
    assert "nearer the Assistant →" in page


def test_blocks_can_be_reached_by_keyboard_and_tokens_cannot():
    page = plots.token_map(token_table())
    reader = Reader(page)
    assert [(b["tabindex"], b["aria-label"]) for b in reader.blocks] == [
        ("0", "user, turn 0, exchange 1, 2 tokens"), ("0", "assistant, turn 1, exchange 1, 4 tokens"),
    ]  # fmt: skip
    assert page.count("tabindex") == 2
    label = re.search('role="img" aria-label="([^"]+)"', page)[1]
    assert re.match(r"Colours from .+far from the Assistant, over .+nearer the Assistant, in units of the residual stream\.", label)
    assert 'role="status"' in page
    assert "ArrowRight" in page


def test_conversations_and_conditions_have_headings_and_fragments_no_page():
    two = pd.concat([token_table(), token_table().assign(condition="capped")])
    assert re.findall("<h2>(.*)</h2>", plots.token_map(two)) == ["talk, baseline", "talk, capped"]
    fragment = plots.token_map_fragment(token_table(), title="Sorting")
    assert re.findall("<h3>(.*)</h3>", fragment) == ["talk"]
    assert "<html" not in fragment
    assert 'aria-label="Sorting"' in fragment
    style = re.search("<style>(.*?)</style>", fragment, re.DOTALL)[1]
    assert all(rule.startswith((".token-map", "@media")) for rule in style.split("\n") if rule), "no rule reaches the page around it"


def test_thirty_thousand_tokens_stay_compact():
    frame = token_table()
    frame = pd.concat([frame.assign(turn=frame["turn"] + 2 * i, token=frame["token"] + 6 * i) for i in range(5000)])
    page = plots.token_map(frame)
    texts = frame["text"].str.len().sum()
    assert (len(page) - texts) / len(frame) < 120, "characters of markup a token, where messages have three tokens"
    assert len(Reader(page).tokens) == 30_000

"""Figures of where a projection comes from: prompt or text, heads and MLPs, tokens patched, and the words of a direction."""

from __future__ import annotations

import html
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plot_checks import check_themes

from workbench import plots
from workbench.errors import DataError
from workbench.plots import lens, theme

ATTACK = "<b>$x$</b>"
SHOWN = "&lt;b&gt;&#36;x&#36;&lt;/b&gt;"


def share_table(layers=(2, 0, 1), prompt: float = 0.1) -> pd.DataFrame:
    rows = [
        {"layer": n, "source": source, "share": share, "low": 0.8 * share, "high": 1.1 * share}
        for n in layers for source, share in (("prompt", prompt + n / 1000), ("text", 0.7), ("rest", 0.3 - prompt - n / 1000))
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.attrs = {"model": "toy"}
    return frame


def correlation_table(layers=(2, 0, 1)) -> pd.DataFrame:
    rows = [{"layer": n, "r": 0.5 + n / 10, "low": 0.2, "high": 0.9, "null_low": -0.4, "null_high": 0.41, "n": 24} for n in layers]
    return pd.DataFrame(rows)


def part_table(layers: int = 2, heads: int = 3, bias: bool = True) -> pd.DataFrame:
    rows = [("embedding", "embedding", -1, -1)]
    for n in range(layers):
        rows += [(f"head {n}.{h}", "head", n, h) for h in range(heads)]
        rows += [(f"attention bias {n}", "bias", n, -1)] if bias else []
        rows.append((f"mlp {n}", "mlp", n, -1))
    frame = pd.DataFrame(rows, columns=["part", "kind", "layer", "head"])
    return frame.assign(contribution=np.random.default_rng(0).normal(size=len(frame)))


def word_table(raised=(" a", "b\n", "c"), lowered=("\t", "y", "z")) -> pd.DataFrame:
    rows = [{"end": "+", "rank": i, "token": t, "id": 10 + i, "logit": 5.0 - i} for i, t in enumerate(raised, 1)]
    rows += [{"end": "-", "rank": i, "token": t, "id": 90 + i, "logit": -4.0 + i / 2} for i, t in enumerate(lowered, 1)]
    return pd.DataFrame(rows)


def patch_table(layers: int = 3, tokens: int = 5, own: float = -2.0, donor: float = 3.0) -> pd.DataFrame:
    rows = [
        {"layer": n, "token": 7 + i, "text": f" w{i}", "inside": i >= 3, "restored": (n - 1) * 0.1 + i * 0.01}
        for n in range(layers) for i in range(tokens)
    ]  # fmt: skip
    frame = pd.DataFrame(rows).assign(projection=lambda f: own + f["restored"] * (donor - own))
    frame.attrs = {"own": own, "donor": donor, "read_at": 2, "model": "toy"}
    return frame


def named(figure: go.Figure, name: str):
    [trace] = [trace for trace in figure.data if trace.name == name and trace.meta != "decoration"]
    return trace


def words(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


def shown(figure: go.Figure, name: str) -> pd.DataFrame:
    table = plots.data(figure)
    return table[table["trace"] == name].reset_index(drop=True)


DRAWN = {
    "variance_shares": lambda **k: plots.variance_shares(share_table(), correlation_table(), **k),
    "attribution_map": lambda **k: plots.attribution_map(part_table(), **k),
    "lens_words": lambda **k: plots.lens_words(word_table(), **k),
    "patching_map": lambda **k: plots.patching_map(patch_table(), **k),
}


# -- all of them --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DRAWN)
def test_light_by_default_dark_on_request_and_as_wide_as_the_page(name):
    check_themes(DRAWN[name])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.variance_shares(share_table().drop(columns="low")), "variance_shares needs the column low; the table has layer"),
        (lambda: plots.variance_shares(share_table().iloc[:0]), "at least one row"),
        (lambda: plots.variance_shares(share_table(), correlation_table().drop(columns="null_low")), "needs the column null_low"),
        (lambda: plots.variance_shares(share_table(), correlation_table().iloc[:0]), "at least one row"),
        (lambda: plots.variance_shares(share_table().assign(source="topic")), "one of prompt, text, rest, not 'topic'"),
        (lambda: plots.variance_shares(share_table().assign(share="much")), "the column share must hold numbers"),
        (lambda: plots.variance_shares(share_table().assign(share=math.nan)), "at least one share of the prompt; all are missing"),
        (lambda: plots.variance_shares(share_table().assign(layer=math.nan)), "needs a layer in every row"),
        (lambda: plots.variance_shares(share_table((0, 0))), "one row a source and layer; source prompt, layer 0 occurs twice"),
        (lambda: plots.variance_shares(share_table(), correlation_table((1, 1))), "one row a layer; layer 1 occurs twice"),
        (lambda: plots.attribution_map(part_table().drop(columns=["part", "head"])), "needs the columns part, head; the table has kind"),
        (lambda: plots.attribution_map(part_table().iloc[:0]), "at least one row"),
        (lambda: plots.attribution_map(part_table().assign(kind="neuron")), "one of embedding, head, bias, mlp, not 'neuron'"),
        (lambda: plots.attribution_map(part_table().assign(contribution=math.nan)), "of at least one head; all are missing"),
        (lambda: plots.attribution_map(part_table().query("kind != 'head'")), "of at least one head; all are missing"),
        (lambda: plots.attribution_map(pd.concat([part_table()] * 2)), "one row a part; embedding occurs twice"),
        (lambda: plots.attribution_map(part_table().assign(head=math.nan)), "a place for every part; head 0.0 has no"),
        (lambda: plots.lens_words(word_table().drop(columns="logit")), "lens_words needs the column logit; the table has end"),
        (lambda: plots.lens_words(word_table().iloc[:0]), "at least one row"),
        (lambda: plots.lens_words(word_table().assign(end="up")), "the end of a token is \\+ or -, not 'up'"),
        (lambda: plots.lens_words(word_table().assign(rank=0)), "the rank of a token is 1 or more, not 0"),
        (lambda: plots.lens_words(word_table().assign(logit=math.nan)), "at least one logit; all are missing"),
        (lambda: plots.lens_words(pd.concat([word_table()] * 2)), "one row an end and rank; rank 1 of \\+ occurs twice"),
        (lambda: plots.patching_map(patch_table().drop(columns="inside")), "patching_map needs the column inside; the table has layer"),
        (lambda: plots.patching_map(patch_table().iloc[:0]), "at least one row"),
        (lambda: plots.patching_map(patch_table().assign(restored=math.nan)), "at least one share restored; all are missing"),
        (lambda: plots.patching_map(patch_table().assign(token=math.nan)), "a layer and a position for every row; one of ' w0' is missing"),
        (lambda: plots.patching_map(pd.concat([patch_table()] * 2)), "one row a layer and token; token 7 at layer 0 occurs twice"),
    ],
)  # fmt: skip
def test_errors_say_what_is_missing_and_what_was_there(draw, message):
    with pytest.raises(DataError, match=message):
        draw()


def test_text_from_data_is_read_neither_as_tags_nor_as_formulas():
    patched = patch_table().assign(text=ATTACK)
    patched.attrs["model"] = ATTACK
    for figure in (
        plots.attribution_map(part_table().assign(part=ATTACK)),
        plots.lens_words(word_table(raised=[ATTACK]).assign(id=ATTACK)),
        plots.patching_map(patched),
    ):
        text = repr(figure.to_plotly_json())
        assert SHOWN in text
        assert "<b>$" not in text
        assert "$x" not in text
    shares = share_table()
    shares.attrs["model"] = "<img src=x>"
    assert plots.variance_shares(shares).layout.title.subtitle.text == "&lt;img src=x&gt;"


# -- prompt or text -----------------------------------------------------------------------------------
def test_data_gives_back_shares_and_correlations_in_the_order_of_layers():
    frame, correlations = share_table(), correlation_table()
    figure = plots.variance_shares(frame, correlations)
    for source in ("prompt", "text", "rest"):
        rows = frame[frame["source"] == source].sort_values("layer")
        for name, column in ((source, "share"), (f"{source}, low", "low"), (f"{source}, high", "high")):
            np.testing.assert_array_equal(shown(figure, name)[["x", "y"]].to_numpy(float), rows[["layer", column]].to_numpy())
    rows = correlations.sort_values("layer")
    for name, column in (("correlation", "r"), ("chance, low", "null_low"), ("chance, high", "null_high")):
        np.testing.assert_array_equal(shown(figure, name)["y"].astype(float), rows[column])
    ends = shown(figure, "correlation, interval")
    np.testing.assert_array_equal(ends["y"].to_numpy(float).reshape(-1, 2), rows[["low", "high"]].to_numpy())


@pytest.mark.parametrize("prompt", [0.02, 0.25])
def test_a_small_share_of_the_prompt_has_an_axis_of_its_own(prompt):
    figure = plots.variance_shares(share_table(prompt=prompt))
    assert named(figure, "prompt").yaxis == "y"
    assert named(figure, "text").yaxis == named(figure, "rest").yaxis == "y2"
    low, high = figure.layout.yaxis.range
    assert low == 0
    assert prompt < high <= max(1.3 * prompt, 0.06)
    assert len(figure.layout.yaxis.tickvals) >= 3
    assert figure.layout.yaxis2.range[1] > 1


def test_text_and_rest_are_told_apart_and_named_on_their_outer_sides():
    figure = plots.variance_shares(share_table())
    assert named(figure, "text").line.dash != named(figure, "rest").line.dash
    notes = {note.text: note.yanchor for note in figure.layout.annotations if note.text in ("text", "rest")}
    assert notes == {"text": "bottom", "rest": "top"}
    same = share_table().assign(share=0.3)
    assert {n.yanchor for n in plots.variance_shares(same).layout.annotations if n.text in ("text", "rest")} == {"bottom", "top"}


def test_correlations_are_drawn_on_request_over_the_band_of_chance():
    assert not any("correlation" in t.name for t in plots.variance_shares(share_table()).data if t.name)
    figure = plots.variance_shares(share_table(), correlation_table())
    names = [trace.name or trace.fill for trace in figure.data if trace.yaxis == "y3"]
    assert names[0] == "toself", "the band lies undermost"
    assert names[-1] == "correlation"
    assert any("over 24 roles" in text and "band: chance" in text for text in words(figure))
    assert any(
        "over 20 to 24 roles" in text for text in words(plots.variance_shares(share_table(), correlation_table().assign(n=[20, 24, 22])))
    )


def test_missing_shares_are_gaps_and_one_layer_is_enough():
    frame = share_table((0, 1, 2))
    frame.loc[3, ["share", "low", "high"]] = math.nan
    assert math.isnan(named(plots.variance_shares(frame), "prompt").y[1])
    correlations = correlation_table((0, 1, 2)).assign(low=[0.1, math.nan, 0.2], n=math.nan)
    assert 1 not in named(plots.variance_shares(frame, correlations), "correlation, interval").x
    lone = plots.variance_shares(share_table((3,)).query("source == 'prompt'"), correlation_table((3,)))
    assert lone.layout.xaxis.range == (2.5, 3.5)
    assert list(named(lone, "prompt").x) == [3]


# -- heads and MLPs -----------------------------------------------------------------------------------
def test_data_gives_back_every_part_once():
    frame = part_table()
    table = plots.data(plots.attribution_map(frame))
    assert len(table) == len(frame)
    for _, row in frame.iterrows():
        x = row["head"] if row["kind"] == "head" else row["kind"]
        found = table[(table["x"] == x) & (table["y"] == row["layer"])]
        assert found["z"].tolist() == [row["contribution"]]


def test_colours_are_symmetric_and_end_at_the_largest_head():
    frame = part_table()
    frame.loc[frame["kind"] == "mlp", "contribution"] = [50.0, -60.0]
    figure = plots.attribution_map(frame)
    largest = frame[frame["kind"] == "head"]["contribution"].abs().max()
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-largest, largest)
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert figure.layout.title.subtitle.text.endswith("colours end at the largest head")
    assert named(figure, "layer").texttemplate == "%{z:+.1f}", "what lies beyond the scale is written down"
    assert named(figure, "embedding").texttemplate.startswith("embedding %{z")
    heads = plots.attribution_map(frame[frame["kind"] == "head"])
    assert "colours end" not in heads.layout.title.subtitle.text


def test_the_total_is_said_and_says_what_it_leaves_out():
    frame = part_table()
    frame.attrs = {"model": "toy", "layer": 1}
    frame["contribution"] = [-3.0, *[0.25] * (len(frame) - 1)]
    first, second, third = plots.attribution_map(frame).layout.title.subtitle.text.split("<br>")
    assert (first, second) == ("toy, layer 1", "contributions add up to −0.5 residual-stream units")
    assert third.startswith("+ = direction's + end")
    frame.loc[2, "contribution"] = math.nan
    figure = plots.attribution_map(frame)
    assert "known contributions add up to −0.75 " in figure.layout.title.subtitle.text
    assert math.isnan(named(figure, "head").z[0][1])


def test_hover_names_the_part():
    frame = part_table().assign(contribution=-0.01234)
    figure = plots.attribution_map(frame)
    assert named(figure, "head").hovertext[1][2] == "<b>head 1.2</b><br>−0.0123"
    assert named(figure, "layer").hovertext[0][0] == "<b>attention bias 0</b><br>−0.0123"


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (5, 3), (46, 32)])
def test_maps_of_any_size_have_a_column_for_what_there_is(layers, heads):
    figure = plots.attribution_map(part_table(layers, heads, bias=False))
    assert np.shape(named(figure, "head").z) == (layers, heads)
    assert list(named(figure, "layer").x) == ["mlp"]
    assert figure.layout.yaxis2.matches == "y", "both panels show the same layers, also when one is zoomed"
    rows = figure.layout.height * (figure.layout.yaxis.domain[1] - figure.layout.yaxis.domain[0]) / layers
    assert rows > 11, "numbers of 10 pixels fit"
    alone = plots.attribution_map(part_table(layers, heads).query("kind == 'head'").assign(contribution=0.0))
    assert [trace.name for trace in alone.data] == ["head"]
    assert alone.layout.coloraxis.cmax > 0


# -- words --------------------------------------------------------------------------------------------
def test_data_gives_back_tokens_as_they_are():
    raised = [" a", "\n\n", ATTACK, "&amp;", "\u200b"]
    figure = plots.lens_words(word_table(raised=raised).sample(frac=1, random_state=0))
    table = shown(figure, "raised")
    assert table["text"].tolist() == raised
    assert table["x"].tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]
    assert table["y"].tolist() == [1, 2, 3, 4, 5]
    assert shown(figure, "lowered")["x"].tolist() == [-3.5, -3.0, -2.5]


def test_tokens_are_spelled_so_that_spaces_can_be_seen():
    for token, said in {
        " the": "␣the", "\n": "↵", "\ta": "⇥a", "\u200b": "\\u200b", "\xa0": "\\xa0", "\u202ex": "\\u202ex", "\u0301": "◌\u0301",
        "": "(empty)", ATTACK: ATTACK, "<|im_start|>": "<|im_start|>", "a" * 30: "a" * 15 + "…", "é": "é", "\ufffd": "\ufffd",
    }.items():  # fmt: skip
        assert html.unescape(lens.spelled(token)) == said
    assert list(plots.lens_words(word_table()).layout.yaxis2.ticktext) == ["␣a", "b↵", "c"]


def test_blue_bars_to_the_right_are_raised_and_both_sides_have_one_scale():
    figure = plots.lens_words(word_table())
    raised, lowered = named(figure, "raised"), named(figure, "lowered")
    assert (lowered.marker.color, lowered.xaxis) == (theme.FAR, "x")
    assert (raised.marker.color, raised.xaxis) == (theme.ASSISTANT, "x2")
    (left, zero), (start, right) = figure.layout.xaxis.range, figure.layout.xaxis2.range
    assert (zero, start, -left) == (0, 0, right)
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "the outermost stands on top"
    wrong = plots.lens_words(word_table().assign(logit=lambda f: f["logit"].where(f["token"] != "z", 0.5)))
    assert wrong.layout.xaxis.range[1] == 0.5, "a bar on the wrong side of 0 is in view"
    assert wrong.layout.xaxis2.range[0] == -0.5


def test_hover_tells_logit_rank_and_id():
    assert named(plots.lens_words(word_table()), "raised").hovertext[1] == "<b>b↵</b><br>logit +3<br>rank 2, token 12"


def test_one_end_many_words_and_missing_logits():
    alone = plots.lens_words(word_table(raised=["same"] * 100, lowered=[]))
    assert [trace.name for trace in alone.data] == ["raised"]
    assert len(alone.data[0].y) == len(set(alone.data[0].y)) == 100, "the same words do not share a bar"
    frame = word_table()
    frame.loc[1, "logit"] = math.nan
    assert math.isnan(named(plots.lens_words(frame), "raised").x[1])


# -- patching -----------------------------------------------------------------------------------------
def test_data_gives_back_what_was_restored():
    frame = patch_table()
    table = plots.data(plots.patching_map(frame.sample(frac=1, random_state=0)))
    assert table[["y", "x", "z"]].to_numpy(float).tolist() == frame[["layer", "token", "restored"]].to_numpy(float).tolist()


def test_the_scale_is_symmetric_and_blue_where_the_projection_rises():
    for donor, turned in ((3.0, False), (-5.0, True)):
        axis = plots.patching_map(patch_table(donor=donor)).layout.coloraxis
        assert (axis.cmin, axis.cmax, axis.reversescale) == (-0.14, 0.14, turned)


def test_the_title_says_what_0_and_1_mean():
    lines = plots.patching_map(patch_table()).layout.title.subtitle.text.split("<br>")
    assert lines == ["toy, read at layer 2", "restored: 0 = the conversation's own projection (−2)", "1 = the donor's (+3)"]
    frame = patch_table()
    frame.attrs = {}
    lines = plots.patching_map(frame).layout.title.subtitle.text.split("<br>")
    assert lines == ["restored: 0 = the conversation's own projection", "1 = the donor's"]


def test_the_message_that_is_read_is_marked():
    bar, line = plots.patching_map(patch_table()).layout.shapes
    assert (bar.x0, bar.x1, line.x0, line.x1) == (2.5, 4.5, 2.5, 2.5), "places count tokens from the left"
    assert words(plots.patching_map(patch_table())) == ["the message that is read"]
    for inside in (False, None):
        assert not plots.patching_map(patch_table().assign(inside=inside)).layout.shapes


def test_tokens_with_the_same_words_keep_their_places():
    figure = plots.patching_map(patch_table().assign(text=" same"))
    assert list(figure.data[0].x) == [7, 8, 9, 10, 11]
    assert figure.layout.xaxis.labelalias["9"] == "␣same"
    assert figure.data[0].text[0][2] == "<b>␣same</b>, token 9"


def test_plotly_thins_the_labels_of_many_tokens():
    figure = plots.patching_map(patch_table(46, 300))
    axis = figure.layout.xaxis
    assert (axis.type, axis.tickvals, axis.tickmode) == ("category", None, None), "fixed ticks would never be thinned"
    assert max(len(html.unescape(word)) for word in axis.labelalias.values()) <= 12
    assert np.shape(figure.data[0].z) == (46, 300)


def test_what_was_not_patched_is_a_gap_and_one_cell_is_enough():
    figure = plots.patching_map(patch_table().drop(index=[0]).assign(restored=lambda f: f["restored"].where(f["token"] != 8)))
    assert [math.isnan(value) for value in figure.data[0].z[0]] == [True, True, False, False, False]
    assert plots.data(plots.patching_map(patch_table().iloc[[4]]))["z"].tolist() == [pytest.approx(-0.06)]

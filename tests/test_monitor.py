"""Watching a model while it writes: the values are those of the finished text, and every crossing of a band is told once."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import build, tokenizer

from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.errors import DataError
from workbench.interventions import Floor
from workbench.models.extraction import extract
from workbench.models.generation import generate
from workbench.models.hooked import HookedModel
from workbench.models.loading import load_model
from workbench.models.projecting import Pass, Projector
from workbench.monitor import COLUMNS, SETTLED, Monitor
from workbench.trajectories import trajectory

ASKED = [
    "Name the opposite of big.", "Show me your true self.", "I am scared of tomorrow.", "Who are you?",
    "Add 2 and 3.", "How do you feel today?",
]  # fmt: skip
LAYER, NEW = 3, 60
EVERYTHING, NOTHING = (-1e9, 1e9), (1e6, 1e9)


@pytest.fixture(scope="module")
def axis(organism) -> Direction:
    values = torch.randn(organism.n_layers, organism.d_model, generator=torch.Generator().manual_seed(0))
    return Direction(values, organism.bare_site(), "axis", "there")


def write(model, asked=ASKED, new: int = NEW):
    return generate(model, [model.render(text, reply=True).ids for text in asked], max_new_tokens=new)


def bands_of(*limits: tuple[float, float], of: str = "response means", exchanges=(1, 2, 3), layer: int = LAYER) -> pd.DataFrame:
    rows = [
        {"exchange": e, "layer": layer, "direction": "axis", "low": low, "middle": 0.0, "high": high, "n": 50, "of": of}
        for e, (low, high) in zip(exchanges, limits, strict=False)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def watched(organism, axis):
    """(answers, table) of six answers of which some end early, without bands."""
    with Monitor(organism, axis, layer=LAYER) as monitor:
        answers = write(organism)
    assert {a.finish_reason for a in answers} == {"stop", "length"}
    assert min(len(a.ids) for a in answers) < NEW - 8  # a row that goes on being run long after its end
    return answers, monitor.to_frame()


def wide(frame: pd.DataFrame, value: str = "projection") -> np.ndarray:
    """[step, row]: NaN after the end of an answer."""
    return frame.pivot(index="step", columns="row", values=value).to_numpy()


def read_back(path) -> pd.DataFrame:
    if path.suffix == ".jsonl":
        refuse = {"parse_constant": lambda word: pytest.fail(f"{word} is no JSON")}
        frame = pd.DataFrame([json.loads(line, **refuse) for line in path.read_text(encoding="utf-8").split("\n")[:-1]], columns=COLUMNS)
        return frame.astype({"inside": "boolean", "low": float, "high": float})
    missing = {name: [""] for name in ("low", "high", "inside")}
    return pd.read_csv(path, keep_default_na=False, na_values=missing, float_precision="round_trip", dtype={"inside": "boolean"})


# -- values ---------------------------------------------------------------------------------------------
def test_values_are_those_of_the_finished_text_and_none_come_after_its_end(organism, axis, watched):
    answers, frame = watched
    assert answers == write(organism)  # to be watched changes nothing
    for row, (text, answer) in enumerate(zip(ASKED, answers, strict=True)):
        prompt = organism.render(text, reply=True).ids
        ids = (*prompt, *answer.ids)
        whole = Projector(organism, {"axis": axis}, [LAYER]).run([[Pass(ids, 0, 0, len(ids), len(prompt))]])[0].before[0]
        read = len(answer.ids) - (answer.finish_reason == "length")  # the last token of all is written but never read
        own = frame[frame["row"] == row]
        assert own["step"].tolist() == list(range(1, read + 1))
        assert np.allclose(own["projection"], whole[len(prompt) : len(prompt) + read], atol=1e-4)
        assert own["token"].tolist() == [organism.tokenizer.decode([i]) for i in answer.ids[:read]]
        assert np.allclose(own["mean"], own["projection"].expanding().mean())
    assert set(frame["layer"]) == {LAYER}
    assert set(frame["direction"]) == {"axis"}
    assert frame[["low", "high", "inside"]].isna().all(axis=None)


def test_values_are_those_of_a_trajectory_by_token(organism, axis, watched):
    answers, frame = watched
    compared = 0
    for row, (text, answer) in enumerate(zip(ASKED, answers, strict=True)):
        talk = Conversation.of([("user", text), ("assistant", answer.text)], name="x")
        rendered = organism.render(talk)
        if tuple(rendered.ids[slice(*rendered.span(-1).tokens)]) != answer.ids:
            continue
        table = trajectory(organism, [talk], axis, layers=[LAYER], by="token").query("speaker == 'assistant'")
        own = frame.loc[frame["row"] == row, "projection"].to_numpy()
        assert np.allclose(table["projection"].to_numpy()[: len(own)], own, atol=1e-4)
        compared += 1
    assert compared >= 3


def test_around_a_floor_it_sees_what_arrives_and_within_it_what_leaves(organism, axis, watched):
    answers, frame = watched
    floor = Floor(axis, at=float(frame["projection"].median()), layers=[LAYER])
    before, after = (Monitor(organism, axis, layer=LAYER) for _ in range(2))
    with before, organism.intervene(floor), after:
        capped = write(organism)
    assert [a.ids for a in capped] != [a.ids for a in answers]
    arrives, leaves = wide(before.to_frame()), wide(after.to_frame())
    level = floor.levels[LAYER]
    assert np.nanmin(arrives) < level - 0.1
    assert np.allclose(leaves, np.maximum(arrives, level), atol=1e-4, equal_nan=True)


# -- bands and events -----------------------------------------------------------------------------------
def crossings(values: np.ndarray, low: float, high: float, first: int) -> list[tuple[int, int, bool]]:
    """(row, step, left) as somebody would find them who looks at the finished table."""
    found = []
    for row in range(values.shape[1]):
        was = False
        for step, value in enumerate(values[:, row], 1):
            if step < first or np.isnan(value):
                continue
            out = not low <= value <= high
            if out != was:
                found.append((row, step, out))
            was = out
    return sorted(found, key=lambda item: (item[1], item[0]))


@pytest.mark.parametrize(("of", "first", "value"), [("response means", SETTLED, "mean"), ("tokens", 1, "projection")])
def test_every_leaving_and_coming_back_is_told_once_as_it_happens(organism, axis, watched, of, first, value):
    values = wide(watched[1], value)
    low, high = (float(x) for x in np.nanpercentile(values[first - 1 :], [30, 75]))
    expected = crossings(values, low, high, first)
    assert {left for _, _, left in expected} == {True, False}
    told = []
    with Monitor(organism, axis, bands_of((low, high), of=of), on_event=told.append) as monitor:
        monitor.names = ["first", "second"]
        write(organism)
    assert [(e.row, e.step, e.left) for e in told] == expected
    assert told == monitor.events
    assert all(abs(e.value - values[e.step - 1, e.row]) < 1e-4 for e in told)
    assert {(e.call, e.layer, e.direction, e.low, e.high) for e in told} == {(1, LAYER, "axis", low, high)}
    assert {e.row: e.name for e in told} == {r: {0: "first", 1: "second"}.get(r, f"1/{r}") for r, _, _ in expected}
    pd.testing.assert_frame_equal(monitor.events_frame()[["row", "step", "left"]], pd.DataFrame(expected, columns=["row", "step", "left"]))
    frame = monitor.to_frame()
    assert (frame["inside"].isna() == (frame["step"] < first)).all()
    seen = frame[frame["step"] >= first]
    assert (seen["inside"] == seen[value].between(low, high)).all()


def test_means_count_from_the_eighth_token_and_tokens_from_the_first(organism, axis):
    for of, first in (("response means", 8), ("tokens", 1)):
        with Monitor(organism, axis, bands_of(NOTHING, of=of)) as monitor:
            write(organism)  # to the end: that an answer has ended is no coming back
        assert [(e.row, e.step, e.left) for e in monitor.events] == [(row, first, True) for row in range(len(ASKED))]


def test_a_band_is_that_of_the_exchange_or_the_last_one_before_it(organism, axis):
    with Monitor(organism, axis, bands_of(NOTHING, EVERYTHING, (2e6, 1e9), exchanges=(5, 1, 3), of="tokens")) as monitor:
        lows = {}
        for exchange in (1, 2, 3, 4, 5, 9):
            monitor.exchange = exchange
            write(organism, ASKED[:1], new=3)
            lows[exchange] = monitor.to_frame()["low"].iloc[-1]
        assert lows == {1: -1e9, 2: -1e9, 3: 2e6, 4: 2e6, 5: 1e6, 9: 1e6}
        assert [e.call for e in monitor.events] == [3, 4, 5, 6]
        monitor.exchange = 0
        with pytest.raises(DataError, match="no exchange 0: they begin at 1"):
            write(organism, ASKED[:1], new=3)
    assert organism._trackers == []


def test_a_log_that_cannot_be_opened_leaves_nothing_behind(organism, axis, tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    with (
        pytest.raises(DataError, match=r"folder\.jsonl cannot be written to: Is a directory"),
        Monitor(organism, axis, layer=2, log=tmp_path / "folder.jsonl"),
    ):
        pytest.fail("it began")
    assert organism._trackers == []
    write(organism)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_callback_that_raises_stops_the_generation_and_leaves_nothing_behind(organism, axis, tmp_path, suffix):
    class Stop(Exception):
        """What a caller raises."""

    def stop(event):
        found.append(read_back(path))
        raise Stop(f"row {event.row}")

    found = []
    path = tmp_path / f"log.{suffix}"
    ids = torch.tensor([organism.render(ASKED[0], reply=True).ids])
    with pytest.raises(Stop, match="row 0"), Monitor(organism, axis, bands_of(NOTHING), on_event=stop, log=path) as monitor:
        write(organism)
    frame = monitor.to_frame()
    assert frame["step"].max() == SETTLED
    # What it was stopped for is in the log, and was when it was told.
    for table in (found[0], read_back(path)):
        pd.testing.assert_frame_equal(table, frame, check_exact=True, check_dtype=False)
    assert organism._trackers == []
    assert not organism.hf.base_model._forward_pre_hooks
    write(organism)
    organism.logits(ids)
    assert len(monitor.to_frame()) == len(frame)
    assert len(monitor.events) == 1


# -- what counts as writing -----------------------------------------------------------------------------
def test_two_generations_are_two_calls_with_names_of_their_own(organism, axis, watched):
    with Monitor(organism, axis, layer=LAYER) as monitor:
        monitor.names = ["a", "b"]
        write(organism, ASKED[:3], new=5)
        monitor.names = []
        write(organism)
    frame = monitor.to_frame()
    names = frame.drop_duplicates(["call", "row"]).groupby("call")["name"].apply(list)
    assert names.to_dict() == {1: ["a", "b", "1/2"], 2: [f"2/{row}" for row in range(len(ASKED))]}
    assert frame[frame["call"] == 1].groupby("row").size().tolist() == [4, 4, 4]
    assert np.allclose(wide(frame[frame["call"] == 2]), wide(watched[1]), equal_nan=True)


def test_finished_text_that_is_read_inside_the_block_is_no_writing(organism, axis, watched):
    talk = Conversation.of([("user", ASKED[0]), ("assistant", watched[0][0].text)], name="x")
    rows = pd.DataFrame([{"row": "x", "messages": [{"speaker": "user", "text": ASKED[0]}], "response": "It is small."}])
    ids = torch.tensor([organism.render(talk).ids])
    with Monitor(organism, axis, bands_of(NOTHING, of="tokens")) as monitor:
        for _ in range(2):
            extract(organism, rows)
            trajectory(organism, [talk], axis, by="token", chunk=16)
            trajectory(organism, [talk], axis)
            organism.logits(ids)
            organism.run_with_cache(ids, spans=[(5, 20)])
            assert set(monitor.to_frame()["call"]) == set(range(1, len({e.call for e in monitor.events}) + 1))
            seen = len(monitor.to_frame())
            write(organism, ASKED[:2], new=4)
            assert len(monitor.to_frame()) == seen + 6
    assert [e.call for e in monitor.events] == [1, 1, 2, 2]


# -- logs -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("banded", [True, False])
def test_a_log_says_what_the_table_says(organism, axis, tmp_path, monkeypatch, suffix, banded):
    path = tmp_path / "new" / f"log.{suffix}"
    odd = {5: "\r", 6: "\n", 7: 'a,"b"', 8: "NA", 9: "12", 10: "\u00e9\u2028"}
    monkeypatch.setattr(organism.tokenizer, "decode", lambda ids, **s: odd.get(ids[0] % 16, f" {ids[0]}"), raising=False)
    bands = {"bands": bands_of((0.0, 1e9))} if banded else {"layer": LAYER}
    with Monitor(organism, axis, **bands, log=path) as monitor:
        monitor.names = ["a,b", 'c"d', "e\rf\n"]
        write(organism, new=20)
    with monitor:  # a second block goes on in the same file
        write(organism, ASKED[:2], new=4)
    frame = monitor.to_frame()
    assert frame["call"].max() == 2
    assert {*odd.values()} <= {*frame["token"]}
    assert frame["inside"].notna().any() == banded
    pd.testing.assert_frame_equal(read_back(path), frame, check_exact=True, check_dtype=False)
    with Monitor(organism, axis, layer=LAYER, log=path):
        write(organism, ASKED[:1], new=4)
    assert len(read_back(path)) == len(frame) + 3


# -- what cannot be watched -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"layer": LAYER, "log": "x.txt"}, "a monitor's log ends in .jsonl or .csv, not 'x.txt'"),
        ({}, "a monitor needs a layer, or bands of one layer"),
        ({"layer": 9}, "no direction has layer 9"),
        ({"bands": bands_of(EVERYTHING).drop(columns="of")}, "bands come from band_of.*no column 'of'"),
        ({"bands": pd.concat([bands_of(EVERYTHING), bands_of(EVERYTHING, layer=2)])}, "one layer along 'axis'; these have 2: give layer="),
        ({"bands": bands_of(EVERYTHING).assign(direction="other")}, "one layer along 'axis'; these have 0"),
    ],
)
def test_what_cannot_be_watched(organism, axis, settings, text):
    with pytest.raises(DataError, match=text):
        Monitor(organism, axis, **settings)


def test_a_layer_picks_its_band_and_other_models_are_refused(organism, axis):
    both = pd.concat([bands_of(NOTHING, of="tokens"), bands_of(EVERYTHING, of="tokens", layer=2)])
    with Monitor(organism, axis, both, layer=2) as calm, Monitor(organism, axis, both, layer=LAYER) as stirred:
        write(organism, ASKED[:1], new=4)
    assert (len(calm.events), len(stirred.events)) == (0, 1)
    small = load_model(build("llama"), tokenizer=tokenizer())
    own = Direction(torch.ones(small.n_layers, small.d_model), small.bare_site(), "axis", "there")
    with pytest.raises(DataError, match="needs a model with a cache"):
        Monitor(HookedModel(small.tl, small.tokenizer, small.name), own, layer=1)
    with pytest.raises(DataError, match="'axis' has width 32"):
        Monitor(organism, own, layer=1)

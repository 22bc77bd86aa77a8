"""Both sides on a run: the same text as chat and as a notebook, readings and bands, the random direction, files, servers."""

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from app_study import HARM, PIRATE, small_study
from servers import completion, scripted

from workbench import plots
from workbench.app.acting import random_beside, same_dose
from workbench.app.bands import FROM_DRIFT, FROM_STUDY, band_at
from workbench.app.bench import Answering, Bench, open_bench
from workbench.app.chart import both_sides
from workbench.app.dialogue import LEFT, RIGHT, Dialogue, Reply
from workbench.app.directions import component_of, direction_names, direction_of
from workbench.app.files import FILES, lived, load_dialogue
from workbench.app.form import choices_of, defaults, prompts_of
from workbench.app.gauge import Scales, as_html, as_text
from workbench.app.markup import conversation_html, live_html
from workbench.app.notebook import python_lines
from workbench.app.pages import conversation_page, trajectory_figure
from workbench.app.readings import CAPPED, CONTROL, measured, side_tokens, tokens_of, trajectory_frame
from workbench.app.settings import OWN, Settings
from workbench.app.streaming import Piece, Reading
from workbench.controls import isotropic
from workbench.conversations import Conversation
from workbench.errors import DataError, EndpointError, RunError, WorkbenchError
from workbench.interventions import Ablate, Add, Ceiling, Floor
from workbench.library import load_roles
from workbench.matching import Task, done_by
from workbench.organism.judge import read_response
from workbench.published import export_published, import_published
from workbench.study.config import StudyConfig
from workbench.trajectories import trajectory
from workbench.transcripts import load_conversations

CAP = Settings(persona=PIRATE, kind="floor", preset="recommended", seed=1)
NASTY = "<script>alert(1)</script> <img src=x onerror=alert(2)> {{value}} ${1+1} & \"quotes\" 'x' \x07"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("bench") / "run")


@pytest.fixture(scope="module")
def bench(run, organism):
    return Bench(run, organism)


@pytest.fixture(scope="module")
def held(bench):
    """A jailbreak and two more messages, under the calibrated cap."""
    found = Dialogue()
    for message in (HARM, "Who are you?", "I am scared of tomorrow."):
        found = bench.say(found, message, CAP)
    return found


def refuses(text: str) -> bool:
    return read_response(text).refused


# -- the same text everywhere -------------------------------------------------------------------------------
def test_both_sides_say_what_chat_says(bench, run, organism, held):
    system = bench.system_prompt(CAP)
    for number, one in enumerate(held.path):
        left = Conversation.of(held.asked(number, LEFT, system).turns)
        assert one.replies[LEFT].text == organism.chat(left, seeds=1 + number, max_new_tokens=96)
        with organism.intervene(run.caps["recommended"]):
            right = organism.chat(Conversation.of(held.asked(number, RIGHT, system).turns), seeds=1 + number, max_new_tokens=96)
        assert one.replies[RIGHT].text == right
        assert {reply.seed for reply in one.replies.values()} == {1 + number}


def test_a_jailbreak_is_refused_under_the_cap_and_not_under_a_random_direction_of_the_same_dose(bench, held):
    first = held.path[0]
    assert not refuses(first.replies[LEFT].text)
    assert refuses(first.replies[RIGHT].text)
    control = bench.say(Dialogue(), HARM, CAP.but(control=0)).path[0]
    assert control.replies[LEFT] == first.replies[LEFT]
    assert not refuses(control.replies[RIGHT].text)
    assert control.replies[RIGHT].reading.dose == pytest.approx(first.replies[RIGHT].reading.dose, rel=0.35)
    assert control.replies[RIGHT].acting == "random direction 0, same dose as: recommended cap"


PYTHON = [
    CAP,
    CAP.but(control=1),
    CAP.but(follow="left"),
    Settings(persona=PIRATE, kind="floor", percentile=90, layers=(0, 1, 2), positions="generated", temperature=1.0, top_p=0.5),
    Settings(kind="ceiling", percentile=20, over="all", direction="PC2", system="Be 'brief' \"now\"\n\\ ü"),
    Settings(kind="add", strength=0.5, direction="PC1", persona=PIRATE),
    Settings(kind="add", strength=0.5, control=2, persona=PIRATE),
    Settings(kind="ablate", strength=1.0, persona=PIRATE, max_new_tokens=30, seed=9),
    Settings(kind="ablate", strength=1.0, persona=PIRATE, control=0),
    Settings(persona=PIRATE),
]


@pytest.mark.parametrize("settings", PYTHON)
def test_the_lines_of_python_give_the_same_texts(bench, settings, capsys):
    talk = bench.say(bench.say(Dialogue(), HARM, settings), "Who are you? '\"\\", settings)
    lines, space = python_lines(bench, talk), {}
    exec(compile(lines, "copied", "exec"), space)
    last = talk.path[-1].replies
    assert space["left"] == last[LEFT].text
    assert space.get("right") == (last[RIGHT].text if RIGHT in last else None)
    assert last[LEFT].text in capsys.readouterr().out
    assert (RIGHT in last) == (settings.kind != "none")


def test_lines_for_a_saved_direction_and_for_an_empty_conversation(bench, run, organism, tmp_path):
    path = (run.axis * -1).save(tmp_path / "mine.safetensors")
    own = Bench(run, organism, files={"mine": path})
    settings = Settings(kind="floor", direction="file mine", percentile=60, persona=PIRATE)
    talk, space = own.say(Dialogue(), HARM, settings), {}
    exec(compile(python_lines(own, talk), "copied", "exec"), space)
    assert space["right"] == talk.path[0].replies[RIGHT].text
    assert "Say something first" in python_lines(own, Dialogue())
    with pytest.raises(DataError, match="no direction 'file mine': there are axis, PC1"):
        bench.say(Dialogue(), HARM, settings)


def test_an_answer_is_kept_as_far_as_it_came(bench):
    answering = Answering(bench, Dialogue().say(HARM), CAP)
    rounds = iter(answering)
    next(rounds)
    seen = next(rounds)[LEFT].text
    rounds.close()  # as when the page is left
    reply = answering.dialogue.path[0].replies[LEFT]
    assert reply.finish == "stopped"
    assert seen.startswith(reply.text)
    assert reply.text
    assert bench.say(Dialogue(), HARM, CAP).path[0].replies[LEFT].text.startswith(reply.text)


# -- what acts ----------------------------------------------------------------------------------------------
def test_settings_make_the_interventions_that_a_notebook_would(bench, run):
    [floor] = bench.actor.interventions(Settings(kind="floor", percentile=75, layers=(1, 2), over="roles"))
    assert isinstance(floor, Floor)
    roles = run.activations().where("role != 'default'").project(run.axis)
    assert floor.levels[1] == pytest.approx(roles[1].quantile(0.75), abs=1e-4)
    assert floor.at_layers == (1, 2)
    [ceiling] = bench.actor.interventions(Settings(kind="ceiling", percentile=75))
    assert isinstance(ceiling, Ceiling)
    [add] = bench.actor.interventions(Settings(kind="add", strength=0.25))
    assert isinstance(add, Add)
    assert add.at_layers == (run.recommended_layer,)
    [ablate] = bench.actor.interventions(Settings(kind="ablate", strength=0.5))
    assert (type(ablate), ablate.strength) == (Ablate, 0.5)
    assert bench.actor.interventions(Settings()) == ()
    assert bench.actor.interventions(CAP) == bench.actor.interventions(CAP.but(seed=5))


@pytest.mark.parametrize(
    "query", ["kind=floor&preset=recommended", "kind=ceiling&percentile=20", "kind=ablate&strength=1", "kind=add&strength=-0.4"]
)
def test_a_random_direction_does_as_much_and_none_of_it_along_the_axis(bench, organism, run, query):
    settings = Settings.from_query(query)
    [item] = bench.actor.interventions(settings)
    control = random_beside(item.direction, 3)
    assert float(control.unit().cosine(run.axis).abs().max()) < 1e-3
    assert float(control.cosine(isotropic(run.axis, 1, 3)[0]).min()) > 0.999
    made = same_dose(organism, item, control, bench.actor.prompts)
    task = Task(organism, item, bench.actor.prompts, 96, 0, 16)
    own = Task(organism, made[0], bench.actor.prompts, 96, 0, 16).own if len(made) == 1 else task.own
    wanted, done = task.wanted, done_by(organism, made, own)
    for layer, target in wanted.items():
        assert done[layer].dose == pytest.approx(target.dose, rel=0.12)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"kind": "floor", "preset": "boldest"}, "no calibrated cap 'boldest': there are recommended"),
        ({"kind": "floor", "direction": "PC99"}, "there is no component 99"),
        ({"kind": "floor", "direction": "trait warmth"}, "has no direction 'trait warmth': there are axis, PC1"),
        ({"kind": "add", "layers": (9,)}, "has no layer 9"),
        ({"persona": "nobody"}, "there is no persona 'nobody'"),
        ({"persona": PIRATE, "prompt": 99}, "has 6 prompts, numbered from 0: there is none of number 99"),
        ({"layer": 9}, "the axis of .* has no layer 9"),
    ],
)
def test_settings_that_this_run_cannot_follow(bench, settings, text):
    with pytest.raises(WorkbenchError, match=text) as error:
        bench.say(Dialogue(), HARM, Settings(**settings))
    assert "\n" not in str(error.value)


def test_directions_by_name(run, bench):
    assert direction_names(run)[:3] == ["axis", "PC1", "PC2"]
    assert direction_of(run, "axis").name == "assistant axis"
    for number in (1, 2, 3):
        found, space = component_of(run, number), run.space()
        layer = run.recommended_layer
        assert float(found.at(layer).cosine(space.component(number))[0]) == pytest.approx(1, abs=1e-5)
        assert found.site.layers == run.axis.site.layers
        neighbours = (found.values[1:] * found.values[:-1]).sum(-1)
        assert (neighbours >= 0).all()
    folder = run.folder / "directions"
    (-run.axis).save(folder / "away.safetensors")
    assert "file away" in direction_names(run)
    assert float(direction_of(run, "file away").cosine(run.axis).max()) == pytest.approx(-1)
    (folder / "away.safetensors").unlink()


# -- what is read -------------------------------------------------------------------------------------------
def test_the_trajectory_is_that_of_the_finished_text(bench, held, run):
    layer = bench.layer(CAP)
    frame = trajectory_frame(held, bench, layer)
    assert frame[["exchange", "side", "condition"]].to_numpy().tolist()[:2] == [[1, "left", "baseline"], [1, "right", CAPPED]]
    unread = Dialogue(
        tuple(
            type(one)(
                one.number, one.parent, one.message, {s: Reply(r.text, r.finish, r.seed) for s, r in one.replies.items()}, one.settings
            )
            for one in held.exchanges
        ),
        held.at,
    )
    assert trajectory_frame(unread, bench, layer)["projection"].isna().all()
    again = trajectory_frame(measured(unread, bench, CAP), bench, layer)
    for column in ("projection", "after"):
        assert again[column].to_numpy() == pytest.approx(frame[column].to_numpy(), abs=0.05, nan_ok=True)
    below = frame[frame["side"] == "left"]
    assert (below["projection"] < below["low"]).all()
    assert not below["inside"].any()
    right = frame[frame["side"] == "right"]
    assert (right["after"] >= right["projection"]).all()
    assert right["engaged"].between(0.01, 1).all()


def test_another_layer_is_read_again(bench, held):
    other = measured(held, bench, CAP.but(layer=4))
    assert {reply.reading.layer for one in other.path for reply in one.replies.values()} == {4}
    assert other.path[0].replies[RIGHT].reading.dose == held.path[0].replies[RIGHT].reading.dose
    assert trajectory_frame(held, bench, 4)["projection"].isna().all()


def test_tokens_of_an_answer(bench, held):
    for side in (LEFT, RIGHT):
        tokens = tokens_of(held, bench, 1, side, CAP)
        assert "".join(tokens["text"]) == held.path[1].replies[side].text
        reading = held.path[1].replies[side].reading
        assert tokens["projection"].mean() == pytest.approx(reading.before, abs=0.05)
        assert ("after" in tokens) == (side == RIGHT)
        assert "token-map" in plots.token_map(tokens, bench.token_band(bench.layer(CAP)))
    with pytest.raises(DataError, match="there is no answer 9 of the left side"):
        tokens_of(held, bench, 9, LEFT, CAP)


PLACES = [("all", OWN), ("all", OWN), ("generated", OWN), ("generated", OWN), ("content", LEFT), ("content", LEFT), ("last", OWN)]
MIXED = [Settings(kind="floor", percentile=90, positions=positions, follow=follow, max_new_tokens=40) for positions, follow in PLACES]


@pytest.fixture(scope="module")
def mixed(bench):
    """A conversation with other settings by the way, one exchange that nothing acted on, and the oldest forgotten at the end."""
    talk = Dialogue()
    for settings in (*MIXED, Settings(persona=PIRATE, max_new_tokens=40)):
        talk = bench.say(talk, "Act as the ghost. Who are you?", settings)
    for _ in range(3):
        talk = bench.say(talk, "Tell me of the sea. " * 50, MIXED[0].but(forget=True))
    assert talk.path[-1].replies[RIGHT].forgotten > 0
    return talk


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_answers_that_are_read_together_are_as_if_read_alone(bench, mixed, side):
    together = side_tokens(mixed, bench, side, CAP)
    answered = [(place, one) for place, one in enumerate(mixed.path, 1) if side in one.replies]
    assert together["exchange"].unique().tolist() == [place for place, _ in answered]
    for place, one in answered:
        alone, own = tokens_of(mixed, bench, one.number, side, CAP), together[together["exchange"] == place]
        assert own["text"].tolist() == alone["text"].tolist()
        for column in {"projection", "after"} & {*alone}:
            np.testing.assert_allclose(own[column], alone[column], atol=2e-4)
    assert (together["turn"] == 2 * together["exchange"] - 1).all()


def test_few_passes_read_many_answers(bench, mixed, monkeypatch):
    read = []
    monkeypatch.setattr("workbench.app.readings.trajectory", lambda *a, **k: read.append(a) or trajectory(*a, **k))
    side_tokens(mixed, bench, LEFT, CAP)
    assert len(read) < len(mixed.path) / 2


def test_the_band_says_whose_it_is(bench, run, organism):
    layer = bench.layer(CAP)
    band = bench.band(layer)
    own = run.activations().where("role == 'default'").project(run.axis)[layer]
    assert band.words == FROM_STUDY
    assert band.at(1) == band.at(7) == pytest.approx((own.quantile(0.05), own.quantile(0.95)))
    table = pd.DataFrame(
        {"exchange": [1, 3], "layer": layer, "direction": "axis", "low": [0.0, 1.0], "middle": 1.0, "high": [2.0, 3.0], "n": 20}
    )
    run.write_table("drift_band", table.assign(of="response means"))
    run.study["steps"]["drift"] = {"state": "done", "layer": layer}
    try:
        drift = band_at(run, run.axis, layer)
        assert (drift.words, drift.at(1), drift.at(2), drift.at(9)) == (FROM_DRIFT, (0.0, 2.0), (0.0, 2.0), (1.0, 3.0))
        assert band_at(run, run.axis, 0).words == FROM_STUDY  # the drift study read elsewhere
    finally:
        del run.study["steps"]["drift"]


def test_the_gauge_shows_where_an_answer_lies(bench):
    scale = Scales(bench).at(bench.layer(CAP))
    low, high = scale.band
    assert scale.share(scale.low) == 0
    assert scale.share(1e9) == 1
    inside = (low + high) / 2
    assert "in the band" in as_html(scale, inside)
    assert "below the band" in as_html(scale, low - 1)
    assert "above the band" in as_html(scale, low - 1, high + 1)
    assert as_html(scale, low - 1, high + 1).count("<i ") == 3
    assert as_html(None, 1.0) == as_text(None, 1.0) == ""
    line = as_text(scale, low - 1, inside, 30).splitlines()[0].split()[1]
    assert len(line) == 30
    assert line.index("○") < line.index("▒") <= line.index("●")


def test_the_chart_has_a_line_a_side(bench, held):
    frame = trajectory_frame(held, bench, bench.layer(CAP))
    figure = both_sides(frame, bench.band(bench.layer(CAP)))
    names = [trace.name for trace in figure.data]
    assert names == ["default responses", "as it is", "capped", "capped, before it acts"]
    right = frame[frame["side"] == "right"]
    assert list(figure.data[2].y) == pytest.approx(right["after"].tolist())
    assert list(figure.data[3].y) == pytest.approx(right["projection"].tolist())
    mixed = bench.say(bench.say(Dialogue(), HARM, CAP.but(control=0)), "Who are you?", CAP)
    names = {trace.name for trace in both_sides(trajectory_frame(mixed, bench, bench.layer(CAP))).data}
    assert {CONTROL, "capped"} <= names
    assert trajectory_figure(Dialogue(), bench, bench.layer(CAP)) is None


# -- what is shown ------------------------------------------------------------------------------------------
def test_nothing_that_anybody_says_becomes_markup(bench):
    nasty = Dialogue(name=NASTY).say(NASTY, CAP.to_query()).answer(0, LEFT, Reply(NASTY, "stop", 1, "", Reading(2, 0.5, None, 3)))
    nasty = nasty.answer(0, RIGHT, Reply(NASTY, "stop", 1, "", Reading(2, 0.5, 1.0, 3, 0.5, 0.1), NASTY))
    scale = Scales(bench).at(2)
    pages = [conversation_html(nasty, {1: scale}), live_html(NASTY, {LEFT: Piece(NASTY), RIGHT: Piece(NASTY)}, NASTY, scale)]
    pages += [plots.token_map(tokens_of(nasty, bench, 0, LEFT, CAP))]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page
    whole = conversation_page(nasty, bench, CAP)
    assert "<script>alert" not in whole
    assert "<img src=x" not in whole
    assert "\\x07" in pages[0]


def test_the_page_of_a_conversation_is_offline(bench, held):
    page = conversation_page(held, bench, CAP)
    for one in held.path:
        for reply in one.replies.values():
            assert reply.text.split(".")[0] in page
    assert 'src="http' not in page
    assert "default-src 'none'" in page
    assert "What this does not show" in page
    assert "run.caps[" in page


# -- files --------------------------------------------------------------------------------------------------
def test_files_give_the_conversation_back(bench, held, tmp_path):
    system = bench.system_prompt(CAP)
    for name, kind in FILES.items():
        (tmp_path / name).write_text(kind.write(held, bench, CAP), encoding="utf-8")
    whole, under, said = load_dialogue(tmp_path / "conversation.json")
    assert (whole, under, said) == (held, CAP, "")
    sides, prompt, said = load_dialogue(tmp_path / "sides.jsonl")
    assert (prompt, said) == (Settings(system=system), "")
    for side in (LEFT, RIGHT):
        assert sides.held(side).turns == held.held(side).turns
        [talk] = load_conversations(tmp_path / f"{side}.openai.json")
        assert talk.turns == held.held(side, system).turns
    left = json.loads((tmp_path / "left.openai.json").read_text())
    assert left["messages"][0] == {"role": "system", "content": system}
    one, _, _ = load_dialogue(tmp_path / "right.openai.json")
    assert one.held(LEFT).turns == held.held(RIGHT).turns


def test_files_hold_what_the_exchanges_were_answered_under(bench, held, tmp_path):
    form = Settings(system="Act as the ghost.")
    for name in ("left.openai.json", "right.openai.json", "sides.jsonl"):
        assert FILES[name].write(held, bench, form) == FILES[name].write(held, bench, CAP)
        assert "note" not in FILES[name].write(held, bench, form)
    shown = conversation_page(held, bench, form).split("<h2>Settings</h2>")[1]
    assert bench.system_prompt(CAP) in html.unescape(shown)
    assert "<dd>recommended</dd>" in shown
    assert "<h3>" not in shown
    changed = bench.say(held, "Who are you?", form)
    shown = conversation_page(changed, bench, CAP).split("<h2>Settings</h2>")[1]
    assert shown.index("<h3>Exchanges 1 to 3</h3>") < shown.index("<dd>recommended</dd>") < shown.index("<h3>Exchange 4</h3>")
    left, right = (json.loads(FILES[f"{side}.openai.json"].write(changed, bench, CAP)) for side in (LEFT, RIGHT))
    assert left["messages"][0]["content"] == bench.system_prompt(form)
    assert left["note"] == "told as exchange 4 was answered; answered under another system prompt: exchange 1, 2, 3"
    assert "another system prompt or intervention: exchange 1, 2, 3" in right["note"]
    path = tmp_path / "sides.jsonl"
    path.write_text(FILES["sides.jsonl"].write(changed, bench, CAP))
    assert [talk.about["note"] for talk in load_conversations(path)] == [left["note"], right["note"]]


def test_a_loaded_conversation_keeps_its_system_prompt_and_is_read_under_it(bench):
    talk, system = Dialogue.of(Conversation.of([("user", "a"), ("assistant", "b")], system="Be a ghost."))
    assert Settings.from_query(talk.path[0].settings).system == system == "Be a ghost."
    bare, _ = Dialogue.of(Conversation.of([("user", "a"), ("assistant", "b")]))
    first, second = (measured(one, bench, Settings()).path[0].replies[LEFT].reading.before for one in (talk, bare))
    assert first != pytest.approx(second, abs=1e-4)


def test_one_counterfactual_a_turn_is_saved_as_it_took_place(bench, tmp_path):
    beside, talk = CAP.but(follow="left", max_new_tokens=12), Dialogue()
    for message in (HARM, "Who are you?"):
        talk = bench.say(talk, message, beside)
    path = tmp_path / "sides.jsonl"
    path.write_text(FILES["sides.jsonl"].write(talk, bench, CAP))
    left, *right = load_conversations(path)
    assert left.name == "conversation, left"
    assert [one.name for one in right] == ["conversation, right at exchange 1", "conversation, right at exchange 2"]
    for number, one in enumerate(right):
        asked = talk.asked(number, RIGHT, bench.system_prompt(CAP), "left")
        assert one.turns == asked.plus("assistant", talk.exchanges[number].replies[RIGHT].text).turns
    saved = json.loads(FILES["right.openai.json"].write(talk, bench, CAP))
    assert [one["content"] for one in saved["messages"]] == [turn.text for turn in right[-1].turns]
    assert "only the last answer is its own" in saved["note"]
    # A life that goes on afterwards holds its own answers again; what it did not go on from stands by itself.
    own = bench.say(talk, "Add 1 and 1.", beside.but(follow=OWN))
    *_, last = lived(own, bench, RIGHT)
    assert [one.name[-1] for one in lived(own, bench, RIGHT)] == ["1", "2", "3"]
    assert last.turns == own.held(RIGHT, bench.system_prompt(CAP)).turns


@pytest.mark.parametrize("positions", ["last", "generated"])
def test_an_answer_that_is_read_again_lies_where_it_lay(bench, positions):
    strong = Settings(persona=PIRATE, kind="floor", percentile=90, positions=positions, max_new_tokens=40)
    talk = bench.say(bench.say(Dialogue(), HARM, strong), "Who are you?", strong)
    for one in talk.path:
        reading, tokens = one.replies[RIGHT].reading, tokens_of(talk, bench, one.number, RIGHT, strong)
        assert tokens["projection"].mean() == pytest.approx(reading.before, abs=0.05)
        assert tokens["after"].mean() == pytest.approx(reading.after, abs=0.05)


def test_files_of_others(tmp_path):
    two = tmp_path / "two.jsonl"
    two.write_text('[{"role":"user","content":"a"}]\n[{"role":"user","content":"b"}]\n{"x": 1}\n')
    dialogue, _, said = load_dialogue(two)
    assert [one.message for one in dialogue.path] == ["a"]
    assert said.startswith("the file holds 1 more conversations, which were not loaded; ")
    for name, content, text in (
        ("a.txt", "x", "conversations are read from .json"), ("b.json", '{"x": 1}', "no conversation can be read"),
        ("c.json", "", "no conversation can be read"), ("d.json", '{"format": "persona-workbench/dialogue-1"', "is no saved conversation"),
        ("e.json", '[{"role":"assistant","content":"b"}]', "message 1 should be the user's"),
    ):  # fmt: skip
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=text) as error:
            load_dialogue(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="there is no file"):
        load_dialogue(tmp_path / "none.json")


def test_the_docs_talk_to_personas_of_a_study_of_the_default_size(organism):
    said = Path("docs/app.md").read_text(encoding="utf-8")
    personas = re.findall(r"--persona (\w+)|persona=\"(\w+)\"", said)
    known = {role.name for role in load_roles(organism, n=StudyConfig().roles, seed=StudyConfig().seed)}
    assert personas
    assert {one or other for one, other in personas} <= known


# -- the form -----------------------------------------------------------------------------------------------
def test_the_form_offers_what_the_run_has(bench, run):
    assert defaults(bench).preset == "recommended"
    choices = choices_of(bench)
    assert [value for _, value in choices["acts"]] == ["none", "cap recommended", "floor", "ceiling", "add", "ablate"]
    assert PIRATE in [value for _, value in choices["persona"]]
    assert choices["persona"][0] == ("nobody in particular", "")
    assert len(prompts_of(bench, PIRATE)) == 6
    assert prompts_of(bench, "") == [("no system prompt", 0)]
    assert choices["layer"][0] == (f"{run.recommended_layer}, where the study reads", "")


# -- a conversation that goes on ----------------------------------------------------------------------------
def fits(bench: Bench, dialogue: Dialogue, settings: Settings) -> bool:
    asked, _ = bench.asked(dialogue, dialogue.at, LEFT, settings)
    return len(bench.model.render(asked, reply=True).ids) + settings.max_new_tokens <= bench.model.context


def test_a_long_conversation_ends_with_a_sentence_or_forgets(bench):
    short = CAP.but(kind="none", preset="", max_new_tokens=24)
    talk, said = Dialogue(), 0
    while fits(bench, talk.say(f"Add {said} and 3."), short):
        talk, said = bench.say(talk, f"Add {said} and 3.", short), said + 1
    assert said > 15
    with pytest.raises(DataError, match="let the oldest turns be forgotten"):
        bench.say(talk, "Add 1 and 3.", short)
    forgetting = short.but(forget=True)
    for i in range(said, said + 4):
        talk = bench.say(talk, f"Add {i} and {i}.", forgetting)
    last = talk.path[-1].replies[LEFT]
    assert last.forgotten >= 1
    assert "exchanges forgotten" in conversation_html(talk, {}) or "oldest exchange forgotten" in conversation_html(talk, {})
    asked, forgotten = bench.asked(talk, talk.at, LEFT, forgetting)
    assert forgotten == last.forgotten
    assert asked.turns[0].text == bench.system_prompt(forgetting)


# -- servers ------------------------------------------------------------------------------------------------
def test_a_model_on_a_server_is_only_talked_to(run):
    def script(request, n):
        return 200, {}, completion("from afar: " + request["messages"][-1]["content"])

    with scripted(script) as server:
        bench = open_bench(endpoint=server.url, endpoint_model="far")
        talk = bench.say(bench.say(Dialogue(), "a"), "b", Settings(system="Be brief.", temperature=0.1, seed=4))
        assert [one.replies[LEFT].text for one in talk.path] == ["from afar: a", "from afar: b"]
        sent = server.seen[-1]
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"},
            {"role": "assistant", "content": "from afar: a"}, {"role": "user", "content": "b"},
        ]  # fmt: skip
        assert (sent["seed"], sent["temperature"], sent["model"]) == (5, 0.1, "far")
        assert (bench.layer(Settings()), bench.band(2), bench.axis) == (None, None, None)
        with pytest.raises(DataError, match="there is no gauge and no intervention"):
            bench.say(talk, "c", Settings(kind="floor"))
        assert choices_of(bench)["acts"] == [("nothing", "none")]
        assert defaults(bench) == Settings()
        with pytest.raises(DataError, match="nothing can be read of a model on a server"):
            tokens_of(talk, bench, 0, LEFT, Settings())
        space = {}
        exec(compile(python_lines(bench, talk), "copied", "exec"), space)
        assert space["left"] == "from afar: b"
        assert "from afar: a" in conversation_page(talk, bench, Settings())


def test_servers_that_give_no_answer():
    with scripted(lambda request, n: (400, {}, b'{"error": {"message": "no such thing"}}')) as server:
        bench = open_bench(endpoint=server.url, endpoint_model="far")
        with pytest.raises(EndpointError, match="the server gives no answer: refused"):
            bench.say(Dialogue(), "a")
    with pytest.raises(EndpointError, match="the server gives no answer"):
        bench.say(Dialogue(), "a")  # it is gone
    with pytest.raises(WorkbenchError, match="--endpoint-model NAME"):
        open_bench(endpoint="http://127.0.0.1:9/v1")


# -- what cannot be opened ----------------------------------------------------------------------------------
def test_what_cannot_be_opened(run, tmp_path):
    with pytest.raises(WorkbenchError, match="give a run's folder, or a server"):
        open_bench()
    with pytest.raises(RunError, match="is not a run folder"):
        open_bench(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        open_bench(run.folder, files={"x": tmp_path / "x.safetensors"})
    with pytest.raises(DataError, match="there is nothing to talk to"):
        Bench(run)


def test_imported_vectors_are_no_study(run, tmp_path):
    export_published(run, tmp_path / "published")
    import_published(tmp_path / "published", tmp_path / "imported", "organism")
    with pytest.raises(WorkbenchError, match="holds imported vectors"):
        open_bench(tmp_path / "imported")


def test_a_run_of_another_model(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    values = json.loads((other / "study.json").read_text())
    values["config"]["model"] = "organism/base"
    (other / "study.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match="the weights of organism/base are not those that") as error:
        open_bench(other)
    assert "\n" not in str(error.value)

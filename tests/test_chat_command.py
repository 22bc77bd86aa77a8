"""`workbench chat` and `workbench app` as they are typed: the same text as the page and a notebook, mistakes in one sentence."""

import json
import socket

import pytest
from app_study import HARM, PIRATE, small_study
from servers import completion, scripted
from typer.testing import CliRunner

from workbench.app.bench import Bench
from workbench.app.dialogue import LEFT, RIGHT, Dialogue
from workbench.app.settings import Settings
from workbench.cli import commands as cli
from workbench.errors import WorkbenchError
from workbench.organism.judge import read_response

CAP = Settings(persona=PIRATE, kind="floor", preset="recommended", seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("chat") / "run")


def typed(*arguments: str, said: str = "") -> tuple[int, str]:
    """The command with what is typed into it, errors as the entry point shows them."""
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(cli.app, list(arguments), input=said)
    if isinstance(result.exception, WorkbenchError):
        return 1, f"workbench: {result.exception}"
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def chat(run, *arguments: str, said: str) -> str:
    code, output = typed("chat", str(run.folder), *arguments, said=said)
    assert code == 0, output
    return output


def saved(path) -> Dialogue:
    return Dialogue.from_json(path.read_text(encoding="utf-8"))


def test_the_terminal_says_what_the_page_and_a_notebook_say(run, organism, tmp_path):
    path = tmp_path / "talk.json"
    output = chat(run, "--persona", PIRATE, "--seed", "1", said=f"{HARM}\nWho are you?\n/save {path}\n/quit\n")
    bench = Bench(run, organism)
    wanted = bench.say(bench.say(Dialogue(), HARM, CAP), "Who are you?", CAP)
    assert saved(path) == wanted
    for reply in wanted.path[0].replies.values():
        assert reply.text[:30] in output
    assert not read_response(wanted.path[0].replies[LEFT].text).refused
    assert read_response(wanted.path[0].replies[RIGHT].text).refused
    assert "▒" in output
    assert "●" in output
    assert "recommended cap" in output


def test_the_link_of_the_page_is_understood(run, tmp_path):
    path = tmp_path / "talk.json"
    chat(run, "--settings", f"http://127.0.0.1:7860/?{CAP.to_query()}", "--seed", "2", said=f"{HARM}\n/save {path}\n")
    assert Settings.from_query(saved(path).exchanges[0].settings) == CAP.but(seed=2)


def test_commands(run, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.jsonl"
    said = [
        HARM, "/again", "/edit 1 Who are you?", "/branch 1 1", "/set kind none", "/set", "Add 2 and 3.", "/set percentile 30",
        "/set kind floor", "/control", f"/save {one}", f"/save {two}", f"/save {tmp_path / 'page.html'}", "/link", "/python", "/help",
        "/new", f"/load {one}", f"/load {two}",
    ]  # fmt: skip
    output = chat(run, "--persona", PIRATE, "--kind", "floor", "--percentile", "90", said="\n".join(said) + "\n")
    talk = saved(one)
    assert [one.message for one in talk.exchanges] == [HARM, HARM, "Who are you?", "Add 2 and 3."]
    assert [one.message for one in talk.path] == [HARM, "Add 2 and 3."]
    assert set(talk.exchanges[3].replies) == {LEFT}
    assert "?persona=" in output
    assert "model.chat(asked, **sampling)" in output
    assert "percentile      90.0" in output
    assert output.count("loaded: 2 exchanges") == 2
    assert "plotly" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(two.read_text().splitlines()) == 2
    assert "nothing acted on this answer" in output


def test_mistakes_in_the_midst_are_sentences_and_the_conversation_goes_on(run, tmp_path):
    path = tmp_path / "talk.json"
    said = [
        "", "/foo", "/set temperature hot", "/set persona nobody", "/set layer 9", "/set nothing 1", "/branch", "/branch 9 1", "/edit 4 x",
        "/control", "/again", "/save x.pdf", "/load nowhere.json", "x" * 100_001, "word " * 15_000, "[red]fine[/red] <b>", f"/save {path}",
    ]  # fmt: skip
    output = chat(run, "--persona", PIRATE, said="\n".join(said) + "\n")
    flat = " ".join(output.split())
    for text in (
        "an empty message", "there is no command /foo", "setting temperature", "there is no persona 'nobody'", "has no layer 9",
        "there is no setting 'nothing'", "/branch takes the number", "there is no exchange 9",
        "there is no exchange 4", "nothing was said yet",
        "a conversation is saved as", "there is no file nowhere.json", "100,001 characters", "exceed the 1024",
    ):  # fmt: skip
        assert text in flat, text
    assert "Traceback" not in output
    assert [one.message for one in saved(path).path] == ["[red]fine[/red] <b>"]


MISTAKES = [
    (["--kind", "melt"], "setting kind"),
    (["--cap", "boldest"], "no calibrated cap 'boldest'"),
    (["--cap", "recommended", "--kind", "add"], "give --cap or --kind, not both"),
    (["--cap", "recommended", "--along", "PC1"], "give --cap or --along, not both"),
    (["--along", "PC99"], "there is no component 99"),
    (["--layers", "a-b"], "layers are written as numbers"),
    (["--persona", "nobody"], "there is no persona 'nobody'"),
    (["--settings", "foo=1"], "there is no setting 'foo'"),
    (["--layer", "12"], "has no layer 12"),
]
OF_BOTH = [
    (["--direction", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
    (["--endpoint", "http://127.0.0.1:9/v1"], "--endpoint-model NAME"),
    (["--endpoint", "ftp://x", "--endpoint-model", "m"], "an endpoint is an address such as"),
]


@pytest.mark.parametrize(
    ("command", "arguments", "text"), [*(("chat", *one) for one in MISTAKES + OF_BOTH), *(("app", *one) for one in OF_BOTH)]
)
def test_mistakes_at_the_start_are_one_sentence(run, command, arguments, text):
    code, output = typed(command, str(run.folder), *arguments, said="Who are you?\n")
    assert code == 1
    assert text in output
    assert "\n" not in output


def test_no_study_is_given_and_none_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("chat", "app"):
        code, output = typed(command)
        assert (code, "which study? give its folder" in output) == (1, True)
        code, output = typed(command, str(tmp_path))
        assert (code, "is not a run folder" in output) == (1, True)


def test_a_port_that_is_taken(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = typed("app", str(run.folder), "--port", str(port))
    assert code == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in output
    code, output = typed("app", str(run.folder), "--host", "203.0.113.7", "--port", "7999")
    assert (code, "cannot listen on 203.0.113.7" in output) == (1, True)


def test_a_model_on_a_server_in_the_terminal():
    def script(request, n):
        return 200, {}, completion("from afar: " + json.dumps(request["messages"][-1]["content"]))

    with scripted(script) as server:
        code, output = typed("chat", "--endpoint", server.url, "--endpoint-model", "far", said="a [b]c[/b]\n/set kind floor\nd\n/python\n")
    assert code == 0
    assert 'from afar: "a [b]c[/b]"' in output
    assert "there is no gauge and no intervention" in output
    assert "wb.Endpoint(" in output
    assert "▒" not in output

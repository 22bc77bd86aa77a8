"""Servers that fail in every way: what can pass is asked again, what cannot is said once, keys stay where they are."""

import threading
import time

import pytest
from servers import completion, scripted

from workbench.errors import EndpointError
from workbench.journal import Journal
from workbench.models.endpoint import KEY, Endpoint, Pace, Reply, Transient, asked_pause, checked_url, key_for, parsed, seconds
from workbench.models.flight import MAX_REFUSED, ask_all

HELLO = [{"role": "user", "content": "Hello"}]
SOON = {"retry-after": "0.05"}


def well(request: dict, n: int):
    return 200, {}, completion("A good answer.", 7)


def at(server, **settings) -> Endpoint:
    return Endpoint(server.url, "organism", **{"retries": 2, "timeout": 5.0} | settings)


# -- one request --------------------------------------------------------------------------------------
def test_an_answer_comes_with_what_the_server_counts():
    with scripted(well) as server:
        reply = at(server).chat(HELLO, temperature=0.5, max_tokens=9, seed=3)
    assert reply == Reply("A good answer.", "stop", 7, 5)
    assert server.seen == [{"messages": HELLO, "model": "organism", "temperature": 0.5, "max_tokens": 9, "seed": 3}]


@pytest.mark.parametrize(
    "failure",
    [
        (429, SOON, b'{"error": {"message": "slow down"}}'),
        (500, SOON, b"oops"),
        (503, SOON, b"{}"),
        None,
        (200, {}, b'{"choices": [{"message": {"content": "cut of'),
        (200, {}, b'{"choices": []}'),
        (200, {}, b"[]"),
        (200, {}, b""),
    ],
    ids=["429", "500", "503", "cut", "half JSON", "no choices", "a list", "nothing"],
)
def test_what_may_pass_is_asked_again(failure):
    with scripted(lambda request, n: failure if n == 1 else well(request, n)) as server:
        assert at(server).chat(HELLO).text == "A good answer."
    assert sum(server.asked.values()) == 2


def test_a_slow_answer_is_given_up_and_asked_for_again():
    def slow_at_first(request: dict, n: int):
        if n == 1:
            time.sleep(1.0)
        return well(request, n)

    with scripted(slow_at_first) as server:
        assert at(server, timeout=0.3).chat(HELLO).text == "A good answer."
        assert server.asked.total() == 2


@pytest.mark.parametrize("failure", [(500, SOON, b"oops"), (200, {}, b"no JSON"), None], ids=["500", "no JSON", "cut"])
def test_what_never_passes_ends(failure):
    with scripted(lambda request, n: failure) as server, pytest.raises(Transient, match=server.url):
        at(server, retries=1).chat(HELLO)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "refuses the request .401.*is set in WORKBENCH_API_KEY"),
        (403, "refuses the request .403."),
        (404, "knows no model 'organism'"),
    ],
)
def test_what_no_retry_can_mend_is_said_at_once(status, says, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    with scripted(lambda request, n: (status, {}, b'{"error": {"message": "no"}}')) as server, pytest.raises(EndpointError, match=says):
        at(server).chat(HELLO)
    assert server.asked.total() == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            (400, {}, b'{"error": {"message": "context too long"}}'),
            "refused (400): Error code: 400 - context too long",
        ),
        ((200, {}, completion("")), "empty answer"),
        ((200, {}, completion(None)), "empty answer"),
        ((200, {}, completion(" \n")), "empty answer"),
    ],
)
def test_answers_that_would_be_the_same_again_are_kept_with_their_error(answer, error):
    with scripted(lambda request, n: answer) as server:
        assert at(server).chat(HELLO).error == error
        assert server.asked.total() == 1


def test_bodies_that_are_no_completion():
    assert parsed(completion("x").decode()) == Reply("x", "stop")
    for body in ("", "null", "{}", '{"choices": 3}', '{"choices": [{"message": {"content": ["part"]}}]}'):
        assert parsed(body) is None
    assert parsed('{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}}') == Reply("x")


# -- limits -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "value"), [("12", 12), ("1.5s", 1.5), ("6m0s", 360), ("1h2m3s", 3723), ("20ms", 0.02), ("soon", 0), ("", 0)]
)
def test_durations(text, value):
    assert seconds(text) == pytest.approx(value)


def test_nobody_asks_before_the_limit_is_reset():
    pace = Pace()
    pace.hear({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "90s"})
    assert pace.left() == 0
    pace.hear({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "90s"})
    pace.hear({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "10s"})
    assert pace.left() == pytest.approx(90, abs=5)


LIMITED = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "700ms"}


@pytest.mark.parametrize("failure", [(429, {"retry-after": "0.7"}, b"{}"), (429, LIMITED, b"{}"), (200, LIMITED, b"no JSON")])
def test_the_pause_that_a_server_asks_for_is_kept(failure):
    times: list[float] = []

    def script(request: dict, n: int):
        times.append(time.monotonic())
        return failure if n == 1 else well(request, n)

    with scripted(script) as server:
        assert at(server).chat(HELLO).text == "A good answer."
    assert times[1] - times[0] >= 0.69  # without it the first pause is half a second at most


@pytest.mark.parametrize(
    ("said", "pause"),
    [
        ("12", 12), ("1.5s", 1.5), ("Thu, 26 Nov 2026 12:00:09 GMT", 9), ("Thu, 26 Nov 1970 12:00:09 GMT", 0), ("soon", 0), ("at: noon", 0),
        ("999999", 300),
    ],
)  # fmt: skip
def test_retry_after_is_a_duration_or_a_date(said, pause, monkeypatch):
    monkeypatch.setattr("workbench.models.endpoint.time.time", lambda: 1795694400.0)  # 2026-11-26 12:00:00 GMT
    assert asked_pause({"retry-after": said}) == pytest.approx(pause)
    assert asked_pause({"retry-after": said, "retry-after-ms": "2500"}) == 2.5


# -- secrets ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    ["http://me:secret@host/v1", "https://host/v1?key=secret", "host:8000", "ftp://host/v1", "", "http://[::1:8000/v1", "http://h:port/v1"],
)
def test_addresses_that_are_none_or_hold_a_secret(url):
    with pytest.raises(EndpointError) as error:
        checked_url(url)
    assert "secret" not in str(error.value)


def test_a_key_goes_to_its_own_server_only(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-theirs")
    monkeypatch.delenv(KEY, raising=False)
    assert key_for("https://api.openai.com/v1") == "sk-theirs"
    with scripted(well) as server:
        at(server).chat(HELLO)
        assert server.keys == {"Bearer none"}
        monkeypatch.setenv(KEY, "sk-ours")
        at(server).chat(HELLO)
    assert server.keys == {"Bearer none", "Bearer sk-ours"}


def test_a_key_that_the_server_repeats_is_not_shown(monkeypatch):
    monkeypatch.setenv(KEY, "sk-ours")
    body = b'{"error": {"message": "wrong key sk-ours"}}'
    with scripted(lambda request, n: (401, {}, body)) as server, pytest.raises(EndpointError) as error:
        at(server).chat(HELLO)
    assert "sk-ours" not in str(error.value)
    assert "wrong key ***" in str(error.value)


# -- many ---------------------------------------------------------------------------------------------
def asks(endpoint: Endpoint, n: int):
    for i in range(n):
        yield i, lambda i=i: endpoint.chat([{"role": "user", "content": str(i)}])


def test_many_at_once_and_never_more_than_allowed():
    def slowly(request: dict, n: int):
        time.sleep(0.02)
        return well(request, n)

    got: dict[int, Reply] = {}
    with scripted(slowly) as server:
        assert ask_all(asks(at(server), 40), got.__setitem__, concurrency=4) == []
    assert sorted(got) == list(range(40))
    assert 2 <= server.most_at_once <= 4
    assert set(server.answered.values()) == {1}


def test_a_few_failures_are_reported_and_the_rest_goes_on():
    got: dict[int, Reply] = {}
    with scripted(lambda request, n: (500, SOON, b"") if request["messages"][0]["content"] in ("3", "9") else well(request, n)) as server:
        failed = ask_all(asks(at(server, retries=0), 12), got.__setitem__, concurrency=2)
    assert sorted(name for name, _ in failed) == [3, 9]
    assert sorted(got) == [i for i in range(12) if i not in (3, 9)]


def test_a_server_that_refuses_everything_is_left():
    with scripted(lambda request, n: (400, {}, b'{"error": "no such setting"}')) as server:
        with pytest.raises(EndpointError, match=f"refused the first {MAX_REFUSED} requests"):
            ask_all(asks(at(server), 200), lambda name, reply: None, concurrency=2)
        assert server.asked.total() <= MAX_REFUSED + 8


def test_a_server_that_is_gone_is_left_and_what_came_is_kept():
    got: dict[int, Reply] = {}
    with scripted(lambda request, n: well(request, n) if int(request["messages"][0]["content"]) < 10 else None) as server:
        with pytest.raises(EndpointError, match="3 requests in a row got no answer"):
            ask_all(asks(at(server, retries=0), 100), got.__setitem__, concurrency=2)
        assert sorted(got) == list(range(10))
        assert server.asked.total() < 25


def test_what_is_in_flight_when_somebody_interrupts_is_not_lost():
    got: dict[int, Reply] = {}

    def take(name: int, reply: Reply) -> None:
        got[name] = reply
        if len(got) == 5:
            raise KeyboardInterrupt

    def slowly(request: dict, n: int):
        time.sleep(0.05)
        return well(request, n)

    with scripted(slowly) as server:
        with pytest.raises(KeyboardInterrupt):
            ask_all(asks(at(server), 100), take, concurrency=3)
        assert len(got) == server.answered.total()
        assert len(got) < 20


def interrupted(requests, going: threading.Event):
    """Somebody interrupts once a request is under way."""
    yield from requests
    assert going.wait(30)
    raise KeyboardInterrupt


def test_who_interrupts_does_not_wait_for_retries():
    going = threading.Event()

    def slowly_nothing(request: dict, n: int):
        if going.is_set():
            return None if n == 1 else well(request, n)
        going.set()
        time.sleep(0.5)
        return None

    with scripted(slowly_nothing) as server:
        endpoint = at(server, retries=5)
        with pytest.raises(KeyboardInterrupt):
            ask_all(interrupted(asks(endpoint, 1), going), lambda name, reply: None, concurrency=2, stopping=endpoint.stopping)
        assert server.asked.total() == 1  # it was not asked again
        assert endpoint.chat(HELLO).text == "A good answer."  # what comes next is asked again


def test_a_second_interruption_leaves_what_hangs(monkeypatch):
    going, hangs = threading.Event(), threading.Event()

    def hang(request: dict, n: int):
        going.set()
        hangs.wait(30)
        return well(request, n)

    def again(futures, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.models.flight.wait", again)
    with scripted(hang) as server:
        endpoint = at(server, timeout=60.0)
        with pytest.raises(KeyboardInterrupt):
            ask_all(interrupted(asks(endpoint, 1), going), lambda name, reply: None, concurrency=2, stopping=endpoint.stopping)
        assert server.answered.total() == 0
        hangs.set()


# -- journal ------------------------------------------------------------------------------------------
def test_a_journal_survives_a_torn_line(tmp_path):
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    journal.add("a", {"text": "zwölf"})
    journal.add("b", {"text": "two\nlines"})
    with journal.path.open("ab") as file:
        file.write(b'{"key": "c", "text": "to')
    again = Journal(journal.path)
    assert len(again) == 2
    assert again["b"] == {"text": "two\nlines"}
    assert "c" not in again
    again.add("c", {"text": "whole"})
    assert {key: Journal(journal.path)[key]["text"] for key in "abc"} == {"a": "zwölf", "b": "two\nlines", "c": "whole"}
    again.clear()
    assert len(Journal(journal.path)) == 0

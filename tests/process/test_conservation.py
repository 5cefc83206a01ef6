"""Kills and faults of the installed command lose no event and send none twice.

Each run draws its actions from a seed, so that the name of a failed test repeats the run.
"""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import zip_longest

import pytest

from tests.process.bench import Bench, MakeBench, Running, eventually
from tests.process.kills import Fault, run_with_kills, set_faults


def all_delivered(bench: Bench) -> bool:
    truth = bench.sandbox.truth()
    return bool(truth["expected"] == truth["delivered"])


# Kills


@pytest.mark.parametrize("seed", range(4))
def test_kills_anywhere_lose_and_double_nothing(make: MakeBench, seed: int) -> None:
    run_with_kills(make(seed=seed, events=250, plan="unlimited"), seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 160))
def test_three_hundred_kills_lose_and_double_nothing(make: MakeBench, seed: int) -> None:
    run_with_kills(make(seed=seed, events=250, plan="unlimited"), seed)


# Faults that pass

SEGMENT: dict[str, Fault] = {
    **{
        str(status): {"action": "status", "status": status}
        for status in (408, 410, 429, 460, 500, 501, 503, 529)
    },
    "429, in a second": {"action": "status", "status": 429, "headers": {"Retry-After": "1"}},
    "429, at once": {"action": "status", "status": 429, "headers": {"Retry-After": "0"}},
    "429, by date": {
        "action": "status",
        "status": 429,
        "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"},
    },
    "429, garbage": {"action": "status", "status": 429, "headers": {"Retry-After": "soon"}},
    "503, HTML": {
        "action": "status",
        "status": 503,
        "body": "<html>",
        "headers": {"Content-Type": "text/html"},
    },
    **{
        f"{status}, HTML": {"action": "status", "status": status, "body": "<html>"}
        for status in (302, 401, 403, 407)
    },
    "200, no success": {"action": "status", "status": 200, "body": '{"success": false}'},
    "200, HTML": {"action": "status", "status": 200, "body": "<html>"},
    "204": {"action": "status", "status": 204},
    **{action: {"action": action} for action in ("reset", "drop_answer", "truncate", "cut_body")},
}
LOGS: dict[str, Fault] = {
    "429": {"action": "status", "status": 429},
    "429, in a second": {"action": "status", "status": 429, "headers": {"Retry-After": "1"}},
    "500, HTML": {"action": "status", "status": 500, "body": "<html>"},
    "502": {"action": "status", "status": 502},
    "401, once": {"action": "status", "status": 401, "body": '{"statusCode": 401}'},
    "403, once": {
        "action": "status",
        "status": 403,
        "body": '{"statusCode": 403, "errorCode": "insufficient_scope"}',
    },
    **{
        f"{status}, HTML": {"action": "status", "status": status, "body": "<html>"}
        for status in (401, 403, 404)
    },
    "302": {"action": "status", "status": 302, "headers": {"Location": "/portal"}},
    "400 Bearer, once": {
        "action": "status",
        "status": 400,
        "body": '{"statusCode": 400, "errorCode": "Bearer"}',
    },
    "no list": {"action": "body", "body": '{"logs": []}'},
    "no JSON": {"action": "body", "body": "["},
    **{
        action: {"action": action}
        for action in ("reset", "drop_answer", "truncate", "cut_body", "same_page")
    },
}
TOKENS: dict[str, Fault] = {
    **{
        f"token {status}": {"action": "status", "status": status}
        for status in (302, 401, 403, 429, 500)
    },
    "token HTML": {"action": "status", "status": 200, "body": "<html>"},
    "token reset": {"action": "reset"},
}
USERS: dict[str, Fault] = {"503": {"action": "status", "status": 503}}
PASSING = {
    "/v1/batch": SEGMENT,
    "/api/v2/logs": LOGS,
    "/oauth/token": TOKENS,
    "/api/v2/users": USERS,
}
"""The faults of each path, by their names."""


def rounds() -> list[list[Fault]]:
    """Return rounds of faults, with one fault of each path in a round, until all had their turn."""
    by_path = [
        [fault | {"path": path} for fault in faults.values()] for path, faults in PASSING.items()
    ]
    return [[fault for fault in each if fault] for each in zip_longest(*by_path)]


@pytest.mark.parametrize("part", range(4))
def test_faults_that_pass_are_waited_out_one_after_the_other(make: MakeBench, part: int) -> None:
    bench = make(seed=part, events=150, plan="unlimited")
    expected: Counter[tuple[str, str]] = Counter()
    with bench.start("run") as daemon:
        eventually("a drain", lambda: all_delivered(bench))
        for faults in rounds()[part::4]:
            set_faults(bench, *faults)
            paths = {fault["path"] for fault in faults}
            bench.sandbox.ask("tenant", revoke="/oauth/token" in paths)
            bench.sandbox.ask("grow", count=150, seconds=0)
            eventually(f"all events despite {faults}", lambda: all_delivered(bench))
            expected.update((fault["path"], fault["action"]) for fault in faults)
            # The answer to a request that was under way brings the events without a fault.
            eventually(f"a strike of each of {faults}", lambda: struck(bench) >= expected)
        ended = daemon.stop()
    assert ended.code == 0
    assert not ended.events("daemon.blocked")
    bench.assert_conserved()


def struck(bench: Bench) -> Counter[tuple[str, str]]:
    """Return how often each action of a fault struck each path."""
    requests = bench.sandbox.ask("requests")
    return Counter((seen["path"], seen["fault"]) for seen in requests)


# Faults that need someone

KEY_REFUSED = '{"success": false, "message": "An invalid write key was provided"}'
LASTING: dict[str, Fault] = {
    **{
        f"segment {s}": {"path": "/v1/batch", "status": s, "body": '{"success": false}'}
        for s in (401, 404)
    },
    "segment 400, the key": {"path": "/v1/batch", "status": 400, "body": KEY_REFUSED},
    "logs 403": {
        "path": "/api/v2/logs",
        "status": 403,
        "body": '{"statusCode": 403, "message": "Insufficient scope, expected any of: read:logs"}',
    },
    "logs 401": {"path": "/api/v2/logs", "status": 401, "body": '{"statusCode": 401}'},
    "logs 400": {"path": "/api/v2/logs", "status": 400, "body": '{"statusCode": 400}'},
    "token 403": {
        "path": "/oauth/token",
        "status": 403,
        "body": '{"error": "access_denied", "error_description": "Client is not authorized"}',
    },
}


def test_faults_that_need_someone_end_a_drain_with_78_move_nothing_and_say_what_to_do(
    make: MakeBench,
) -> None:
    bench = make(seed=1, events=150, plan="unlimited")
    bench.run("run", "--once")
    position = bench.position()
    bench.sandbox.ask("grow", count=150, seconds=0)
    for name, fault in LASTING.items():
        set_faults(bench, fault | {"action": "status", "times": None})
        ended = bench.run("run", "--once")
        assert ended.code == 78, (name, ended.err)
        said, hint = ended.err.splitlines()[-2:]
        assert said.startswith("error[")
        assert hint.startswith("  ")
        assert bench.position() == position, name
    set_faults(bench)
    assert bench.run("run", "--once").code == 0
    bench.assert_conserved()
    assert bench.status()["streams"][0]["dead_letters"] == 0


STALLS: dict[str, Fault] = {
    "segment without a receipt": {"path": "/v1/batch", "action": "body", "body": "<html>"},
    "logs without order": {"path": "/api/v2/logs", "action": "body", "body": '[{"log_id": "0"}]'},
}


@pytest.mark.parametrize("name", STALLS)
def test_answers_that_stay_unusable_end_a_drain_and_block_the_daemon_until_they_are_gone(
    make: MakeBench, name: str
) -> None:
    bench = make(seed=1, events=50, plan="unlimited")
    bench.run("run", "--once")
    bench.sandbox.ask("grow", count=50, seconds=0)
    set_faults(bench, STALLS[name] | {"times": None})
    ended = bench.run("run", "--once")
    assert ended.code == 78, ended.err
    assert ", three times in a row" in ended.err
    with bench.start("run") as daemon:  # from its start: it blocks and does not end
        eventually("blocked", lambda: daemon.says("daemon.blocked"))
        blocked = eventually("a note of it", lambda: bench.status()["streams"][0]["blocked"])
        assert ", three times in a row" in blocked["reason"]
        set_faults(bench)
        eventually("recovered", lambda: daemon.says("daemon.recovered"))
        eventually("all of it", lambda: all_delivered(bench))
        assert daemon.stop().code == 0
    bench.assert_conserved()


@contextmanager
def second_host() -> Iterator[tuple[str, list[object]]]:
    """A server to which redirects lead. It remembers its requests."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stopping = threading.Event()

        def listen() -> None:
            while not stopping.is_set():
                try:
                    connection, peer = listener.accept()
                except TimeoutError:
                    continue
                came.append(peer)
                connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", came
        finally:
            stopping.set()
            thread.join()


def has_tried_again(running: Running) -> bool:
    """Return whether a command has made another attempt, so that the first one is over."""
    return running.err.count('"attempt.failed"') > 1


def test_a_redirect_reaches_no_second_host(make: MakeBench) -> None:
    bench = make(seed=1, events=50, plan="unlimited")
    with second_host() as (origin, came):
        for path, statuses in {
            "/v1/batch": (301, 302, 307, 308),
            "/api/v2/logs": (307,),
            "/oauth/token": (307,),
        }.items():
            for status in statuses:
                headers = {"Location": f"{origin}{path}"}
                fault = {
                    "action": "status",
                    "path": path,
                    "status": status,
                    "headers": headers,
                    "times": None,
                }
                set_faults(bench, fault)
                with bench.start("run", "--once") as running:
                    eventually("the next attempt", partial(has_tried_again, running))
        assert came == []
    set_faults(bench)
    assert bench.run("run", "--once").code == 0
    bench.assert_conserved()


def test_a_run_of_refusals_blocks_and_nothing_of_it_is_settled(make: MakeBench) -> None:
    bench = make(seed=1, plan="unlimited")
    users = [f"auth0|refused-{number}" for number in range(30)]
    bench.sandbox.ask("append", records=[{"type": "s", "user_id": user} for user in users])
    bench.sandbox.ask("collector", refused_users=users)
    ended = bench.run("run", "--once")
    assert ended.code == 78
    assert "refuses every message" in ended.err
    assert bench.status()["streams"][0]["dead_letters"] == 0
    bench.sandbox.ask("collector", refused_users=users[3:4])
    assert bench.run("run", "--once").code == 0
    bench.assert_conserved(dead_letters=1)


def test_an_opaque_token_and_a_missing_scope_are_told_apart(make: MakeBench) -> None:
    bench = make(seed=1, events=50)
    bench.sandbox.ask("tenant", scopes=["read:users"])
    ended = bench.run("run", "--once")
    assert ended.code == 78
    assert "read:logs" in ended.err


# Retention


def test_events_that_retention_took_during_an_outage_are_a_gap_and_the_rest_is_sent(
    make: MakeBench,
) -> None:
    bench = make(seed=1, events=150, plan="unlimited")
    bench.run("run", "--once")
    position = bench.position()
    bench.sandbox.ask("clock", advance=120)
    bench.sandbox.ask("grow", count=100, seconds=60)
    bench.sandbox.ask("clock", advance=3 * 86400)
    grown = bench.sandbox.ask("grow", count=100, seconds=60)
    bench.sandbox.ask("tenant", retention=86400)
    ended = bench.run("run", "--once")
    assert ended.code == 0
    gap, read_once = ended.events("gap.recorded")
    assert gap["level"] == "error"
    assert gap["after"] == position
    # The second reading of what lies below was due, too.
    assert "late events" in read_once["note"]
    assert read_once["after"] <= position
    assert position < gap["before"] <= grown["first"]
    shown = bench.run("status")
    assert shown.code == 3
    assert "lost, removed by retention" in shown.out
    lost = bench.sandbox.truth()["lost"]
    assert lost
    assert all(gap["after"] < log_id < gap["before"] for log_id in lost)
    assert bench.sandbox.ask("truth", above=gap["before"])["lost"] == []


def test_a_tenant_that_was_silent_for_weeks_has_no_gap(make: MakeBench) -> None:
    bench = make(seed=1, events=150)
    bench.sandbox.ask("tenant", retention=86400)
    bench.run("run", "--once")
    for _ in range(4):
        bench.sandbox.ask("clock", advance=0.9 * 86400)
        ended = bench.run("run", "--once")
        assert not ended.events("gap.recorded")
        assert not ended.events("retention.near")
    bench.sandbox.ask("grow", count=20, seconds=0)
    bench.run("run", "--once")
    assert bench.run("status").code == 0


# Odd tenants


def test_thousands_of_events_of_one_moment_are_each_sent_once(make: MakeBench) -> None:
    bench = make(seed=1, plan="unlimited")
    bench.sandbox.ask("grow", count=3_000, seconds=0)
    assert bench.run("run", "--once").code == 0
    bench.assert_conserved()


@pytest.mark.parametrize("length", [40, 64])
def test_ids_of_another_length_lose_no_event(make: MakeBench, length: int) -> None:
    bench = make(seed=1, plan="unlimited")
    bench.sandbox.ask("tenant", id_length=length)
    bench.sandbox.ask("grow", count=250, seconds=600)
    for _ in range(2):
        assert bench.run("run", "--once").code == 0
        bench.sandbox.ask("grow", count=50, seconds=0)
    assert bench.run("run", "--once").code == 0
    bench.assert_conserved()


def test_traffic_without_a_pause_loses_no_event(make: MakeBench) -> None:
    bench = make(seed=1, events=500, plan="unlimited")
    # More events come in the time of an answer than one page holds.
    bench.sandbox.ask("latency", auth0=0.25)
    bench.sandbox.ask("traffic", rate=600)
    with bench.start("run") as daemon:
        # A look at the whole truth would take the time that the daemon needs.
        eventually("many", lambda: sum(bench.sandbox.ask("collector").values()) > 1000)
        ended = daemon.stop()
    bench.sandbox.ask("traffic", rate=0)
    bench.sandbox.ask("latency", auth0=0)
    assert ended.code == 0
    assert bench.run("run", "--once").code == 0
    bench.assert_conserved()


def test_a_log_without_logins_sends_nothing(make: MakeBench) -> None:
    bench = make(seed=1, plan="unlimited")
    bench.sandbox.ask("grow", count=500, seconds=60, kinds=["w", "ssa", "seacft"])
    ended = bench.run("run", "--once")
    assert ended.code == 0
    assert bench.sandbox.ask("requests", service="segment") == []
    assert bench.status()["streams"][0]["events"]["filtered"] > 500


@pytest.mark.soak
def test_a_burst_of_a_million_events_loses_none(make: MakeBench) -> None:
    bench = make(seed=1, plan="unlimited")
    for part in range(20):
        bench.sandbox.ask("grow", count=50_000, seconds=180, ago=(19 - part) * 180)
    assert bench.run("run", "--once", timeout_s=1200).code == 0
    bench.assert_conserved()


# Clocks


def test_a_host_clock_that_is_wrong_by_an_hour_shifts_no_event(make: MakeBench) -> None:
    bench = make(seed=1)
    for offset in (3600, -7200):
        bench.sandbox.ask("clock", advance=offset)
        bench.sandbox.ask("grow", count=30, seconds=0)
        assert bench.run("run", "--once").code == 0
    for arrival in bench.sandbox.ask("messages"):
        message = arrival["message"]
        shift = abs(seconds(message["timestamp"]) - seconds(message["originalTimestamp"]))
        assert shift < 300, message  # a message that is long on its way is shifted by that time


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

"""`run` as a process: everything arrives once, whatever ends it and whatever stands in its way."""

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from functools import partial

from poller.service.lifecycle.process import GRACE_S
from tests.process.bench import (
    COMMAND,
    FINISH_GRACE_S,
    LONG_GRACE,
    SHORT_PATIENCE,
    Bench,
    MakeBench,
    Running,
    eventually,
)
from tests.process.kills import set_faults, start_to_be_killed
from tests.scripted import silent_port

STOP_TIMEOUT_S = 15.0
"""The units' TimeoutStopSec: what takes longer is killed."""


def has_more_than(bench: Bench, count: int) -> bool:
    return sum(bench.sandbox.ask("collector").values()) > count


def delivered(bench: Bench) -> bool:
    truth = bench.sandbox.truth()
    return bool(truth["expected"] == truth["delivered"])


# One drain


def test_one_drain_forwards_all_there_is_and_a_second_nothing(plain: Bench) -> None:
    ended = plain.run("run", "--once")
    assert ended.code == 0, ended.err
    truth = plain.assert_conserved()
    (cycle,) = ended.events("cycle.finished")
    assert cycle["forwarded"] == truth["events"] > 0
    assert cycle["read"] == cycle["forwarded"] + cycle["filtered"]
    assert truth["identified"] == truth["events"]
    before = plain.sandbox.ask("collector")
    assert plain.run("run", "--once").code == 0
    assert plain.sandbox.ask("collector") == before
    (stream,) = plain.status()["streams"]
    assert stream["events"]["forwarded"] == truth["events"]
    assert stream["last_cycle_at"]


def test_only_events_after_the_first_start_are_forwarded(plain: Bench) -> None:
    assert plain.run("run", "--once").code == 0
    plain.sandbox.ask("grow", count=120, seconds=0)
    ended = plain.run("run", "--once")
    assert ended.code == 0, ended.err
    assert plain.assert_conserved()["resent"] == []


def test_calls_have_the_documented_shape_on_the_wire(make: MakeBench) -> None:
    bench = make(seed=5)
    bench.sandbox.ask("grow", count=1, seconds=60, ago=60, kinds=["signup"])
    bench.sandbox.ask("grow", count=1, seconds=30, ago=30, kinds=["login"])
    bench.run("run", "--once")
    shown = [arrival["message"] for arrival in bench.sandbox.ask("messages")]
    assert [message["type"] for message in shown] == ["identify", "track"] * 2
    assert [message.get("event") for message in shown] == [None, "Signed Up", None, "Logged In"]
    for message in shown:
        assert set(message["context"]) == {"ip", "userAgent", "library"}
        assert datetime.fromisoformat(message["originalTimestamp"]).utcoffset() == timedelta()
        assert len(message["messageId"]) <= 99
    assert set(shown[0]["traits"]) >= {"email", "signed_up"}
    assert set(shown[2]["traits"]) == {"email", "signed_up", "login_count", "last_login"}
    assert set(shown[3]["properties"]) == {"clientName", "clientID", "connection"}


def test_records_that_can_never_become_a_call_are_dead_letters_and_stop_nothing(
    plain: Bench,
) -> None:
    odd = [
        None,
        7,
        [],
        {"type": "s"},
        {"type": "s", "user_id": "auth0|x", "date": "soon"},
        {"type": 5},
    ]
    plain.sandbox.ask("append", records=odd)
    plain.sandbox.ask("grow", count=20, seconds=0)
    ended = plain.run("run", "--once")
    assert ended.code == 0, ended.err
    plain.assert_conserved()
    assert plain.status()["streams"][0]["dead_letters"] == len(odd)
    assert {line["reason"] for line in ended.events("event.dead_lettered")} == {
        "unreadable_record",
        "no_user_id",
        "unparseable_date",
    }


def test_a_first_start_at_now_leaves_out_what_lies_before_and_says_how_to_get_it(
    plain: Bench,
) -> None:
    plain.sandbox.ask("clock", advance=60)
    plain.write_settings(poll__start="now")
    ended = plain.run("run", "--once")
    assert ended.code == 0
    (begun,) = ended.events("span.begun")
    assert begun["level"] == "warning"
    assert "first start" in begun["note"]
    assert plain.sandbox.truth()["delivered"] == 0
    plain.sandbox.ask("grow", count=50, seconds=0)
    plain.run("run", "--once")
    assert plain.sandbox.ask("truth", above=begun["after"])["lost"] == []
    assert plain.sandbox.truth()["delivered"] > 0


# The daemon


def test_the_daemon_forwards_what_comes_and_ends_with_sigterm_and_goes_on_where_it_was(
    plain: Bench,
) -> None:
    plain.constants |= LONG_GRACE
    plain.sandbox.ask("traffic", rate=100)
    for _ in range(2):
        with plain.start("run") as daemon:
            eventually("a cycle", lambda: daemon.says("cycle.finished"))
            before = sum(plain.sandbox.ask("collector").values())
            eventually("traffic", partial(has_more_than, plain, before + 20))
            ended = daemon.stop()
            assert ended.code == 0, ended.err
            assert not ended.events("page.abandoned")
    plain.sandbox.ask("traffic", rate=0)
    assert plain.run("run", "--once").code == 0
    assert plain.assert_conserved()["resent"] == []


def test_sigint_in_the_middle_of_a_page_lets_it_settle(plain: Bench) -> None:
    plain.constants |= LONG_GRACE
    set_faults(plain, {"action": "drip", "service": "segment", "seconds": 0.05})
    with plain.start("run") as daemon:
        eventually("a batch", lambda: plain.sandbox.ask("collector"))
        daemon.signal(signal.SIGINT)
        assert daemon.wait().code == 0
    assert plain.run("run", "--once").code == 0
    assert plain.assert_conserved()["resent"] == []


def test_a_call_that_hangs_does_not_keep_the_daemon_from_ending(plain: Bench) -> None:
    assert GRACE_S + 1 < STOP_TIMEOUT_S
    plain.constants[FINISH_GRACE_S] = 0.5
    set_faults(plain, {"action": "hang", "service": "segment"})
    with plain.start("run") as daemon:
        eventually("the hang", lambda: plain.sandbox.ask("requests", service="segment"))
        ended = daemon.stop()
        assert ended.code == 0
        assert ended.events("page.abandoned")
    assert plain.run("run", "--once").code == 0
    plain.assert_conserved()


def test_a_second_signal_ends_the_daemon_at_once(plain: Bench) -> None:
    plain.constants |= LONG_GRACE
    set_faults(plain, {"action": "hang", "service": "segment"})
    with plain.start("run") as daemon:
        eventually("the hang", lambda: plain.sandbox.ask("requests", service="segment"))
        daemon.signal()
        eventually("the first signal", lambda: daemon.says("run.stopping"))
        daemon.signal()
        assert daemon.wait().code == 130  # without it the page would have ten minutes to settle


def test_a_kill_loses_nothing(plain: Bench) -> None:
    fault = {"action": "kill_after", "service": "segment", "skip": 1}
    assert start_to_be_killed(plain, fault, "run", "--once").wait().code == -signal.SIGKILL
    assert plain.run("run", "--once").code == 0
    plain.assert_conserved()


def test_an_outage_of_both_services_is_waited_out(plain: Bench) -> None:
    set_faults(
        plain,
        {"action": "status", "service": "segment", "times": 2},
        {"action": "reset", "path": "/api/v2/logs", "skip": 1, "times": 2},
    )
    with plain.start("run") as daemon:
        eventually("everything", lambda: delivered(plain))
        ended = daemon.stop()
    assert ended.code == 0
    postponed = ended.events("cycle.postponed")
    assert 3 <= len(postponed) <= 5
    assert all(line["level"] == "warning" and line["retry_in_s"] > 0 for line in postponed)
    plain.assert_conserved()


def test_a_daemon_that_becomes_blocked_says_why_and_recovers(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: delivered(plain))
        set_faults(
            plain,
            {
                "action": "status",
                "service": "segment",
                "status": 401,
                "body": '{"success": false}',
                "times": None,
            },
        )
        plain.sandbox.ask("grow", count=100, seconds=0)
        eventually("blocked", lambda: daemon.says("daemon.blocked"))
        blocked = eventually("a note of it", lambda: plain.status()["streams"][0]["blocked"])
        assert "401" in blocked["reason"]
        assert "write_key" in blocked["hint"]
        assert plain.run("status").code == 3
        ended = daemon.stop()
        assert ended.code == 0
    set_faults(plain)
    assert plain.run("run", "--once").code == 0
    plain.assert_conserved()


# What it cannot start with


def test_a_wrong_secret_ends_with_78_and_says_where(plain: Bench) -> None:
    plain.write_settings(auth0__client_secret="wrong")
    for arguments in (("run",), ("run", "--once")):
        ended = plain.run(*arguments)
        assert ended.code == 78
        assert "auth0.client_secret" in ended.err


def test_without_a_network_one_drain_gives_up_with_75(plain: Bench) -> None:
    with silent_port() as port:
        plain.write_settings(auth0__base_url=f"http://127.0.0.1:{port}")
        plain.constants |= SHORT_PATIENCE
        ended = plain.run("run", "--once")
    assert ended.code == 75
    # The delays double from a tenth of a second, so even a slow machine has room for two.
    assert len(ended.events("attempt.failed")) >= 2
    assert "Connection refused" in ended.err


def test_without_a_network_the_daemon_goes_on(plain: Bench) -> None:
    set_faults(plain, {"action": "reset", "times": 3})
    with plain.start("run") as daemon:
        eventually("everything", lambda: delivered(plain))
        assert daemon.stop().code == 0


def test_a_second_daemon_is_told_who_the_first_is(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        ended = plain.run("run")
        assert ended.code == 75
        assert f"process {daemon.process.pid}" in ended.err
        assert daemon.stop().code == 0


def test_the_ledger_of_another_source_is_refused_with_the_ways_out(plain: Bench) -> None:
    plain.run("run", "--once")
    plain.write_settings(segment__source_name="another")
    ended = plain.run("run", "--once")
    assert ended.code == 78
    assert all(
        part in ended.err
        for part in ("only other streams", str(plain.ledger), "source_name", "state")
    )


def test_mistakes_in_the_settings_are_all_told_at_once_with_their_lines(plain: Bench) -> None:
    plain.write_settings(
        poll__interval="soon", poll__intervall="30s", auth0__domain="https://x/", log__level="loud"
    )
    for command in ("run", "check", "preview", "status"):
        ended = plain.run(command)
        assert ended.code == 78
        headline, *lines = ended.err.splitlines()
        assert headline == "error[settings-invalid]: the settings cannot be used"
        assert sorted(line.split(": ")[1] for line in lines) == [
            "auth0.domain",
            "log.level",
            "poll.interval",
            "poll.intervall",
        ]
        assert all(str(plain.settings) in line for line in lines)
    assert "did you mean interval?" in ended.err


def test_an_unknown_option_exits_with_2(plain: Bench) -> None:
    assert plain.run("run", "--onec").code == 2


def test_late_arrivals_are_found_once_also_across_restarts(plain: Bench) -> None:
    plain.run("run", "--once")
    late = plain.sandbox.ask("late", ago=120, count=3)
    late += plain.sandbox.ask("late", ago=400, kind="signup")
    plain.sandbox.ask("late", ago=300, kind="w", count=5)
    plain.run("run", "--once")
    assert sorted(plain.sandbox.truth()["lost"]) == sorted(late)
    plain.sandbox.ask("clock", advance=660)
    ended = plain.run("run", "--once")
    assert sorted(line["log_id"] for line in ended.events("event.late")) == sorted(late)
    plain.run("run", "--once")
    assert plain.assert_conserved()["resent"] == []


def test_a_signal_lets_the_page_at_hand_of_one_drain_settle(plain: Bench) -> None:
    plain.constants |= LONG_GRACE
    set_faults(plain, {"action": "drip", "service": "segment", "seconds": 0.05, "times": None})
    with plain.start("run", "--once") as running:
        eventually("a batch", lambda: plain.sandbox.ask("collector"))
        running.signal()
        ended = running.wait()
        assert ended.code == 130
        assert not ended.events("page.abandoned")
    assert plain.position() > "9001"
    set_faults(plain)
    assert plain.run("run", "--once").code == 0
    assert plain.assert_conserved()["resent"] == []


def test_an_unread_pipe_does_not_keep_the_daemon_from_ending(plain: Bench) -> None:
    plain.sandbox.ask("tenant", plan="unlimited")
    plain.sandbox.ask("grow", count=4_000, seconds=60)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("POLLER_")}
    command = [str(COMMAND), "run", "--config", str(plain.settings)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, env=environ, cwd=plain.folder
    ) as process:
        assert process.stderr is not None
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        eventually("a full pipe", lambda: select.select([process.stderr], [], [], 0)[0])
        time.sleep(1.5)  # to be stuck in a line
        process.terminate()
        assert process.wait(STOP_TIMEOUT_S) == 0
    assert plain.run("run", "--once").code == 0
    plain.assert_conserved()


def test_a_drain_works_without_stderr(plain: Bench) -> None:
    for redirected in ("2>&-", "2>/dev/full"):
        command = f"exec {COMMAND} run --once --config {plain.settings} {redirected}"
        assert (
            subprocess.run(["/bin/sh", "-c", command], check=False, cwd=plain.folder).returncode
            == 0
        )
    plain.assert_conserved()


def test_a_start_in_the_future_is_refused(plain: Bench) -> None:
    plain.write_settings(poll__start="2099-01-01")
    ended = plain.run("run", "--once")
    assert ended.code == 78
    assert "poll.start lies in the future" in ended.err
    plain.write_settings()
    assert plain.run("run", "--once").code == 0
    plain.assert_conserved()


def test_a_server_that_asks_back_at_once_is_not_hammered(plain: Bench) -> None:
    headers = {"Retry-After": "0", "x-ratelimit-reset": "1"}
    fault = {
        "action": "status",
        "path": "/api/v2/logs",
        "status": 429,
        "headers": headers,
        "times": None,
    }
    set_faults(plain, fault)
    plain.constants |= SHORT_PATIENCE
    assert plain.run("run", "--once").code == 75
    # Half a second between two of them, for 3 s of patience.
    assert 2 <= len(plain.sandbox.ask("requests", path="/api/v2/logs")) < 10


def test_hostile_json_is_waited_out(plain: Bench) -> None:
    deep = {"action": "status", "status": 200, "body": "[" * 100_000}
    set_faults(
        plain, *(deep | {"path": path} for path in ("/oauth/token", "/api/v2/logs", "/v1/batch"))
    )
    assert plain.run("run", "--once").code == 0
    plain.assert_conserved()


def test_a_hang_up_without_a_terminal_reads_the_settings_again(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        good = plain.settings.read_text()
        plain.settings.write_text(good + "[poll")
        daemon.signal(signal.SIGHUP)
        eventually("the mistake", lambda: daemon.says("settings.refused"))
        plain.sandbox.ask("grow", count=20, seconds=0)
        eventually("a drain by the old settings", lambda: delivered(plain))
        plain.write_settings(poll__interval="2s")
        daemon.signal(signal.SIGHUP)
        eventually("the change", lambda: daemon.says("settings.read"))
        eventually("the ledger again", lambda: daemon.err.count("ledger.opened") == 2)
        plain.sandbox.ask("grow", count=20, seconds=0)
        eventually("a drain by the new settings", lambda: delivered(plain))
        ended = daemon.stop()
    assert ended.code == 0
    assert len(ended.events("ledger.opened")) == 2
    (read,) = ended.events("settings.read")
    assert read["changed"] == 1
    plain.assert_conserved()


def test_a_hang_up_of_its_own_terminal_ends_the_daemon(plain: Bench) -> None:
    master, terminal = os.openpty()
    take = f"import fcntl, os, termios; fcntl.ioctl({terminal}, termios.TIOCSCTTY)"
    arguments = [str(COMMAND), "run", "--config", str(plain.settings)]
    command = [sys.executable, "-c", f"{take}; os.execv({str(COMMAND)!r}, {arguments})"]
    log = plain.folder / "terminal.err"
    with log.open("w") as err:
        daemon = subprocess.Popen(command, pass_fds=[terminal], stderr=err, start_new_session=True)
    os.close(terminal)
    try:
        eventually("a drain", lambda: "cycle.finished" in log.read_text())
        daemon.send_signal(signal.SIGHUP)
        eventually("settings read again", lambda: "settings.read" in log.read_text())
        os.close(master)
        assert daemon.wait(60) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_the_daemon_translates_by_the_rules_of_the_settings(make: MakeBench) -> None:
    bench = make(seed=9, plan="unlimited")
    for kind in ("login", "sso_login", "sepft", "signup", "api_signup", "first_social_login"):
        bench.sandbox.ask("grow", count=1, seconds=0, kinds=[kind])
    bench.write_settings(
        logins__types=["s", "sepft"],
        logins__include_sso=False,
        signups__derive=False,
        signups__include_api_created=False,
        segment__generation="2",
    )
    assert bench.run("run", "--once").code == 0
    named = [
        arrival["event"] for arrival in bench.sandbox.ask("messages") if arrival["type"] == "track"
    ]
    assert named == ["Logged In", "Logged In", "Signed Up", "Logged In"]
    (cycle,) = bench.run("run", "--once").events("cycle.finished")
    assert cycle["forwarded"] == 0
    bench.write_settings(logins__types=["s", "seacft"])
    ended = bench.run("check")
    assert ended.code == 78  # the ledger is of another generation
    assert "seacft in logins.types counts some logins twice" in ended.out
    ended = bench.run("run", "--once")
    assert ended.code == 78
    assert "--new-stream" in ended.err


def test_people_leave_in_the_shape_of_the_settings(make: MakeBench) -> None:
    bench = make(seed=2, events=100, plan="unlimited")
    bench.write_settings(
        privacy__email="hmac",
        privacy__hmac_key="a-key-of-ours",
        privacy__ip="truncate",
        privacy__user_agent="omit",
    )
    ended = bench.run("run", "--once")
    assert ended.code == 0
    assert "a-key-of-ours" not in ended.err
    shown = json.dumps(bench.sandbox.ask("messages"))
    assert (
        re.search(r"@example\.com|203\.0\.113\.[1-9]|Chrome|Firefox|a-key-of-ours", shown) is None
    )
    assert '"ip": "203.0.113.0"' in shown
    assert re.search(r'"email": "[0-9a-f]{64}"', shown)


def test_a_daemon_started_by_nohup_outlives_its_terminal(plain: Bench) -> None:
    program = f"trap '' HUP; exec {COMMAND} run --config {plain.settings}"
    with Running(["/bin/sh", "-c", program], plain.folder, dict(os.environ)) as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        daemon.signal(signal.SIGHUP)
        plain.sandbox.ask("grow", count=20, seconds=0)
        eventually("a drain after the signal", lambda: delivered(plain))
        assert daemon.stop().code == 0


# The look at the write key


def test_the_daemon_looks_at_its_key_and_neither_start_nor_stop_waits_for_the_answer(
    plain: Bench,
) -> None:
    plain.write_settings(segment__cdn_endpoint=plain.sandbox.facts["cdn_url"])
    plain.sandbox.ask("source", is_published=False)
    with plain.start("run") as running:
        eventually("a line", lambda: running.says("write_key.unpublished"))
        eventually("all delivered", lambda: delivered(plain))
        assert running.stop().code == 0
    set_faults(plain, {"action": "hang", "service": "cdn", "times": None})
    with plain.start("run") as running:
        eventually("the look", lambda: len(plain.sandbox.ask("requests", service="cdn")) > 1)
        plain.sandbox.ask("grow", count=5, seconds=0)
        eventually("all delivered", lambda: delivered(plain))
        assert running.stop().code == 0
    plain.assert_conserved()

"""The pings to a dead man's switch."""

from datetime import timedelta

import structlog

from poller.adapters.alerting.heartbeat import HeartbeatUrl
from poller.service.alerts.dead_mans_switch import Pings
from tests.scripted import Reply, Scripted
from tests.service.alerts.bench import Bench, Recorder


def test_a_ping_goes_out_once_a_minute_while_pages_are_settled() -> None:
    now, switch = [0.0], Recorder()
    pings = Pings(switch, monotonic=lambda: now[0])
    for second in range(0, 600, 15):
        now[0] = float(second)
        pings.look(second + 1, is_blocked=False)
    assert switch.kinds == ["success"] * 10


def test_no_ping_goes_out_while_nothing_is_settled_or_the_daemon_is_blocked() -> None:
    now, switch = [0.0], Recorder()
    pings = Pings(switch, monotonic=lambda: now[0])
    pings.look(0, is_blocked=False)
    pings.look(1, is_blocked=False)
    for second in range(0, 600, 15):
        now[0] = float(second)
        pings.look(1, is_blocked=False)
        pings.look(second + 2, is_blocked=True)
    assert switch.kinds == ["success"]


def test_a_ping_that_fails_is_one_warning_and_is_tried_at_the_next_look() -> None:
    now, switch = [0.0], Recorder()
    pings = Pings(switch, monotonic=lambda: now[0])
    switch.is_failing = True
    with structlog.testing.capture_logs() as lines:
        for second in range(0, 120, 15):
            now[0] = float(second)
            pings.look(second + 1, is_blocked=False)
        switch.is_failing = False
        pings.look(999, is_blocked=False)
    assert [line["event"] for line in lines] == ["heartbeat.not_sent", "heartbeat.sent_again"]
    assert switch.kinds == ["success"]


def test_a_real_receiver_gets_each_form_with_the_run_id_of_its_run(scripted: Scripted) -> None:
    scripted.replies = [Reply(body=b"OK")]
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    now = [0.0]
    pings = Pings(HeartbeatUrl(f"{scripted.origin}/{uuid}"), monotonic=lambda: now[0])
    pings.start("begun")
    pings.look(1, is_blocked=False)
    now[0] = 60.0
    pings.look(2, is_blocked=False)
    pings.stop("told to stop")
    paths = [asked.path.removeprefix(f"/{uuid}") for asked in scripted.asked]
    assert paths == ["/start", "", "", "/log"]
    start, success, *later = (asked.query.get("rid") for asked in scripted.asked)
    assert start == success is not None
    assert later == [None, None]


def test_a_switch_falls_when_pings_stop_and_at_once_when_the_daemon_is_blocked() -> None:
    bench = Bench()
    bench.run(minutes=60)
    assert bench.switch.falls == []
    bench.watch.set_blocked(is_blocked=True, code="auth0-scope-missing")
    bench.run(minutes=5)
    assert bench.switch.falls == [bench.now]
    bench.watch.set_blocked(is_blocked=False)
    bench.run(minutes=60)
    assert bench.switch.rises == [bench.now - timedelta(minutes=59)]


def test_an_alert_that_stops_nothing_and_a_recovery_leave_the_switch_as_it_is() -> None:
    bench = Bench()
    bench.run(minutes=1)
    bench.ledger.gaps.append(bench.now)
    bench.run(minutes=1)
    assert [kind for kind, _ in bench.switch.pings] == ["start", "success", "log", "success"]
    assert bench.switch.falls == []

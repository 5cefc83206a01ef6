"""Each alert is told once, in time, and none gets lost."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.errors import FatalError, TransientError
from poller.service.alerts.kinds import KINDS, RUNBOOK, Kind
from poller.service.alerts.outbox import MOST_QUEUED
from poller.service.alerts.sender import AlertSender
from poller.service.lifecycle.backlog import Backlog
from poller.service.observability.instrumented import SegmentCounts
from tests.adapters.sql_ledger.ledgers import url
from tests.fakes import STREAM
from tests.service.alerts.bench import BEGIN, PLACE, Bench, MemoryLedger, Receiver

BLOCKED = "The daemon is blocked until somebody acts"
RECOVERED = "The daemon is not blocked any more"
DEAD = "Some events cannot be sent"


def block(bench: Bench, minutes: float) -> None:
    bench.watch.set_blocked(is_blocked=True, code="auth0-scope-missing")
    bench.run(minutes=minutes)


def unblock(bench: Bench) -> None:
    bench.watch.set_blocked(is_blocked=False)
    bench.run()


def test_a_blocked_daemon_is_told_once_and_its_recovery_once() -> None:
    bench = Bench()
    bench.run(minutes=10)
    block(bench, 300)
    assert bench.told == [BLOCKED]
    unblock(bench)
    bench.run(minutes=120)
    assert bench.told == [RECOVERED]
    assert bench.receiver.severities == ["critical", "good"]


def test_a_block_that_passes_within_minutes_is_not_told() -> None:
    bench = Bench()
    bench.run(minutes=1)
    block(bench, 4)
    unblock(bench)
    bench.run(minutes=120)
    assert bench.told == []


def test_an_alert_says_all_that_a_person_needs_and_nothing_of_the_error() -> None:
    bench = Bench()
    bench.run(minutes=1)
    block(bench, 10)
    (body,) = bench.receiver.bodies
    assert body.splitlines() == [
        "The daemon is blocked until somebody acts.",
        "Nothing is forwarded until the cause is mended. Then the daemon goes on by itself.",
        "The error is auth0-scope-missing.",
        "Since: 2026-11-20 00:01:00 UTC",
        "Host: box1",
        "Stream: acme.us.auth0.com to web",
        "To type: auth0-segment-poller status --config x",
        f"Runbook: {RUNBOOK}#auth0-scope-missing",
    ]


def test_a_kind_is_told_once_an_hour_and_the_next_alert_says_how_many_were_held_back() -> None:
    bench = Bench()
    bench.run(minutes=1)
    for _ in range(3):  # at 00:01, 00:08 and 00:15
        block(bench, 6)
        unblock(bench)
    assert bench.told == [BLOCKED, RECOVERED]
    bench.run(minutes=60)
    assert bench.told == []
    block(bench, 6)
    assert bench.told == [BLOCKED]
    assert "Held back: the same began and ended 2 times" in bench.receiver.bodies[-1]


def test_a_state_that_was_held_back_and_lasts_is_told_when_the_hour_is_over() -> None:
    bench = Bench()
    bench.run(minutes=1)
    block(bench, 6)
    unblock(bench)
    assert bench.told == [BLOCKED, RECOVERED]
    block(bench, 40)
    assert bench.told == []
    block(bench, 20)
    assert bench.told == [BLOCKED]
    unblock(bench)
    assert bench.told == [RECOVERED]


def test_a_flood_of_dead_letters_is_one_message() -> None:
    bench = Bench()
    bench.run(minutes=1)
    for number in range(1, 301):
        bench.ledger.dead_letters = {"unsendable": number, "refused": number // 2}
        bench.run(step_s=1)
    bench.run(minutes=10)
    assert bench.told == [DEAD]
    (body,) = bench.receiver.bodies
    assert "New dead letters: 450, of refused, unsendable." in body


def test_dead_letters_within_the_hour_are_told_together_when_it_is_over() -> None:
    bench = Bench()
    bench.run(minutes=1)
    bench.ledger.dead_letters = {"unsendable": 1}
    bench.run(minutes=10)
    for number in range(2, 12):
        bench.ledger.dead_letters = {"unsendable": number}
        bench.run(minutes=2)
    assert bench.told == [DEAD]
    bench.run(minutes=60)
    assert bench.told == [DEAD]
    assert "New dead letters: 10," in bench.receiver.bodies[1]


def test_dead_letters_that_are_replayed_are_not_told() -> None:
    bench = Bench()
    bench.ledger.dead_letters = {"unsendable": 9}
    bench.run(minutes=10)
    bench.ledger.dead_letters = {"unsendable": 3}
    bench.run(minutes=10)
    bench.ledger.dead_letters = {"unsendable": 4}
    bench.run(minutes=10)
    assert "New dead letters: 1," in bench.receiver.bodies[0]  # the nine were there at first


def test_a_gap_is_told_at_once() -> None:
    bench = Bench()
    bench.run(minutes=1)
    bench.ledger.gaps.append(bench.now)
    bench.run()
    assert bench.told == ["Auth0 removed a part of its log before it was read"]
    bench.run(minutes=200)
    assert bench.told == []


def test_a_daemon_that_settles_nothing_for_half_an_hour_is_told() -> None:
    bench = Bench()
    bench.run(minutes=1)
    bench.is_settling = False
    bench.run(minutes=30)
    assert bench.told == []
    bench.run(minutes=2)
    assert bench.told == ["No page was settled for half an hour"]
    assert "Since: 2026-11-20 00:01:00 UTC" in bench.receiver.bodies[0]
    bench.is_settling = True
    bench.run()
    assert bench.told == ["Pages are settled again"]


def test_a_blocked_daemon_is_not_told_to_be_stuck_too() -> None:
    bench = Bench()
    bench.run(minutes=1)
    block(bench, 200)
    assert bench.told == [BLOCKED]


def test_a_backlog_that_does_not_shrink_is_told_and_one_that_shrinks_is_not() -> None:
    bench = Bench()
    for hour in range(5, 0, -1):
        bench.backlog = Backlog(since=BEGIN, slices_left=1, time_left=timedelta(hours=hour))
        bench.run(minutes=50)
    assert bench.told == []
    bench.run(minutes=15)
    assert bench.told == ["The backlog of an outage has not shrunk for an hour"]
    bench.backlog = Backlog()
    bench.run()
    assert bench.told == ["The backlog shrinks again, or is gone"]


def test_a_backlog_of_a_second_outage_has_an_hour_of_its_own() -> None:
    bench = Bench()
    bench.backlog = Backlog(since=BEGIN, slices_left=1, time_left=timedelta(hours=1))
    bench.run(minutes=50)
    bench.backlog = Backlog(since=BEGIN, slices_left=2, time_left=timedelta(hours=3))
    bench.run(minutes=50)
    assert bench.told == []


def test_retention_that_comes_near_is_told_even_if_an_earlier_process_measured_it() -> None:
    bench = Bench()
    bench.watch.set_retention(timedelta(days=2))
    bench.run(minutes=1)
    bench.backlog = Backlog(since=BEGIN, slices_left=1, oldest=bench.now - timedelta(hours=23))
    bench.run(minutes=10)
    bench.sender.finish(None)
    bench.start()
    bench.run(minutes=120)
    assert bench.told == ["Auth0 will soon remove events that are not read yet"]
    (body,) = bench.receiver.bodies
    assert "may be 24 hours old, and the tenant keeps events for 48 hours" in body
    bench.backlog = Backlog()
    bench.run()
    assert bench.told == ["The position is far from the end of the retention again"]


def test_messages_that_segment_does_not_pass_on_are_told_with_their_number() -> None:
    bench = Bench()
    counts = SegmentCounts(at=BEGIN, acknowledged=10_000, received=9_000, missing=1_000)
    bench.watch.set_segment_counts(counts)
    bench.run(minutes=10)
    assert bench.told == ["Segment receives fewer messages than it acknowledged"]
    assert "1,000 of 10,000 messages of the last 24 hours are missing" in bench.receiver.bodies[0]
    assert "verify --segment" in bench.receiver.bodies[0]
    good = SegmentCounts(at=BEGIN, acknowledged=10_000, received=10_000, missing=0)
    bench.watch.set_segment_counts(good)
    bench.run()
    assert bench.told == ["Segment receives what it acknowledges again"]


def test_a_state_that_was_told_stays_told_over_a_restart_until_it_is_known_to_be_over() -> None:
    bench = Bench()
    bench.run(minutes=1)
    block(bench, 10)
    bench.sender.finish(None)
    bench.start()
    bench.is_settling = False
    bench.run(minutes=5)
    assert bench.told == [BLOCKED]
    bench.is_settling = True
    bench.run()
    assert bench.told == [RECOVERED]


def test_a_restart_alone_does_not_end_a_state_in_which_nothing_was_settled() -> None:
    bench = Bench()
    bench.run(minutes=1)
    bench.is_settling = False
    bench.run(minutes=40)
    bench.sender.finish(None)
    bench.start()
    bench.run(minutes=40)
    assert bench.told == ["No page was settled for half an hour"]
    bench.is_settling = True
    bench.run()
    assert bench.told == ["Pages are settled again"]


def test_a_start_after_a_crash_is_told_and_a_start_after_a_stop_is_not() -> None:
    bench = Bench()
    bench.run(minutes=1)
    bench.sender.finish(None)
    bench.start()
    bench.run(minutes=1)
    assert bench.told == []
    bench.start()
    bench.run(minutes=1)
    assert bench.told == ["The daemon was started again after it ended without a word"]


def test_a_fatal_error_that_ends_the_daemon_is_told_before_the_end() -> None:
    bench = Bench()
    bench.run(minutes=1)
    error = FatalError("person@example.com", code="auth0-scope-missing", hint="wk_secret")
    bench.sender.finish(error)
    assert bench.told == ["The daemon ended with an error, and is not started again"]
    (body,) = bench.receiver.bodies
    assert "The error is auth0-scope-missing." in body
    assert f"{RUNBOOK}#auth0-scope-missing" in body
    assert not any(secret in body for secret in ("person", "wk_secret"))
    bench.start()
    bench.run(minutes=10)
    assert bench.told == []


def test_a_target_that_fails_is_one_warning_and_gets_all_alerts_in_order_later() -> None:
    broken, other = Receiver("broken"), Receiver("other")
    bench = Bench(None, broken, other)
    broken.is_failing = True
    with structlog.testing.capture_logs() as lines:
        bench.run(minutes=1)
        block(bench, 10)
        unblock(bench)
        bench.run(minutes=600)
        bench.ledger.gaps.append(bench.now)
        bench.run(minutes=60)
        assert len(other.titles) == 3
        assert 10 < broken.attempts < 30
        broken.is_failing = False
        bench.run(minutes=61)
    assert broken.titles == other.titles
    warnings = [line for line in lines if line["event"].startswith("alert.not_sent")]
    assert warnings == [
        {
            "event": "alert.not_sent",
            "target": "1 (broken)",
            "reason": "it answered 503",
            "log_level": "warning",
        }
    ]
    assert [line["event"] for line in lines if line["event"] == "alert.sent_again"] != []


def test_the_queue_of_a_target_is_bounded_and_what_was_dropped_is_said() -> None:
    bench = Bench()
    bench.receiver.is_failing = True
    for _ in range(MOST_QUEUED + 3):
        bench.ledger.gaps.append(bench.now)
        bench.run(minutes=61, step_s=61 * 60)
    _, queued = bench.ledger.state
    assert len(queued) == MOST_QUEUED
    bench.sender.finish(None)
    bench.start()
    bench.receiver.is_failing = False
    bench.run(minutes=61)
    assert len(bench.receiver.titles) == MOST_QUEUED
    assert "Not sent for lack of room: 2 older alerts" in bench.receiver.bodies[0]
    assert not any("lack of room" in body for body in bench.receiver.bodies[1:])


def test_a_full_disk_is_told_although_the_ledger_cannot_be_written() -> None:
    bench = Bench()
    bench.run(minutes=1)
    bench.is_settling = False
    bench.ledger.is_failing = True
    with structlog.testing.capture_logs() as lines:
        bench.run(minutes=60)
    assert bench.told == ["No page was settled for half an hour"]
    assert [line["event"] for line in lines].count("alerts.not_saved") == 1
    bench.ledger.is_failing = False
    bench.run()
    memories, _ = bench.ledger.state
    assert {memory["kind"] for memory in memories if memory["is_told"]} == {"stuck"}


def test_the_ledger_is_written_only_when_something_changed() -> None:
    bench = Bench()
    bench.run(minutes=1)
    writes = bench.ledger.writes
    bench.run(minutes=60)
    assert bench.ledger.writes == writes


def test_a_clock_that_is_set_back_holds_no_alert_back_for_long() -> None:
    bench = Bench()
    bench.run(minutes=1)
    bench.ledger.gaps.append(bench.now)
    bench.receiver.is_failing = True
    bench.run()
    bench.receiver.is_failing = False
    bench.now -= timedelta(days=900)
    bench.ledger.gaps.append(BEGIN + timedelta(days=1))
    bench.run()
    assert len(bench.told) == 2


def test_a_restart_sends_what_waited_in_the_ledger(tmp_path: Path) -> None:
    def opened() -> SqlLedger:
        return SqlLedger.open(url(tmp_path / "ledger.db"), STREAM, create=True)

    ledger = opened()
    bench = Bench(ledger)
    bench.run(minutes=1)
    bench.receiver.is_failing = True
    block(bench, 10)
    unblock(bench)
    ledger.close()
    bench.ledger = opened()
    bench.receiver.is_failing = False
    bench.start()
    bench.run(minutes=10)
    assert bench.told == [
        BLOCKED,
        RECOVERED,
        "The daemon was started again after it ended without a word",
    ]
    assert bench.ledger.read_alerts()[1] == []
    bench.ledger.close()


def test_alerts_for_a_target_that_is_gone_from_the_settings_are_forgotten() -> None:
    bench = Bench(None, Receiver("old"))
    bench.receiver.is_failing = True
    bench.run(minutes=1)
    block(bench, 10)
    bench.receivers = (Receiver("new"),)
    bench.sender.finish(None)
    bench.start()
    bench.run(minutes=1)
    assert bench.ledger.state[1] == []
    assert [title.split(" (")[0] for title in bench.receivers[0].titles] == [RECOVERED]


class Hanging(Receiver):
    """A target that does not answer until it is released."""

    def __init__(self) -> None:
        super().__init__("hanging")
        self.is_asked = threading.Event()
        self.release = threading.Event()

    def send(self, title: str, body: str, severity: str) -> None:
        del title, body, severity
        self.is_asked.set()
        self.release.wait(60)
        raise TransientError("no answer in time")


def test_the_daemon_never_waits_for_a_target_that_hangs() -> None:
    ledger, hanging = MemoryLedger(), Hanging()
    bench = Bench(ledger, hanging)
    bench.run(minutes=1)
    ledger.gaps.append(bench.now)
    bench.sender.start()
    assert hanging.is_asked.wait(60)
    for _ in range(100):  # the daemon's own thread
        bench.settle()
        bench.watch.set_blocked(is_blocked=False)
    bench.sender.end(None)
    memories, _ = ledger.state
    assert {memory["mark"] for memory in memories if memory["kind"] == "crash"} == {""}
    hanging.release.set()
    bench.sender.join()
    assert ledger.state[1] != []


def test_a_stop_before_the_state_was_read_changes_nothing() -> None:
    bench = Bench()
    bench.run(minutes=1)
    before = bench.ledger.state
    sender = AlertSender(bench.watch, bench.ledger, bench.receivers, PLACE)
    sender.end(None)
    assert bench.ledger.state == before


def test_an_end_that_was_held_back_is_not_told_by_a_daemon_that_runs_again() -> None:
    bench = Bench()
    for _ in range(2):
        bench.run(minutes=5)
        bench.sender.finish(FatalError("x", code="ledger-gone", hint="y"))
        bench.start()
    bench.run(minutes=200)
    assert bench.told == ["The daemon ended with an error, and is not started again"]


def test_a_bug_in_a_look_is_a_warning_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def fail() -> None:
        raise ValueError("person@example.com")

    monkeypatch.setattr(bench.ledger, "alert_facts", fail)
    with structlog.testing.capture_logs() as lines:
        bench.sender._safely(bench.sender.look)
    assert lines == [{"event": "alerts.failed", "reason": "ValueError", "log_level": "warning"}]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_declared(kind: Kind) -> None:
    assert KINDS[kind].title

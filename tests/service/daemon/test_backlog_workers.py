"""Threads that work on a backlog, over fakes and a real ledger."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.delivery import BatchSender
from poller.core.errors import FatalError, TransientError, UnusableAnswerError
from poller.core.forward import forward
from poller.core.log_ids import LogId, floor_id
from poller.core.messages import Batch, Identify, Track
from poller.core.translation.translator import LiveTranslator
from poller.service.daemon import backlog_threads
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.lifecycle.backlog import NO_BACKLOG
from poller.service.lifecycle.process import Failed
from poller.service.slices import deferred_identify
from tests.builders import record
from tests.fakes import NOW, STREAM, numbered
from tests.service.daemon.backlog_bench import (
    HOUR,
    PATIENCE_S,
    USERS,
    Bench,
    wait_until,
)

NEVER = FatalError("Segment answered 401", code="segment-request-refused", hint="check the key")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'ledger.db'}", STREAM, create=True)
    made = Bench(ledger)
    yield made
    made.stop()
    ledger.close()


def test_without_a_backlog_no_thread_is_started(bench: Bench) -> None:
    bench.workers.look_for_work()
    assert bench.workers.state == NO_BACKLOG
    assert not [each for each in threading.enumerate() if each.name == "backlog"]


def test_a_backlog_is_sent_once_and_each_user_is_identified_once_at_the_end(bench: Bench) -> None:
    with capture_logs() as logs:
        bench.catch_up()
        wait_until(lambda: any(line["event"] == "catch_up.finished" for line in logs))
    bench.assert_all_is_sent_once()
    kinds = [isinstance(each, Identify) for each in bench.sink.taken]
    assert kinds == sorted(kinds)
    (line,) = [line for line in logs if line["event"] == "catch_up.finished"]
    assert (line["read"], line["lost"]) == (300, 0)
    assert bench.workers.state == NO_BACKLOG
    assert len(bench.ledger.spans()) == 1


def test_two_looks_for_work_walk_each_slice_once(bench: Bench) -> None:
    bench.fall_behind()
    for _ in range(5):
        bench.workers.look_for_work(NOW)
    bench.finish()
    bench.assert_all_is_sent_once()


def test_a_look_for_work_starts_no_thread_beside_those_that_work(bench: Bench) -> None:
    go = threading.Event()
    before = set(threading.enumerate())
    bench.sink.before = lambda batch: bool(go.wait(PATIENCE_S)) and None
    bench.fall_behind()
    for _ in range(5):
        bench.workers.look_for_work(NOW)
    begun = set(threading.enumerate()) - before
    go.set()
    assert [thread.name for thread in begun] == ["backlog"] * bench.parallel
    bench.finish()


def test_the_state_tells_how_much_is_left(bench: Bench) -> None:
    go = threading.Event()
    bench.sink.before = lambda batch: bool(go.wait(PATIENCE_S)) and None
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    state = bench.workers.state
    assert (state.since, state.slices_left, state.postponed) == (NOW, 3, None)
    assert state.time_left == 5 * HOUR
    assert state.oldest == NOW - 6 * HOUR
    assert bench.ledger.catch_up_since() == NOW
    go.set()
    bench.finish()


def test_a_second_outage_adds_to_the_work_and_users_of_both_are_identified(bench: Bench) -> None:
    bench.fall_behind(present=3 * HOUR)
    reached: list[int] = []

    def add(batch: Batch) -> None:
        if not reached and any(isinstance(each, Identify) for each in batch.messages):
            reached.append(1)
            # The live span has settled nothing since, so the second outage begins where it stands.
            bench.fall_behind(since=3 * HOUR)
            bench.workers.look_for_work(NOW)

    bench.sink.before = add
    bench.workers.look_for_work(NOW)
    bench.finish()
    assert reached
    assert bench.tracks() == Counter(str(item["log_id"]) for item in bench.records)
    assert set(bench.identified()) == {f"auth0|{number}" for number in range(USERS)}
    assert bench.ledger.count_pending_identifies() == 0


def test_identifies_that_failed_wait_for_the_slices_of_a_second_outage(bench: Bench) -> None:
    bench.parallel = 1
    bench.fall_behind(present=3 * HOUR)
    failed: list[int] = []

    def fail_once(batch: Batch) -> None:
        if not failed and any(isinstance(each, Identify) for each in batch.messages):
            failed.append(1)
            bench.fall_behind(since=3 * HOUR)
            bench.workers.look_for_work(NOW)
            raise TransientError("Segment answered 503")

    bench.sink.before = fail_once
    bench.workers.look_for_work(NOW)
    bench.finish()
    assert failed
    bench.assert_all_is_sent_once()
    kinds = [isinstance(each, Identify) for each in bench.sink.taken]
    assert kinds == sorted(kinds)


def test_a_stop_ends_the_work_between_pages_and_a_restart_goes_on(bench: Bench) -> None:
    def stop(batch: Batch) -> None:
        del batch
        if len(bench.sink.batches) >= 5:
            bench.process.stopping.set()

    bench.sink.before = stop
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    bench.await_stop()
    sent = bench.tracks()
    assert 0 < len(sent) < 300
    assert bench.ledger.catch_up_since() == NOW
    assert bench.ledger.backlog()
    again = restarted(bench)
    again.workers.look_for_work()
    again.finish()
    assert sent + again.tracks() == Counter(str(item["log_id"]) for item in bench.records)
    assert again.identified() == Counter(f"auth0|{number}" for number in range(USERS))
    again.stop()


def restarted(bench: Bench) -> Bench:
    again = Bench(bench.ledger)
    again.directory = bench.directory
    return again


def test_a_crash_before_the_identifies_leaves_them_to_the_next_start(bench: Bench) -> None:
    def die(batch: Batch) -> None:
        if any(isinstance(each, Identify) for each in batch.messages):
            bench.process.stopping.set()
            raise TransientError("gone")

    bench.sink.before = die
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    bench.await_stop()
    assert bench.ledger.backlog() == ()
    assert bench.ledger.count_pending_identifies() == USERS
    again = restarted(bench)
    again.workers.look_for_work()
    again.finish()
    assert again.identified() == Counter(f"auth0|{number}" for number in range(USERS))
    again.stop()


def test_a_slice_that_fails_postpones_itself_and_the_others_go_on(bench: Bench) -> None:
    bad = {str(item["log_id"]) for item in bench.records[:10]}
    failures: list[int] = []

    def fail(batch: Batch) -> None:
        is_bad = any(each.log_id in bad for each in batch.messages if isinstance(each, Track))
        if is_bad and len(bench.tracks()) < 200:
            failures.append(1)
            raise TransientError("Segment answered 503")

    bench.sink.before = fail
    with capture_logs() as logs:
        bench.catch_up()
        wait_until(lambda: any(line["event"] == "catch_up.finished" for line in logs))
    bench.assert_all_is_sent_once()
    assert failures
    assert bench.process.stopping.is_set() is False
    assert {line["event"] for line in logs} >= {"catch_up.postponed", "catch_up.finished"}


def test_the_reason_of_a_postponement_is_told_until_a_page_is_settled(bench: Bench) -> None:
    bench.parallel = 1
    is_down = True

    def fail(batch: Batch) -> None:
        del batch
        if is_down:
            raise TransientError("Segment answered 503")

    bench.sink.before = fail
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    wait_until(lambda: bench.workers.state.postponed == "Segment answered 503")
    is_down = False
    bench.finish()
    bench.assert_all_is_sent_once()


def test_a_fatal_error_pauses_all_slices_until_the_live_loop_lets_them_try_again(
    bench: Bench,
) -> None:
    attempts: list[int] = []
    is_refused = True

    def refuse(batch: Batch) -> None:
        del batch
        attempts.append(1)
        if is_refused:
            raise NEVER

    bench.sink.before = refuse
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    wait_until(lambda: bench.workers.blocked is not None)
    wait_until(lambda: bench.workers._queue.progress.slices == ())
    assert str(bench.workers.blocked) == bench.workers.state.postponed == str(NEVER)
    before = len(attempts)
    bench.workers.resume()
    wait_until(lambda: len(attempts) > before and bench.workers._queue._is_paused)
    assert bench.workers.blocked is not None
    is_refused = False
    bench.workers.resume()
    bench.finish()
    assert bench.workers.blocked is None
    bench.assert_all_is_sent_once()


def test_identifies_that_are_refused_block_until_they_are_taken(bench: Bench) -> None:
    is_refused = True

    def refuse(batch: Batch) -> None:
        if is_refused and any(isinstance(each, Identify) for each in batch.messages):
            raise NEVER

    bench.sink.before = refuse
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    wait_until(lambda: bench.workers.blocked is not None)
    assert bench.ledger.count_pending_identifies() == USERS
    is_refused = False
    bench.workers.resume()
    bench.finish()
    bench.assert_all_is_sent_once()


def test_a_live_loop_that_is_blocked_holds_the_slices(bench: Bench) -> None:
    bench.workers.pause()
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    assert bench.log.asked == []
    bench.workers.resume()
    bench.finish()
    bench.assert_all_is_sent_once()


def test_the_third_unusable_answer_blocks(bench: Bench) -> None:
    bench.parallel = 1
    bench.log.failures = [UnusableAnswerError("Auth0 answered nonsense") for _ in range(30)]
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    wait_until(lambda: bench.workers.blocked is not None)
    assert str(bench.workers.blocked) == "Auth0 answered nonsense, three times in a row"
    bench.log.failures = []
    bench.workers.resume()
    bench.finish()
    bench.assert_all_is_sent_once()


def test_a_bug_in_a_thread_ends_the_process(bench: Bench) -> None:
    def fail(batch: Batch) -> None:
        raise AssertionError(f"a bug in {len(batch.messages)} messages")

    bench.sink.before = fail
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    reason = bench.process.wait()
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, AssertionError)


def test_a_part_below_retention_is_a_gap_and_the_rest_is_sent(bench: Bench) -> None:
    bench.log.floor = LogId(str(bench.records[150]["log_id"]))
    bench.catch_up()
    assert sum(bench.tracks().values()) == 150
    assert bench.ledger.gaps()
    lost = {str(item["log_id"]) for item in bench.records[:150]}
    for log_id in lost:
        assert any(gap.after < log_id < gap.before for gap in bench.ledger.gaps())


def settle_live(bench: Bench, user: str, *, at: datetime) -> None:
    """Let live polling settle a login of this user, with traits as they are then."""
    bench.log.now = at
    bench.records.append(record(900) | {"user_id": user, "log_id": numbered(900, at)})
    bench.log.records = bench.records
    live = bench.ledger.live_span()
    assert live is not None
    pages = forward(
        bench.log,
        bench.directory,
        LiveTranslator(STREAM),
        BatchSender(bench.sink),
        bench.ledger,
        live,
    )
    next(pages)


def traits_of(bench: Bench, user: str) -> list[object]:
    found = [each for each in bench.sink.taken if isinstance(each, Identify)]
    return [each.traits.get("email") for each in found if each.user_id == user]


def test_a_user_whom_live_polling_identified_meanwhile_is_left_out_at_the_end(
    bench: Bench,
) -> None:
    begun = threading.Event()

    def identify_live(batch: Batch) -> None:
        del batch
        if not begun.is_set() and threading.current_thread().name == "backlog":
            begun.set()
            bench.directory.fields["auth0|1"] = {"email": "new@x.org"}
            settle_live(bench, "auth0|1", at=NOW + timedelta(minutes=1))

    bench.parallel = 1
    bench.sink.before = identify_live
    bench.catch_up()
    assert traits_of(bench, "auth0|1") == ["new@x.org"]
    assert set(bench.identified()) == {f"auth0|{number}" for number in range(USERS)}


def test_live_polling_has_the_last_word_after_the_identifies_at_the_end(bench: Bench) -> None:
    bench.catch_up()
    bench.directory.fields["auth0|1"] = {"email": "new@x.org"}
    settle_live(bench, "auth0|1", at=NOW + timedelta(minutes=1))
    assert traits_of(bench, "auth0|1") == ["1@x.org", "new@x.org"]


def settle_page_of_live(bench: Bench, *, served_at: datetime) -> None:
    """Let live polling settle its next page, at this time of the server."""
    bench.log.now = served_at
    live = bench.ledger.live_span()
    assert live is not None
    sender = BatchSender(bench.sink)
    ports = (bench.directory, LiveTranslator(STREAM), sender, bench.ledger)
    next(forward(bench.log, *ports, live))


def test_a_user_of_whom_the_late_live_span_told_old_traits_is_identified_at_the_end(
    bench: Bench,
) -> None:
    bench.ledger.begin(after=floor_id(NOW - 6 * HOUR))
    settle_page_of_live(bench, served_at=NOW)
    old = bench.identified()
    bench.directory.fields["auth0|1"] = {"email": "new@x.org"}
    bench.catch_up()
    assert set(old) == {f"auth0|{number}" for number in range(USERS)}
    assert bench.identified() - old == Counter(dict.fromkeys(old, 1))
    assert traits_of(bench, "auth0|1")[-1] == "new@x.org"


def test_a_user_of_whom_live_polling_told_between_two_outages_is_identified_at_the_end(
    bench: Bench,
) -> None:
    bench.fall_behind(present=3 * HOUR)
    bench.ledger.note_catch_up(since=NOW - 3 * HOUR, error=None)
    settle_page_of_live(bench, served_at=NOW - 2 * HOUR)
    old = bench.identified()
    bench.log.now = NOW
    bench.fall_behind(since=3 * HOUR)
    bench.workers.look_for_work(NOW)
    bench.finish()
    assert bench.identified() - old == Counter(dict.fromkeys(old, 1))


def test_a_page_that_is_settled_ends_the_block_while_slices_are_left(bench: Bench) -> None:
    bench.parallel = 1
    go = threading.Event()
    taken: list[int] = []
    is_refused = True

    def refuse(batch: Batch) -> None:
        del batch
        if is_refused:
            raise NEVER
        taken.append(1)
        if len(taken) > 1:
            go.wait(PATIENCE_S)

    bench.sink.before = refuse
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    wait_until(lambda: bench.workers.blocked is not None)
    is_refused = False
    bench.workers.resume()
    try:
        wait_until(lambda: len(taken) > 1)
        assert bench.workers.blocked is None
        assert bench.workers.state.slices_left == 3
    finally:
        go.set()
    bench.finish()


@pytest.fixture
def two(bench: Bench, tmp_path: Path) -> Iterator[tuple[Bench, Bench]]:
    """Two pipelines of a process that has one thread for their backlogs."""
    threads = BacklogThreads(1)
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'other.db'}", STREAM, create=True)
    other = Bench(ledger, parallel=1, threads=threads)
    yield Bench(bench.ledger, parallel=1, threads=threads), other
    other.stop()
    ledger.close()


def test_two_pipelines_take_turns_in_one_thread_and_each_sends_all_once(
    two: tuple[Bench, Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_threads, "TURN_S", 0.0)
    monkeypatch.setattr(deferred_identify, "USERS_PER_BATCH", 2)
    names: list[str] = []
    before = set(threading.enumerate())

    def is_alone() -> bool:
        new = set(threading.enumerate()) - before
        return len([each for each in new if each.name == "backlog"]) == 1

    def look(batch: Batch) -> None:
        del batch
        wait_until(is_alone)  # a thread that has given up its place is about to end
        names.append(str(get_contextvars()["pipeline"]))

    for name, bench in zip("ab", two, strict=True):
        bench.sink.before = look
        bench.fall_behind()
        with bound_contextvars(pipeline=name):
            bench.workers.look_for_work(NOW)
    for bench in two:
        bench.finish()
        bench.assert_all_is_sent_once()
    runs = [len([*run]) for _, run in itertools.groupby(names)]
    assert set(names) == {"a", "b"}
    assert max(runs[1:-1]) <= 2  # the other one gets the thread after each page
    for bench in two:
        bench.stop()


def test_a_pipeline_whose_backlog_is_blocked_or_fails_keeps_no_thread_from_another(
    two: tuple[Bench, Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_threads, "TURN_S", 0.0)
    first, second = two
    errors: list[Exception] = [TransientError("Segment answered 503"), NEVER]

    def fail(batch: Batch) -> None:
        del batch
        if errors:
            raise errors.pop(0) if len(errors) > 1 else errors[0]

    first.sink.before = fail
    first.fall_behind()
    first.workers.look_for_work(NOW)
    wait_until(lambda: first.workers.blocked is not None)
    second.catch_up()
    second.assert_all_is_sent_once()
    errors.clear()
    first.workers.resume()
    first.workers.look_for_work(NOW)
    first.finish()
    first.assert_all_is_sent_once()
    for bench in two:
        bench.stop()


def test_identifies_give_way_too(two: tuple[Bench, Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog_threads, "TURN_S", 0.0)
    first, second = two
    is_refused = True

    def refuse(batch: Batch) -> None:
        if is_refused and any(isinstance(each, Identify) for each in batch.messages):
            raise NEVER

    first.sink.before = refuse
    first.fall_behind()
    first.workers.look_for_work(NOW)
    wait_until(lambda: first.workers.blocked is not None)
    second.catch_up()
    second.assert_all_is_sent_once()
    is_refused = False
    first.workers.resume()
    first.finish()
    first.assert_all_is_sent_once()
    for bench in two:
        bench.stop()


def test_a_pipeline_that_has_ended_gets_no_thread(two: tuple[Bench, Bench]) -> None:
    first, second = two
    go = threading.Event()
    first.sink.before = lambda batch: bool(go.wait(PATIENCE_S)) and None
    for bench in two:
        bench.fall_behind()
        bench.workers.look_for_work(NOW)
    second.stop()
    go.set()
    first.finish()
    assert (second.begun, second.log.asked) == (0, [])
    first.stop()
    assert first.threads._claims == []

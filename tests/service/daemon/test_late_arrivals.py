"""The second reading sends each late arrival once, and no event that was on time."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.set_position import set_position
from poller.core.errors import TransientError
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.pages import Page
from poller.core.spans import LogCursor, SecondReading, Span
from poller.core.translation.rules import DEFAULT, Rules
from poller.service.daemon.late_arrivals import SECOND_READING_INTERVAL_S
from tests.builders import record
from tests.fakes import LATER, NOW, STREAM, FakeLog, FakeSink, numbered
from tests.walks import live_walks

WINDOW = timedelta(minutes=10)
START = NOW - timedelta(hours=1)


class Bench:
    """Both readings of the live span over a log with a clock of its own.

    A restart makes a new `process`.
    """

    def __init__(self, path: Path, window: timedelta = WINDOW) -> None:
        self.log = FakeLog([], page_size=10)
        self.log.now = START
        self.sink = FakeSink()
        self.url = f"sqlite:///{path / 'ledger.db'}"
        self.window = window
        self.ticks = 0.0
        self.has_room = True
        self.numbers = 0
        self.confirmed_at: list[datetime | None] = []
        self.restart()

    def restart(self, rules: Rules = DEFAULT) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
        self.ledger = SqlLedger.open(self.url, STREAM, create=True, late_window=self.window)
        self.drain = live_walks(
            self.log,
            self.sink,
            self.ledger,
            start=floor_id(START - timedelta(minutes=30)),
            window=self.window,
            has_room=lambda: self.has_room,
            monotonic=lambda: self.ticks,
            rules=rules,
            report_confirmed=self.confirmed_at.append,
        )

    def happen(self, ago: timedelta = timedelta(0), kind: str = "s") -> LogId:
        """Let an event come in now with an id that is `ago` old."""
        self.numbers += 1
        log_id = numbered(self.numbers, self.log.now - ago)
        self.log.records.append(record(self.numbers, kind) | {"log_id": log_id})
        self.log.records.sort(key=lambda made: str(made["log_id"]))
        return log_id

    def pass_time(self, by: timedelta) -> None:
        self.log.now += by
        self.ticks += by.total_seconds()

    def cycle(self) -> None:
        for _ in self.drain.pages():
            pass

    def late_arrival(self) -> LogId:
        """Let an event come in half a minute below a position that was just reached."""
        self.happen()
        self.cycle()
        self.pass_time(timedelta(minutes=1))
        self.happen()
        self.cycle()
        return self.happen(ago=timedelta(seconds=30))

    def sent(self) -> list[str]:
        return [
            message.log_id for message in self.sink.taken if message.message_id.startswith("track")
        ]

    def recent_ids(self) -> list[str]:
        with self.ledger._database.reading() as connection:
            return list(connection.exec_driver_sql("SELECT log_id FROM recent_id").scalars())

    def confirmed(self) -> LogId:
        live = self.ledger.live_span()
        assert live is not None
        return live.confirmed


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.ledger.close()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("lateness_s", [30, 300, 590])
def test_a_late_arrival_is_found_once(bench: Bench, lateness_s: int, restarts: bool) -> None:
    on_time = []
    for _ in range(12):
        on_time.append(bench.happen())
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
    late = bench.happen(ago=timedelta(seconds=lateness_s))
    for _ in range(15):
        if restarts:
            bench.restart()
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
        on_time.append(bench.happen())
    bench.cycle()
    assert sorted(bench.sent()) == sorted([*on_time, late])


def test_a_window_that_reaches_below_where_the_log_began_ends_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, window=timedelta(days=2))
    for _ in range(3):
        bench.happen()
        bench.cycle()
        bench.pass_time(timedelta(hours=30))
    assert len(bench.sent()) == 3
    bench.ledger.close()


def test_an_event_that_is_later_than_the_window_is_not_found(bench: Bench) -> None:
    bench.happen()
    for _ in range(30):
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
        bench.happen()
    late = bench.happen(ago=timedelta(minutes=15))
    for _ in range(20):
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
    assert late not in bench.sent()


def test_late_noise_is_passed_over_and_a_late_bad_record_is_a_dead_letter(bench: Bench) -> None:
    bench.happen()
    bench.cycle()
    bench.pass_time(timedelta(minutes=1))
    bench.happen()
    bench.cycle()
    bench.happen(ago=timedelta(seconds=30), kind="w")
    bad = bench.happen(ago=timedelta(seconds=20), kind="bad_date")
    bench.pass_time(timedelta(minutes=11))
    bench.cycle()
    assert len(bench.sent()) == 2
    with bench.ledger._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT log_id FROM dead_letter").scalars().all() == [bad]
        assert (
            connection.exec_driver_sql("SELECT sum(events) FROM hourly_event_count").scalar() == 3
        )


def test_a_type_that_is_named_from_now_on_is_neither_sent_nor_counted_for_what_was_read_before(
    bench: Bench,
) -> None:
    bench.happen()
    before = bench.happen(kind="ssa")
    bench.cycle()
    bench.restart(Rules(login_types=frozenset({"s", "ssa"})))
    after = bench.happen(kind="ssa")
    bench.cycle()
    bench.pass_time(timedelta(minutes=11))
    bench.happen()
    bench.cycle()
    assert after in bench.sent()
    assert before not in bench.sent()
    with bench.ledger._database.reading() as connection:
        assert (
            connection.exec_driver_sql("SELECT sum(events) FROM hourly_event_count").scalar() == 4
        )


def test_a_record_without_an_id_is_not_counted_again(bench: Bench) -> None:
    bench.happen()
    bench.cycle()
    bench.pass_time(timedelta(minutes=1))
    first = bench.happen(kind="w")
    bench.log.nameless = {first}
    bench.cycle()
    for _ in range(15):
        bench.pass_time(timedelta(minutes=1))
        bench.happen(kind="w")
        bench.cycle()
    with bench.ledger._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM dead_letter").scalar() == 1


def test_a_process_that_ends_before_the_first_second_walk_leaves_no_hole(bench: Bench) -> None:
    bench.has_room = False
    late = bench.late_arrival()
    bench.restart()
    bench.has_room = True
    bench.pass_time(timedelta(minutes=12))
    bench.cycle()
    assert late in bench.sent()


def test_the_second_reading_runs_once_a_minute_and_costs_nothing_in_a_quiet_tenant(
    bench: Bench,
) -> None:
    bench.happen()
    bench.cycle()
    bench.pass_time(timedelta(hours=1))
    bench.cycle()
    bench.log.asked.clear()
    for _ in range(10):
        bench.pass_time(timedelta(seconds=SECOND_READING_INTERVAL_S))
        bench.cycle()
    assert not any(isinstance(cursor, SecondReading) for cursor in bench.log.asked)
    for _ in range(60):
        bench.pass_time(timedelta(seconds=10))
        bench.happen()
        bench.cycle()
    bench.log.asked.clear()
    for _ in range(18):
        bench.pass_time(timedelta(seconds=10))
        bench.happen()
        bench.cycle()
    assert sum(isinstance(cursor, SecondReading) for cursor in bench.log.asked) <= 6


def test_a_stretch_that_was_read_after_the_window_is_not_read_again(bench: Bench) -> None:
    for _ in range(200):
        bench.happen()
        bench.pass_time(timedelta(seconds=10))
    bench.pass_time(timedelta(hours=1))
    bench.cycle()
    bench.pass_time(timedelta(minutes=1))
    bench.cycle()
    assert not any(isinstance(cursor, SecondReading) for cursor in bench.log.asked)
    assert len(bench.sent()) == 200
    assert bench.confirmed() == bench.log.records[-1]["log_id"]


def test_the_second_reading_yields_while_the_rate_limit_is_short_and_catches_up_later(
    bench: Bench,
) -> None:
    late = bench.late_arrival()
    bench.has_room = False
    for _ in range(4):
        bench.pass_time(timedelta(minutes=1))
        bench.cycle()
    bench.pass_time(timedelta(minutes=8))
    assert late not in bench.sent()
    bench.has_room = True
    bench.cycle()
    assert late in bench.sent()


def test_the_second_reading_takes_its_turn_although_the_rate_limit_is_always_short(
    bench: Bench,
) -> None:
    late = bench.late_arrival()
    bench.has_room = False
    with capture_logs() as logs:
        for _ in range(16):
            bench.pass_time(timedelta(minutes=1))
            bench.happen()
            bench.cycle()
    assert bench.sent().count(late) == 1
    overdue = [entry for entry in logs if entry["event"] == "second_reading.overdue"]
    assert [entry["waited_s"] for entry in overdue] == [300, 300]
    assert {entry["log_level"] for entry in overdue} == {"warning"}
    assert len(bench.recent_ids()) <= 16


def test_the_second_reading_takes_its_turn_although_a_poll_never_sees_the_end(bench: Bench) -> None:
    late = bench.late_arrival()

    class Busy(FakeLog):
        """A log that gains a page for each page of the first reading."""

        def fetch(self, cursor: LogCursor) -> Page:
            if isinstance(cursor, Span):
                self.now += timedelta(seconds=1)
                for _ in range(self.page_size):
                    bench.happen()
            page = super().fetch(cursor)
            assert not (isinstance(cursor, Span) and page.is_end)
            return page

    busy = Busy(bench.log.records, page_size=10)
    busy.now = bench.log.now
    bench.log = busy
    bench.restart()
    for _ in range(15):
        bench.pass_time(timedelta(minutes=1))
        bench.cycle()
    assert bench.sent().count(late) == 1


@pytest.mark.parametrize("is_moved_to", ["reached", "later", "earlier"])
def test_a_position_moved_by_hand_loses_no_late_arrival(bench: Bench, is_moved_to: str) -> None:
    late = bench.late_arrival()
    live = bench.ledger.live_span()
    assert live is not None
    bench.pass_time(timedelta(seconds=5))
    by = {"reached": live.reached, "later": floor_id(bench.log.now), "earlier": live.after}
    bench.ledger.close()
    set_position(bench.url, STREAM, by[is_moved_to])
    bench.restart()
    bench.pass_time(timedelta(minutes=12))
    for _ in range(2):
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
    assert bench.sent().count(late) == 1


def test_an_unread_stretch_is_read_only_when_all_of_it_is_old_enough(bench: Bench) -> None:
    for _ in range(9):
        bench.happen()
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
    bench.ledger.close()
    set_position(bench.url, STREAM, floor_id(bench.log.now))
    bench.restart()
    bench.pass_time(timedelta(minutes=5))
    bench.cycle()
    late = bench.happen(ago=timedelta(minutes=6, seconds=30))
    bench.pass_time(timedelta(minutes=12))
    bench.cycle()
    assert bench.sent().count(late) == 1


def test_retention_that_overtakes_the_second_reading_is_a_gap_that_is_read_once(
    bench: Bench,
) -> None:
    late = bench.late_arrival()
    bench.pass_time(timedelta(minutes=12))
    bench.happen()
    bench.log.floor = floor_id(bench.log.now - timedelta(seconds=5))
    bench.cycle()
    assert late not in bench.sent()
    (gap,) = bench.ledger.gaps()
    assert gap.is_read_once
    assert gap.after < late < gap.before


def test_an_answer_without_a_believed_time_confirms_nothing(bench: Bench) -> None:
    late = bench.late_arrival()
    bench.log.is_time_believed = False
    before = bench.confirmed()
    for _ in range(20):
        bench.pass_time(timedelta(minutes=1))
        bench.cycle()
    assert bench.confirmed() == before
    bench.log.is_time_believed = True
    bench.cycle()
    assert bench.sent().count(late) == 1


@pytest.mark.parametrize("is_moved_by_hand", [False, True])
def test_only_the_second_reading_waits_where_its_own_answer_has_no_believed_time(
    bench: Bench, is_moved_by_hand: bool
) -> None:
    class Doubtful(FakeLog):
        """A log whose time no second clock confirms during the second reading."""

        def fetch(self, cursor: LogCursor) -> Page:
            assert len(self.asked) < 100
            self.is_time_believed = isinstance(cursor, Span)
            return super().fetch(cursor)

    late = bench.late_arrival()
    if is_moved_by_hand:
        bench.ledger.close()
        set_position(bench.url, STREAM, floor_id(bench.log.now))
    trusted = bench.log
    bench.log = Doubtful(trusted.records, page_size=10)
    bench.log.now = trusted.now
    bench.restart()
    on_time = []
    for _ in range(15):
        bench.pass_time(timedelta(minutes=1))
        on_time.append(bench.happen())
        bench.cycle()
    assert bench.sent()[-15:] == on_time
    trusted.now, trusted.records = bench.log.now, bench.log.records
    bench.log = trusted
    bench.restart()
    bench.cycle()
    assert bench.sent().count(late) == 1


def test_the_lag_of_the_second_reading_is_told(bench: Bench) -> None:
    bench.happen()
    bench.cycle()
    bench.pass_time(timedelta(minutes=3))
    bench.happen()
    bench.cycle()
    assert bench.confirmed_at[-1] == bench.log.now - WINDOW
    bench.pass_time(timedelta(minutes=20))
    bench.cycle()
    assert bench.confirmed_at[-1] is None


def test_the_lag_of_an_unread_stretch_is_told_where_it_is_the_longer(bench: Bench) -> None:
    bench.late_arrival()
    bench.ledger.close()
    set_position(bench.url, STREAM, floor_id(bench.log.now))
    bench.restart()
    bench.pass_time(timedelta(minutes=2))
    bench.happen()
    bench.cycle()
    (stretch,) = bench.ledger.unread_stretches()
    assert stretch.reached < bench.confirmed()
    assert bench.confirmed_at[-1] == moment_of(stretch.reached)


def test_an_unread_stretch_whose_end_has_no_time_is_read_at_once(bench: Bench) -> None:
    def add(*ids: str) -> None:
        bench.log.records += [record(0) | {"log_id": log_id} for log_id in ids]

    add("Cg1")
    bench.cycle()
    add("Cg2", "Cg3")
    bench.cycle()
    bench.ledger.close()
    set_position(bench.url, STREAM, LogId("Cg3"))
    bench.restart()
    assert [(each.reached, each.until) for each in bench.ledger.unread_stretches()] == [
        ("Cg1", "Cg3")
    ]
    bench.pass_time(timedelta(minutes=2))
    bench.cycle()
    assert bench.ledger.unread_stretches() == ()
    assert bench.sent() == ["Cg2", "Cg3"]


def test_a_second_reading_that_fails_is_repeated(bench: Bench) -> None:
    late = bench.late_arrival()
    bench.pass_time(timedelta(minutes=12))
    bench.sink.failures = [LATER]
    with pytest.raises(TransientError):
        bench.cycle()
    bench.pass_time(timedelta(minutes=1))
    bench.cycle()
    assert bench.sent().count(late) == 1
    assert len(bench.sent()) == 3


def test_ids_are_kept_until_they_are_confirmed_and_no_longer(bench: Bench) -> None:
    for _ in range(120):
        bench.happen()
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
    ids = bench.recent_ids()
    assert min(ids) > bench.confirmed()
    assert 10 <= len(ids) <= 12


def test_a_window_of_zero_switches_it_off_and_on_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, window=timedelta(0))
    for _ in range(5):
        bench.happen()
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
    assert bench.confirmed() == bench.log.records[-1]["log_id"]
    assert bench.recent_ids() == []
    bench.window = WINDOW
    bench.restart()
    for _ in range(3):
        bench.happen()
        bench.cycle()
        bench.pass_time(timedelta(minutes=1))
    assert bench.confirmed() < bench.log.records[-1]["log_id"]
    assert len(bench.recent_ids()) == 3
    bench.window = timedelta(0)
    bench.restart()
    bench.cycle()
    assert bench.confirmed() == bench.log.records[-1]["log_id"]
    assert bench.recent_ids() == []
    assert not any(isinstance(cursor, SecondReading) for cursor in bench.log.asked)
    assert len(set(bench.sent())) == len(bench.sent()) == 8
    bench.ledger.close()

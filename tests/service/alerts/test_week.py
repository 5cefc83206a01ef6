"""A week of virtual time with every fault: each alert arrives once, and none is missing."""

from datetime import timedelta

from poller.core.errors import FatalError
from poller.service.lifecycle.backlog import Backlog
from poller.service.observability.instrumented import SegmentCounts
from tests.service.alerts.bench import BEGIN, Bench, Receiver

HOUR = 60


def test_a_week_with_every_fault_tells_each_once_and_misses_none() -> None:
    steady, flaky = Receiver("steady"), Receiver("flaky")
    bench = Bench(None, steady, flaky)
    week = _Week(bench, flaky)
    for day in (
        week.blocks,
        week.loses,
        week.stalls,
        week.lags,
        week.misses,
        week.ends,
        week.rests,
    ):
        begun = bench.now
        day()
        rest = timedelta(days=1) - (bench.now - begun)
        bench.run(minutes=rest / timedelta(minutes=1))
    assert bench.now - BEGIN == timedelta(days=7)
    assert steady.titles == week.expected
    assert flaky.titles == week.expected
    assert bench.switch.falls == week.falls
    assert not bench.switch.is_down
    assert bench.switch.pings[0][0] == "start"
    start, success = bench.switch.pings[0], bench.switch.pings[1]
    assert success == ("success", start[1])
    assert start[1] is not None


class _Week:
    """The faults of each day, and what must be told of them."""

    def __init__(self, bench: Bench, flaky: Receiver) -> None:
        self.bench, self.flaky = bench, flaky
        self.expected: list[str] = []
        self.falls: list[object] = []

    def blocks(self) -> None:
        """Block the daemon for two hours, and for passing moments."""
        bench = self.bench
        bench.run(minutes=3 * HOUR)
        bench.watch.set_blocked(is_blocked=True, code="auth0-credentials-refused")
        bench.run(minutes=5)
        self.falls.append(bench.now)
        bench.run(minutes=2 * HOUR - 5)
        bench.watch.set_blocked(is_blocked=False)
        bench.run(minutes=2 * HOUR)
        for _ in range(10):
            bench.watch.set_blocked(is_blocked=True, code="auth0-request-forbidden")
            bench.run(minutes=2)
            bench.watch.set_blocked(is_blocked=False)
            bench.run(minutes=10)
        self.expected += [
            "The daemon is blocked until somebody acts",
            "The daemon is not blocked any more",
        ]

    def loses(self) -> None:
        """Record a gap and a flood of dead letters while one target is out of order."""
        bench = self.bench
        self.flaky.is_failing = True
        bench.run(minutes=HOUR)
        bench.ledger.gaps.append(bench.now)
        bench.run(minutes=HOUR)
        for number in range(1, 241):
            bench.ledger.dead_letters = {"unsendable": number}
            bench.run(step_s=1)
        bench.run(minutes=HOUR)
        self.flaky.is_failing = False
        self.expected += [
            "Auth0 removed a part of its log before it was read",
            "Some events cannot be sent",
        ]

    def stalls(self) -> None:
        """Stall for a whole outage, on a full disk."""
        bench = self.bench
        bench.run(minutes=HOUR)
        bench.is_settling, bench.ledger.is_failing = False, True
        bench.run(minutes=7)  # the first minute without a ping begins after the last page
        self.falls.append(bench.now)
        bench.run(minutes=3 * HOUR)
        bench.is_settling, bench.ledger.is_failing = True, False
        bench.run(minutes=HOUR)
        self.expected += ["No page was settled for half an hour", "Pages are settled again"]

    def lags(self) -> None:
        """Leave a backlog that waits, and that comes near the retention."""
        bench = self.bench
        bench.watch.set_retention(timedelta(days=2))
        bench.backlog = Backlog(since=bench.now, slices_left=3, time_left=timedelta(hours=6))
        bench.run(minutes=3 * HOUR)
        oldest = bench.now - timedelta(hours=30)
        bench.backlog = Backlog(
            since=bench.now, slices_left=2, time_left=timedelta(hours=5), oldest=oldest
        )
        bench.run(minutes=30)
        bench.backlog = Backlog()
        bench.run(minutes=HOUR)
        self.expected += [
            "The backlog of an outage has not shrunk for an hour",
            "Auth0 will soon remove events that are not read yet",
            "The backlog shrinks again, or is gone",
            "The position is far from the end of the retention again",
        ]

    def misses(self) -> None:
        """Let Segment drop messages for ten hours."""
        bench = self.bench
        for missing in [0, *range(300, 1300, 100), 0]:
            counts = SegmentCounts(
                at=bench.now, acknowledged=9000, received=9000 - missing, missing=missing
            )
            bench.watch.set_segment_counts(counts)
            bench.run(minutes=HOUR)
        self.expected += [
            "Segment receives fewer messages than it acknowledged",
            "Segment receives what it acknowledges again",
        ]

    def ends(self) -> None:
        """End the daemon by a fatal error, by a stop, and by two crashes."""
        bench = self.bench
        bench.run(minutes=HOUR)
        bench.sender.finish(FatalError("x", code="ledger-gone", hint="y"))
        self.falls.append(bench.now)
        bench.start()
        bench.run(minutes=HOUR)
        bench.sender.finish(None)
        bench.start()
        for _ in range(2):
            bench.run(minutes=10)
            bench.start()
        self.expected += [
            "The daemon ended with an error, and is not started again",
            "The daemon was started again after it ended without a word",
            "The daemon was started again after it ended without a word",
        ]

    def rests(self) -> None:
        """Do nothing wrong."""

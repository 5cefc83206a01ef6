"""A day of a tenant in front of a simulated Segment, on a clock of its own, within one process.

The daemon polls every two minutes, and a backfill takes its turn after each poll. Answers get lost,
and both are killed between the answer of Segment and the settle.
"""

import bisect
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from poller.adapters.segment.source_counts import read_source_counts
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.counts import beginning_of_hour
from poller.core.delivery import BatchSender
from poller.core.errors import TransientError
from poller.core.events import parse_events
from poller.core.forward import forward
from poller.core.log_ids import LogId, floor_id
from poller.core.messages import Batch, Message, Receipt
from poller.core.pages import Page
from poller.core.spans import LogCursor, Span
from poller.core.translation.translator import LiveTranslator, TrackTranslator
from poller.sandbox.clock import Clock
from poller.sandbox.segment.collector import Arrival, Collector
from poller.sandbox.segment.counting import SourceCounter
from poller.service.verify.hour_figures import HOUR, REPEAT_HOURS
from poller.service.verify.received import SourceComparison, compare_with_source
from tests.fakes import STREAM, FakeDirectory, numbered
from tests.samples import wire

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
POLL = timedelta(minutes=2)
KEY, OTHER_KEY = "k" * 20, "o" * 20


class DayClock(Clock):
    """A clock that only the test moves."""

    def __init__(self, moment: datetime) -> None:
        super().__init__()
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def advance(self, by: timedelta) -> None:
        self.moment += by


class KilledError(Exception):
    """The process ends here."""


class DayLog:
    """A LogSource of records in log-id order, which shows what happened until now."""

    def __init__(self, records: list[dict[str, Any]], clock: Clock) -> None:
        self._records = records
        self._ids = [str(record["log_id"]) for record in records]
        self._clock = clock

    def fetch(self, cursor: LogCursor) -> Page:
        now = self._clock.now()
        begin = bisect.bisect_right(self._ids, cursor.reached)
        end = bisect.bisect_right(self._ids, min(cursor.until or "999", floor_id(now)))
        records = self._records[begin : min(begin + 100, end)]
        is_end = begin + 100 >= end
        position = cursor.reached if not records else LogId(str(records[-1]["log_id"]))
        return Page(
            events=parse_events(records, after=cursor.reached),
            position=cursor.until if is_end and cursor.until else position,
            is_end=is_end,
            served_at=now,
            believed_at=now,
        )


class DaySink:
    """A MessageSink in front of the collector. Some answers are lost, and some kill the process.

    Each request takes half a second. The time of an answer has whole seconds, as `Date` has.
    """

    def __init__(self, collector: Collector, clock: Clock, chance: random.Random) -> None:
        self.key = KEY
        self.faults = 0.0
        self._collector = collector
        self._clock = clock
        self._chance = chance

    def encode(self, message: Message) -> bytes:
        return json.dumps(wire(message)).encode()

    def send(self, batch: Batch) -> Receipt:
        body = b'{"batch": [' + b",".join(batch.bodies) + b"]}"
        self._clock.advance(timedelta(seconds=0.25))
        status, _, _ = self._collector.receive(body, key=self.key)
        assert status == 200
        self._clock.advance(timedelta(seconds=0.25))
        if self._chance.random() < self.faults:
            raise self._chance.choice([KilledError(), TransientError("the answer is lost")])
        return Receipt(
            message_ids=tuple(message.message_id for message in batch.messages),
            acknowledged_at=self._clock.now().replace(microsecond=0),
        )


@dataclass(frozen=True)
class Api:
    """The counts of the simulated source, as the client of the Public API yields them."""

    counter: SourceCounter

    def delivery(
        self, _: str, path: str, begin: str, end: str, *, with_reasons: bool
    ) -> Iterator[Mapping[str, Any]]:
        names = ["eventName", "eventType", *(["discardReason"] if with_reasons else [])]
        window = (datetime.fromisoformat(begin), datetime.fromisoformat(end))
        yield from self.counter.dataset(path, names, *window)


class Day:
    """The day: its log, its processes, its ledger, and what Segment counted."""

    def __init__(self, folder: Path, *, events: int, faults: float) -> None:
        self.clock = DayClock(MIDNIGHT)
        self.collector = Collector(self.clock, write_key=KEY)
        self.counter = SourceCounter(self.collector)
        chance = random.Random(1)  # noqa: S311 - a test
        self.log = DayLog(list(records(events, chance, repeats=faults > 0)), self.clock)
        self.sink = DaySink(self.collector, self.clock, chance)
        self.sink.faults = faults
        self._url = f"sqlite:///{folder / 'ledger.db'}"
        self._start()
        self.ledger.begin(after=floor_id(MIDNIGHT))
        self.ledger.begin(after=floor_id(MIDNIGHT - 24 * HOUR), until=floor_id(MIDNIGHT))

    def _start(self) -> None:
        self.ledger = SqlLedger.open(self._url, STREAM, create=True, now=lambda: self.clock.moment)
        profiles = FakeDirectory({})
        self._live = (self.log, profiles, LiveTranslator(STREAM), BatchSender(self.sink))
        self._history = (self.log, profiles, TrackTranslator(STREAM), BatchSender(self.sink))

    def pass_hours(self, hours: int) -> None:
        """Let hours pass, with a poll every two minutes."""
        end = self.clock.moment + hours * HOUR
        while self.clock.moment < end:
            self.clock.advance(POLL)
            try:
                with suppress(TransientError):
                    self._poll()
            except KilledError:
                self.ledger.close()
                self._start()

    def _poll(self) -> None:
        live = self.ledger.live_span()
        assert live is not None
        live = self.ledger.begin_work(live)
        assert live is not None
        for forwarded in forward(*self._live, self.ledger, live):
            if forwarded.settlement.page.is_end:
                break
        below: list[Span] = [span for span in self.ledger.spans() if not span.is_live]
        if below and not below[0].is_done:
            slice_ = self.ledger.begin_work(below[0])
            assert slice_ is not None
            next(forward(*self._history, self.ledger, slice_))

    def compared(self, *, counts_repeats: bool, has_filtered: bool) -> SourceComparison:
        """Compare the day with what Segment counted, by one of its ways of counting."""
        self.counter.counts_repeats = counts_repeats
        self.counter.received_has_filtered = has_filtered
        now = self.clock.now()
        begin = MIDNIGHT - REPEAT_HOURS * HOUR
        acknowledged = self.ledger.acknowledged(begin, now + HOUR)
        api: Any = Api(self.counter)
        counts = read_source_counts(api, "src_sandbox", begin, now)
        return compare_with_source(acknowledged, counts, since=MIDNIGHT, until=now, now=now)

    def lost(self) -> Counter[tuple[int, str, str]]:
        """Return what never passed, by the hour of the last attempt, the event, and the reason."""
        last: dict[str, Arrival] = {}
        for arrival in self.collector.arrivals:
            before = last.get(arrival.message_id)
            if before is None or before.fate not in {"published", "duplicate"}:
                last[arrival.message_id] = arrival
        return Counter(
            ((beginning_of_hour(each.at) - MIDNIGHT) // HOUR, each.event or each.type, each.fate)
            for each in last.values()
            if each.fate not in {"published", "duplicate"}
        )

    def repeats(self) -> int:
        """Return the number of arrivals whose message had arrived before."""
        return len(self.collector.arrivals) - len({a.message_id for a in self.collector.arrivals})


def records(events: int, chance: random.Random, *, repeats: bool) -> Iterator[dict[str, Any]]:
    """Yield the log of the day, and a fifth as much of the day before.

    A tenth are signups. With `repeats` a few of them are by users who signed up before.
    """
    moments = [MIDNIGHT + 24 * HOUR * chance.random() for _ in range(events)]
    moments += [MIDNIGHT - 24 * HOUR * chance.random() for _ in range(events // 5)]
    for number, moment in enumerate(sorted(moments)):
        is_signup = number % 10 == 0
        user = number // 500 if repeats and number % 50 == 0 else number
        yield {
            "log_id": numbered(number, moment),
            "type": "ss" if is_signup else "s",
            "date": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "user_id": f"auth0|{user}",
            "connection": f"db-{number % 7}",
        }

"""Changes of routes that stand at different positions: no event is lost, and none is sent twice."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.routes import keep_routes, read_routing
from poller.adapters.sql_ledger.tables.routing import RecordedRoute
from poller.cli.wiring.routes import routing_since
from poller.core.delivery import BatchSender
from poller.core.events import Stream
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST
from poller.core.messages import Track
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from poller.service.daemon.late_arrivals import SecondReader
from tests.builders import live_of, record
from tests.fakes import NOW, STREAM, FakeDirectory, FakeLog, FakeSink, numbered

APPS = "abc"
STREAMS = tuple(replace(STREAM, source_name=name) for name in ("one", "two", "three", "four"))


class Tenant:
    """A tenant whose routes change, and the events that each of its sources got."""

    def __init__(self, path: Path) -> None:
        self.log = FakeLog([], page_size=3)
        self.log.now = NOW + timedelta(minutes=5)
        self.sinks = {stream: FakeSink() for stream in STREAMS}
        self.routes: tuple[RecordedRoute, ...] = ()
        self.ledgers: dict[Stream, SqlLedger] = {}
        self.database = place_of(f"sqlite:///{path}/ledger.db").open(create=True)
        self.count = 0
        self.late: set[str] = set()

    def grow(self, apps: str) -> None:
        for app in apps:
            self.count += 1
            self.log.records.append(record(2 * self.count) | {"client_id": app})

    def write_late(self, app: str, below: int) -> None:
        """Let an event appear below others that may have been read."""
        number = 2 * max(self.count - below, 0) + 1
        late = record(number) | {"client_id": app}
        if late["log_id"] not in self.late:
            self.late.add(late["log_id"])
            self.log.records.append(late)
            self.log.records.sort(key=lambda each: str(each["log_id"]))

    def change(self, routes: tuple[RecordedRoute, ...]) -> None:
        """Stop all routes, and start these."""
        keep_routes(self.database, "acme", routes, NOW)
        keep_routes(self.database, "acme", routes, NOW, EARLIEST)
        self.routes = routes
        self.ledgers = {
            each.stream: SqlLedger.open(
                *(self.database.shown, each.stream),
                create=True,
                adopt=True,
                database=self.database,
            )
            for each in routes
        }
        for ledger in self.ledgers.values():
            if live_of(ledger) is None:  # nothing is recorded of a file without routes
                ledger.begin(after=EARLIEST)

    def drain(self, number: int, pages: int | None) -> None:
        """Let a route read some pages, or up to the end of the log."""
        ledger = self.nth(number)
        live = live_of(ledger)
        assert live is not None
        for forwarded in islice(forward(*self.ports(ledger), live), pages):
            if forwarded.settlement.page.is_end:
                return

    def catch_up(self, number: int, pages: int) -> None:
        """Let a route make a backlog of what it has ahead, and begin to read it."""
        ledger = self.nth(number)
        live = live_of(ledger)
        present = numbered(2 * self.count)
        if live is not None and live.reached < present:
            ledger.begin_catch_up(live, present=present, ends=[])
        self.walk(number, pages)

    def walk(self, number: int, pages: int | None) -> None:
        """Let a route read some pages of each part of its backlog, or all of it."""
        ledger = self.nth(number)
        for each in ledger.backlog():
            cursor = ledger.begin_work(each)
            if cursor is not None:
                [*islice(forward(*self.ports(ledger), cursor), pages)]

    def read_again(self, number: int) -> None:
        ledger = self.nth(number)
        log, profiles, _, sender, _ = self.ports(ledger)
        reader = SecondReader(
            source=log,
            profiles=profiles,
            translator=self.translator(ledger.stream, is_late=True),
            sender=sender,
            ledger=ledger,
            window=timedelta(minutes=10),
            has_room=lambda: True,
            report_confirmed=lambda moment: None,
        )
        [*reader.pages(self.log.now)]

    def nth(self, number: int) -> SqlLedger:
        return [*self.ledgers.values()][number % len(self.ledgers)]

    def translator(self, stream: Stream, *, is_late: bool = False) -> LiveTranslator:
        rows = read_routing(self.database, STREAM.domain, "acme")
        routing = routing_since(rows, stream) if rows else None
        return LiveTranslator(
            stream, Rules(routing=routing.for_late_arrivals() if routing and is_late else routing)
        )

    def ports(self, ledger: SqlLedger) -> tuple[Any, ...]:
        sender = BatchSender(self.sinks[ledger.stream])
        return self.log, FakeDirectory({}), self.translator(ledger.stream), sender, ledger

    def finish(self) -> None:
        for number in range(len(self.routes)):
            self.drain(number, None)
            self.walk(number, None)
        self.log.now = NOW + timedelta(hours=1)
        for number in range(len(self.routes)):
            self.read_again(number)

    def sent(self) -> Counter[str]:
        """Return how many sources got each event, by the user, of whom there is one each."""
        return Counter(
            message.user_id
            for sink in self.sinks.values()
            for message in sink.taken
            if isinstance(message, Track)
        )


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    made = Tenant(tmp_path)
    with closing(made.database):
        yield made


def routes(*conditions: tuple[int, str]) -> tuple[RecordedRoute, ...]:
    """Return routes with these streams and applications. The last one takes the rest."""
    made = tuple(
        RecordedRoute(stream=STREAMS[number], when=f"contains('{apps}', log.client_id)")
        for number, apps in conditions
    )
    return (*made[:-1], replace(made[-1], when=None))


ROUTES = st.tuples(
    st.permutations(range(len(STREAMS))),
    st.lists(st.text(APPS, min_size=1, max_size=2), min_size=1, max_size=3),
).map(lambda drawn: routes(*zip(*drawn, strict=False)))
STEPS = st.one_of(
    st.tuples(st.just(Tenant.grow), st.text(APPS, min_size=1, max_size=8)),
    st.tuples(st.just(Tenant.change), ROUTES),
    st.tuples(st.just(Tenant.drain), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.just(Tenant.catch_up), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just(Tenant.walk), st.integers(0, 2), st.integers(1, 2)),
    st.tuples(st.just(Tenant.write_late), st.sampled_from(APPS), st.integers(0, 8)),
)


@given(first=ROUTES.filter(lambda each: len(each) > 1), steps=st.lists(STEPS, max_size=14))
@settings(deadline=None, phases=(Phase.generate, Phase.shrink))
def test_every_event_reaches_one_route_however_routes_change(
    first: tuple[RecordedRoute, ...], steps: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tenant = Tenant(Path(folder))
        with closing(tenant.database):
            tenant.change(first)
            for step, *arguments in steps:
                step(tenant, *arguments)
            tenant.finish()
            sent = tenant.sent()
    for each in tenant.log.records:
        times = sent[each["user_id"]]
        assert times >= 1
        assert times == 1 or each["log_id"] in tenant.late

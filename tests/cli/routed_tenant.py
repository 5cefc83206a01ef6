"""A tenant whose routes change, in one process, on fakes of both services."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.routes import keep_routes, read_routing
from poller.adapters.sql_ledger.tables.routing import RecordedRoute
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.routes import routing_since
from poller.config import load_settings, read_pipeline
from poller.core.delivery import BatchSender
from poller.core.events import Stream
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST
from poller.core.messages import Track
from poller.core.spans import Redelivery
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from poller.service.daemon.late_arrivals import SecondReader
from tests.builders import live_of, record
from tests.cli.interrupted_ledger import InterruptedLedgerError, interrupted
from tests.fakes import NOW, STREAM, FakeDirectory, FakeLog, FakeSink, numbered

STREAMS = tuple(replace(STREAM, source_name=name) for name in ("one", "two", "three", "four"))


class Tenant:
    """A tenant whose routes change, and the events that each of its sources got."""

    def __init__(self, path: Path, url: str = "") -> None:
        self.path = path
        self.log = FakeLog([], page_size=3)
        self.log.now = NOW + timedelta(minutes=5)
        self.sinks = {stream: FakeSink() for stream in STREAMS}
        self.routes: tuple[RecordedRoute, ...] = ()
        self.ledgers: dict[Stream, SqlLedger] = {}
        self.database = place_of(url or f"sqlite:///{path}/ledger.db").open(create=True)
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

    def crash(self, routes: tuple[RecordedRoute, ...], number: int, is_undone: bool) -> None:
        """Let the process end before a statement of its start with these routes. Start again.

        The next start has the routes before, if the change is undone.
        """
        before = self.routes
        with suppress(InterruptedLedgerError), interrupted(self.database, number):
            self.change(routes)
        self.change(before if is_undone else routes)

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
            stream, Rules(routing=routing.for_unsettled() if routing and is_late else routing)
        )

    def ports(self, ledger: SqlLedger) -> tuple[Any, ...]:
        sender = BatchSender(self.sinks[ledger.stream])
        return self.log, FakeDirectory({}), self.translator(ledger.stream), sender, ledger

    def send_again(self, stream: Stream, pages: int | None = None) -> None:
        """Let a route send again what went to a wrong write key, by a backfill."""
        ledger = self.ledgers[stream]
        walk = self.backfill(ledger).walker()
        for each in ledger.revisits():
            cursor = ledger.begin_work(each)
            if isinstance(cursor, Redelivery):
                [*islice(walk(cursor), pages)]

    def backfill(self, ledger: SqlLedger, file: Path | None = None) -> BackfillParts:
        """Return a backfill by the routes of now, or by those of a file."""
        file = file or self.write_routes(self.routes)
        services = SimpleNamespace(
            log=self.log,
            users=SimpleNamespace(profiles_of=lambda ids: {}),
            sink=self.sinks[ledger.stream],
            clock=SimpleNamespace(now=lambda: NOW),
        )
        name = f"acme.{ledger.stream.source_name}"
        pipeline = read_pipeline(file, name) if "routes" in file.read_text() else file
        return BackfillParts(
            settings=load_settings(pipeline, {"HOME": "/home/ada"}),
            services=cast("Any", services),
            ledger=ledger,
        )

    def write_routes(self, routes: tuple[RecordedRoute, ...]) -> Path:
        text = f'[auth0]\ndomain = "{STREAM.domain}"\nclient_id = "a"\nclient_secret = "s"\n'
        text += f'[state]\nurl = "{self.database.shown}"\n'
        for each in routes:
            text += f'[[routes]]\nname = "{each.stream.source_name}"\nwrite_key = "key"\n'
            text += f'source_name = "{each.stream.source_name}"\n'
            text += f'generation = "{each.stream.generation}"\n'
            text += f'when = "{each.when}"\n' if each.when else ""
        file = self.path / "acme.toml"
        file.write_text(text)
        return file

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


def routes(*conditions: tuple[int, str]) -> tuple[RecordedRoute, ...]:
    """Return routes with these streams and applications. The last one takes the rest."""
    made = tuple(
        RecordedRoute(stream=STREAMS[number], when=f"contains('{apps}', log.client_id)")
        for number, apps in conditions
    )
    return (*made[:-1], replace(made[-1], when=None))

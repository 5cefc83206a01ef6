"""Writers at the same time: what a transaction has read stays as it is until it ends."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.postgres import connection as begin
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.set_position import set_position
from poller.adapters.sql_ledger.tables.spans import insert_span, read_spans
from poller.core.errors import ConflictError, PollerError
from poller.core.events import Stream
from poller.core.spans import Span
from tests.builders import page, settlement
from tests.fakes import STREAM, numbered
from tests.postgres.cluster import Cluster
from tests.process.bench import PATIENCE_S

OTHER = replace(STREAM, source_name="other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledgers:
    """Two owners of one stream, and the owner of another stream."""

    first: SqlLedger
    second: SqlLedger
    other: SqlLedger


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a writer wait for a lock as long as the test needs to let go of it."""
    for name in ("CHANGING", "WRITING"):
        patient = re.sub(r"= '\d+s'", "= '10min'", getattr(begin, name))
        monkeypatch.setattr(begin, name, patient)


@pytest.fixture
def ledgers(postgres_url: str) -> Iterator[Ledgers]:
    with ExitStack() as stack:

        def opened(stream: Stream) -> SqlLedger:
            ledger = SqlLedger.open(postgres_url, stream, create=True, adopt=True)
            return stack.enter_context(closing(ledger))

        first = opened(STREAM)
        # Otherwise the other stream takes over this one, which has settled nothing.
        first.settle(settlement(first.begin(after=numbered(900), until=numbered(910)), page(901)))
        yield Ledgers(first=first, second=opened(STREAM), other=opened(OTHER))


class Beside:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: PollerError | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except PollerError as error:
            self.error = error

    def wait_until_it_waits(self, cluster: Cluster, database: str) -> None:
        """Return once the call waits for a lock of the server. Fail if it ends before."""
        query = "SELECT datname FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while (database,) not in cluster.execute(query):
            assert self._thread.is_alive(), "it did not wait"

    def end(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_of_two_spans_that_overlap_one_is_refused(
    ledgers: Ledgers, cluster: Cluster, database: str
) -> None:
    first, second, other = ledgers.first, ledgers.second, ledgers.other
    with first._database.writing() as connection:
        assert len(read_spans(connection, STREAM, first._stream_id)) == 1
        beside = Beside(lambda: second.begin(after=numbered(5), until=numbered(15)))
        beside.wait_until_it_waits(cluster, database)
        other.begin(after=numbered(5), until=numbered(15))  # does not wait for another stream
        new = Span.unsettled(STREAM, after=numbered(0), until=numbered(10))
        insert_span(connection, first._stream_id, new)
    beside.end()
    assert isinstance(beside.error, ConflictError)
    assert (len(first.spans()), len(other.spans())) == (2, 1)


def test_a_change_of_the_whole_ledger_waits_for_every_stream(
    ledgers: Ledgers,
    postgres_url: str,
    cluster: Cluster,
    database: str,
) -> None:
    first, second, other = ledgers.first, ledgers.second, ledgers.other
    live = first.begin(after=numbered(910))
    first.settle(settlement(live, page(911, 912, 913)))
    with other._database.writing():
        beside = Beside(lambda: set_position(postgres_url, STREAM, numbered(912)))
        beside.wait_until_it_waits(cluster, database)
    beside.end()
    assert beside.error is None
    moved = second.live_span()
    assert moved is not None
    assert moved.reached == numbered(912)


def test_a_reader_sees_one_moment_and_keeps_no_writer_waiting(
    ledgers: Ledgers, postgres_url: str
) -> None:
    first = ledgers.first
    live = first.begin(after=numbered(910))
    with closing(LedgerReader.open(postgres_url)) as reader, reader.at_one_moment():
        before = reader.spans(STREAM)
        first.settle(settlement(live, page(911)))
        assert reader.spans(STREAM) == before
        assert reader.totals(STREAM)["forwarded"] == 1
    assert first.spans() != before


def test_the_same_page_is_settled_once_by_many_at_once(
    ledgers: Ledgers,
) -> None:
    first, second = ledgers.first, ledgers.second
    span = first.begin(after=numbered(910))
    calls = [
        Beside(lambda: ledger.settle(settlement(span, page(911, 912))))  # noqa: B023 - of one list
        for ledger in (first, second) * 3
    ]
    for call in calls:
        call.end()
    assert sum(call.error is None for call in calls) == 1

"""The contract of every FileLedger: a mark moves with the outcomes of its page or not at all."""

from collections.abc import Iterator

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.core.errors import ConflictError
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST
from poller.core.messages import Delivery, Receipt
from poller.core.ports import FileLedger
from poller.core.settlement import UnaccountedError, build_file_settlement
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from tests.adapters.sql_ledger.dialects import DIALECTS, url_of
from tests.builders import calls_of, file_mark, file_page, file_settlement
from tests.fakes import STREAM, FakeFileLedger


@pytest.fixture(params=["fake", *DIALECTS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    return url_of(kind, request)


@pytest.fixture
def ledger(kind: str, url: str) -> Iterator[FileLedger]:
    if kind == "fake":
        yield FakeFileLedger()
        return
    made = SqlLedger.open(url, STREAM, create=True)
    yield made
    made.close()


def forwarded(ledger: FileLedger, url: str) -> int:
    if isinstance(ledger, FakeFileLedger):
        return sum(ledger.tallies.values())
    reader = LedgerReader.open(url)
    try:
        return sum(reader.totals(STREAM).values())
    finally:
        reader.close()


def test_a_mark_moves_and_its_events_are_counted(ledger: FileLedger, url: str) -> None:
    assert ledger.file_marks() == ()
    ledger.settle_file(file_settlement(file_page(file_mark(100), 1, 2)))
    ledger.settle_file(
        file_settlement(file_page(file_mark(200), 3, kind="w", moves=file_mark(100)))
    )
    assert ledger.file_marks() == (file_mark(200),)
    assert forwarded(ledger, url) == 3
    assert (ledger.spans(), ledger.gaps()) == ((), ())


def test_the_first_page_of_a_reading_leaves_earlier_marks_where_they_are(
    ledger: FileLedger,
) -> None:
    ledger.settle_file(file_settlement(file_page(file_mark(100), 1)))
    ledger.settle_file(file_settlement(file_page(file_mark(300), 2)))
    ledger.settle_file(file_settlement(file_page(file_mark(100, "b"), 3)))
    assert set(ledger.file_marks()) == {file_mark(100), file_mark(300), file_mark(100, "b")}


def test_a_page_of_a_file_is_settled_once(ledger: FileLedger, url: str) -> None:
    first, second = (
        file_settlement(file_page(file_mark(100), 1)),
        file_settlement(file_page(file_mark(200), 2, moves=file_mark(100))),
    )
    ledger.settle_file(first)
    ledger.settle_file(second)
    for again in (
        second,
        file_settlement(file_page(file_mark(200), 2)),
        file_settlement(file_page(file_mark(300), 3, moves=file_mark(100))),
    ):
        with pytest.raises(ConflictError):
            ledger.settle_file(again)
    assert ledger.file_marks() == (file_mark(200),)
    assert forwarded(ledger, url) == 2


def test_fingerprints_and_dead_letters_are_stored_with_the_mark(
    ledger: FileLedger, url: str
) -> None:
    rules = Rules(identify="changes")
    done = file_settlement(file_page(file_mark(100), 1, 2), rules=rules)
    assert done.fingerprints
    ledger.settle_file(done)
    assert ledger.last_fingerprints(list(done.fingerprints)) == done.fingerprints
    ledger.settle_file(
        file_settlement(file_page(file_mark(200), 3, kind="no_user", moves=file_mark(100)))
    )
    assert forwarded(ledger, url) == 3
    if isinstance(ledger, SqlLedger):
        reader = LedgerReader.open(url)
        assert reader.dead_letters_by_reason(STREAM) == {"no_user_id": 1}
        reader.close()


def test_only_what_was_taken_is_counted_and_all_of_that(ledger: FileLedger, url: str) -> None:
    read = file_page(file_mark(100), 1, 2, 3)
    ledger.settle_file(file_settlement(read, read.events[1:]))
    assert forwarded(ledger, url) == 2
    calls = calls_of(LiveTranslator(STREAM), read.events[1:], {})
    receipt = Receipt(message_ids=tuple(message.message_id for message in calls.messages))
    with pytest.raises(UnaccountedError):
        build_file_settlement(read, read.events, calls, Delivery(receipts=(receipt,)))
    with pytest.raises(UnaccountedError):
        build_file_settlement(read, read.events[1:], calls, Delivery())


@pytest.mark.parametrize("kind", DIALECTS)
def test_marks_are_a_streams_own(url: str) -> None:
    first = SqlLedger.open(url, STREAM, create=True)
    first.begin(after=EARLIEST)
    first.settle_file(file_settlement(file_page(file_mark(100), 1)))
    # It has settled something, though no span has: it does not become another stream.
    other = SqlLedger.open(
        url, Stream(domain=STREAM.domain, source_name="other"), create=True, adopt=True
    )
    assert first.file_marks() == (file_mark(100),)
    assert other.file_marks() == ()
    other.settle_file(file_settlement(file_page(file_mark(100), 1)))
    other.close()
    first.close()

"""A writer that stalled with a page cannot move a span that another writer has moved since."""

import threading
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.core.delivery import BatchSender
from poller.core.errors import ConflictError, TakenOverError
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST
from poller.core.messages import Batch, Receipt
from poller.core.spans import Span
from poller.core.translation.translator import LiveTranslator
from tests.adapters.sql_ledger import ledgers
from tests.builders import live_of, record
from tests.fakes import STREAM, FakeDirectory, FakeLog, FakeSink, numbered


class Stalled(FakeSink):
    """A sink that takes a batch and returns only when the test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.took, self.go_on = threading.Event(), threading.Event()

    def send(self, batch: Batch) -> Receipt:
        receipt = super().send(batch)
        self.took.set()
        assert self.go_on.wait(60)
        return receipt


def test_a_stalled_writer_that_wakes_up_is_refused_and_counts_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    log = FakeLog([record(number) for number in range(1, 31)], page_size=10)
    first, second = (SqlLedger.open(url, STREAM, create=True) for _ in range(2))
    first.begin(after=EARLIEST)
    stalled, errors = Stalled(), []

    def write() -> None:
        span = live_of(first)
        assert span is not None
        try:
            next(
                forward(
                    log,
                    FakeDirectory({}),
                    LiveTranslator(STREAM),
                    BatchSender(stalled),
                    first,
                    span,
                )
            )
        except TakenOverError as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    assert stalled.took.wait(60)
    span = live_of(second)
    assert span is not None
    for forwarded in forward(
        log, FakeDirectory({}), LiveTranslator(STREAM), BatchSender(FakeSink()), second, span
    ):
        if forwarded.settlement.page.is_end:
            break
    stalled.go_on.set()
    thread.join(60)
    assert len(errors) == 1
    reader = LedgerReader.open(url)
    assert reader.totals(STREAM)["forwarded"] == 30
    reader.close()
    again = first.live_span()
    assert again is not None
    assert again.reached == log.records[-1]["log_id"]
    first.close()
    second.close()


def test_a_slice_that_is_handed_back_can_be_begun_by_the_earlier_owner_alone(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    owner, helper, heir = (SqlLedger.open(url, STREAM, create=True) for _ in range(3))
    given = owner.begin(after=numbered(1), until=numbered(9))
    walked = helper.begin_work(given)
    assert isinstance(walked, Span)
    with pytest.raises(TakenOverError):
        owner.begin_work(given)
    helper.hand_back(walked, given.fence)
    assert owner.begin_work(given) == given
    with pytest.raises(ConflictError):
        helper.cut(walked, numbered(5))
    heir.begin_work(given)
    for each, cursor in ((owner, given), (helper, walked)):
        with pytest.raises(TakenOverError):
            each.hand_back(cursor, given.fence)
    for each in (owner, helper, heir):
        each.close()


def test_each_side_sees_where_the_other_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    first, second = (SqlLedger.open(url, STREAM, create=True) for _ in range(2))
    live = first.begin(after=EARLIEST)
    with pytest.raises(ConflictError):
        second.begin(after=EARLIEST)
    assert second.live_span() == live
    first.close()
    second.close()


def test_a_report_of_one_moment_does_not_see_what_is_settled_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledgers.forwarded(path, 1)
    with ledgers.reading(path) as reader:
        with reader.at_one_moment():
            spans = reader.spans(STREAM)
            ledgers.forwarded(path, 2)
            assert reader.spans(STREAM) == spans
            assert sum(reader.totals(STREAM).values()) == 1
        assert reader.spans(STREAM) != spans
        assert sum(reader.totals(STREAM).values()) == 2

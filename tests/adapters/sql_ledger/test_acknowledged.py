"""The ledger counts acknowledged messages in the transaction that settles them."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore
from poller.adapters.sql_ledger.key_changes import redeliver
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.set_position import set_position
from poller.core.count_names import AGAIN, FIRST, UNDELIVERED
from poller.core.counts import AcknowledgedCounts
from poller.core.errors import ConflictError
from poller.core.log_ids import EARLIEST, floor_id
from poller.core.messages import Delivery, Receipt
from poller.core.pages import Page
from poller.core.settlement import (
    FileSettlement,
    Settlement,
    build_file_settlement,
    build_settlement,
)
from poller.core.spans import LogCursor
from poller.core.translation.translator import LiveTranslator
from tests.adapters.sql_ledger.ledgers import as_of_version, opened, reading, url
from tests.builders import calls_of, calls_of_page, file_mark, file_page, live_of, page, taken
from tests.fakes import NOW, STREAM, numbered

HOUR = timedelta(hours=1)
EVER = (NOW - timedelta(days=900), NOW + timedelta(days=900))


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    with opened(path) as made:
        yield made


def delivered(read: Page, at: datetime = NOW) -> Delivery:
    calls = calls_of_page(LiveTranslator(STREAM), read, {})
    ids = tuple(message.message_id for message in calls.messages)
    return Delivery(receipts=(Receipt(message_ids=ids, acknowledged_at=at),))


def settlement(cursor: LogCursor, read: Page, at: datetime = NOW) -> Settlement:
    calls = calls_of_page(LiveTranslator(STREAM), read, {})
    return build_settlement(cursor, read, calls, delivered(read, at))


def file_settlement(*numbers: int, is_again: bool = False) -> FileSettlement:
    read = replace(file_page(file_mark(100), *numbers), is_again=is_again)
    calls = calls_of(LiveTranslator(STREAM), read.events, {})
    ids = tuple(message.message_id for message in calls.messages)
    delivery = Delivery(receipts=(Receipt(message_ids=ids, acknowledged_at=NOW),))
    return build_file_settlement(read, read.events, calls, delivery)


def tracks(found: AcknowledgedCounts) -> dict[str, int]:
    """Return the number of tracks by sending."""
    counted: Counter[str] = Counter()
    for key, number in found.messages.items():
        if key.kind == "track":
            counted[key.sending] += number
    return dict(counted)


def test_a_settled_page_counts_its_messages_by_hour_and_a_refused_settle_counts_none(
    ledger: SqlLedger,
) -> None:
    live = ledger.begin(after=numbered(0))
    done = settlement(live, page(1, 2), NOW + HOUR)
    ledger.settle(done)
    with pytest.raises(ConflictError):
        ledger.settle(done)
    found = ledger.acknowledged(*EVER).messages
    assert {(key.hour, key.kind, key.event, key.sending): n for key, n in found.items()} == {
        (NOW + HOUR, "identify", "", FIRST): 2,
        (NOW + HOUR, "track", "Logged In", FIRST): 2,
    }
    assert ledger.acknowledged(NOW, NOW + HOUR).messages == {}


def test_a_resend_counts_apart(ledger: SqlLedger) -> None:
    ledger.settle(settlement(ledger.begin(after=numbered(0)), page(1, 2)))
    (again,) = ledger.begin_resends([(numbered(0), numbered(2))])
    ledger.settle(settlement(again, page(1, 2)))
    assert tracks(ledger.acknowledged(*EVER)) == {FIRST: 2, AGAIN: 2}


def test_messages_to_a_wrong_key_are_undelivered_and_their_redelivery_is_the_first(
    path: Path,
) -> None:
    with opened(path) as ledger:
        live = ledger.settle(
            settlement(ledger.begin(after=numbered(0)), page(1, 2), NOW - 5 * HOUR)
        )
        ledger.settle(settlement(live, page(3)))
    since = floor_id(NOW - HOUR)
    for _ in range(2):
        redeliver(url(path), STREAM, STREAM, since, generation="g")
    with opened(path) as ledger:
        assert tracks(ledger.acknowledged(*EVER)) == {FIRST: 2, UNDELIVERED: 1}
    redeliver(url(path), STREAM, STREAM, numbered(2), generation="g")
    with opened(path) as ledger:
        (again,) = ledger.revisits()
        ledger.settle(settlement(taken(ledger, again), page(3)))
        assert tracks(ledger.acknowledged(NOW, NOW + HOUR)) == {FIRST: 1, UNDELIVERED: 1}


def test_a_position_moved_back_counts_apart_up_to_where_it_stood(
    ledger: SqlLedger, path: Path
) -> None:
    ledger.settle(settlement(ledger.begin(after=numbered(0)), page(1, 2, 3)))
    live = set_position(url(path), STREAM, numbered(1))
    with opened(path) as later:
        later.settle(settlement(taken(later, live), page(2, 3, 4, 5)))
    assert tracks(ledger.acknowledged(*EVER)) == {FIRST: 5, AGAIN: 2}


def test_a_position_moved_forward_counts_nothing_apart(ledger: SqlLedger, path: Path) -> None:
    ledger.settle(settlement(ledger.begin(after=numbered(0)), page(1)))
    live = set_position(url(path), STREAM, numbered(5))
    with opened(path) as later:
        later.settle(settlement(taken(later, live), page(6)))
    skipped = ledger.begin(after=numbered(1), until=numbered(3))
    ledger.settle(settlement(skipped, page(2, 3)))
    assert tracks(ledger.acknowledged(*EVER)) == {FIRST: 4}


def test_the_second_signup_of_a_user_counts_apart_even_after_a_restart(path: Path) -> None:
    def signup(number: int) -> Page:
        made = page(number, kind="ss")
        record = {**made.events[0].record, "user_id": "auth0|same"}
        return replace(made, events=(replace(made.events[0], record=record),))

    with opened(path) as ledger:
        ledger.settle(settlement(ledger.begin(after=numbered(0)), signup(1)))
    with opened(path) as ledger:
        live = live_of(ledger)
        assert live is not None
        ledger.settle(settlement(live, signup(2)))
        assert tracks(ledger.acknowledged(*EVER)) == {FIRST: 1, AGAIN: 1}


def test_a_file_counts_and_a_file_that_is_read_again_counts_apart(ledger: SqlLedger) -> None:
    ledger.settle_file(file_settlement(1, 2))
    assert tracks(ledger.acknowledged(*EVER)) == {FIRST: 2}
    ledger.settle_file(file_settlement(1, 2, is_again=True))
    assert tracks(ledger.acknowledged(*EVER)) == {FIRST: 2, AGAIN: 2}


def test_an_identify_at_the_end_counts_and_counts_apart_where_all_is_sent_anew(
    ledger: SqlLedger,
) -> None:
    identify = calls_of_page(LiveTranslator(STREAM), page(1), {}).messages[0]
    ledger.record_identified([], {}, NOW, [(identify, NOW)])
    ledger.ignoring_sent_before(NOW).record_identified([], {}, NOW, [(identify, NOW)])
    found = ledger.acknowledged(*EVER).messages
    assert {(key.kind, key.sending): number for key, number in found.items()} == {
        ("identify", FIRST): 1,
        ("identify", AGAIN): 1,
    }


def test_a_replay_of_dead_letters_counts_apart(ledger: SqlLedger, path: Path) -> None:
    ledger.begin(after=EARLIEST)
    (_, track) = calls_of_page(LiveTranslator(STREAM), page(1), {}).messages
    store = DeadLetterStore.open(url(path), to_change=True)
    store.mark_replayed(STREAM, [], [(track, NOW)], NOW)
    store.close()
    assert tracks(ledger.acknowledged(*EVER)) == {AGAIN: 1}


def test_old_hours_are_forgotten(ledger: SqlLedger) -> None:
    live = ledger.settle(settlement(ledger.begin(after=numbered(0)), page(1), NOW - HOUR))
    ledger.settle(settlement(live, page(2)))
    assert ledger.forget_acknowledged(NOW) == 2
    assert tracks(ledger.acknowledged(*EVER)) == {FIRST: 1}


def test_the_ledger_knows_since_when_it_counts(path: Path) -> None:
    with contextlib.closing(
        SqlLedger.open(url(path), STREAM, create=True, now=lambda: NOW)
    ) as ledger:
        assert ledger.acknowledged(*EVER).since == NOW
        # A counted hour is stronger than a clock that was wrong when the counting began.
        ledger.settle(settlement(ledger.begin(after=numbered(0)), page(1), NOW - 5 * HOUR))
        assert ledger.acknowledged(*EVER).since == NOW - 5 * HOUR
    with reading(path) as reader:
        assert reader.acknowledged(STREAM, *EVER).since == NOW - 5 * HOUR
        assert reader.acknowledged(replace(STREAM, source_name="none"), *EVER).since is None


@pytest.mark.sqlite
def test_an_older_ledger_counts_since_its_upgrade(path: Path) -> None:
    with opened(path) as ledger:
        ledger.begin(after=numbered(0))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        as_of_version(connection, 3, [(numbered(0), numbered(1), None, None)])
    before = datetime.now(NOW.tzinfo) - timedelta(seconds=2)
    with opened(path) as ledger:
        since = ledger.acknowledged(*EVER).since
        assert since is not None
        assert before <= since <= datetime.now(NOW.tzinfo) + timedelta(seconds=2)

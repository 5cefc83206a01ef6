"""A pending identify belongs to the daemon or to a backfill, and never to both at once."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.lock import Role
from poller.adapters.sql_ledger.places import acquire_lock
from poller.core.errors import TakenOverError
from poller.core.messages import Delivery, Receipt
from poller.core.pages import Page
from poller.core.settlement import build_settlement
from poller.core.spans import Span
from poller.core.translation.translator import HistoryTranslator
from tests.adapters.sql_ledger.ledgers import url
from tests.builders import calls_of_page, page
from tests.fakes import NOW, STREAM, numbered

BEGINNING = ("", "")
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    """A ledger in which a catch-up showed two users, an hour after they logged in."""
    with closing(SqlLedger.open(url(path), STREAM, create=True)) as made:
        live = made.begin(after=numbered(0))
        made.begin_catch_up(live, present=numbered(90), ends=())
        walk(made, made.backlog()[0], 1, 3)
        yield made


def walk(ledger: SqlLedger, span: Span, *numbers: int) -> None:
    """Settle a page of a slice, in which these users logged in."""
    settle(ledger, span, replace(page(*numbers), served_at=LATER))


def settle(ledger: SqlLedger, span: Span, read: Page) -> None:
    calls = calls_of_page(HistoryTranslator(STREAM), read, {})
    ids = tuple(message.message_id for message in calls.messages)
    receipts = (Receipt(message_ids=ids),)
    ledger.settle(build_settlement(span, read, calls, Delivery(receipts=receipts)))


def claimed(ledger: SqlLedger, role: Role) -> list[str]:
    return [each.who.user_id for each in ledger.claim_identifies(role, BEGINNING, 10)]


USERS = ["auth0|1", "auth0|3"]


def test_the_users_of_a_catch_up_are_the_daemons(ledger: SqlLedger, path: Path) -> None:
    with acquire_lock(url(path), "run"):
        assert (claimed(ledger, "backfill"), ledger.count_pending_identifies("backfill")) == ([], 0)
        assert (claimed(ledger, "run"), ledger.count_pending_identifies("run")) == (USERS, 2)
    assert ledger.count_pending_identifies() == 2


def test_the_users_of_a_backfill_are_not_the_daemons(path: Path) -> None:
    with closing(SqlLedger.open(url(path), STREAM, create=True)) as ledger:
        walk(ledger, ledger.begin(after=numbered(0), until=numbered(90)), 1, 3)
        with acquire_lock(url(path), "backfill"):
            assert (claimed(ledger, "run"), claimed(ledger, "backfill")) == ([], USERS)
        assert claimed(ledger, "run") == USERS


def test_a_process_takes_over_the_users_of_one_that_does_not_run(
    ledger: SqlLedger, path: Path
) -> None:
    with acquire_lock(url(path), "backfill"):
        assert claimed(ledger, "backfill") == USERS
        # The daemon starts meanwhile.
        with acquire_lock(url(path), "run"):
            assert claimed(ledger, "run") == []
            assert claimed(ledger, "backfill") == USERS
    assert claimed(ledger, "run") == USERS


def test_a_catch_up_needs_no_identify_after_its_newest_event(ledger: SqlLedger) -> None:
    (_, user) = ledger.claim_identifies("run", BEGINNING, 10)
    assert (user.who.log_id, user.queued_at) == (numbered(3), NOW)


def test_a_backfill_needs_no_identify_after_it_showed_the_user(path: Path) -> None:
    with closing(SqlLedger.open(url(path), STREAM, create=True)) as ledger:
        walk(ledger, ledger.begin(after=numbered(0), until=numbered(90)), 3)
        (user,) = ledger.claim_identifies("backfill", BEGINNING, 10)
        assert user.queued_at == LATER


def test_a_newer_event_of_a_catch_up_needs_an_identify_after_a_backfill_showed_the_user(
    path: Path,
) -> None:
    with closing(SqlLedger.open(url(path), STREAM, create=True)) as ledger:
        walk(ledger, ledger.begin(after=numbered(0), until=numbered(2)), 1)
        ledger.begin_catch_up(ledger.begin(after=numbered(2)), present=numbered(90), ends=())
        read = replace(page(3), events=(replace(page(1).events[0], log_id=numbered(3)),))
        settle(ledger, ledger.backlog()[0], read)
        (user,) = ledger.claim_identifies("run", BEGINNING, 10)
        assert (user.who.log_id, user.queued_at) == (numbered(3), NOW)


def test_a_process_that_was_taken_over_identifies_nobody(ledger: SqlLedger, path: Path) -> None:
    with acquire_lock(url(path), "run"):
        queued = ledger.claim_identifies("run", BEGINNING, 10)
        with closing(SqlLedger.open(url(path), STREAM, create=False)) as later:
            assert claimed(later, "run") == USERS
            assert claimed(ledger, "run") == []
            with pytest.raises(TakenOverError):
                ledger.record_identified([each.who for each in queued], {}, NOW)
            later.record_identified([each.who for each in queued], {}, NOW)
    assert ledger.count_pending_identifies() == 0


def test_a_daemon_takes_over_the_users_of_a_later_backfill_that_has_ended(
    ledger: SqlLedger, path: Path
) -> None:
    with closing(SqlLedger.open(url(path), STREAM, create=False)) as later:
        assert claimed(later, "backfill") == USERS
    assert claimed(ledger, "run") == USERS

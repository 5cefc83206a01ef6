"""Texts in PostgreSQL: their order, the characters that it cannot hold, and what it may log."""

import re
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.people import PersonStore
from poller.adapters.sql_ledger.places import acquire_lock
from poller.core.errors import PollerError
from poller.core.log_ids import EARLIEST, LogId
from poller.core.outcomes import PendingIdentify
from tests.adapters.sql_ledger.ledgers import said
from tests.builders import page, settlement
from tests.docs.pages import page as page_of_docs
from tests.fakes import NOW, STREAM
from tests.postgres.cluster import PASSWORD, USER, Cluster

PERSON = "auth0|ada.lovelace"


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[SqlLedger]:
    ledger = SqlLedger.open(postgres_url, STREAM, create=True)
    yield ledger
    ledger.close()


def test_log_ids_have_the_order_of_python_whatever_the_language_of_the_database(
    ledger: SqlLedger, cluster: Cluster, database: str
) -> None:
    # By the rules of English `a` comes before `B`.
    assert cluster.execute("SELECT 'B' > 'a'", database) == [(True,)]
    ids = [LogId(each) for each in ("a", "B", "-z", "_b", "900", "Z9", "é")]
    for after, until in zip(sorted(ids)[:-1], sorted(ids)[1:], strict=True):
        ledger.begin_resends([(after, until)])
    assert [each.after for each in ledger.revisits()] == sorted(ids)[:-1]
    span = ledger.begin(after=LogId("Z"), until=LogId("a"))
    assert ledger.spans() == (span,)


def test_a_text_that_the_database_cannot_hold_is_written_out(ledger: SqlLedger) -> None:
    span = ledger.begin(after=EARLIEST)
    odd = PendingIdentify(user_id="a\0\ud83d", sent_as="ä", log_id=LogId("900"))
    settled = replace(settlement(span, page(1)), pending_identifies=(odd,))
    ledger.settle(settled)
    (queued,) = ledger.claim_identifies("backfill", ("", ""), 10)
    assert (queued.who.user_id, queued.who.sent_as) == (r"a\x00\ud83d", "ä")


@pytest.fixture
def documented(cluster: Cluster) -> Iterator[None]:
    """Let the role be as the guide says, and let the server log all that it may."""
    guide = page_of_docs("guides/postgresql.md")
    statements = re.findall(r"^\s+ALTER ROLE poller SET .*;$", guide, re.MULTILINE)
    assert len(statements) == 2
    cluster.execute("".join(statements))
    cluster.execute(f"ALTER ROLE {USER} SET log_statement = 'all'")
    cluster.execute(f"ALTER ROLE {USER} SET log_min_duration_statement = 0")
    yield
    cluster.execute(f"ALTER ROLE {USER} RESET ALL")


@pytest.mark.usefixtures("documented")
def test_neither_the_servers_log_nor_an_error_holds_a_person_or_the_password(
    cluster: Cluster, database: str, postgres_url: str
) -> None:
    with acquire_lock(postgres_url, "run"):
        ledger = SqlLedger.open(postgres_url, STREAM, create=True)
        span = ledger.begin(after=EARLIEST)
        person = PendingIdentify(user_id=PERSON, sent_as=PERSON, log_id=LogId("900"))
        first = ledger.settle(replace(settlement(span, page(1)), pending_identifies=(person,)))
        # The server shows the whole row in the error of a check that fails.
        cluster.execute(
            "ALTER TABLE pending_identify ADD CONSTRAINT refused CHECK (log_id <> '901')", database
        )
        refused = replace(person, log_id=LogId("901"))
        with pytest.raises(PollerError) as raised:
            ledger.settle(replace(settlement(first, page(2)), pending_identifies=(refused,)))
        ledger.close()
    with closing(PersonStore.open(postgres_url)) as people:
        assert len(people.find(PERSON)) == 1
    shown = "".join(traceback.format_exception(raised.value)) + said(raised.value)
    log = cluster.log
    assert "pending_identify" in log  # the statements are there
    assert 'violates check constraint "refused"' in log
    for secret in (PERSON, PASSWORD, "lovelace"):
        assert secret not in log
        assert secret not in shown
    assert NOW.isoformat() not in shown

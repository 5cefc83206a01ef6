"""The beginning of a new route: where the routes below it stand."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.routes import begin_routes
from poller.core.events import Stream
from tests.builders import live_of, page, settlement
from tests.fakes import NOW, STREAM, numbered

SHOP, DB, REST = (replace(STREAM, source_name=name) for name in ("shop", "db", "rest"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = place_of(f"sqlite:///{tmp_path}/ledger.db").open(create=True)
    yield opened
    opened.close()


def opened(database: Database, stream: Stream) -> SqlLedger:
    neighbours = {SHOP, DB, REST} - {stream}
    return SqlLedger.open(
        database.shown, stream, create=True, neighbours=neighbours, database=database
    )


def at(database: Database, stream: Stream, position: int) -> SqlLedger:
    """Let a stream stand at this position, with a beginning ten events below."""
    ledger = opened(database, stream)
    ledger.begin(after=numbered(position - 10))
    live = live_of(ledger)
    assert live is not None
    ledger.settle(settlement(live, page(position)))
    return ledger


def test_a_new_route_begins_where_the_route_below_it_stands(database: Database) -> None:
    at(database, REST, 50)
    shop = opened(database, SHOP)  # a daemon opens its own stream first
    assert begin_routes(database, (SHOP, REST), NOW) == {SHOP: numbered(50)}
    live = live_of(shop)
    assert live is not None
    assert (live.after, live.reached) == (numbered(50), numbered(50))
    shop.settle(settlement(live, page(51)))
    assert begin_routes(database, (SHOP, REST), NOW) == {}


def test_a_new_route_begins_at_the_lowest_of_several_below_it(database: Database) -> None:
    at(database, DB, 70)
    at(database, REST, 50)
    assert begin_routes(database, (SHOP, DB, REST), NOW) == {SHOP: numbered(50)}


def test_the_backlog_of_a_route_below_counts_as_what_it_has_not_passed(database: Database) -> None:
    ledger = at(database, REST, 50)
    live = live_of(ledger)
    assert live is not None
    ledger.begin_catch_up(live, present=numbered(90), ends=[numbered(70)])
    begun = begin_routes(database, (SHOP, REST), NOW)
    assert begun == {SHOP: numbered(50)}


def test_a_new_route_below_all_others_begins_as_any_pipeline(database: Database) -> None:
    at(database, SHOP, 50)
    assert begin_routes(database, (SHOP, REST), NOW) == {}
    assert opened(database, REST).live_span() is None


def test_routes_that_have_never_run_begin_together(database: Database) -> None:
    shop = opened(database, SHOP)
    both = {SHOP: numbered(20), REST: numbered(20)}
    assert begin_routes(database, (SHOP, REST), NOW, numbered(20)) == both
    live = live_of(shop)
    assert live is not None
    assert live.reached == numbered(20)
    assert begin_routes(database, (SHOP, REST), NOW, numbered(30)) == {}


def test_a_route_above_the_first_one_begins_where_a_route_below_it_stands(
    database: Database,
) -> None:
    at(database, DB, 50)
    begun = begin_routes(database, (SHOP, DB, REST), NOW, numbered(90))
    assert begun == {SHOP: numbered(50), REST: numbered(90)}


def test_a_backfill_of_the_new_route_keeps_what_it_has_begun(database: Database) -> None:
    at(database, REST, 50)
    opened(database, SHOP).begin(after=numbered(10), until=numbered(60))
    assert begin_routes(database, (SHOP, REST), NOW) == {SHOP: numbered(60)}


def test_a_stream_of_no_route_stops_the_new_route_and_no_other(database: Database) -> None:
    at(database, REST, 50)
    old = SqlLedger.open(
        database.shown,
        replace(STREAM, source_name="removed"),
        create=True,
        adopt=True,
        database=database,
        now=lambda: NOW - timedelta(days=1),
    )
    old.begin(after=numbered(1))
    live = live_of(old)
    assert live is not None
    old.settle(settlement(live, page(40)))
    assert begin_routes(database, (SHOP, REST), NOW) == {}

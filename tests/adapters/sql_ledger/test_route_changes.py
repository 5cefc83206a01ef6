"""The routes of a file in the ledger: where new ones begin, and what a change leaves to whom."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.routes import Kept, keep_routes, read_routing
from poller.adapters.sql_ledger.tables.routing import RecordedRoute
from poller.adapters.sql_ledger.tables.streams import read_streams, rename
from poller.core.errors import TakenOverError
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.spans import Inherited, LogRange
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


def routes(*streams: Stream, **conditions: str) -> tuple[RecordedRoute, ...]:
    *others, last = streams
    conditioned = (
        RecordedRoute(stream=each, when=conditions.get(each.source_name, f"log.{each.source_name}"))
        for each in others
    )
    return (*conditioned, RecordedRoute(stream=last, when=None))


def at(database: Database, stream: Stream, position: int) -> SqlLedger:
    """Let a stream stand at this position, confirmed, with a beginning ten events below."""
    ledger = opened(database, stream)
    ledger.begin(after=numbered(position - 10))
    live = live_of(ledger)
    assert live is not None
    ledger.settle(settlement(live, page(position)))
    ledger.stop_second_readings()
    return ledger


def kept(database: Database, *streams: Stream, first: int | None = None, **conditions: str) -> Kept:
    """Look at the routes of a file, of which the last one takes what the others leave."""
    position = None if first is None else numbered(first)
    return keep_routes(database, "acme", routes(*streams, **conditions), NOW, position)


def part(after: int, until: int) -> LogRange:
    return LogRange(after=numbered(after), until=numbered(until))


def position_of(ledger: SqlLedger) -> LogId:
    live = live_of(ledger)
    assert live is not None
    return live.reached


def inherited(ledger: SqlLedger) -> list[tuple[LogId, LogId]]:
    found = [each for each in ledger.backlog() if isinstance(each, Inherited)]
    return [(each.reached, each.until) for each in found if each.until]


def test_routes_that_have_never_run_begin_together(database: Database) -> None:
    shop = opened(database, SHOP)
    assert kept(database, SHOP, REST) == Kept()
    begun = kept(database, SHOP, REST, first=20).begun
    assert begun == {SHOP: numbered(20), REST: numbered(20)}
    assert position_of(shop) == numbered(20)
    assert kept(database, SHOP, REST, first=30) == Kept()


def test_routes_that_change_before_their_first_start_begin_together(database: Database) -> None:
    kept(database, SHOP, REST)
    assert kept(database, SHOP, DB, REST).begun == {}
    assert {*kept(database, SHOP, DB, REST, first=20).begun} == {SHOP, DB, REST}


def test_a_file_that_never_had_routes_is_not_recorded(database: Database) -> None:
    at(database, REST, 50)
    assert kept(database, REST, first=20) == Kept()
    assert read_routing(database, STREAM.domain, "acme") == ()


def test_a_file_without_routes_took_every_event(database: Database) -> None:
    at(database, SHOP, 50)
    found = kept(database, SHOP, REST)
    assert found.begun == {REST: numbered(50)}
    before, after = read_routing(database, STREAM.domain, "acme")
    assert before.routes == (RecordedRoute(stream=SHOP, when=None),)
    assert after.after == numbered(50)


def test_a_new_route_begins_at_the_highest_position_of_the_others(database: Database) -> None:
    at(database, REST, 50)
    at(database, DB, 70)
    assert kept(database, DB, REST) == Kept()
    shop = opened(database, SHOP)  # a daemon opens its own stream first
    assert kept(database, SHOP, DB, REST).begun == {SHOP: numbered(70)}
    assert position_of(shop) == numbered(70)
    assert kept(database, SHOP, DB, REST) == Kept()


def test_a_backfill_of_the_new_route_keeps_what_it_has_begun(database: Database) -> None:
    at(database, REST, 50)
    opened(database, SHOP).begin(after=numbered(10), until=numbered(60))
    assert kept(database, SHOP, REST).begun == {SHOP: numbered(60)}


def test_a_stream_of_no_route_stops_the_new_route_and_no_other(database: Database) -> None:
    at(database, REST, 50)
    old = SqlLedger.open(
        database.shown,
        replace(STREAM, source_name="strange"),
        create=True,
        adopt=True,
        database=database,
        now=lambda: NOW - timedelta(days=1),
    )
    old.begin(after=numbered(1))
    live = live_of(old)
    assert live is not None
    old.settle(settlement(live, page(40)))
    assert kept(database, SHOP, REST).begun == {}
    assert [each.after for each in read_routing(database, STREAM.domain, "acme")] == [
        None,
        numbered(50),
    ]


def test_a_new_route_takes_no_stream_of_another_file_that_has_settled_nothing(
    database: Database,
) -> None:
    neighbour = opened(database, DB)
    neighbour.begin(after=numbered(20))
    for first in (None, numbered(30)):
        kept = keep_routes(database, "acme", routes(SHOP, REST), NOW, first, {DB})
    assert {*kept.begun} == {SHOP, REST}
    assert position_of(neighbour) == numbered(20)
    with database.reading() as connection:
        assert {*read_streams(connection)} == {SHOP, DB, REST}


def test_a_route_that_could_not_begin_begins_later_where_its_change_was(
    database: Database,
) -> None:
    test_a_stream_of_no_route_stops_the_new_route_and_no_other(database)
    rest = opened(database, REST)
    live = live_of(rest)
    assert live is not None
    rest.settle(settlement(live, page(80)))
    new = {"create": True, "adopt": True, "database": database}  # as by `run --new-stream`
    SqlLedger.open(database.shown, SHOP, **new)
    assert kept(database, SHOP, REST).begun == {SHOP: numbered(50)}


def test_a_changed_condition_holds_above_the_highest_position(database: Database) -> None:
    at(database, SHOP, 50)
    at(database, REST, 70)
    kept(database, SHOP, REST)
    found = kept(database, SHOP, REST, shop="log.other")
    assert found.changed is not None
    assert (found.changed.after, found.changed.unread) == (numbered(70), {})
    before, after = read_routing(database, STREAM.domain, "acme")
    assert before.routes == routes(SHOP, REST)
    assert after.routes == routes(SHOP, REST, shop="log.other")


def test_a_removed_route_leaves_its_events_to_those_that_have_passed_them(
    database: Database,
) -> None:
    at(database, SHOP, 50)
    db, rest = at(database, DB, 60), at(database, REST, 80)
    kept(database, SHOP, DB, REST)
    found = kept(database, DB, REST)
    assert found.changed is not None
    assert found.changed.unread == {SHOP: (part(50, 80),)}
    assert found.changed.read_again == {DB: (part(50, 60),), REST: (part(50, 80),)}
    assert inherited(db) == [(numbered(50), numbered(60))]
    assert inherited(rest) == [(numbered(50), numbered(80))]


def test_the_backlog_of_a_removed_route_is_left_too(database: Database) -> None:
    shop = at(database, SHOP, 50)
    live = live_of(shop)
    assert live is not None
    shop.begin_catch_up(live, present=numbered(90), ends=[numbered(70)])
    slices = shop.backlog()
    begun = shop.begin_work(slices[1])
    assert begun is not None
    shop.settle(settlement(begun, page(80)))
    shop.stop_second_readings()
    at(database, REST, 100)
    kept(database, SHOP, REST)
    found = kept(database, REST)
    assert found.changed is not None
    assert found.changed.unread == {SHOP: (part(50, 70), part(80, 100))}


def test_a_removed_route_leaves_the_late_events_that_it_still_looked_for(
    database: Database,
) -> None:
    shop = at(database, SHOP, 50)
    live = live_of(shop)
    assert live is not None
    shop.settle(settlement(live, page(60, 70)))
    at(database, REST, 70)
    kept(database, SHOP, REST)
    kept(database, REST)
    _, row = read_routing(database, STREAM.domain, "acme")
    assert row.unread == {SHOP: (part(50, 70),)}
    assert row.settled == {SHOP: {numbered(60), numbered(70)}}


def test_a_removed_route_makes_no_other_read_twice_what_that_one_has_ahead(
    database: Database,
) -> None:
    at(database, SHOP, 30)
    rest = at(database, REST, 50)
    kept(database, SHOP, REST)
    live = live_of(rest)
    assert live is not None
    rest.begin_catch_up(live, present=numbered(90), ends=[])
    kept(database, REST)
    assert inherited(rest) == [(numbered(30), numbered(50))]


def test_a_new_route_begins_where_a_removed_one_stood(database: Database) -> None:
    at(database, SHOP, 50)
    at(database, REST, 80)
    kept(database, SHOP, REST)
    assert kept(database, DB, REST).begun == {DB: numbered(50)}


def test_a_page_that_was_read_by_the_old_routes_cannot_be_settled(database: Database) -> None:
    ledgers = [at(database, SHOP, 50), at(database, REST, 50)]
    kept(database, SHOP, REST)
    read = [live_of(each) for each in ledgers]
    kept(database, REST)
    for ledger, live in zip(ledgers, read, strict=True):
        assert live is not None
        with pytest.raises(TakenOverError):
            ledger.settle(settlement(live, page(60)))
        with pytest.raises(TakenOverError):
            ledger.begin_work(live)


def test_a_removed_stream_is_not_in_the_way_of_a_new_route(database: Database) -> None:
    at(database, SHOP, 50)
    at(database, REST, 50)
    kept(database, SHOP, REST)
    kept(database, REST)
    assert kept(database, DB, REST).begun == {DB: numbered(50)}


def test_a_stream_that_was_removed_before_other_changes_is_not_in_the_way(
    database: Database,
) -> None:
    for stream in (SHOP, DB, REST):
        at(database, stream, 50)
    kept(database, SHOP, DB, REST)
    kept(database, DB, REST)
    kept(database, REST)
    kept(database, REST)
    (row,) = read_routing(database, STREAM.domain, "acme")
    assert row.former == (SHOP, DB)
    new = replace(STREAM, source_name="new")
    assert kept(database, new, REST).begun == {new: numbered(50)}


def test_a_route_that_comes_back_begins_anew(database: Database) -> None:
    shop = at(database, SHOP, 50)
    live = live_of(shop)
    assert live is not None
    shop.begin_catch_up(live, present=numbered(70), ends=[])
    rest = at(database, REST, 90)
    kept(database, SHOP, REST)
    kept(database, REST)
    assert inherited(rest) == [(numbered(50), numbered(90))]
    kept(database, SHOP, REST)
    shop = opened(database, SHOP)
    assert position_of(shop) == numbered(90)
    assert shop.backlog() == shop.unread_stretches() == ()


def test_a_stream_whose_key_was_changed_stays_the_same_route(database: Database) -> None:
    at(database, SHOP, 50)
    rest = at(database, REST, 70)
    kept(database, SHOP, REST)
    kept(database, SHOP, REST, shop="log.other")
    with database.writing() as connection:
        rename(connection, read_streams(connection)[SHOP], DB)
    assert kept(database, DB, REST, db="log.other") == Kept()
    before, _ = read_routing(database, STREAM.domain, "acme")
    assert before.routes[0] == RecordedRoute(stream=DB, when="log.shop")
    assert inherited(rest) == []


def test_a_second_change_never_ends_below_the_first_one(database: Database) -> None:
    at(database, SHOP, 90)
    at(database, REST, 50)
    kept(database, SHOP, REST)
    kept(database, REST)
    found = kept(database, DB, REST).changed
    assert found is not None
    assert found.after == numbered(90)


def test_a_change_is_forgotten_once_all_routes_have_passed_it_for_good(
    database: Database,
) -> None:
    at(database, SHOP, 50)
    at(database, REST, 70)
    kept(database, SHOP, REST)
    changed = {"shop": "log.other"}
    kept(database, SHOP, REST, **changed)
    shop = opened(database, SHOP)
    live = live_of(shop)
    assert live is not None
    shop.settle(settlement(live, page(100)))
    kept(database, SHOP, REST, **changed)
    assert len(read_routing(database, STREAM.domain, "acme")) == 2  # it looks for late events
    shop.stop_second_readings()
    kept(database, SHOP, REST, **changed)
    (row,) = read_routing(database, STREAM.domain, "acme")
    assert (row.routes, row.after) == (routes(SHOP, REST, **changed), None)


def test_late_events_of_a_removed_route_are_left_wherever_it_still_looked_for_them(
    database: Database,
) -> None:
    shop = at(database, SHOP, 50)
    live = live_of(shop)
    assert live is not None
    shop.settle(settlement(live, page(60)))
    live = live_of(shop)
    assert live is not None
    shop.begin_catch_up(live, present=numbered(90), ends=[])
    (part_,) = shop.backlog()
    begun = shop.begin_work(part_)
    assert begun is not None
    shop.settle(settlement(begun, page(70)))
    assert shop.unread_stretches()
    at(database, REST, 90)
    kept(database, SHOP, REST)
    found = kept(database, REST).changed
    assert found is not None
    assert found.unread == {SHOP: (part(50, 90),)}
    kept(database, SHOP, REST)
    assert opened(database, SHOP).unread_stretches() == ()


def test_a_change_is_not_forgotten_while_a_route_has_a_backlog_below_it(
    database: Database,
) -> None:
    shop = at(database, SHOP, 50)
    live = live_of(shop)
    assert live is not None
    shop.begin_catch_up(live, present=numbered(90), ends=[])
    at(database, REST, 90)
    kept(database, SHOP, REST)
    kept(database, SHOP, REST, shop="log.other")
    kept(database, SHOP, REST, shop="log.other")
    assert len(read_routing(database, STREAM.domain, "acme")) == 2


def test_a_stream_whose_key_was_changed_keeps_what_it_left_while_it_was_removed(
    database: Database,
) -> None:
    shop = at(database, SHOP, 50)
    live = live_of(shop)
    assert live is not None
    shop.settle(settlement(live, page(60)))
    at(database, REST, 80)
    kept(database, SHOP, REST)
    kept(database, REST)
    with database.writing() as connection:
        rename(connection, read_streams(connection)[SHOP], DB)
    _, row = read_routing(database, STREAM.domain, "acme")
    assert row.unread == {DB: (part(50, 80),)}
    assert row.settled == {DB: {numbered(60)}}

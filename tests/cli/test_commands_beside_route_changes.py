"""Commands beside a change of the routes: no event is lost, and none is sent twice unasked."""

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from poller.adapters.sql_ledger.key_changes import redeliver
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.set_position import set_position
from poller.adapters.sql_ledger.stream_removal import remove_stream
from poller.adapters.sql_ledger.tables.streams import read_streams
from poller.adapters.sql_ledger.transfer.exporting import export_stream
from poller.adapters.sql_ledger.transfer.importing import import_stream
from poller.cli.wiring.daemon import _first_start
from poller.cli.wiring.ledgers import Ledgers
from poller.config import Settings, load_settings, read_pipeline
from poller.core.errors import FatalError, NotYetError, TakenOverError
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST
from poller.service.lifecycle.process import Process
from tests.cli.routed_tenant import STREAMS, Tenant, routes
from tests.fakes import numbered

SHOP, REST = STREAMS[:2]


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    made = Tenant(tmp_path)
    with closing(made.database):
        yield made


def test_a_position_moved_back_sends_what_a_change_of_the_routes_made_a_route_read_twice(
    tenant: Tenant,
) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abab")
    tenant.drain(1, None)
    tenant.change(routes((1, "b")))
    tenant.walk(0, None)
    set_position(tenant.database.shown, REST, numbered(2))
    tenant.change(routes((1, "b")))
    tenant.drain(0, None)
    assert sorted(tenant.sent().values()) == [1, 2, 2, 2]  # one lies below the position


def test_a_position_moved_back_sends_nothing_below_it_again(tenant: Tenant) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abababab")
    tenant.drain(1, None)
    tenant.change(routes((1, "b")))
    set_position(tenant.database.shown, REST, numbered(8))
    tenant.change(routes((1, "b")))
    tenant.drain(0, None)
    tenant.walk(0, None)
    assert sorted(tenant.sent().values()) == [1, 1, 1, 1, 1, 1, 2, 2]


def test_a_removed_stream_of_a_route_takes_all_its_events_again(tenant: Tenant) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abab")
    tenant.drain(1, None)
    tenant.change(routes((1, "b")))
    tenant.walk(0, None)
    remove_stream(tenant.database.shown, REST, with_spans=True)
    tenant.change(routes((1, "b")))
    tenant.drain(0, None)
    assert {*tenant.sent().values()} == {2}


@pytest.mark.parametrize("pages", [0, 1, None])
def test_a_redelivery_takes_what_a_removed_route_left_too(
    tenant: Tenant, pages: int | None
) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abababab")
    tenant.drain(1, None)
    tenant.change(routes((1, "b")))
    tenant.walk(0, pages)
    tenant.sinks[REST].taken.clear()  # the write key was wrong
    redeliver(tenant.database.shown, REST, REST, EARLIEST, generation="key-2")
    tenant.change(routes((1, "b")))
    tenant.walk(0, None)
    tenant.send_again(REST)
    assert {*tenant.sent().values()} == {1}
    assert len(tenant.sent()) == 8


def test_a_redelivery_that_a_removed_route_had_still_ahead_is_left_to_the_others(
    tenant: Tenant,
) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abababab")
    tenant.drain(0, None)
    tenant.drain(1, None)
    tenant.sinks[SHOP].taken.clear()  # the write key was wrong
    redeliver(tenant.database.shown, SHOP, SHOP, EARLIEST, generation="key-2")
    tenant.send_again(SHOP, 1)
    tenant.change(routes((1, "b")))
    tenant.finish()
    assert {*tenant.sent().values()} == {1}
    assert len(tenant.sent()) == 8


def test_a_route_that_comes_back_makes_no_redelivery_that_others_have_made(tenant: Tenant) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abababab")
    tenant.drain(0, None)
    tenant.drain(1, None)
    tenant.sinks[SHOP].taken.clear()  # the write key was wrong
    redeliver(tenant.database.shown, SHOP, SHOP, EARLIEST, generation="key-2")
    tenant.change(routes((1, "b")))
    tenant.walk(0, None)
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.send_again(SHOP)
    tenant.finish()
    assert {*tenant.sent().values()} == {1}
    assert len(tenant.sent()) == 8


def test_a_redelivery_ends_when_its_route_is_removed(tenant: Tenant) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abababab")
    tenant.drain(0, None)
    redeliver(tenant.database.shown, SHOP, SHOP, EARLIEST, generation="key-2")
    ledger = tenant.ledgers[SHOP]
    (redelivery,) = ledger.revisits()
    pages = tenant.backfill(ledger).walker()(ledger.begin_work(redelivery))
    next(pages)
    tenant.change(routes((1, "b")))
    with pytest.raises(TakenOverError):
        next(pages)


def test_a_backfill_sends_a_backlog_by_the_routes_of_before_a_change_that_no_daemon_has_seen(
    tenant: Tenant,
) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abab")
    tenant.drain(1, None)
    tenant.catch_up(0, 0)
    file = tenant.write_routes(routes((0, "c"), (1, "b")))
    ledger = tenant.ledgers[SHOP]
    walk = tenant.backfill(ledger, file).walker()
    for each in ledger.backlog():
        cursor = ledger.begin_work(each)
        assert cursor is not None
        [*walk(cursor)]
    tenant.change(routes((0, "c"), (1, "b")))
    tenant.finish()
    assert {*tenant.sent().values()} == {1}
    assert len(tenant.sent()) == 4


def test_an_event_that_a_route_reads_again_for_a_removed_one_counts_once(tenant: Tenant) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abababab")
    tenant.drain(1, None)
    tenant.change(routes((1, "b")))
    tenant.finish()
    with closing(LedgerReader.open(tenant.database.shown)) as reader:
        totals = reader.totals(REST)
    assert {outcome: number for outcome, number in totals.items() if number} == {"forwarded": 8}


def test_a_route_that_comes_back_takes_its_old_backlog_from_the_route_that_had_it(
    tenant: Tenant,
) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abababab")
    tenant.drain(1, None)
    tenant.catch_up(0, 0)
    tenant.change(routes((1, "b")))
    tenant.change(routes((0, "a")))
    tenant.finish()
    assert {*tenant.sent().values()} == {1}
    assert len(tenant.sent()) == 8


def test_a_route_waits_until_all_others_of_its_file_have_left_the_old_routes(
    tenant: Tenant,
) -> None:
    def loaded(name: str, *made: tuple[int, str]) -> Settings:
        file = tenant.write_routes(routes(*made))
        return load_settings(read_pipeline(file, f"acme.{name}"), {"HOME": "/home/ada"})

    old = loaded("one", (0, "a"), (1, "b"))
    new = loaded("two", (0, "c"), (1, "b"))
    ledgers = Ledgers()
    with ledgers.opened(old, Process()), pytest.raises(NotYetError), ledgers.opened(new, Process()):
        pass
    with ledgers.opened(new, Process()):
        pass


def test_the_first_start_of_routes_takes_no_stream_of_another_pipeline(tenant: Tenant) -> None:
    file = tenant.write_routes(routes((0, "a"), (1, "b")))
    settings = load_settings(read_pipeline(file, "acme.one"), {"HOME": "/home/ada"})
    other = SqlLedger.open(tenant.database.shown, STREAMS[2], create=True, database=tenant.database)
    other.begin(after=EARLIEST)
    services = cast("Any", SimpleNamespace(log=None))
    with Ledgers().opened(settings, Process(), neighbours=STREAMS[1:3]) as ledger:
        _first_start(settings, services, ledger)._together(numbered(5))
    with tenant.database.reading() as connection:
        assert {*read_streams(connection)} == {*STREAMS[:3]}


def exported(tenant: Tenant, stream: Stream) -> str:
    """Export a route, and return the code of the refusal, or nothing."""
    try:
        export_stream(tenant.database.shown, stream, io.BytesIO())
    except FatalError as error:
        return error.code
    return ""


def test_an_export_is_refused_until_every_route_has_passed_a_change_for_good(
    tenant: Tenant,
) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("ababab")
    assert [exported(tenant, each) for each in (SHOP, REST)] == ["", ""]
    tenant.drain(0, 1)
    tenant.drain(1, None)
    assert [exported(tenant, each) for each in (SHOP, REST)] == ["", ""]
    tenant.change(routes((0, "b"), (1, "a")))
    assert [exported(tenant, each) for each in (SHOP, REST)] == ["routes-changing"] * 2
    tenant.drain(0, None)
    assert exported(tenant, SHOP) == "routes-changing"  # it looks for late events
    tenant.finish()
    assert [exported(tenant, each) for each in (SHOP, REST)] == ["", ""]
    tenant.change(routes((1, "a")))
    assert exported(tenant, REST) == ""  # the removed route left nothing


def test_an_export_of_a_removed_route_waits_for_those_that_read_what_it_left(
    tenant: Tenant,
) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abab")
    tenant.drain(1, None)
    tenant.change(routes((1, "b")))
    assert [exported(tenant, each) for each in (SHOP, REST)] == ["routes-changing"] * 2
    tenant.finish()
    assert [exported(tenant, each) for each in (SHOP, REST)] == ["", ""]


def test_a_moved_ledger_goes_on_by_its_routes(tenant: Tenant, tmp_path: Path) -> None:
    tenant.change(routes((0, "a"), (1, "b")))
    tenant.grow("abababab")
    tenant.drain(0, 1)
    tenant.drain(1, 2)
    files = [io.BytesIO() for _ in (SHOP, REST)]
    for stream, file in zip((SHOP, REST), files, strict=True):
        export_stream(tenant.database.shown, stream, file)
        file.seek(0)
        import_stream(f"sqlite:///{tmp_path}/moved.db", file)
    tenant.database.close()
    tenant.database = place_of(f"sqlite:///{tmp_path}/moved.db").open(create=False)
    tenant.change(routes((0, "b"), (1, "a")))
    tenant.finish()
    assert {*tenant.sent().values()} == {1}
    assert len(tenant.sent()) == len(tenant.log.records)

"""The contract of every LogSource. The real one reads the simulated tenant."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from poller.adapters.auth0 import Auth0Log, Credentials, ManagementApi, TokenSource
from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.log_ids import LogId, floor_id, just_below, moment_of, successor
from poller.core.pages import Page
from poller.core.ports import LogSource
from poller.core.spans import Gap, LogCursor, SecondReading, Span, UnreadStretch
from poller.sandbox import Sandbox
from poller.service.upstream.rate_limit import RateLimiter
from tests.fakes import STREAM, FakeLog, numbered

PAGE = 100
HOUR = timedelta(hours=1)


@dataclass
class World:
    """A log of 250 events over an hour, an hour ago."""

    source: LogSource
    ids: list[LogId]
    sandbox: Sandbox | None = None
    fake: FakeLog | None = None

    def lose(self, count: int) -> None:
        """Let retention take the first `count` events."""
        if self.fake is not None:
            self.fake.floor = (
                str(self.fake.records[count]["log_id"]) if count < len(self.ids) else "A"
            )
        elif self.sandbox is not None:
            entries = self.sandbox.tenant.entries()
            self.sandbox.tenant._ids = self.sandbox.tenant._ids[count:]
            self.sandbox.tenant._entries = list(entries[count:])

    def cut_pages(self, size: int) -> None:
        """Let the log answer with at most this number of records."""
        if self.fake is not None:
            self.fake.shown = size
        elif self.sandbox is not None:
            self.sandbox.tenant.most_shown = size

    def happen(self, count: int) -> LogId:
        """Let events come in just now, and return the id of the newest."""
        if self.fake is not None:
            ids = [numbered(number, self.fake.now) for number in range(count)]
            self.fake.records += [
                self.fake.records[-1] | {"log_id": log_id, "_id": log_id} for log_id in ids
            ]
            return ids[-1]
        assert self.sandbox is not None
        for _ in range(count):
            self.sandbox.traffic.happen("login")
        return LogId(self.sandbox.tenant.entries()[-1].log_id)

    def now(self) -> datetime:
        return self.fake.now if self.fake is not None else self.sandbox.clock.now()

    def distrust(self) -> None:
        """Let no other clock agree with the server's."""
        if self.fake is not None:
            self.fake.is_time_believed = False
        elif self.sandbox is not None:
            self.sandbox.clock.advance(timedelta(days=40))

    def span(self, after: LogId, until: LogId | None = None, **more: Any) -> Span:
        return Span(id=1, stream=STREAM, after=after, reached=after, until=until, **more)


def world_of_fake() -> World:
    with Sandbox(seed=3) as sandbox:
        records = grown(sandbox)
    fake = FakeLog(records, page_size=PAGE)
    fake.now = datetime.now(UTC)
    return World(fake, [LogId(record["log_id"]) for record in records], fake=fake)


def grown(sandbox: Sandbox) -> list[Any]:
    # A day and more ago, so that only proof can tell that nothing was lost since.
    now = sandbox.clock.now() - timedelta(days=3)
    sandbox.traffic.grow(250, start=now - HOUR, end=now)
    return [entry.draw(sandbox.tenant.domain) for entry in sandbox.tenant.entries()]


@pytest.fixture(params=["fake", "auth0"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        yield world_of_fake()
        return
    with Sandbox(seed=3, plan="unlimited") as sandbox:
        clock = ServerClock()
        http = Http(sandbox.auth0_url, clock)
        tenant = sandbox.tenant
        tenant.token_lifetime = timedelta(days=400)  # a new token would make an event
        given = Credentials(
            domain=tenant.domain, client_id=tenant.client_id, client_secret=tenant.client_secret
        )
        tokens = TokenSource(given, http)
        tokens.current()
        tenant._entries.clear()
        tenant._ids.clear()
        records = grown(sandbox)
        source = Auth0Log(ManagementApi(http, tokens, RateLimiter(threading.Event())))
        yield World(source, [LogId(record["log_id"]) for record in records], sandbox=sandbox)
        http.close()


def walk(world: World, span: Span) -> list[Page]:
    pages = []
    while not span.is_done:
        page = world.source.fetch(span)
        pages.append(page)
        span = Span(id=1, stream=STREAM, after=span.after, reached=page.position, until=span.until)
        if page.is_end:
            break
    return pages


def read(pages: list[Page]) -> list[str]:
    return [event.log_id for page in pages for event in page.events]


def test_a_walk_reads_every_event_once_in_order(world: World) -> None:
    pages = walk(world, world.span(just_below(world.ids[0])))
    assert read(pages) == world.ids
    assert pages[-1].position == world.ids[-1]
    assert [page.is_end for page in pages] == [False] * (len(pages) - 1) + [True]
    assert all(page.lost is None for page in pages)


@pytest.mark.parametrize("size", [1, 50, 99])
def test_a_short_page_of_old_events_is_no_end(world: World, size: int) -> None:
    world.cut_pages(size)
    pages = walk(world, world.span(just_below(world.ids[0])))
    assert read(pages) == world.ids
    assert [page.is_end for page in pages] == [False] * (len(pages) - 1) + [True]
    assert [page.drained_to for page in pages[:-1]] == [None] * (len(pages) - 1)
    assert pages[-1].events == ()
    assert pages[-1].drained_to == pages[-1].believed_at is not None


def test_the_position_asked_from_is_not_read_again(world: World) -> None:
    assert read(walk(world, world.span(world.ids[99]))) == world.ids[100:]


def test_a_short_page_whose_newest_event_is_just_in_ends_the_poll(world: World) -> None:
    newest = world.happen(3)
    page = world.source.fetch(world.span(world.ids[-1]))
    assert (len(page.events), page.position, page.is_end) == (3, newest, True)
    assert page.drained_to == moment_of(newest)


def test_an_empty_page_leaves_the_position_where_it_is(world: World) -> None:
    page = world.source.fetch(world.span(world.ids[-1]))
    assert (page.events, page.position, page.is_end, page.lost) == ((), world.ids[-1], True, None)


@pytest.mark.parametrize(("first", "last"), [(10, 20), (0, 249), (30, 230), (99, 199)])
def test_a_bounded_walk_reads_its_stretch_and_nothing_beyond(
    world: World, first: int, last: int
) -> None:
    pages = walk(world, world.span(world.ids[first], world.ids[last]))
    assert read(pages) == world.ids[first + 1 : last + 1]
    assert all(page.position <= world.ids[last] for page in pages)


def test_a_bound_beyond_the_newest_event_is_not_reached(world: World) -> None:
    beyond = LogId("9" * 56)
    pages = walk(world, world.span(world.ids[200], beyond))
    assert read(pages) == world.ids[201:]
    assert pages[-1].position == world.ids[-1]
    assert pages[-1].is_end


def test_a_bound_in_the_future_is_not_reached_by_an_empty_page(world: World) -> None:
    tomorrow = floor_id(world.now() + timedelta(days=1))
    pages = walk(world, world.span(world.ids[200], tomorrow))
    assert (pages[-1].position, pages[-1].is_end) == (world.ids[-1], True)


def test_a_bound_that_is_past_is_reached_by_an_empty_page(world: World) -> None:
    bound = floor_id(world.now() - timedelta(minutes=1))
    pages = walk(world, world.span(world.ids[200], bound))
    assert read(pages) == world.ids[201:]
    assert (pages[-1].events, pages[-1].position, pages[-1].is_end) == ((), bound, True)


def test_a_bound_is_not_reached_by_an_empty_page_without_a_believed_time(world: World) -> None:
    world.distrust()
    bound = floor_id(world.now() - timedelta(minutes=1))
    page = world.source.fetch(world.span(world.ids[-1], bound))
    assert (page.events, page.position, page.is_end) == ((), world.ids[-1], True)
    assert page.drained_to is None


def test_a_page_names_the_bounds_of_the_stretch_that_retention_took(world: World) -> None:
    world.lose(120)
    page = world.source.fetch(world.span(world.ids[49]))
    assert page.lost is not None
    assert (page.lost.after, page.lost.before) == (world.ids[49], world.ids[120])
    assert page.events[0].log_id == world.ids[120]


def test_a_stretch_of_which_nothing_is_left_is_lost_and_not_empty(world: World) -> None:
    world.lose(250)
    page = world.source.fetch(world.span(world.ids[49]))
    assert page.lost is not None
    assert page.lost.after == world.ids[49]
    assert page.lost.before > world.ids[-1]


def test_a_gap_of_a_bounded_stretch_ends_with_it(world: World) -> None:
    world.lose(120)
    page = world.source.fetch(world.span(world.ids[49], world.ids[80]))
    assert page.lost == Gap(after=world.ids[49], before=successor(world.ids[80]))


@pytest.mark.parametrize("kind", [SecondReading, UnreadStretch])
def test_a_gap_of_a_second_reading_is_marked(world: World, kind: type[LogCursor]) -> None:
    world.lose(120)
    cursor = kind(
        id=1, stream=STREAM, after=world.ids[49], reached=world.ids[49], until=world.ids[-1]
    )
    page = world.source.fetch(cursor)
    assert page.lost == Gap(after=world.ids[49], before=world.ids[120], is_read_once=True)


def test_a_span_that_saw_the_end_of_the_log_lately_lost_nothing(world: World) -> None:
    if world.fake is not None:
        return  # the fake knows what was lost, whatever the span saw
    world.lose(250)
    seen = world.now() - timedelta(hours=1)
    assert world.source.fetch(world.span(world.ids[49], drained_at=seen)).lost is None


def test_events_that_retention_took_below_the_position_are_not_a_loss(world: World) -> None:
    world.lose(49)
    assert all(page.lost is None for page in walk(world, world.span(world.ids[49])))


@pytest.mark.parametrize("odd", [[7], [7, "x"], [[], "x", 5]])
def test_records_without_an_id_are_read_once_an_id_follows_them(
    world: World, odd: list[Any]
) -> None:
    if world.sandbox is None:
        return  # what the fake is given has ids
    world.sandbox.tenant.append(odd)
    span = world.span(world.ids[-1])
    page = world.source.fetch(span)
    assert (page.events, page.position, page.is_end, page.lost) == ((), world.ids[-1], True, None)
    assert page.drained_to is None
    world.sandbox.traffic.happen("login")
    page = world.source.fetch(span)
    assert [event.defect for event in page.events] == ["unreadable_record"] * len(odd) + [None]
    assert world.source.fetch(world.span(page.position)).events == ()


def test_a_start_just_below_the_oldest_event_loses_nothing(world: World) -> None:
    world.lose(50)
    pages = walk(world, world.span(just_below(world.ids[50])))
    assert read(pages) == world.ids[50:]
    assert all(page.lost is None for page in pages)

"""The speed of a catch-up beside live polling, in simulated time.

The program's own threads, ledger, rate limiter and log reader work on a simulated tenant. Only
requests take time: 120 ms for each answer of Auth0, and 60 ms for each batch to Segment. A worker
on another machine begins with a slice after two seconds, and hands it back after ten. So the result
does not depend on the machine.
"""

import math
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from poller.adapters.auth0 import Auth0Log, ManagementApi
from poller.adapters.auth0.api import Reply, RequestBudget
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.delivery import BatchSender
from poller.core.forward import forward
from poller.core.log_ids import LogId, moment_of
from poller.core.messages import Batch, Identify, Receipt
from poller.core.outcomes import Profile, Profiles
from poller.core.spans import Span
from poller.core.translation.translator import HistoryTranslator, LiveTranslator
from poller.service.backfill.estimate import parallelism
from poller.service.daemon import backlog_workers, catch_up
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.daemon.backlog_workers import BacklogWorkers
from poller.service.daemon.catch_up import CatchUpRule
from poller.service.daemon.drain import Drain
from poller.service.daemon.first_start import FirstStart
from poller.service.daemon.late_arrivals import SecondReader
from poller.service.lifecycle.process import Process
from poller.service.slices import queue
from poller.service.slices.deferred_identify import IdentifyRunner, IdentifySender
from poller.service.slices.queue import Walk
from poller.service.slices.slice import Slice
from poller.service.upstream import threads
from poller.service.upstream.background import BackgroundLimits
from poller.service.upstream.profile_cache import CachedProfiles
from poller.service.upstream.rate_limit import RateLimiter
from poller.service.upstream.send_rate import SendRate
from tests.fakes import NOW, STREAM, FakeDirectory, FakeSink, numbered
from tests.simulation import SimulatedEvent, SimulatedTime, Tenant
from tests.walks import AtOnce

FETCH_S, SEND_S = 0.120, 0.060
BEGIN_ELSEWHERE_S, TURN_S = 2.0, 10.0
INTERVAL_S = 2.0
LIVE_EVENTS_PER_S = 20
USERS = 5_000
USERS_PER_SEARCH = 73
OF_INTEREST = 12
"""One event in so many is a login."""
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(kw_only=True)
class Api:
    """The Management API of a tenant with a backlog of a day, and live events since then."""

    time: SimulatedTime
    tenant: Tenant
    ids: list[LogId]
    asked: "Counter[str]"
    refused: list[float]
    budget: RequestBudget

    def get(self, path: str, params: dict[str, str], *, endpoint: str) -> Reply:
        self.ask(endpoint, path)
        if "from" not in params:
            return self.reply([self.ids[self.shown() - 1]])
        begin = bisect_right(self.ids, params["from"])
        return self.reply(self.ids[begin : min(begin + int(params["take"]), self.shown())])

    def shown(self) -> int:
        return bisect_right(self.ids, numbered(0, self.moment()))

    def moment(self) -> datetime:
        return NOW + timedelta(seconds=self.time.now)

    def reply(self, ids: Sequence[LogId]) -> Reply:
        return Reply(
            value=[record(log_id) for log_id in ids], at=self.moment(), believed_at=self.moment()
        )

    def dated(self, reply: Reply, newest: datetime | None, *, is_end: bool) -> Reply:
        del newest, is_end
        return reply

    def ask(self, endpoint: str, kind: str) -> None:
        """Wait for the rate limiter, and for the answer."""
        self.budget.acquire(endpoint)
        self.time.sleep(FETCH_S / 2)
        passes, remaining, reset_s = self.tenant.serve(self.time.now)
        self.asked[kind] += 1
        if not passes:
            self.refused.append(self.time.now)
        self.time.sleep(FETCH_S / 2)
        self.budget.observe(
            endpoint,
            limit=self.tenant.limit,
            remaining=remaining,
            reset_in=timedelta(seconds=reset_s),
            is_refused=not passes,
        )

    def of(self, user_ids: Sequence[str]) -> Profiles:
        """Return the profiles of these users, which takes a request for each 73 of them."""
        for _ in range(math.ceil(len(user_ids) / USERS_PER_SEARCH)):
            self.ask("users", "users")
        return {
            each: Profile(user_id=each, read_at=self.moment(), fields={"email": f"{each}@x.org"})
            for each in user_ids
        }


def record(log_id: LogId) -> dict[str, Any]:
    if not is_login(log_id):
        return {"log_id": log_id, "type": "sapi"}
    moment = moment_of(log_id)
    assert moment is not None
    user = int(log_id[-33:]) // OF_INTEREST % USERS
    return {"log_id": log_id, "type": "s", "date": moment.isoformat(), "user_id": f"auth0|{user}"}


def time_of_day(part: float) -> float:
    """Return when this part of a day's events has happened. The middle is seven times as busy."""
    return part + 0.12 * math.sin(2 * math.pi * part)


def is_login(log_id: LogId) -> bool:
    return int(log_id[-33:]) % OF_INTEREST == 0


class Sink(FakeSink):
    """A sink that takes 60 ms for a batch, and notes the age of each event of live polling."""

    def __init__(self, time: SimulatedTime) -> None:
        super().__init__()
        self.time = time
        self.ages_s: list[float] = []

    def send(self, batch: Batch) -> Receipt:
        self.time.sleep(SEND_S)
        for message in batch.messages:
            age = NOW + timedelta(seconds=self.time.now) - message.timestamp
            if not isinstance(message, Identify) and message.timestamp >= NOW:
                self.ages_s.append(age / timedelta(seconds=1))
        return super().send(batch)


@dataclass
class SimulatedHelpers:
    """Workers on other machines, who begin with a slice after a while."""

    world: "World"
    url: str
    most: int
    threads: BacklogThreads = field(default_factory=lambda: BacklogThreads(8))
    pages: int = 0

    def count(self) -> int:
        return self.most

    def walk(self, own: Slice, stopping: threading.Event) -> None:
        del stopping
        self.world.time.sleep(BEGIN_ELSEWHERE_S)
        with closing(SqlLedger.open(self.url, STREAM, create=False)) as ledger:
            cursor = ledger.begin_work(own.cursor)
            assert isinstance(cursor, Span)
            fence, end = own.cursor.fence, self.world.time.now + TURN_S
            for forwarded in self.world.walker(ledger)(cursor):
                self.pages += 1
                if self.world.time.now >= end and not forwarded.cursor.is_done:
                    ledger.hand_back(forwarded.cursor, fence)
                    own.cursor = replace(forwarded.cursor, fence=fence)
                    return
        own.is_finished = True


class World:
    """A daemon that begins to catch up with its first page, and lives until it has done so."""

    def __init__(
        self,
        time: SimulatedTime,
        ledger: SqlLedger,
        *,
        pages: int,
        plan: tuple[int, float],
        helpers: int,
        url: str,
    ) -> None:
        (limit, per_second), self.pages = plan, pages
        self.time, self.ledger = time, ledger
        self.process = Process(SimulatedEvent(self.time))
        self.tenant = Tenant(limit=limit, per_second=per_second, held=limit)
        self.rate_limiter = RateLimiter(self.process.stopping, monotonic=self.time.monotonic)
        self.asked = {"live": Counter[str](), "background": Counter[str]()}
        self.refused: list[float] = []
        self.sink = Sink(self.time)
        count = 100 * pages
        past = [NOW - 2 * DAY - HOUR + DAY * time_of_day(number / count) for number in range(count)]
        future = [NOW + number * timedelta(seconds=1 / LIVE_EVENTS_PER_S) for number in range(5000)]
        self.ids = [numbered(number, moment) for number, moment in enumerate([*past, *future])]
        send_rate = SendRate(self.process.stopping, per_second=0)
        limits = BackgroundLimits(
            self.rate_limiter, send_rate, self.process.stopping, monotonic=self.time.monotonic
        )
        self.live = self.api("live", self.rate_limiter)
        self.background = self.api("background", limits)
        self.helpers = SimulatedHelpers(self, url, most=helpers)
        self.workers = BacklogWorkers(
            self.walker,
            ledger,
            self.process,
            self.identifies,
            parallel=self.parallel,
            helpers=self.helpers,
            is_rate_limited=limits.is_rate_limited,
            monotonic=self.time.monotonic,
        )
        self.finished_at = math.inf

    def api(self, caller: str, budget: RequestBudget) -> Api:
        return Api(
            time=self.time,
            tenant=self.tenant,
            ids=self.ids,
            asked=self.asked[caller],
            refused=self.refused,
            budget=budget,
        )

    def log(self, api: Api) -> Auth0Log:
        return Auth0Log(cast("ManagementApi", api), now=api.moment)

    def parallel(self) -> int:
        return parallelism(self.rate_limiter.status("logs"), 0.1)

    def walker(self, ledger: SqlLedger | None = None) -> Walk:
        log, translator = self.log(self.background), HistoryTranslator(STREAM)
        users, sender, ledger = FakeDirectory({}), BatchSender(self.sink), ledger or self.ledger
        return lambda span: forward(log, users, translator, sender, ledger, span)

    def identifies(self) -> IdentifyRunner:
        return IdentifyRunner(
            self.ledger,
            self.process,
            lambda: IdentifySender(
                self.ledger,
                self.background,
                HistoryTranslator(STREAM),
                BatchSender(self.sink),
                begun_at=self.background.moment(),
                only_news=True,
            ),
            role="run",
            patience=timedelta(0),
        )

    def drain(self) -> Drain:
        log = self.log(self.live)
        profiles = CachedProfiles(self.live, lambda error: None, monotonic=self.time.monotonic)
        translator, sender = LiveTranslator(STREAM), BatchSender(self.sink)
        return Drain(
            source=log,
            profiles=profiles,
            translator=translator,
            sender=sender,
            ledger=self.ledger,
            first_start=FirstStart(self.ledger, log, "earliest"),
            second_reader=SecondReader(
                source=log,
                profiles=profiles,
                translator=translator,
                sender=sender,
                ledger=self.ledger,
                window=timedelta(0),
                has_room=lambda: self.rate_limiter.has_room("logs"),
                report_confirmed=lambda at: None,
            ),
            catch_up=CatchUpRule(
                self.ledger,
                behind=timedelta(minutes=10),
                pieces=self.parallel,
                begun=self.workers.look_for_work,
                monotonic=self.time.monotonic,
            ),
            stopping=self.process.stopping,
            runner=AtOnce,
        )

    def poll(self) -> None:
        """Poll at every interval, until the catch-up is finished."""
        drain = self.drain()
        while not self.process.stopping.is_set():
            self.workers.look_for_work()
            for _ in drain.pages():
                pass
            self.process.stopping.wait(INTERVAL_S)

    def watch(self) -> None:
        """Stop the daemon when the catch-up is finished."""
        begun = False
        while not (begun and self.workers.state.since is None):
            begun = begun or self.workers.state.since is not None
            self.time.sleep(0.05)
        self.finished_at = self.time.now
        self.process.stopping.set()

    def run(self) -> None:
        self.time.start(self.poll)
        self.time.start(self.watch)
        self.time.run()

    def floor_s(self) -> float:
        """Return the least time that the rate limit allows for what must be asked."""
        users = len({each.user_id for each in self.sink.taken if isinstance(each, Identify)})
        live = math.ceil(self.finished_at * LIVE_EVENTS_PER_S / 100)
        needed = self.pages + live + math.ceil(users / USERS_PER_SEARCH)
        return (needed - self.tenant.limit) / self.tenant.per_second

    def tracked(self) -> list[LogId]:
        """Return the log id of each track that was sent, as often as it was sent."""
        return [LogId(each.log_id) for each in self.sink.taken if not isinstance(each, Identify)]

    def expected(self) -> list[LogId]:
        """Return the logins up to the position of live polling."""
        live = self.ledger.live_span()
        assert live is not None
        return [each for each in self.ids[: bisect_right(self.ids, live.reached)] if is_login(each)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlLedger]:
    monkeypatch.setattr(catch_up, "DRAIN_S", 0)
    with closing(SqlLedger.open(url, STREAM, create=True, late_window=timedelta(0))) as opened:
        yield opened


def begin(
    ledger: SqlLedger,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pages: int,
    plan: tuple[int, float],
    helpers: int = 0,
    url: str = "",
) -> World:
    time = SimulatedTime()
    for module in (queue, backlog_workers, threads):
        monkeypatch.setattr(module, "threading", time.threading())
    world = World(time, ledger, pages=pages, plan=plan, helpers=helpers, url=url)
    world.run()
    return world


def test_a_catch_up_under_a_low_rate_limit_asks_little_more_than_once_for_each_page(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = begin(ledger, monkeypatch, pages=60, plan=(10, 100 / 60))
    assert not world.refused
    assert sorted(world.tracked()) == world.expected()
    # Each of six slices reads a part of its last page, and proves that nothing was removed.
    assert world.asked["background"]["logs"] <= 60 + 2 * 6


def test_a_catch_up_takes_little_longer_than_the_rate_limit_allows(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = begin(ledger, monkeypatch, pages=600, plan=(50, 16.0))
    assert not world.refused
    assert world.finished_at <= 1.15 * world.floor_s()
    assert sorted(world.tracked()) == world.expected()
    late_s = sorted(world.sink.ages_s)
    assert len(late_s) > 50
    assert late_s[math.ceil(0.99 * len(late_s)) - 1] <= 2 * INTERVAL_S


@pytest.fixture
def _slow_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that take so long that a catch-up of 400 pages takes 54.9 s without helpers."""
    monkeypatch.setitem(globals(), "FETCH_S", 0.6)
    monkeypatch.setitem(globals(), "SEND_S", 0.2)


@pytest.mark.usefixtures("_slow_answers")
def test_workers_on_other_machines_shorten_a_catch_up_that_no_limit_holds_up(
    ledger: SqlLedger, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = (10_000, 1000.0)
    world = begin(ledger, monkeypatch, pages=400, plan=plan, helpers=8, url=url)
    assert sorted(world.tracked()) == world.expected()
    assert world.helpers.pages > 400 / 4
    assert world.finished_at < 0.9 * 54.9


@pytest.mark.usefixtures("_slow_answers")
def test_workers_on_other_machines_are_not_asked_to_do_what_is_done_before_they_begin(
    ledger: SqlLedger, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = (10_000, 1000.0)
    world = begin(ledger, monkeypatch, pages=40, plan=plan, helpers=8, url=url)
    assert sorted(world.tracked()) == world.expected()
    assert world.helpers.pages == 0

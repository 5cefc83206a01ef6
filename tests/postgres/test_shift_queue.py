"""The queue divides the pipelines among workers, each with a queue of its own in this process."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job

from poller.adapters.shift_queue import ShiftQueue, SliceOrder, Walked, queue, share_of, statements
from poller.adapters.shift_queue.slices import SliceOrders
from poller.adapters.shift_queue.statements import HEARTBEAT_TIMEOUT, Statements
from poller.adapters.shift_queue.tables import SETTINGS, install
from poller.adapters.sql_ledger.postgres.address import Address
from tests.postgres.cluster import USER, Cluster
from tests.process.bench import eventually

PIPELINES = [f"tenant{number}" for number in range(6)]
JOBS, LOG = SETTINGS.qualified.queue_table, SETTINGS.qualified.queue_table_log
TO_ANOTHER = "SET queue_manager_id = gen_random_uuid(), heartbeat = now() + '1 hour'"
ELSEWHERE = f"UPDATE {JOBS} {TO_ANOTHER}"
OF_WORKERS = f"pg_stat_activity WHERE usename = '{USER}'"
CUT = f"SELECT pg_terminate_backend(pid) FROM {OF_WORKERS}"  # noqa: S608
OWNERS = f"SELECT count(DISTINCT queue_manager_id) FROM {JOBS}"  # noqa: S608
COLUMNS = "id, status, queue_manager_id, heartbeat"
ROWS = f"SELECT {COLUMNS} FROM {JOBS} ORDER BY id"  # noqa: S608
AGED = f"UPDATE {LOG} SET created = now() - '25 hours'::interval WHERE job_id = %d"  # noqa: S608
LOGGED = f"SELECT count(DISTINCT job_id) FROM {LOG}"  # noqa: S608


class Fleet:
    """The workers that are alive, in the order in which they joined."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    def holders(self) -> dict[str, int]:
        """Return how many workers hold each pipeline."""
        return dict(Counter(name for each in self.workers for name in each.held))


class Worker:
    """A worker whose pipelines do nothing. Implements `Shifts`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.held: dict[str, Callable[[], None]] = {}
        self.shift_ends: Counter[str] = Counter()
        self.looks = 0
        self.begun: dict[str, tuple[int, int]] = {}
        """The looks of this worker, and the ends of shifts of a pipeline, when it began with it."""
        self.walked: list[SliceOrder] = []
        self.is_giving = self.gives_soon = False
        fleet.workers.append(self)

    def names(self) -> Collection[str]:
        self.looks += 1
        return PIPELINES

    def share(self) -> int:
        if self not in self._fleet.workers:
            return 0
        place, workers = self._fleet.workers.index(self), len(self._fleet.workers)
        return share_of(len(PIPELINES), workers=workers, place=place)

    def begin(self, name: str, on_end: Callable[[], None]) -> bool:
        ends = sum(each.shift_ends[name] for each in self._fleet.workers)
        self.begun[name] = (self.looks, ends)
        self.held[name] = on_end
        return True

    def keeps(self, name: str) -> bool:
        self.shift_ends[name] += 1
        return len(self.held) <= self.share()

    def end(self, name: str) -> None:
        if on_end := self.held.pop(name, None):
            on_end()

    def walk(self, order: SliceOrder) -> Walked:
        self.walked.append(order)
        return Walked(is_over=True)

    def gives(self) -> bool:
        gave, self.is_giving = self.is_giving, self.is_giving or self.gives_soon
        return gave

    def leave(self) -> None:
        """Close all pipelines."""
        self._fleet.workers.remove(self)
        for name in [*self.held]:
            self.end(name)


@pytest.fixture
def conninfo(postgres_url: str) -> str:
    conninfo = Address.of(postgres_url).conninfo
    install(conninfo)
    return conninfo


@pytest.fixture(autouse=True)
def _short_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "SHIFT_S", 1.0)
    monkeypatch.setattr(queue, "LOOK_S", 0.2)


@contextmanager
def at_work(conninfo: str, worker: Worker) -> Iterator[ShiftQueue]:
    """Let a worker take shifts."""
    failures: list[BaseException] = []
    made = ShiftQueue(conninfo, uuid4(), worker, failures.append)
    made.start()
    try:
        yield made
    finally:
        made.stop()
    assert failures == []


@pytest.mark.parametrize("pipelines", range(12))
@pytest.mark.parametrize("workers", range(1, 6))
def test_the_shares_make_up_all_pipelines_and_differ_by_at_most_one(
    pipelines: int, workers: int
) -> None:
    shares = [share_of(pipelines, workers=workers, place=place) for place in range(workers)]
    assert sum(shares) == pipelines
    assert max(shares) - min(shares) <= 1


def test_a_worker_that_joins_has_its_share_within_two_shifts(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "SHIFT_S", 5.0)  # far longer than a look and a statement
    fleet = Fleet()
    first = Worker(fleet)
    with at_work(conninfo, first):
        eventually("all pipelines", lambda: len(first.held) == len(PIPELINES))
        second = Worker(fleet)
        first.shift_ends.clear()
        with at_work(conninfo, second):
            eventually("half of them", lambda: len(second.held) == len(PIPELINES) / 2)
            assert max(ends for _, ends in second.begun.values()) <= 2
            # The first worker may give back one more than it has to. Then it takes it again.
            eventually("the others", lambda: fleet.holders() == dict.fromkeys(PIPELINES, 1))


def test_a_worker_that_leaves_is_replaced_as_soon_as_the_others_look(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "SHIFT_S", 60.0)
    monkeypatch.setattr(queue, "LOOK_S", 2.0)  # far longer than a statement
    fleet = Fleet()
    first, second = Worker(fleet), Worker(fleet)
    with at_work(conninfo, second), at_work(conninfo, first) as leaving:
        eventually("halves", lambda: (len(first.held), len(second.held)) == (3, 3))
        second.looks = 0
        second.begun.clear()
        leaving.take_no_more()
        first.leave()
        eventually("the others", lambda: fleet.holders() == dict.fromkeys(PIPELINES, 1))
        # It looks, waits as long for the queue at most, and begins while it looks once more.
        assert max(looks for looks, _ in second.begun.values()) <= 3


def test_a_pipeline_that_another_worker_has_is_closed_at_the_end_of_the_shift(
    conninfo: str, cluster: Cluster, database: str
) -> None:
    worker = Worker(Fleet())
    with at_work(conninfo, worker):
        eventually("all pipelines", lambda: len(worker.held) == len(PIPELINES))
        cluster.execute(ELSEWHERE, database)
        eventually("an end", lambda: not worker.held)
        assert cluster.execute(OWNERS, database) == [(len(PIPELINES),)]


def test_a_worker_goes_on_after_its_connection_was_cut(
    conninfo: str, cluster: Cluster, database: str
) -> None:
    fleet = Fleet()
    first = Worker(fleet)
    with at_work(conninfo, first):
        eventually("all pipelines", lambda: len(first.held) == len(PIPELINES))
        held = dict(first.held)
        for _ in range(2):
            cluster.execute(CUT, database)
            first.looks = 0
            eventually("looks", lambda: first.looks > 2)
        assert first.held == held
        second = Worker(fleet)
        with at_work(conninfo, second):
            eventually("half of them", lambda: len(second.held) == len(PIPELINES) / 2)


def test_the_share_of_a_dead_worker_is_taken_by_the_others_before_it_is_known_to_be_dead(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "LEFT_OVER_AFTER", timedelta(seconds=1))
    fleet = Fleet()
    worker, _ = Worker(fleet), Worker(fleet)
    with at_work(conninfo, worker):
        eventually("all pipelines", lambda: len(worker.held) == len(PIPELINES))


def slices_of(run: str) -> list[SliceOrder]:
    """Return the orders of six slices, of a backfill or, without a run, of a catch-up."""
    return [SliceOrder(run=run, pipeline="tenant0", stream="a", span=span) for span in range(6)]


def place(conninfo: str, orders: list[SliceOrder]) -> None:
    with SliceOrders.open(conninfo) as made:
        made.place(orders)


def spans(worker: Worker) -> list[int]:
    return sorted(order.span for order in worker.walked)


def test_a_worker_leaves_the_slices_that_it_gives_away_to_the_others(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "SLICE_LEFT_OVER_AFTER", timedelta(hours=1))
    fleet = Fleet()
    first, second = Worker(fleet), Worker(fleet)
    first.is_giving = True
    with at_work(conninfo, first):
        place(conninfo, slices_of(""))
        eventually("looks", lambda: first.looks > 5)
        with at_work(conninfo, second):
            eventually("all slices", lambda: spans(second) == [*range(6)])
        place(conninfo, slices_of("run"))
        eventually("a backfill", lambda: spans(first) == [*range(6)])
    assert {order.run for order in first.walked} == {"run"}


def test_a_worker_puts_back_a_slice_that_it_took_in_the_moment_of_giving_it_away(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "SLICE_LEFT_OVER_AFTER", timedelta(hours=1))
    fleet = Fleet()
    first, second = Worker(fleet), Worker(fleet)
    first.gives_soon = True
    place(conninfo, slices_of(""))
    with at_work(conninfo, first):
        eventually("looks", lambda: first.is_giving and first.looks > 5)
        with at_work(conninfo, second):
            eventually("all slices", lambda: spans(second) == [*range(6)])
    assert first.walked == []


def test_a_worker_takes_slices_that_it_gives_away_and_that_the_others_leave(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "SLICE_LEFT_OVER_AFTER", timedelta(seconds=1))
    worker = Worker(Fleet())
    worker.is_giving = True
    with at_work(conninfo, worker):
        place(conninfo, slices_of(""))
        eventually("all slices", lambda: spans(worker) == [*range(6)])


def with_statements(conninfo: str, act: Callable[[Statements, list[Job]], Any]) -> None:
    """Take the jobs of all pipelines, and act on them."""

    async def run() -> None:
        connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        async with connection:
            made = Statements(PsycopgDriver(connection), lambda kind, at_work: 10)
            made.manager = manager = QueueManager(made, channel=SETTINGS.channel)
            manager.entrypoint("shift")(asyncio.sleep)
            await made.look(PIPELINES)
            jobs = [job async for job in manager.fetch_jobs(10, None, HEARTBEAT_TIMEOUT)]
            await act(made, jobs)

    asyncio.run(run())


def test_a_worker_changes_no_job_that_another_one_has(
    conninfo: str, cluster: Cluster, database: str
) -> None:
    seen: list[Any] = []

    async def act(made: Statements, jobs: list[Job]) -> None:
        cluster.execute(f"{ELSEWHERE} WHERE id = {jobs[0].id}", database)
        seen.append(cluster.execute(ROWS, database))
        await made.update_heartbeat([job.id for job in jobs])
        await made.retry_job(jobs[0], HEARTBEAT_TIMEOUT, None)
        await made.retry_job(jobs[1], HEARTBEAT_TIMEOUT, None)
        await made.log_jobs([(job, "successful", None) for job in (jobs[0], jobs[2])])
        seen.append(cluster.execute(ROWS, database))

    with_statements(conninfo, act)
    (first, second, third, fourth, *_), after = seen
    assert after[0] == first
    assert after[1][1] == "queued" != second[1]
    assert third[0] not in [row[0] for row in after]
    assert after[2][0] == fourth[0]
    assert after[2][3] > fourth[3]


def test_the_log_of_jobs_is_kept_for_a_day(conninfo: str, cluster: Cluster, database: str) -> None:
    async def act(made: Statements, jobs: list[Job]) -> None:
        cluster.execute(AGED % jobs[0].id, database)
        await made.prune()

    with_statements(conninfo, act)
    ((kept,),) = cluster.execute(LOGGED, database)
    assert kept == len(PIPELINES) - 1

"""The queue of shifts, on PgQueuer.

A job is a shift of one pipeline. The key of the job is the name of the pipeline, so a pipeline has
at most one job that waits or is worked on. PgQueuer gives a job to another worker when the worker
that has it was not heard of for `HEARTBEAT_TIMEOUT`.

PgQueuer may give one job to two workers: a worker that was stopped for a while goes on with a job
that another worker has by then, and its end deletes the job of the other. So the queue only says
who should work. The lease on the stream and the fences of the ledger say who may.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, Protocol

import psycopg
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence import qb
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job

from poller.adapters.shift_queue.tables import SETTINGS, install
from poller.core.errors import TransientError

HEARTBEAT_TIMEOUT = timedelta(seconds=20)
SHIFT_S = 300.0
"""The time after which a worker looks whether it should keep a pipeline."""
LOOK_S = 5.0
"""The time between two looks for pipelines without a job, and for jobs without a worker."""
_CALL_S = 60.0
_STOP_S = 10.0
_ENTRYPOINT = "shift"


class Shifts(Protocol):
    """The shifts of one worker. Every method may wait for a disk or a database."""

    def names(self) -> Collection[str]:
        """Return the name of every pipeline, whoever works on it."""
        ...

    def share(self) -> int:
        """Return how many pipelines this worker should have."""
        ...

    def begin(self, name: str, on_end: Callable[[], None]) -> bool:
        """Begin to work on a pipeline. Return False if that cannot be done.

        `on_end` is called by any thread when the pipeline is closed.
        """
        ...

    def keeps(self, name: str) -> bool:
        """Return whether the pipeline should stay for another shift, as its file says now."""
        ...

    def end(self, name: str) -> None:
        """Close the pipeline after the page at hand."""
        ...


class ShiftQueue:
    """Takes shifts from the queue, and puts them there. It has a thread with an event loop.

    `on_failure` is called by the thread if the queue cannot go on.
    """

    def __init__(
        self, conninfo: str, shifts: Shifts, on_failure: Callable[[BaseException], None]
    ) -> None:
        self._conninfo = conninfo
        self._shifts = shifts
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name="shifts", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._share = 0

    def start(self) -> None:
        """Begin to take shifts.

        Raises:
            TransientError: the queue's tables cannot be reached or made.
        """
        try:
            install(self._conninfo)
        except psycopg.Error as error:
            raise _failure(error) from None
        self._thread.start()

    def take_no_more(self) -> None:
        """Take no more shifts. The ones at work go on."""
        self._share = 0

    def stop(self) -> None:
        """Give all shifts back. Call it when their pipelines are closed."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._work())
            except psycopg.Error as error:
                self._on_failure(_failure(error))
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                self._on_failure(error)

    async def _work(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, prepare_threshold=None
        )
        async with connection:
            queries = _Queries(PsycopgDriver(connection), self._room)
            manager = QueueManager(queries, channel=SETTINGS.channel)
            manager.min_dequeue_poll_interval = timedelta(seconds=1)
            queries.manager = manager
            manager.entrypoint(_ENTRYPOINT)(self._shift)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look(queries, manager))
                tasks.create_task(self._take(manager))

    async def _take(self, manager: QueueManager) -> None:
        try:
            await manager.run(
                dequeue_timeout=timedelta(seconds=LOOK_S), heartbeat_timeout=HEARTBEAT_TIMEOUT
            )
        finally:
            self._ending.set()

    async def _look(self, queries: "_Queries", manager: QueueManager) -> None:
        """Put a job into the queue for each pipeline that has none, until the end."""
        try:
            while not self._ending.is_set():
                names = await asyncio.to_thread(self._shifts.names)
                self._share = await asyncio.to_thread(self._shifts.share)
                async with asyncio.timeout(_CALL_S):
                    await queries.add_missing(names)
                await self._wait(LOOK_S * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        except psycopg.Error as error:
            self._on_failure(_failure(error))  # at once: the shifts are still to be ended
            raise
        finally:
            manager.shutdown.set()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    async def _shift(self, job: Job) -> None:
        """Work on a pipeline until it is closed, and put the job back into the queue."""
        name, closed = (job.payload or b"").decode(), asyncio.Event()

        def on_end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(closed.set)

        if not await asyncio.to_thread(self._shifts.begin, name, on_end):
            return
        await self._until(closed, name)
        raise RetryRequested(delay=timedelta(), reason="the shift is over")

    async def _until(self, closed: asyncio.Event, name: str) -> None:
        waits = [asyncio.ensure_future(each.wait()) for each in (closed, self._ending)]
        try:
            while True:
                length = SHIFT_S * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
                done, _ = await asyncio.wait(
                    waits, timeout=length, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return
                if not await asyncio.to_thread(self._shifts.keeps, name):
                    self._shifts.end(name)
                    await closed.wait()
        finally:
            for each in waits:
                each.cancel()

    def _room(self, at_work: int) -> int:
        return self._share - at_work


class _Queries(Queries):
    """PgQueuer's statements. A worker with its share of the pipelines takes no more."""

    manager: QueueManager

    def __init__(self, driver: PsycopgDriver, room: Callable[[int], int]) -> None:
        super().__init__(
            driver,
            qbe=qb.QueryBuilderEnvironment(settings=SETTINGS),
            qbq=qb.QueryQueueBuilder(settings=SETTINGS),
            qbs=qb.QuerySchedulerBuilder(settings=SETTINGS),
        )
        self._room = room

    async def dequeue(self, batch_size: int, *arguments: Any, **named: Any) -> list[Job]:
        room = self._room(len(self.manager.job_context))
        if room <= 0:
            return []
        return await super().dequeue(min(batch_size, room), *arguments, **named)

    async def retry_job(self, job: Job, *arguments: Any, **named: Any) -> None:
        """Put the job back into the queue, unless another worker has taken it over."""
        table = SETTINGS.qualified.queue_table
        query = f"SELECT queue_manager_id FROM {table} WHERE id = $1"  # noqa: S608 - ours
        rows = await self.driver.fetch(query, job.id)
        if rows and str(rows[0]["queue_manager_id"]) == str(self.manager.queue_manager_id):
            await super().retry_job(job, *arguments, **named)

    async def add_missing(self, names: Collection[str]) -> None:
        """Add a job for each name that has none."""
        table = SETTINGS.qualified.queue_table
        rows = await self.driver.fetch(f"SELECT dedupe_key FROM {table}")  # noqa: S608 - ours
        missing = sorted({*names} - {str(row["dedupe_key"]) for row in rows})
        if missing:
            count = len(missing)
            await self.enqueue(
                [_ENTRYPOINT] * count,
                [name.encode() for name in missing],
                [0] * count,
                dedupe_key=[*missing],
                on_conflict="skip",
            )


def _failure(error: psycopg.Error) -> TransientError:
    state = f" ({error.sqlstate})" if error.sqlstate else ""
    return TransientError(
        f"the queue of shifts cannot be reached: {type(error).__name__}{state}",
        hint="look at the database of state.url. The service starts again by itself",
    )

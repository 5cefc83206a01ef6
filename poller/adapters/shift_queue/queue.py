"""The queue of shifts, on PgQueuer.

A job is a shift of one pipeline. The key of the job is the name of the pipeline, so a pipeline has
at most one job that waits or is worked on. PgQueuer gives a job to another worker when the worker
that has it was not heard of for `HEARTBEAT_TIMEOUT`.

PgQueuer may give one job to two workers: a worker that was stopped for a while goes on with a job
that another worker has by then, and its end deletes the job of the other. So the queue only says
who should work. The lease on the stream and the fences of the ledger say who may.
"""

import asyncio
import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import psycopg
import structlog
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job
from pgqueuer.domain.types import QueueManagerId

from poller.adapters.shift_queue.connection import LastingConnection
from poller.adapters.shift_queue.slices import CATCH_UP, SLICE, SliceOrder, Walked
from poller.adapters.shift_queue.statements import HEARTBEAT_TIMEOUT, SHIFT, Statements
from poller.adapters.shift_queue.tables import SETTINGS, failure, install

SHIFT_S = 300.0
"""The time after which a worker looks whether it should keep a pipeline."""
LOOK_S = 5.0
"""The time between two looks for pipelines without a job, and for jobs without a worker."""
MOST_SLICES = 4
"""The slices of backfills and catch-ups that a worker walks at a time."""
_CALL_S = 60.0
_STOP_S = 10.0
_PRUNED_EVERY_S = 3600.0

log = structlog.get_logger()


class Shifts(Protocol):
    """The shifts of one worker. Every method may wait for a disk or a database."""

    def names(self) -> Collection[str]:
        """Return the name of every pipeline, whoever works on it."""
        ...

    def share(self) -> int:
        """Return how many pipelines this worker should have: see `share_of`."""
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

    def walk(self, order: SliceOrder) -> Walked:
        """Walk a slice of a backfill or of a catch-up to its end, or until the worker stops."""
        ...

    def gives(self) -> bool:
        """Return whether slices of a catch-up wait for other workers, or are at work there."""
        ...


def share_of(pipelines: int, *, workers: int, place: int) -> int:
    """Return how many pipelines the worker at this place should have. Places begin at 0.

    The shares of all workers make up all pipelines, and no two of them differ by more than one.
    """
    return pipelines // workers + (place < pipelines % workers)


class ShiftQueue:
    """Takes shifts from the queue, and puts them there. It has a thread with an event loop.

    `on_failure` is called by the thread if the queue cannot go on. The rows of the queue name this
    worker by `worker`.
    """

    def __init__(
        self,
        conninfo: str,
        worker: UUID,
        shifts: Shifts,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._conninfo = conninfo
        self._worker = worker
        self._shifts = shifts
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name="shifts", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._is_closing = False
        self._threads = ThreadPoolExecutor(MOST_SLICES, "slice")
        self._share = 0
        self._left_over: Mapping[str, int] = {}
        self._elsewhere: Collection[str] = ()
        self._statements: Statements

    def start(self) -> None:
        """Begin to take shifts.

        Raises:
            TransientError: the queue's tables cannot be reached or made.
        """
        try:
            install(self._conninfo)
        except psycopg.Error as error:
            raise failure(error) from None
        self._thread.start()

    def take_no_more(self) -> None:
        """Take no more shifts. The ones at work go on."""
        self._is_closing = True

    def stop(self) -> None:
        """Give all shifts back. Call it when their pipelines are closed."""
        with suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._work())
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                self._on_failure(failure(error))

    async def _work(self) -> None:
        async with aclosing(await LastingConnection.open(self._conninfo, self._ending)) as driver:
            statements = Statements(driver, self._room)
            manager = QueueManager(statements, channel=SETTINGS.channel)
            manager.queue_manager_id = QueueManagerId(self._worker)
            manager.min_dequeue_poll_interval = timedelta(seconds=1)
            self._statements = statements
            statements.manager = manager
            manager.entrypoint(SHIFT)(self._shift)
            manager.entrypoint(CATCH_UP)(self._slice)
            manager.entrypoint(SLICE)(self._slice)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look(manager))
                tasks.create_task(self._take(manager))

    async def _take(self, manager: QueueManager) -> None:
        try:
            await manager.run(
                dequeue_timeout=timedelta(seconds=LOOK_S),
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                log_aggregation_interval=timedelta(),  # nobody reads PgQueuer's statistics
            )
        finally:
            self._ending.set()

    async def _look(self, manager: QueueManager) -> None:
        """Put a job into the queue for each pipeline that has none, until the end."""
        pruned_at = -math.inf
        try:
            while not self._ending.is_set():
                names = await asyncio.to_thread(self._shifts.names)
                self._share = await asyncio.to_thread(self._shifts.share)
                async with asyncio.timeout(_CALL_S):
                    seen = await self._statements.look(names)
                    if pruned_at < self._loop.time() - _PRUNED_EVERY_S:
                        await self._statements.prune()
                        pruned_at = self._loop.time()
                self._elsewhere, self._left_over = seen.elsewhere, seen.left_over
                await self._wait(LOOK_S * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        except (psycopg.Error, TimeoutError) as error:
            self._on_failure(failure(error))  # at once: the shifts are still to be ended
            raise
        finally:
            manager.shutdown.set()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    async def _shift(self, job: Job) -> None:
        """Work on a pipeline until it is closed, and put the job back into the queue."""
        name, closed = (job.payload or b"").decode(), asyncio.Event()

        def on_end() -> None:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(closed.set)

        if not await asyncio.to_thread(self._shifts.begin, name, on_end):
            return
        await self._until(closed, name)
        raise RetryRequested(delay=timedelta(), reason="the shift is over")

    async def _slice(self, job: Job) -> None:
        """Walk a slice, and put the job back into the queue if there is more to do."""
        if job.entrypoint == CATCH_UP and not self._room(CATCH_UP, Counter()):
            raise RetryRequested(delay=timedelta(), reason="another worker is to walk the slice")
        order = SliceOrder.decode(job.payload or b"")
        walked = await self._loop.run_in_executor(self._threads, self._shifts.walk, order)
        if order.run:
            await self._statements.note_counts(order.run, walked.counts)
        if not walked.is_over:
            raise RetryRequested(delay=walked.again_after, reason="the slice is not finished")

    async def _until(self, closed: asyncio.Event, name: str) -> None:
        """Return once the pipeline is closed, or at the end. At the end of each shift, look at it.

        A pipeline that another worker has taken over is closed at the end of the shift at last. If
        nothing happens in a tenant, no settle is refused before that.
        """
        waits = [asyncio.ensure_future(each.wait()) for each in (closed, self._ending)]
        try:
            while True:
                length = SHIFT_S * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
                done, _ = await asyncio.wait(
                    waits, timeout=length, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return
                if name in self._elsewhere:
                    log.warning("pipeline.taken_over", pipeline=name, note="by another worker")
                elif await asyncio.to_thread(self._shifts.keeps, name):
                    continue
                self._shifts.end(name)
                await closed.wait()
        finally:
            for each in waits:
                each.cancel()

    def _room(self, kind: str, at_work: Counter[str]) -> int:
        """Return how many more jobs of this kind to take.

        A shift that nobody takes for a while belongs to the share of a worker that is gone. A
        worker that gives slices of a catch-up away has no use for them itself, unless the others
        leave them.
        """
        left_over = self._left_over.get(kind, 0)
        if self._is_closing:
            return 0
        if kind == SHIFT:
            return max(self._share - at_work[SHIFT], left_over)
        room = MOST_SLICES - at_work[SLICE] - at_work[CATCH_UP]
        if kind == CATCH_UP and self._shifts.gives():
            return min(room, left_over)
        return room

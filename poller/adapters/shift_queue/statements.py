"""PgQueuer's statements on the queue, with the rules that a worker adds to them."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence import qb
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job
from pgqueuer.domain.types import JobId

from poller.adapters.shift_queue.slices import CATCH_UP, SLICE
from poller.adapters.shift_queue.tables import COUNTS, SETTINGS

SHIFT = "shift"
LOG_KEPT = timedelta(days=1)
"""The age from which on PgQueuer's log of jobs is removed. Nothing of the program reads it."""
HEARTBEAT_TIMEOUT = timedelta(seconds=20)
"""The time after which a shift may be taken from a worker that is not heard of."""
LEFT_OVER_AFTER = timedelta(seconds=8)
"""The time after which anybody takes a shift that may be taken, and that nobody took.

A worker that has died counts among the workers for 20 s, and has its share of the pipelines.
"""
SLICE_LEFT_OVER_AFTER = timedelta(seconds=30)
"""The time after which anybody takes a slice of a catch-up that nobody took.

A slice that no worker has begun goes back to the threads of the pipeline earlier.
"""
_KINDS = (SHIFT, CATCH_UP, SLICE)
"""The kinds of jobs, in the order in which a worker takes them."""
_JOBS, _LOG = SETTINGS.qualified.queue_table, SETTINGS.qualified.queue_table_log
COUNTS_KEPT = timedelta(days=30)
"""The time for which counts are kept, longer than a backfill takes."""
_IS_OWN = "id = ANY($1::bigint[]) AND queue_manager_id = $2"
_OWN = f"SELECT id FROM {_JOBS} WHERE {_IS_OWN}"  # noqa: S608 - the names are ours
_WATCHED = (
    "SELECT entrypoint, dedupe_key, queue_manager_id, now() - CASE status "  # noqa: S608 - same
    "WHEN 'queued' THEN greatest(updated, execute_after) ELSE heartbeat + $2::interval END AS free "
    f"FROM {_JOBS} WHERE entrypoint = ANY($1::text[])"
)
_NOTE = f"INSERT INTO {COUNTS} (run, counts) VALUES ($1, $2::jsonb)"  # noqa: S608 - same
_PRUNE_COUNTS = f"DELETE FROM {COUNTS} WHERE at < now() - $1::interval"  # noqa: S608 - same
_PRUNE = f"DELETE FROM {_LOG} WHERE created < now() - $1::interval"  # noqa: S608 - same


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A look at the queue.

    `elsewhere` holds the shifts of other workers. `left_over` counts the jobs of each kind that
    nobody has taken for a while.
    """

    elsewhere: frozenset[str]
    left_over: Mapping[str, int]


class Statements(Queries):
    """PgQueuer's statements, for one worker.

    `room` returns how many more jobs of a kind the worker wants, from how many it has of each.

    PgQueuer changes a job by its number alone. So a worker that was stopped for a while would
    change a job that another worker has by then. Here a worker changes its own jobs only.
    """

    manager: QueueManager

    def __init__(self, driver: PsycopgDriver, room: Callable[[str, Counter[str]], int]) -> None:
        super().__init__(
            driver,
            qbe=qb.QueryBuilderEnvironment(settings=SETTINGS),
            qbq=qb.QueryQueueBuilder(settings=SETTINGS),
            qbs=qb.QuerySchedulerBuilder(settings=SETTINGS),
        )
        self._room = room
        self._kinds: dict[JobId, str] = {}
        """The kinds of the jobs that this worker has taken."""

    async def dequeue(
        self, batch_size: int, entrypoints: Mapping[Any, Any], *arguments: Any, **named: Any
    ) -> list[Job]:
        at_work = self.manager.job_context
        self._kinds = {id_: kind for id_, kind in self._kinds.items() if id_ in at_work}
        jobs: list[Job] = []
        for kind in _KINDS:
            room = self._room(kind, Counter(self._kinds.values()))
            if room > 0 and kind in entrypoints:
                limits = (min(batch_size, room), {kind: entrypoints[kind]}, *arguments)
                taken = await super().dequeue(*limits, **named)
                self._kinds |= {job.id: job.entrypoint for job in taken}
                jobs += taken
        return jobs

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        if own := await self.own(job_ids):
            await super().update_heartbeat([*own])

    async def retry_job(self, job: Job, *arguments: Any, **named: Any) -> None:
        if await self.own([job.id]):
            await super().retry_job(job, *arguments, **named)

    async def log_jobs(self, job_status: list[tuple[Job, Any, Any]]) -> None:
        own = await self.own([job.id for job, _, _ in job_status])
        if kept := [each for each in job_status if each[0].id in own]:
            await super().log_jobs(kept)

    async def own(self, job_ids: Collection[JobId]) -> set[JobId]:
        """Return which of these jobs this worker has. Another one may have taken them over."""
        rows = await self.driver.fetch(_OWN, [*job_ids], self.manager.queue_manager_id)
        return {JobId(cast("int", row["id"])) for row in rows}

    async def look(self, names: Collection[str]) -> Seen:
        """Add a shift for each pipeline that has none, and return how the others are."""
        rows = await self.driver.fetch(_WATCHED, [SHIFT, CATCH_UP], HEARTBEAT_TIMEOUT)
        shifts = [row for row in rows if row["entrypoint"] == SHIFT]
        missing = sorted({*names} - {str(row["dedupe_key"]) for row in shifts})
        if missing:
            count = len(missing)
            await self.enqueue(
                [SHIFT] * count,
                [name.encode() for name in missing],
                [0] * count,
                dedupe_key=[*missing],
                on_conflict="skip",
            )
        return Seen(
            elsewhere=frozenset(
                str(row["dedupe_key"]) for row in shifts if self._is_elsewhere(row)
            ),
            left_over=Counter(str(row["entrypoint"]) for row in rows if _is_left_over(row)),
        )

    def _is_elsewhere(self, row: Mapping[str, object]) -> bool:
        return row["queue_manager_id"] not in {None, self.manager.queue_manager_id}

    async def note_counts(self, run: str, counts: Mapping[str, int]) -> None:
        """Tell a run of a backfill what this worker has sent for it."""
        await self.driver.execute(_NOTE, run, json.dumps(dict(counts)))

    async def prune(self) -> None:
        """Remove what PgQueuer has logged of jobs long ago, and the counts of old backfills."""
        await self.driver.execute(_PRUNE, LOG_KEPT)
        await self.driver.execute(_PRUNE_COUNTS, COUNTS_KEPT)


def _is_left_over(row: Mapping[str, object]) -> bool:
    limit = LEFT_OVER_AFTER if row["entrypoint"] == SHIFT else SLICE_LEFT_OVER_AFTER
    return cast("timedelta", row["free"]) > limit

"""Workers of one folder under faults that a seed chooses, and what the database saw of them."""

import json
import math
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poller.adapters.shift_queue.tables import SETTINGS
from tests.postgres.cluster import USER, Cluster
from tests.process.bench import Running
from tests.process.many import Many, PipelineBench, many_benches
from tests.process.template import Template

RESTARTED_AFTER_S = 10.0
"""The time after which the unit starts a worker again: RestartSec."""
STALLED_S = (25.0, 35.0)
"""The shortest and the longest stop of a worker. Both are longer than its heartbeat and lease."""

WATCH = """
CREATE SCHEMA watch;
CREATE TABLE watch.settled (
    number bigserial, span bigint, stream bigint, fence bigint, is_begun boolean, who text
);
CREATE FUNCTION watch.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO watch.settled (span, stream, fence, is_begun, who)
    VALUES (NEW.id, NEW.stream_id, NEW.fence, TG_OP = 'INSERT' OR NEW.fence <> OLD.fence,
            current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OF reached, fence ON span
FOR EACH ROW EXECUTE FUNCTION watch.note();
"""
"""Notes each beginning of work on a span and each settle, in the order of the locks of its row."""

OWNED = """
SELECT count(*) FROM ledger_lease AS stream JOIN ledger_lease AS worker USING (owner)
WHERE stream.role LIKE 'run %' AND worker.role LIKE 'worker %'
AND worker.expires_at > clock_timestamp()
"""

ALIVE = "SELECT pid FROM ledger_lease WHERE role LIKE 'worker %' AND expires_at > clock_timestamp()"
OWNER = "SELECT owner FROM ledger_lease WHERE role LIKE 'worker %%' AND pid = %d"
HAD = f"""
SELECT dedupe_key FROM {SETTINGS.qualified.queue_table}
JOIN ledger_lease ON owner = replace(queue_manager_id::text, '-', '') WHERE pid = %d
"""  # noqa: S608 - the names are ours


SILENT = f"""
UPDATE {SETTINGS.qualified.queue_table} SET heartbeat = now() - '1 hour'::interval
WHERE replace(queue_manager_id::text, '-', '') = '%(owner)s';
UPDATE ledger_lease SET expires_at = clock_timestamp() WHERE owner = '%(owner)s';
"""  # noqa: S608 - the names are ours


def let_expire(cluster: Cluster, database: str, worker: Running) -> None:
    """Let a worker that was killed or stopped look as if that had been an hour ago."""
    ((owner,),) = cluster.execute(OWNER % worker.process.pid, database)
    cluster.execute(SILENT % {"owner": owner}, database)


def write_ledger(many: Many, cluster: Cluster, database: str, folder: Path) -> None:
    """Let all pipelines of the folder share a ledger in PostgreSQL."""
    state = cluster.settings(database, folder)
    lines = [f"{key.partition('__')[2]} = {json.dumps(value)}" for key, value in state.items()]
    many.write_defaults("[state]\n" + "\n".join(lines) + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that has struck."""

    kind: str
    at: datetime
    name: str = ""
    struck: frozenset[str] = frozenset()
    """The pipelines whose worker was killed or stopped."""

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.kind} {self.name}".rstrip()


@dataclass(slots=True)
class Worker:
    """The place of a worker, which is started again when it has ended."""

    number: int
    running: Running
    starts: int = 1
    start_at: float | None = None
    wakes_at: float | None = None


@dataclass
class Fleet:
    """The workers, their tenants, and the faults that have struck.

    A thread does what systemd does. It starts a worker again that has ended.
    """

    many: Many
    cluster: Cluster
    database: str
    workers: list[Worker] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def tenants(self) -> list[PipelineBench]:
        return [*self.many.benches.values()]

    def start(self, count: int) -> None:
        for number in range(count):
            self.workers.append(Worker(number, self._started(number, 1)))
        threading.Thread(target=self._supervise, daemon=True).start()

    def stop(self) -> list[int]:
        """Stop all workers. Return their exit codes."""
        self._ending.set()
        with self._lock:
            return [each.running.stop().code for each in self.workers]

    def are_at_work(self) -> bool:
        """Return whether every worker runs, and has joined the others."""
        with self._lock:
            pids = {each.running.process.pid for each in self.workers}
        return pids <= {pid for (pid,) in self.cluster.execute(ALIVE, self.database)}

    def kill(self) -> None:
        """Kill all workers that still run."""
        self._ending.set()
        with self._lock:
            for each in self.workers:
                each.running.signal(signal.SIGKILL)
                each.running.process.wait()

    def wake(self) -> None:
        """Wake all workers that are stopped."""
        with self._lock:
            for each in self.workers:
                self._wake(each)

    def strike(self, kind: str, dice: random.Random) -> None:
        """Let a fault of this kind strike."""
        at, struck = datetime.now(UTC), frozenset[str]()
        match kind:
            case "restart":
                name = self._restart_server(dice)
            case "cut":
                name = self._cut_connections(dice)
            case _:
                name, struck = self._strike_one(kind, dice)
        self.faults.append(Fault(kind=kind, at=at, name=name, struck=struck))

    def watch(self) -> None:
        """Note from now on who settles what. The ledger must be there."""
        self.cluster.execute(WATCH, self.database)

    def settles_by_two(self) -> list[tuple[Any, ...]]:
        """Return the settles of a span by another worker than the one that began under its fence.

        The rows before the first beginning that was seen are left out.
        """
        begun: dict[tuple[int, int], str] = {}
        wrong = []
        query = "SELECT span, fence, is_begun, who, number FROM watch.settled ORDER BY number"
        for span, fence, is_begun, who, number in self.cluster.execute(query, self.database):
            if is_begun:
                begun[span, fence] = who
            if begun.get((span, fence), who) != who:
                wrong.append((number, span, fence, begun[span, fence], who))
        return wrong

    def settles(self) -> int:
        query = "SELECT count(*) FROM watch.settled WHERE NOT is_begun"
        return int(self.cluster.execute(query, self.database)[0][0])

    def owned(self) -> int:
        """Return how many pipelines a worker owns that is alive."""
        is_there = "SELECT to_regclass('ledger_lease') IS NOT NULL"
        if not self.cluster.execute(is_there, self.database)[0][0]:
            return 0
        return int(self.cluster.execute(OWNED, self.database)[0][0])

    def _started(self, number: int, starts: int) -> Running:
        url = self.cluster.settings(self.database, Path())["state__url"]
        named = f"{url}?application_name=worker-{number}-{starts}"
        return self.many.start("worker", environ={"POLLER_STATE__URL": named})

    def _supervise(self) -> None:
        while not self._ending.wait(0.2):
            with self._lock:
                for each in self.workers:
                    self._look_after(each, time.monotonic())

    def _look_after(self, worker: Worker, now: float) -> None:
        if self._ending.is_set():
            return
        if worker.wakes_at is not None and now > worker.wakes_at:
            self._wake(worker)
        if worker.running.process.poll() is None:
            return
        if worker.start_at is None:
            worker.start_at = now + RESTARTED_AFTER_S
        elif now > worker.start_at:
            worker.starts += 1
            worker.running = self._started(worker.number, worker.starts)
            worker.start_at = None

    def _wake(self, worker: Worker) -> None:
        if worker.wakes_at is not None:
            worker.running.signal(signal.SIGCONT)
            worker.wakes_at = None

    def _strike_one(self, kind: str, dice: random.Random) -> tuple[str, frozenset[str]]:
        """Kill or stop a worker. Return its name, and the pipelines that it had."""
        with self._lock:
            worker = self._one(dice)
            if kind == "kill":
                worker.running.signal(signal.SIGKILL)
            else:
                worker.running.signal(signal.SIGSTOP)
                worker.wakes_at = time.monotonic() + dice.uniform(*STALLED_S)
            rows = self.cluster.execute(HAD % worker.running.process.pid, self.database)
            return f"worker-{worker.number}-{worker.starts}", frozenset(name for (name,) in rows)

    def _one(self, dice: random.Random) -> Worker:
        """Return a worker, if there is one that runs and is not stopped."""
        awake = [
            each
            for each in self.workers
            if each.running.process.poll() is None and each.wakes_at is None
        ]
        return dice.choice(awake or [each for each in self.workers if each.wakes_at is None])

    def _restart_server(self, dice: random.Random) -> str:
        mode = dice.choice(["fast", "immediate"])
        self.cluster.restart(mode)
        return mode

    def _cut_connections(self, dice: random.Random) -> str:
        """End each connection of the workers, or about half of them."""
        share = dice.choice([0.5, 1.0])
        chosen = f"usename = '{USER}' AND random() < {share}"
        ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
        return str(self.cluster.execute(ends + chosen)[0][0])


@contextmanager
def fleet(
    cluster: Cluster, database: str, path: Path, template: Template, *, tenants: int, **changes: Any
) -> Iterator[Fleet]:
    """Make the tenants of a fleet, and kill its workers at the end."""
    with ExitStack() as stack:
        many = stack.enter_context(many_benches(path, template))
        write_ledger(many, cluster, database, path / "local")
        for number in range(tenants):
            many.add(f"tenant{number:02d}", is_shared=True, **changes)
        made = Fleet(many, cluster, database)
        stack.callback(made.kill)
        yield made


def seconds_to_fresh(bench: PipelineBench, faults: list[Fault]) -> list[float]:
    """Return how long after each fault the first event arrived that happened after the fault.

    If another worker that had the pipeline was killed or stopped meanwhile, the time counts from
    then on. It is infinite if no such event arrived at all.
    """
    arrivals = [
        (
            datetime.fromisoformat(arrival["message"]["timestamp"]),
            datetime.fromisoformat(arrival["at"]),
        )
        for arrival in bench.sandbox.ask("messages", count=1_000_000)
    ]
    waits = []
    for fault in faults:
        fresh_at = min((at for happened, at in arrivals if happened > fault.at), default=None)
        struck = [each.at for each in faults if bench.name in each.struck]
        since = max([fault.at, *(at for at in struck if fresh_at and fault.at < at < fresh_at)])
        waits.append((fresh_at - since).total_seconds() if fresh_at else math.inf)
    return waits

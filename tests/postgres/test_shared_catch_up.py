"""The workers of a folder share the slices of one catch-up."""

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from poller.adapters.shift_queue import MOST_SLICES
from poller.adapters.shift_queue.slices import CATCH_UP
from poller.adapters.shift_queue.tables import SETTINGS, install
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.postgres.address import Address
from poller.cli.pipelines import slice_walks
from poller.cli.pipelines.slice_walks import SliceHelpers
from poller.config import load_settings
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.slices.slice import Slice
from tests.fakes import STREAM, numbered
from tests.postgres.cluster import Cluster
from tests.postgres.fleet import HAD, write_ledger
from tests.process.bench import Running, SandboxThread, eventually
from tests.process.kills import set_faults
from tests.process.many import Many, delivers, many_benches
from tests.process.template import Template

HOURS, EVENTS = 6, 8_000
FINISHED = "catch_up.finished"
MOVED = f"UPDATE span SET reached = '{numbered(5)}' WHERE is_catch_up"  # noqa: S608 - no input
CLEAR = f"DELETE FROM {SETTINGS.qualified.queue_table}"  # noqa: S608 - the name is ours


@pytest.fixture
def many(cluster: Cluster, database: str, tmp_path: Path, template: Template) -> Iterator[Many]:
    """A pipeline that an outage left hours behind, and whose services are slow."""
    with many_benches(tmp_path, template) as many:
        write_ledger(many, cluster, database, tmp_path / "local")
        many.constants["poller.adapters.shift_queue.queue.LOOK_S"] = 1.0
        many.constants["poller.service.daemon.catch_up.DRAIN_S"] = 0.0
        many.constants["poller.service.daemon.helped_slices.WORTH_S"] = 0.0
        many.constants["poller.cli.pipelines.slice_walks._TURN_S"] = 3.0
        sandbox = SandboxThread(seed=1, plan="unlimited")
        try:
            tenant = many.add("tenant", sandbox, is_shared=True)
            sandbox.ask("clock", advance=-24 * 3600)
            sandbox.ask("grow", count=50, seconds=60)
            with many.start("worker") as worker:
                eventually("a first drain", lambda: delivers(tenant))
                assert worker.stop().code == 0
            sandbox.ask("clock", advance=HOURS * 3600)
            sandbox.ask("grow", count=EVENTS, seconds=0.8 * HOURS * 3600, ago=180)
            sandbox.ask("latency", auth0=1.0, segment=0.5)
            yield many
        finally:
            sandbox.close()


@contextmanager
def two_workers(many: Many) -> Iterator[tuple[Running, Running]]:
    """Start a worker that has the pipeline for five minutes, and one that has no pipeline."""
    tenant = many.benches["tenant"]
    set_faults(tenant, {"action": "status", "path": "/api/v2/logs", "status": 503, "times": None})
    with many.start("worker") as owner:
        eventually("a shift", lambda: owner.says("pipeline.opened"))
        with many.start("worker") as helper:
            eventually("a second worker", lambda: helper.says("daemon.started"))
            set_faults(tenant)
            eventually("a catch-up", lambda: owner.says("catch_up.began"))
            yield owner, helper


def events(running: Running, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in running.err.splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def walked(running: Running) -> int:
    """Return how many times the worker has walked a slice for the owner of the pipeline."""
    return sum(line["pages"] > 0 for line in events(running, "slice.walked"))


def walks(running: Running, cluster: Cluster, database: str) -> set[str]:
    """Return the slices that the worker walks now. The job of a finished one is still there."""
    unfinished = "SELECT id FROM span WHERE is_catch_up AND reached < until"
    prefixes = tuple(f"slice {id_} " for (id_,) in cluster.execute(unfinished, database))
    rows = cluster.execute(HAD % running.process.pid, database)
    return {key for (key,) in rows if key.startswith(prefixes)}


def assert_caught_up(many: Many) -> None:
    tenant = many.benches["tenant"]
    truth = tenant.assert_conserved()
    stream = json.loads(many.run("status", "--json").out)["pipelines"][0]["report"]["streams"][0]
    assert stream["events"]["forwarded"] == truth["events"]
    assert stream["backlog"] is None
    assert len(stream["spans"]) == 1


def test_a_worker_without_a_pipeline_walks_slices_of_another_one_s_catch_up(many: Many) -> None:
    with two_workers(many) as (owner, helper):
        eventually("the end", lambda: owner.says(FINISHED) and delivers(many.benches["tenant"]))
        (line,) = events(owner, FINISHED)
        assert walked(helper) > 0
        assert walked(owner) == 0
        assert not all(each["is_finished"] for each in events(helper, "slice.walked"))
        assert line["pages"] > 0
        assert line["pages"] < EVENTS / 100
        assert owner.stop().code == helper.stop().code == 0
    assert len(events(owner, "pipeline.opened")) == 1
    assert_caught_up(many)


def test_the_slices_of_a_killed_helper_are_finished_by_the_owner(
    many: Many, cluster: Cluster, database: str
) -> None:
    with two_workers(many) as (owner, helper):
        eventually("slices", lambda: walks(helper, cluster, database))
        helper.signal(signal.SIGKILL)
        had = walks(helper, cluster, database)
        before = walked(owner)
        eventually("the end", lambda: owner.says(FINISHED) and delivers(many.benches["tenant"]))
        assert walked(owner) - before >= len(had) > 0
        assert owner.stop().code == 0
    assert len(events(owner, "pipeline.opened")) == 1
    assert_caught_up(many)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_helper_that_takes_the_pipeline_over_finishes_its_catch_up(
    many: Many, cluster: Cluster, database: str, number: signal.Signals
) -> None:
    with two_workers(many) as (owner, helper):
        eventually("slices", lambda: walks(helper, cluster, database))
        owner.signal(number)
        eventually("the end", lambda: helper.says(FINISHED) and delivers(many.benches["tenant"]))
        assert helper.stop().code == 0
    assert len(events(helper, "pipeline.opened")) == 1
    assert_caught_up(many)


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[SqlLedger]:
    """A ledger with a catch-up of one slice that nobody has begun."""
    ledger = SqlLedger.open(postgres_url, STREAM, create=True)
    live = ledger.begin(after=numbered(1))
    ledger.begin_catch_up(live, present=numbered(9), ends=[])
    yield ledger
    ledger.close()


@pytest.fixture
def given() -> set[str]:
    """The keys of the slices that the helpers have."""
    return set()


@pytest.fixture
def helpers(
    ledger: SqlLedger, given: set[str], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> SliceHelpers:
    """Helpers of whom none is there, and whom nobody waits for."""
    monkeypatch.setattr(slice_walks, "_LOOK_S", 0.01)
    monkeypatch.setattr(slice_walks, "_TAKEN_WITHIN_S", 0.0)
    environ = {"POLLER_AUTH0__DOMAIN": STREAM.domain, "POLLER_STATE__URL": "sqlite:////unused"}
    settings = load_settings(None, environ, secrets=False)
    conninfo = Address.of(postgres_url).conninfo
    install(conninfo)
    return SliceHelpers(
        *(conninfo, "tenant", settings, ledger),
        workers=lambda: 3,
        given=given,
        threads=BacklogThreads(),
    )


def jobs(cluster: Cluster, database: str) -> list[Any]:
    query = f"SELECT dedupe_key, entrypoint FROM {SETTINGS.qualified.queue_table}"  # noqa: S608
    return cluster.execute(query, database)


def test_a_slice_that_no_worker_takes_goes_back_and_leaves_the_queue(
    helpers: SliceHelpers, ledger: SqlLedger, cluster: Cluster, database: str
) -> None:
    (span,) = ledger.backlog()
    own = Slice(cursor=span, after=span.after)
    helpers.walk(own, threading.Event())
    assert not own.is_finished
    assert jobs(cluster, database) == []
    assert helpers.count() == 2 * MOST_SLICES


def test_a_slice_that_a_worker_has_begun_stays_in_the_queue_until_it_is_done(
    helpers: SliceHelpers,
    ledger: SqlLedger,
    given: set[str],
    postgres_url: str,
    cluster: Cluster,
    database: str,
) -> None:
    (span,) = ledger.backlog()
    own = Slice(cursor=span, after=span.after)
    other, stopping = SqlLedger.open(postgres_url, STREAM, create=False), threading.Event()
    with ThreadPoolExecutor(1) as pool, closing(other):
        other.begin_work(span)
        waiting = pool.submit(helpers.walk, own, stopping)
        try:
            # The job is taken out as by a worker that has failed, and is put there again.
            for _ in range(2):
                found = eventually("a job", lambda: jobs(cluster, database))
                assert [kind for _, kind in found] == [CATCH_UP]
                assert {key for key, _ in found} == given
                cluster.execute(CLEAR, database)
            assert not waiting.done()
            cluster.execute("UPDATE span SET reached = until WHERE is_catch_up", database)
            waiting.result(60)
        finally:
            stopping.set()
    assert own.is_finished
    assert given == set()


def test_a_slice_that_a_worker_hands_back_goes_to_the_threads_of_the_owner(
    helpers: SliceHelpers,
    ledger: SqlLedger,
    cluster: Cluster,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slice_walks, "_TAKEN_WITHIN_S", 3600.0)
    (span,) = ledger.backlog()
    own, stopping = Slice(cursor=span, after=span.after), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(helpers.walk, own, stopping)
        try:
            eventually("a job", lambda: jobs(cluster, database))
            cluster.execute(MOVED, database)
            waiting.result(60)
        finally:
            stopping.set()
    assert not own.is_finished
    assert own.cursor.reached == numbered(5)
    assert jobs(cluster, database) == []


def test_a_stop_takes_the_slice_out_of_the_queue(
    helpers: SliceHelpers, ledger: SqlLedger, cluster: Cluster, database: str
) -> None:
    (span,) = ledger.backlog()
    own, stopping = Slice(cursor=span, after=span.after), threading.Event()
    stopping.set()
    helpers.walk(own, stopping)
    assert not own.is_finished
    assert jobs(cluster, database) == []

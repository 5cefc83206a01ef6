"""A process that ends while it records a change of the routes leaves the old ones or the new."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.routes import keep_routes, read_routing
from poller.core.log_ids import EARLIEST
from tests.adapters.sql_ledger.dialects import DIALECTS, url_of
from tests.cli.interrupted_ledger import InterruptedLedgerError, content, interrupted, kill
from tests.cli.routed_tenant import STREAMS, Tenant, routes
from tests.fakes import NOW, STREAM
from tests.paths import ROOT

OLD = routes((1, "b"), (2, "c"))
NEW = routes((0, "b"), (3, "a"), (2, "c"))
"""The first route comes back, the second is new, and one of the old ones is removed."""


@pytest.fixture(params=DIALECTS)
def tenant(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tenant]:
    made = Tenant(tmp_path, url_of(request.param, request))
    with closing(made.database):
        yield made


def prepare(tenant: Tenant) -> None:
    """Let each step of a change to the routes NEW have something to do.

    A former change is passed, and waits to be forgotten. The routes stand at different positions,
    and one of them has a backlog, and events above which it looks for late ones.
    """
    tenant.change(routes((0, "a"), (1, "b"), (2, "c")))
    tenant.grow("abcabc")
    tenant.drain(1, None)
    tenant.change(OLD)
    tenant.finish()
    tenant.grow("abcabcabc")
    tenant.drain(0, 1)
    tenant.catch_up(0, 1)
    tenant.grow("abcabcabc")
    tenant.drain(0, 1)
    tenant.drain(1, 2)


def test_a_change_that_fails_at_any_statement_leaves_the_old_routes_whole(tenant: Tenant) -> None:
    prepare(tenant)
    before, number = content(tenant.database), 0
    assert len(before["routing"]) == 2  # the first of which is about to be forgotten
    while True:
        try:
            with interrupted(tenant.database, number):
                kept = keep_routes(tenant.database, "acme", NEW, NOW)
                break
        except InterruptedLedgerError:
            assert content(tenant.database) == before
            number += 1
    assert number > 50
    assert {*kept.begun} == {STREAMS[3]}
    assert [each.routes for each in read_routing(tenant.database, STREAM.domain, "acme")] == [
        OLD,
        NEW,
    ]
    tenant.change(NEW)
    tenant.finish()
    assert {*tenant.sent().values()} == {1}
    assert len(tenant.sent()) == len(tenant.log.records)


def test_the_first_routes_begin_all_or_none_wherever_their_start_ends(tenant: Tenant) -> None:
    database = tenant.database
    keep_routes(database, "acme", NEW, NOW)
    before, number = content(database), 0
    while True:
        try:
            with interrupted(database, number):
                kept = keep_routes(database, "acme", NEW, NOW, EARLIEST)
                break
        except InterruptedLedgerError:
            assert content(database) == before
            number += 1
    assert number > 20
    assert {*kept.begun} == {each.stream for each in NEW}


def test_a_start_that_ends_again_and_again_completes_the_change(tenant: Tenant) -> None:
    prepare(tenant)
    number = 0
    while True:
        try:
            with interrupted(tenant.database, number):
                tenant.change(NEW)
                break
        except InterruptedLedgerError:
            number += 1
    tenant.finish()
    assert {*tenant.sent().values()} == {1}
    assert len(tenant.sent()) == len(tenant.log.records)


KILLED = """
import sys
from pathlib import Path
from tests.cli.test_interrupted_route_changes import kill_at_each_statement
kill_at_each_statement(Path(sys.argv[1]))
"""


@pytest.mark.process
def test_a_kill_at_any_statement_of_a_change_leaves_the_old_routes_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    *killed, finished = ended.stdout.split()
    assert len(killed) > 50
    assert {*killed} == {"old"}
    assert finished == "new"


def kill_at_each_statement(path: Path) -> None:
    """Say which routes are left by each of the processes that are killed at a change.

    This process has no other thread, so it may fork.
    """
    tenant = Tenant(path)
    prepare(tenant)
    old = content(tenant.database)
    tenant.database.close()
    number = 0
    while _is_killed(path, number):
        with closing(_opened(path / "copy")) as database:
            sys.stdout.write("old\n" if content(database) == old else "torn\n")
        number += 1
    with closing(_opened(path / "copy")) as database:
        rows = read_routing(database, STREAM.domain, "acme")
        sys.stdout.write("new\n" if rows[-1].routes == NEW else "other\n")


def _is_killed(path: Path, number: int) -> bool:
    """Let a process change the routes in a copy of the ledger. Return whether it was killed."""
    shutil.rmtree(path / "copy", ignore_errors=True)
    (path / "copy").mkdir()
    for each in path.glob("ledger.db*"):
        shutil.copy(each, path / "copy")
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0
    with closing(_opened(path / "copy")) as database, interrupted(database, number, kill):
        keep_routes(database, "acme", NEW, NOW)
    os._exit(0)


def _opened(path: Path) -> Database:
    return place_of(f"sqlite:///{path}/ledger.db").open(create=True)

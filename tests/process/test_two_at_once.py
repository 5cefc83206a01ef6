"""Two processes at one ledger, a process that is suspended, and a copy of a ledger in use."""

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

from poller.adapters.sql_ledger.places import acquire_lock
from tests.adapters.sql_ledger.ledgers import as_of_version
from tests.listener import heard, listening
from tests.process.bench import Bench, Running, eventually


def is_stopped_at_rest(bench: Bench, daemon: Running) -> bool:
    """Stop the process. If it holds SQLite's lock, which nobody can take, let it go on again."""
    daemon.signal(signal.SIGSTOP)
    with contextlib.closing(sqlite3.connect(bench.ledger, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        except sqlite3.OperationalError:
            daemon.signal(signal.SIGCONT)
            return False
        return True


def test_a_daemon_that_was_suspended_holds_the_ledger_and_goes_on(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        daemon.signal(signal.SIGSTOP)
        ended = plain.run("run", "--once")
        assert ended.code == 75
        assert f"process {daemon.process.pid}" in ended.err
        plain.sandbox.ask("clock", advance=7200)
        plain.sandbox.ask("grow", count=150, seconds=0)
        daemon.signal(signal.SIGCONT)
        eventually("what came meanwhile", lambda: not plain.sandbox.truth()["lost"])
        assert daemon.stop().code == 0
    assert plain.assert_conserved()["resent"] == []


def test_a_standby_takes_over_when_the_daemon_is_killed(plain: Bench, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    with plain.start("run") as daemon, listening(environ["NOTIFY_SOCKET"]) as listener:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        with plain.start("run", "--standby", environ=environ) as standby:
            eventually("a standby", lambda: standby.says("standby.waiting"))
            kept: dict[str, str] = {}
            eventually("READY", lambda: heard(listener, kept).get("READY") == "1")
            assert kept["STATUS"].startswith("standby, and takes over when it is free: ledger ")
            assert f"is held by process {daemon.process.pid} (run, since " in kept["STATUS"]
            eventually("a sign of life", lambda: "WATCHDOG" in heard(listener, {}))
            found = eventually("a note of it", lambda: plain.status()["standby"])
            assert found["pid"] == standby.process.pid
            assert plain.status()["daemon"]["pid"] == daemon.process.pid
            assert f"process {standby.process.pid} takes over" in plain.run("status").out
            daemon.signal(signal.SIGKILL)
            plain.sandbox.ask("grow", count=150, seconds=0)
            eventually("a takeover", lambda: standby.says("standby.took_over"))
            eventually("the rest", lambda: not plain.sandbox.truth()["lost"])
            eventually("its cycle", lambda: "last cycle" in heard(listener, {}).get("STATUS", ""))
            assert plain.status()["standby"] is None
            assert standby.stop().code == 0
    plain.assert_conserved()


def test_a_standby_ends_when_it_is_told_to(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        with plain.start("run", "--standby") as standby:
            eventually("a standby", lambda: standby.says("standby.waiting"))
            assert standby.stop().code == 0
        assert daemon.stop().code == 0
    plain.assert_conserved()


def test_a_daemon_that_wakes_up_beside_its_successor_settles_nothing(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        eventually("a stop between two transactions", lambda: is_stopped_at_rest(plain, daemon))
        # A lock on a file outlives a stopped process. Another way to lose it is needed here.
        plain.ledger.with_name(f"{plain.ledger.name}.run.lock").unlink()
        plain.sandbox.ask("grow", count=150, seconds=0)
        with plain.start("run", "--standby") as successor:
            eventually("what came meanwhile", lambda: not plain.sandbox.truth()["lost"])
            daemon.signal(signal.SIGCONT)
            ended = daemon.wait()
            assert ended.code == 75
            assert ended.err.count("error[taken-over]") == 1
            plain.sandbox.ask("grow", count=30, seconds=0)
            eventually("the rest", lambda: not plain.sandbox.truth()["lost"])
            assert successor.stop().code == 0
    plain.assert_conserved()


def test_a_ledger_is_backed_up_while_it_is_written_and_goes_on_from_the_copy(plain: Bench) -> None:
    plain.sandbox.ask("traffic", rate=50)
    copy = plain.folder / "copy.db"
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        with (
            contextlib.closing(sqlite3.connect(plain.ledger)) as ledger,
            contextlib.closing(sqlite3.connect(copy)) as backup,
        ):
            ledger.backup(backup)
        delivered = plain.sandbox.truth()["delivered"]
        eventually("more", lambda: plain.sandbox.truth()["delivered"] > delivered)
        assert daemon.stop().code == 0
    plain.sandbox.ask("traffic", rate=0)
    for suffix in ("", "-wal", "-shm"):
        plain.ledger.with_name(plain.ledger.name + suffix).unlink(missing_ok=True)
    missing = plain.run("run", "--once")
    assert missing.code == 78
    assert "was there before" in missing.err
    copy.rename(plain.ledger)
    assert plain.run("run", "--once").code == 0
    truth = plain.assert_conserved()
    assert truth["resent"]


def test_a_clock_that_steps_forth_and_back_loses_nothing(plain: Bench) -> None:
    with plain.start("run") as daemon:
        for step in (1800, -1800, 3600, -3600, 7200):
            plain.sandbox.ask("clock", advance=step)
            if (
                step > 0
            ):  # ids follow this clock: after a step back they would lie below the position
                plain.sandbox.ask("grow", count=30, seconds=0)
            eventually("everything", lambda: not plain.sandbox.truth()["lost"])
        assert daemon.stop().code == 0
    plain.assert_conserved()


def test_a_locked_ledger_is_waited_out(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        with contextlib.closing(sqlite3.connect(plain.ledger, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            plain.sandbox.ask("grow", count=30, seconds=0)
            eventually("trouble", lambda: daemon.says("cycle.postponed"))
            time.sleep(0.1)
        eventually("everything", lambda: not plain.sandbox.truth()["lost"])
        ended = daemon.stop()
    assert ended.code == 0
    assert any("locked" in line["reason"] for line in ended.events("cycle.postponed"))
    plain.assert_conserved()


def make_older(ledger: Path) -> None:
    """Turn the ledger into the one of an earlier version that settled the same."""
    with contextlib.closing(sqlite3.connect(ledger)) as connection, connection:
        spans = connection.execute("SELECT after, reached, until, confirmed FROM span").fetchall()
        as_of_version(connection, 4, spans)


def test_a_new_version_waits_for_a_backfill_of_an_earlier_one_and_then_goes_on(
    plain: Bench,
) -> None:
    assert plain.run("run", "--once").code == 0
    make_older(plain.ledger)
    plain.sandbox.ask("grow", count=150, seconds=0)
    with acquire_lock(str(plain.ledger), "backfill"):
        refused = plain.run("run", "--once")
        assert refused.code == 75
        assert f"process {os.getpid()} (backfill, since" in refused.err
        assert "of an earlier program works on it" in refused.err
        assert "let that process end, or stop it" in refused.err
        with plain.start("run", "--standby") as standby:
            eventually("a standby", lambda: standby.says("standby.waiting"))
            assert plain.sandbox.truth()["lost"]
            standby.stop()
    assert plain.run("run", "--once").code == 0
    plain.assert_conserved()

"""Kills of the program and of the server lose no event and send none twice."""

import json
import random
import signal
from pathlib import Path

import pytest

from tests.postgres.cluster import PASSWORD, Cluster
from tests.process.bench import Bench, MakeBench, eventually
from tests.process.kills import run_with_kills


def logs(folder: Path) -> str:
    return "".join(file.read_text() for file in sorted(folder.glob("*.err")))


@pytest.mark.parametrize("seed", range(2))
def test_kills_anywhere_lose_and_double_nothing_in_postgres(make: MakeBench, seed: int) -> None:
    bench = make(seed=seed, events=250, plan="unlimited")
    run_with_kills(bench, seed)
    assert not bench.ledger.exists()
    assert PASSWORD not in logs(bench.folder)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_daemon_goes_on_after_each_restart_of_the_server(
    make: MakeBench, cluster: Cluster, mode: str
) -> None:
    dice = random.Random(mode)  # noqa: S311 - to be repeated, not to be secret
    bench = make(seed=3, events=300, plan="unlimited")
    with bench.start("run") as running:
        eventually("the first page", lambda: running.says("cycle.finished"))
        for _ in range(4):
            bench.sandbox.ask("grow", count=dice.randrange(100, 300), seconds=0)
            cluster.restart(mode)
        eventually("all events", lambda: is_all_delivered(bench))
        assert running.stop().code == 0
    bench.assert_conserved()
    assert "Traceback" not in logs(bench.folder)  # a lost connection is told in one line
    totals = bench.status()["streams"][0]["events"]
    assert (totals["forwarded"], totals["dead_lettered"]) == (bench.sandbox.truth()["events"], 0)


def is_all_delivered(bench: Bench) -> bool:
    truth = bench.sandbox.truth()
    return bool(truth["expected"] == truth["delivered"])


def test_commands_work_on_a_ledger_in_postgres_and_show_no_password(
    make: MakeBench, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    bench = make(seed=5, events=50, plan="unlimited")
    place = f"postgresql://127.0.0.1:{cluster.port}/{database}"
    assert f"none yet; `run` creates it in {place}" in bench.run("check").out
    with bench.start("run") as running:
        eventually("the first page", lambda: running.says("cycle.finished"))
        status = bench.status()
        assert status["ledger"] == place
        assert status["daemon"]["pid"] == running.process.pid
        second = bench.run("run", "--once")
        assert second.code == 75
        assert f"ledger {place} is held by process {running.process.pid} (run, since " in second.err
        with bench.start("tail", "--last", "1", "--json") as tail:
            eventually("an event at the socket", lambda: tail.out)
            assert json.loads(tail.out.splitlines()[0])["type"]
            tail.signal(signal.SIGINT)
            tail.wait()
        checked = bench.run("check").out
        assert f"usable, {place}" in checked
        assert running.stop().code == 0
    assert [*(tmp_path / "local").iterdir()] == [*(tmp_path / "local").glob("*.known")]
    shown = checked + json.dumps(status) + logs(bench.folder)
    assert PASSWORD not in shown
    assert "pass%2F" not in shown

"""`tail` and `trace` beside a running daemon."""

import json
import signal
import subprocess
from typing import Any

import jsonschema

from tests.paths import TESTS
from tests.process.bench import COMMAND, PATIENCE_S, Bench, MakeBench, eventually

SCHEMAS = json.loads((TESTS / "schemas/commands.json").read_text())
USER = "auth0|0ada"


def read_and_leave(bench: Bench) -> int:
    """Read one line of `tail`, close the pipe, and return the exit code."""
    command = [COMMAND, "tail", "--last", "9", "--type", "s", "--config", bench.settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as piped:
        assert piped.stdout is not None
        assert USER in piped.stdout.readline()
        piped.stdout.close()
        return piped.wait(PATIENCE_S)


def traced(bench: Bench, name: str) -> dict[str, Any]:
    (event,) = json.loads(bench.run("trace", name, "--json").out)["events"]
    found: dict[str, Any] = event
    return found


def test_tail_and_trace_show_what_the_daemon_settles_and_end_with_it(make: MakeBench) -> None:
    bench = make(seed=3)
    none = bench.run("tail")
    assert (none.code, none.out) == (69, "")
    with bench.start("run") as daemon:
        eventually("the daemon is ready", lambda: daemon.says("cycle.finished"))
        with (
            bench.start("tail", "--json", "--last", "9", "--type", "s") as tail,
            bench.start("tail", "--last", "9") as stopped,
        ):
            bench.sandbox.ask("append", records=[{"type": "s", "user_id": USER}])
            line = json.loads(
                eventually("the event comes", lambda: tail.out.endswith("\n") and tail.out)
            )
            jsonschema.validate(line, {**SCHEMAS, "$ref": "#/$defs/tail"})
            assert line["user"] == USER
            eventually("the event comes as text", lambda: USER in stopped.out)
            stopped.signal(signal.SIGINT)
            assert stopped.wait().code == 0
            assert read_and_leave(bench) == 0
            bench.sandbox.ask("clock", advance=60)
            event = traced(bench, line["log_id"])
            remembered = event["standing"]["remembered"]
            assert remembered["outcome"] == "forwarded"
            assert [call["messageId"] for call in event["calls"]] == remembered["message_ids"]
            assert traced(bench, remembered["message_ids"][1]) == event
            assert daemon.stop().code == 0
            ended = tail.wait()
    assert (ended.code, ended.err) == (69, "the daemon has ended\n")
    assert not bench.ledger.with_name("ledger.db.events").exists()
    forgotten = bench.run("trace", remembered["message_ids"][1])
    assert (forgotten.code, "No daemon runs" in forgotten.out) == (3, True)

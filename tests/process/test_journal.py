"""The output of the program on the journal's stream."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.process.bench import COMMAND, PATIENCE_S, Bench


def written(bench: Bench, *arguments: str, stream: str | None = None) -> tuple[int, list[str]]:
    """Return the exit code, and the lines that came through the journal's stream."""
    assert bench.template is not None
    lines = bench.folder / "journal"
    lines.touch()
    found = lines.stat()
    value = f"{found.st_dev}:{found.st_ino}" if stream is None else stream
    command = bench.template.start(
        [str(COMMAND), *arguments, "--config", str(bench.settings)],
        environ={**os.environ, "JOURNAL_STREAM": value},
        folder=bench.folder,
        out=Path(os.devnull),
        err=lines,
    )
    return command.wait(PATIENCE_S), lines.read_text().splitlines()


def levels(lines: list[str]) -> set[str]:
    return {line[:3] for line in lines}


def test_levels_are_priorities_and_the_text_is_for_people(plain: Bench) -> None:
    plain.sandbox.ask("append", records=[{"type": "s"}])
    code, lines = written(plain, "run", "--once")
    assert code == 0
    assert levels(lines) == {"<7>", "<6>", "<4>"}
    (warned,) = [line for line in lines if "event.dead_lettered" in line]
    assert warned.startswith("<4>event.dead_lettered log_id=900")
    assert "reason=no_user_id" in warned
    assert "{" not in "".join(lines)


def test_the_text_of_a_fatal_end_has_the_priority_of_an_error(plain: Bench) -> None:
    plain.write_settings(auth0__client_secret="wrong")
    code, lines = written(plain, "run", "--once")
    assert code == 78
    assert [line for line in lines if line.startswith("<3>")] == lines[-2:]
    assert lines[-2].startswith("<3>error[auth0-credentials-refused]: Auth0 refused")
    plain.write_settings(poll__interval="often")
    code, lines = written(plain, "run")
    assert (code, levels(lines)) == (78, {"<3>"})
    code, lines = written(plain, "run", "--onec")
    assert (code, levels(lines)) == (2, {"<3>"})


def test_json_stays_json_where_the_settings_say_so(plain: Bench) -> None:
    plain.write_settings(log__format="json")
    _, lines = written(plain, "run", "--once")
    told: list[dict[str, Any]] = [json.loads(line[3:]) for line in lines]
    assert {"ledger.opened", "cycle.finished"} <= {line["event"] for line in told}
    assert levels(lines) <= {"<7>", "<6>", "<4>"}


def test_a_stream_that_is_not_the_journals_has_no_priorities(plain: Bench) -> None:
    _, lines = written(plain, "run", "--once", stream="1:1")
    assert all(json.loads(line) for line in lines)


@pytest.mark.parametrize("value", ["", "soon", "8:", ":9"])
def test_a_stream_that_nobody_can_read_stops_nothing(plain: Bench, value: str) -> None:
    assert written(plain, "run", "--once", stream=value)[0] == 0


def test_text_is_for_people_anywhere(plain: Bench) -> None:
    plain.write_settings(log__format="text")
    ended = plain.run("run", "--once")
    (line,) = [line for line in ended.err.splitlines() if "cycle.finished" in line]
    assert " info    cycle.finished pages=" in line

"""The picture that `status` draws of the ledger."""

import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from tests.process.bench import Bench, MakeBench


def ago(hours: float) -> str:
    """Return the position of a moment."""
    return f"900{datetime.now(UTC) - timedelta(hours=hours):%Y%m%d%H%M%S}" + "0" * 39


@pytest.fixture
def patchy(make: MakeBench) -> Bench:
    """A ledger with a live span of ten hours, a gap of a second, and an ended backfill below."""
    bench = make(seed=1)
    bench.overrides["poll__start"] = "now"
    bench.write_settings()
    assert bench.run("run", "--once").code == 0
    with contextlib.closing(sqlite3.connect(bench.ledger)) as connection, connection:
        connection.execute(
            "UPDATE span SET after = ?, reached = ?, confirmed = ?, drained_at = NULL",
            (ago(10), ago(1), ago(1)),
        )
        columns = "(stream_id, after, reached, confirmed, until)"
        bounds = (ago(20), ago(18), ago(18), ago(15))
        inserting = f"INSERT INTO span {columns} VALUES (1, ?, ?, ?, ?)"  # noqa: S608 - ours
        connection.execute(inserting, bounds)
        gap = (ago(5.1003), ago(5.1), datetime.now(UTC).isoformat(timespec="microseconds"))
        connection.execute(
            "INSERT INTO gap (stream_id, after, before, noticed_at, is_read_once) "
            "VALUES (1, ?, ?, ?, 0)",
            gap,
        )
    return bench


def line(text: str, cells: str) -> str:
    """Return the one line that consists of these cells."""
    (found,) = [
        each for each in text.splitlines() if len(each) > 40 and not set(each.strip()) - set(cells)
    ]
    return found


def test_the_piped_timeline_is_80_wide_with_an_axis_and_without_colour(patchy: Bench) -> None:
    ended = patchy.run("status")
    assert ended.code == 3  # there is a gap
    drawn = line(ended.out, "▓█▁░·×")  # noqa: RUF001 - a cross it is
    assert len(drawn) == 78
    places = [drawn.index(cell) for cell in "▓░·█×"]  # noqa: RUF001 - same
    assert places == sorted(places)
    assert drawn.count("×") == 1  # noqa: RUF001 - same
    axis = ended.out.splitlines()[ended.out.splitlines().index(drawn) + 1]
    assert axis.startswith("  └")
    assert axis.endswith("now┘")
    assert len(axis) == 78
    assert "\x1b" not in ended.out


def test_the_timeline_is_plain_text_in_an_encoding_without_blocks(patchy: Bench) -> None:
    ended = patchy.run("status", environ={"PYTHONIOENCODING": "ascii"})
    assert ended.code == 3, ended.err
    assert line(ended.out, "=#_-.X").count("X") == 1
    assert ended.out.isascii()


def test_the_timeline_on_a_terminal_is_as_wide_as_the_terminal_and_coloured(patchy: Bench) -> None:
    code, seen = patchy.on_a_terminal("status", TERM="xterm-256color", COLUMNS="133")
    assert code == 3
    assert "\x1b[31m\x1b[1m×" in seen  # noqa: RUF001 - a cross it is
    (drawn,) = [each for each in seen.splitlines() if each.count("█") > 20]
    assert sum(drawn.count(cell) for cell in "▓█▁░·×") == 129  # noqa: RUF001 - same

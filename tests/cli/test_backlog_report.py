"""The report of `status`: a backlog, the freshness of new events, and a fatal error."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.fatal_exit import FatalExit, record_fatal_exit
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.commands.status import collect
from poller.cli.views.status import BacklogReport, StreamReport, show_status
from poller.config import load_settings
from poller.core.log_ids import floor_id
from poller.core.text.dates import iso
from tests.fakes import NOW, STREAM

HOUR = timedelta(hours=1)


class Bench:
    """A ledger with a live span that began five hours ago, and its settings file."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'ledger.db'}"
        self.config = folder / "config.toml"
        self.config.write_text(
            '[auth0]\ndomain = "acme.us.auth0.com"\nclient_id = "c"\n'
            f'[segment]\nsource_name = "web"\n[state]\nurl = "{self.url}"\n'
        )
        self.ledger = SqlLedger.open(self.url, STREAM, create=True)
        self.live = self.ledger.begin(after=floor_id(NOW - 5 * HOUR))

    def status(self) -> StreamReport:
        settings = load_settings(self.config, {"HOME": "/home/ada"}, secrets=False)
        report = collect(settings, NOW)
        show_status(report, NOW)
        (stream,) = report.streams
        return stream


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.ledger.close()


def test_the_status_without_a_backlog_has_one_number(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = bench.status()
    assert stream.backlog is None
    assert stream.lag_s == stream.freshness_s == 5 * 3600
    assert "freshness" not in capsys.readouterr().out


def test_the_status_shows_the_fatal_error_that_ended_the_daemon(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = FatalExit(at=NOW, code="auth0-credentials-refused", error="refused", hint="check them")
    record_fatal_exit(bench.ledger.whole, STREAM, ended)
    bench.status()
    shown = capsys.readouterr().out
    assert "error[auth0-credentials-refused]: refused" in shown
    assert "check them" in shown


@pytest.mark.parametrize(("error", "said"), [(None, ""), ("the disk is full", ", failed")])
def test_the_status_tells_a_cycle_that_failed_from_one_that_went_well(
    bench: Bench, capsys: pytest.CaptureFixture[str], error: str | None, said: str
) -> None:
    bench.ledger.note_cycle(at=NOW, error=error)
    bench.status()
    assert f"last cycle   {iso(NOW)}{said}\n" in capsys.readouterr().out


def test_the_status_with_a_backlog_tells_it_from_the_freshness(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.ledger.begin_catch_up(
        bench.live,
        present=floor_id(NOW - timedelta(seconds=10)),
        ends=[floor_id(NOW - 3 * HOUR)],
    )
    bench.ledger.note_catch_up(since=NOW, error="Auth0 answered logs with 503")
    stream = bench.status()
    assert stream.backlog == BacklogReport(
        since=NOW,
        error="Auth0 answered logs with 503",
        slices_left=2,
        time_left_s=5 * 3600 - 10,
        oldest_at=NOW - 5 * HOUR,
    )
    assert (stream.lag_s, stream.freshness_s) == (5 * 3600, 10)
    assert [span.is_catch_up for span in stream.spans] == [True, True, False]
    said = capsys.readouterr().out
    assert "  freshness    10 s" in said
    assert "  backlog      4 h 59 min of the log in 2 slices, the oldest of 2026-11-20" in said
    assert "  catching up since 2026-11-20" in said
    assert "postponed: Auth0 answered logs with 503" in said
    assert "▒ backlog" in said


def test_the_status_shows_a_backlog_until_its_users_are_identified(bench: Bench) -> None:
    bench.ledger.note_catch_up(since=NOW, error=None)
    stream = bench.status()
    assert stream.backlog == BacklogReport(
        since=NOW, error=None, slices_left=0, time_left_s=0.0, oldest_at=None
    )
    assert stream.lag_s == stream.freshness_s


def test_the_status_tells_of_the_identifies_at_the_end(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.ledger.note_catch_up(since=NOW, error=None)
    bench.status()
    said = capsys.readouterr().out
    assert "  backlog      all tracks are sent, and the users are still to be identified" in said

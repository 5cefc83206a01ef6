"""`verify`: compare the settled events with Auth0's statistics and, if asked, with its log."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click
from rich.progress import Progress

from poller.adapters.sql_ledger.counts_reader import CountsReader
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.reader import Record
from poller.cli.groups import examples
from poller.cli.options import Bound, BoundType, config_option, position_of, read_settings
from poller.cli.segment_proof.source_counts import read_source
from poller.cli.views import verify_report
from poller.cli.views.output import say_json
from poller.cli.views.terminal import Terminal
from poller.cli.wiring.services import Services, background_share, connect, stream_of
from poller.config import Settings
from poller.core.counts import TallyKey, beginning_of_hour
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.pages import Page
from poller.core.spans import LogRange, settled_ranges
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.observability.logging_setup import configure_logging
from poller.service.upstream.retry import retrying
from poller.service.verify.daily import Day, beginning_of, days_between, judge_days
from poller.service.verify.hour_figures import HOUR, REPEAT_HOURS
from poller.service.verify.hourly import (
    Recount,
    compare,
    count_again,
    hours_between,
    overruled,
    ranges_to_read,
)
from poller.service.verify.received import compare_with_source
from poller.service.verify.report import SourceReport, VerifyReport

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """The time from `since` to before `until`.

    The daemon has read the log a second time up to `confirmed_until`. Later hours may still lack
    late events.
    """

    since: datetime
    until: datetime
    confirmed_until: datetime


@click.command(
    epilog=examples("verify", "verify --since 30d --exact", "verify --segment --since 1d"),
)
@config_option
@click.option(
    "--since",
    default="7d",
    type=BoundType(),
    show_default=True,
    help="earliest, a date, a time, or an age such as 7d.",
)
@click.option("--until", type=BoundType(), help="The end of the range. The default is now.")
@click.option(
    "--exact", is_flag=True, help="Read the settled log again, and compare by hour and type."
)
@click.option(
    "--segment",
    is_flag=True,
    help="Compare with what Segment received, by hour and event. Needs segment.api_token.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def verify(
    config: Path | None,
    *,
    since: Bound,
    until: Bound | None,
    exact: bool,
    segment: bool,
    as_json: bool,
) -> int:
    """Compare what the ledger settled with what Auth0 counted, day by day.

    The command needs the scope read:stats. It sends and stores nothing, and may run beside the
    daemon. The exit code is 3 if something differs.
    """
    settings = read_settings(config)
    configure_logging(settings.log.level, settings.log.format)
    stream = stream_of(settings)
    share = background_share(settings)
    with (
        _open_reader(settings, stream) as reader,
        connect(settings, threading.Event(), share=share) as services,
    ):
        _, now = _retried(services.log.oldest_kept)
        settled = _settled(reader.record(stream))
        asked = _asked_range(since, until, now, settled, settings.poll.late_window)
        days, recount = _compare(reader, services, stream, asked, now, exact=exact)
        source = _compare_with_source(reader, settings, stream, asked, now) if segment else None
    report = VerifyReport(
        ledger=place_of(settings.state.url).shown,
        stream=stream,
        now=now,
        settled=settled,
        days=days,
        recount=recount,
        source=source,
    )
    _print(report, as_json=as_json)
    return ExitCode.ATTENTION if report.differs else ExitCode.DONE


def _print(report: VerifyReport, *, as_json: bool) -> None:
    if as_json:
        say_json(verify_report.as_json(report))
    else:
        verify_report.show(report)


@contextmanager
def _open_reader(settings: Settings, stream: Stream) -> Iterator[CountsReader]:
    with closing(CountsReader.open(settings.state.url)) as reader:
        if reader.recorded(stream) is None:
            raise FatalError(
                f"the ledger holds nothing of {stream.domain} to {stream.source_name}",
                code="stream-unknown",
                hint="`status` shows what it holds; `run` begins this one",
            )
        yield reader


def _asked_range(
    since: Bound,
    until: Bound | None,
    now: datetime,
    settled: tuple[LogRange, ...],
    late_window: timedelta,
) -> TimeRange:
    """Return the range that was asked for, up to now, without the days before anything was settled.

    An age such as 7d means so many days, and the whole of the day in which they begin.
    """
    begin = moment_of(position_of(since, now))
    end = moment_of(position_of(until, now)) if until is not None else now
    if end is None or (begin is not None and begin >= end):
        raise click.UsageError("--until must lie after --since")
    end = min(end, now)
    first = moment_of(settled[0].after) if settled else None
    if first is None:
        return TimeRange(since=end, until=end, confirmed_until=end)
    begin = max(begin or first, beginning_of(first.date()))
    if isinstance(since, timedelta):
        begin = beginning_of(begin.date())
    return TimeRange(since=begin, until=end, confirmed_until=now - late_window)


def _settled(record: Record) -> tuple[LogRange, ...]:
    return settled_ranges(record.spans, record.gaps, revisits=record.revisits)


def _compare(
    reader: CountsReader,
    services: Services,
    stream: Stream,
    asked: TimeRange,
    now: datetime,
    *,
    exact: bool,
) -> tuple[tuple[Day, ...], Recount | None]:
    dates = days_between(asked.since, asked.until)
    if not dates:
        return (), None
    with reader.at_one_moment():
        record = reader.record(stream)
        counts = reader.counts(
            stream, beginning_of(dates[0]), beginning_of(dates[-1]) + timedelta(days=1)
        )
    counted = _retried(lambda: services.stats.daily(dates[0], dates[-1]))
    days = judge_days(counts.tallies, counted, _settled(record), dates, now=now, sent=counts.sent)
    if not exact:
        return days, None
    recount = _recount(services, stream, _settled(record), counts.tallies, asked)
    return tuple(overruled(day, recount) for day in days), recount


def _compare_with_source(
    reader: CountsReader, settings: Settings, stream: Stream, asked: TimeRange, now: datetime
) -> SourceReport:
    """Compare with Segment's counts. The ledger is read first, so that it is never ahead."""
    since = beginning_of_hour(asked.since)
    first = since - REPEAT_HOURS * HOUR
    acknowledged = reader.acknowledged(stream, first, asked.until + HOUR)
    reading = _retried(lambda: read_source(settings, first, now))
    suppressed = reading.suppressed_users
    return SourceReport(
        comparison=compare_with_source(
            acknowledged, reading.counts, since=since, until=asked.until, now=now
        ),
        has_reasons=reading.counts.has_reasons,
        suppressed_users=None if suppressed is None else reader.count_told(stream, suppressed),
    )


def _recount(
    services: Services,
    stream: Stream,
    settled: tuple[LogRange, ...],
    tallies: Mapping[TallyKey, int],
    asked: TimeRange,
) -> Recount:
    ranges = ranges_to_read(settled, asked.since, asked.until)
    with _progress(ranges) as on_page:
        counted = count_again(services.log, stream, ranges, on_page)
    # The oldest event is asked for after the reading: what is kept now was kept then.
    oldest, _ = _retried(services.log.oldest_kept)
    hours = tuple(hours_between(asked.since, min(asked.until, asked.confirmed_until)))
    return compare(tallies, counted, settled, hours=hours, oldest=oldest)


@contextmanager
def _progress(ranges: tuple[LogRange, ...]) -> Iterator[Callable[[Page], None]]:
    """Show how far the reading is, on a terminal only. Yield what to call after each page.

    The progress goes by the time in the log ids.
    """
    bounds = [(moment_of(each.after), moment_of(each.until)) for each in ranges]
    spans = [(begin, end) for begin, end in bounds if begin and end]
    console = Terminal(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        total_s = sum((end - begin).total_seconds() for begin, end in spans)
        task = bar.add_task("reading the log again", total=total_s)

        def advance(page: Page) -> None:
            at = moment_of(page.position)
            done_s = sum(
                (min(end, at) - begin).total_seconds() for begin, end in spans if at and at > begin
            )
            bar.update(task, completed=done_s)

        yield advance


def _retried(ask: Callable[[], T]) -> T:
    for attempt in retrying():
        with attempt:
            answer = ask()
    return answer

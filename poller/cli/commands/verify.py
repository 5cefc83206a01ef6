"""`verify`: what the ledger settled against the tenant's own statistics and, if asked, against its log."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click
from rich.progress import Progress

from poller.adapters.sql_ledger import LedgerReader, Record
from poller.cli.groups import examples
from poller.cli.options import Bound, BoundType, config_option, position_of, read_settings
from poller.cli.views import verify_report
from poller.cli.views.output import say_json
from poller.cli.views.terminal import Terminal
from poller.cli.wiring.services import Services, connect, stream_of
from poller.config import Settings
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.pages import Page
from poller.core.spans import LogRange, settled_ranges
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.observability.logging_setup import configure_logging
from poller.service.upstream.retry import retrying
from poller.service.verify import hourly as recounting
from poller.service.verify.daily import Day, beginning_of, days_between, reconcile
from poller.service.verify.hourly import Recount, hours_between, stretches_to_read, weighed

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """From `since` to before `until`; what was logged before `walked_by` the daemon's second walk has passed."""

    since: datetime
    until: datetime
    walked_by: datetime


@click.command(
    short_help="Compare what was settled with Auth0's own counts.",
    epilog=examples("verify", "verify --since 30d --exact"),
)
@config_option
@click.option(
    "--since",
    default="7d",
    type=BoundType(),
    show_default=True,
    help="earliest, a date, a time, or as 7d.",
)
@click.option("--until", type=BoundType(), help="Where to end; else now.")
@click.option(
    "--exact", is_flag=True, help="Read the settled log again, and compare by hour and type."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def verify(
    config: Path | None, *, since: Bound, until: Bound | None, exact: bool, as_json: bool
) -> int:
    """Compares what the ledger settled with what Auth0 counted, day by day; needs the scope read:stats.

    Sends and stores nothing, and may run beside the daemon. Ends with 3 where something differs.
    """
    settings = read_settings(config)
    configure_logging(settings.log.level, settings.log.format)
    stream = stream_of(settings)
    # Leaves as much of the rate limit to others as a backfill does, so that the daemon goes first.
    share = max(2 * settings.auth0.rate_share - 1, 0.01)
    with (
        _opened(settings, stream) as reader,
        connect(settings, threading.Event(), share=share) as services,
    ):
        _, now = _patient(services.log.oldest)
        begun = _settled(reader.record(stream, now, now))
        asked = _range(since, until, now, begun, settings.poll.late_window)
        days, recount = _compared(reader, services, stream, asked, now, exact=exact)
        found = verify_report.Verified(now=now, begun=begun, days=days, recount=recount)
    facts = verify_report.facts(settings.state.url, stream, found)
    say_json(facts) if as_json else verify_report.show(facts)
    return ExitCode.ATTENTION if facts["differs"] else ExitCode.DONE


@contextmanager
def _opened(settings: Settings, stream: Stream) -> Iterator[LedgerReader]:
    reader = LedgerReader.open(settings.state.url)
    try:
        if stream not in reader.streams():
            raise FatalError(
                f"the ledger holds nothing of {stream.domain} to {stream.source_name}",
                code="stream-unknown",
                hint="`status` shows what it holds; `run` begins this one",
            )
        yield reader
    finally:
        reader.close()


def _compared(
    reader: LedgerReader,
    services: Services,
    stream: Stream,
    asked: Range,
    now: datetime,
    *,
    exact: bool,
) -> tuple[tuple[Day, ...], Recount | None]:
    dates = days_between(asked.since, asked.until)
    if not dates:
        return (), None
    record = reader.record(
        stream, beginning_of(dates[0]), beginning_of(dates[-1]) + timedelta(days=1)
    )
    held = _settled(record)
    counted = _patient(lambda: services.stats.daily(dates[0], dates[-1]))
    days = reconcile(record.tallies, counted, held, dates, now=now, sent=record.sent)
    if not exact:
        return days, None
    recount = _recounted(services, stream, record, held, asked)
    return tuple(weighed(day, recount) for day in days), recount


def _range(
    since: Bound,
    until: Bound | None,
    now: datetime,
    begun: tuple[LogRange, ...],
    late_window: timedelta,
) -> Range:
    """What was asked for, up to now, without the days before anything was settled."""
    begin, end = (
        moment_of(position_of(since, now)),
        now if until is None else moment_of(position_of(until, now)),
    )
    if end is None or (begin is not None and begin >= end):
        raise click.UsageError("--until lies before --since, or nothing lies between")
    end = min(end, now)
    first = moment_of(begun[0].after) if begun else None
    begin = end if first is None else max(begin or first, beginning_of(first.date()))
    if isinstance(since, timedelta):  # so many days, and the one that they begin in
        begin = beginning_of(begin.date())
    return Range(since=begin, until=end if first else begin, walked_by=now - late_window)


def _settled(record: Record) -> tuple[LogRange, ...]:
    return settled_ranges(record.spans, record.gaps, revisits=record.revisits)


def _recounted(
    services: Services, stream: Stream, record: Record, held: tuple[LogRange, ...], asked: Range
) -> Recount:
    stretches = stretches_to_read(held, asked.since, asked.until)
    with _progress(stretches) as tell:
        counted = recounting.read(services.log, stream, stretches, tell)
    # Asked after the reading: what is kept now was kept then.
    oldest, _ = _patient(services.log.oldest)
    return recounting.compare(
        record.tallies,
        counted,
        held,
        hours=tuple(hours_between(asked.since, min(asked.until, asked.walked_by))),
        oldest=oldest,
    )


@contextmanager
def _progress(stretches: tuple[LogRange, ...]) -> Iterator[Callable[[Page], None]]:
    """How far the reading is, by the time inside the positions; on a terminal only."""
    bounds = [(moment_of(each.after), moment_of(each.until)) for each in stretches]
    total_s = sum((end - begin).total_seconds() for begin, end in bounds if begin and end)
    with Progress(
        console=Terminal(stderr=True), transient=True, disable=not Terminal(stderr=True).is_terminal
    ) as bar:
        task = bar.add_task("reading the log again", total=total_s)

        def tell(page: Page) -> None:
            at = moment_of(page.position)
            done_s = sum(
                (min(end, at) - begin).total_seconds()
                for begin, end in bounds
                if begin and end and at and at > begin
            )
            bar.update(task, completed=done_s)

        yield tell


def _patient(ask: Callable[[], T]) -> T:
    for attempt in retrying():
        with attempt:
            answer = ask()
    return answer

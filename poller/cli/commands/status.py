"""The command `status`: the state of the ledger.

It needs no secret, asks no service, and may run beside the daemon. It must start fast, so it
imports nothing that talks to a service.
"""

import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from poller import __version__
from poller.adapters.sql_ledger.fatal_exit import FatalExit
from poller.adapters.sql_ledger.lock import Holder, Role
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.reader import DaemonStatus, LedgerReader
from poller.cli.groups import examples
from poller.cli.options import config_option, json_option, read_settings
from poller.cli.pipelines.table import show_table, status_lines, stream_of
from poller.cli.settings_file import SettingsFile
from poller.cli.views.output import say_json
from poller.cli.views.status import (
    INHERITED,
    REDELIVERY,
    REOPENED_GAP,
    BacklogReport,
    BlockedReport,
    DaemonReport,
    RevisitReport,
    SecondReadingReport,
    SpanReport,
    StatusReport,
    StreamReport,
    WorkerReport,
    show_status,
)
from poller.cli.views.timeline import oldest_known
from poller.config import Settings
from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.spans import (
    Inherited,
    LogRange,
    Redelivery,
    ReopenedGap,
    Span,
    holes_between,
    unfinished_catch_up,
)


@click.command(epilog=examples("status", "status --strict --json"))
@config_option
@json_option
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 69 if no daemon runs, and with 3 if there are dead letters.",
)
def status(config: Path | None, *, as_json: bool, strict: bool) -> int:
    """Show the position, the lag, events by outcome, dead letters, gaps and errors.

    Exit code 3 means that somebody must act: the daemon is blocked, a fatal error ended it, or
    there is a gap. For a folder of settings files there is a table, the worst pipeline first.
    """
    file, now = SettingsFile(config), datetime.now(UTC)
    if file.folder is not None and file.pipelines is not None:
        folder = file.folder
        return show_table(
            folder,
            status_lines(folder, file.pipelines, lambda each: collect(each, now), strict=strict),
            as_json=as_json,
        )
    settings = read_settings(file, secrets=False)
    report = collect(settings, now)
    if as_json:
        say_json(report)
    else:
        show_status(report, now)
    return report.exit_code(strict=strict)


def collect(settings: Settings, now: datetime) -> StatusReport:
    """Read the ledger as of one moment.

    Raises:
        FatalError, TransientError: the ledger cannot be read.
    """
    with closing(LedgerReader.open(settings.state.url)) as reader:
        daemon, standby = _process(reader, "run"), _process(reader, "standby")
        with reader.at_one_moment():
            own = stream_of(settings)
            ended = reader.fatal_exit(own)
            return StatusReport(
                ledger=place_of(settings.state.url).shown,
                version=__version__,
                daemon=daemon,
                standby=standby,
                last_fatal_error=ended,
                streams=tuple(_stream(reader, stream, now) for stream in reader.streams()),
                is_failed=bool(settings.pipeline) and _is_news(ended, reader.daemon_status(own)),
            )


def _is_news(ended: FatalExit | None, daemon: DaemonStatus) -> bool:
    """Return whether nothing was heard of the daemon after a fatal error."""
    return ended is not None and all(
        ended.at > moment for moment in _known(daemon.cycle_at, daemon.blocked_since)
    )


def _process(reader: LedgerReader, role: Role) -> DaemonReport | None:
    holder = reader.holder(role)
    if holder is None:
        return None
    return DaemonReport(pid=holder.pid, since=holder.since)


def _worker(holder: Holder | None) -> WorkerReport | None:
    if holder is None:
        return None
    host = holder.host or socket.gethostname()
    return WorkerReport(pid=holder.pid, host=host, since=holder.since)


def _stream(reader: LedgerReader, stream: Stream, now: datetime) -> StreamReport:
    record, daemon = reader.record(stream), reader.daemon_status(stream)
    live = next((span for span in record.spans if span.is_live), None)
    reasons = reader.dead_letters_by_reason(stream)
    report = StreamReport(
        domain=stream.domain,
        source_name=stream.source_name,
        generation=stream.generation,
        last_cycle_at=daemon.cycle_at,
        last_error=daemon.cycle_error,
        blocked=_blocked(daemon),
        worker=_worker(reader.worker(stream)),
        backlog=_backlog(record.spans, daemon),
        events=reader.totals(stream),
        dead_letters=sum(reasons.values()),
        dead_letters_by_reason=reasons,
        gaps=record.gaps,
        holes=holes_between(record.spans, since=record.begun_after),
        pending_second_readings=tuple(
            SecondReadingReport(reached=each.reached, until=each.until) for each in record.unread
        ),
        revisits=tuple(_revisit(each) for each in record.revisits),
        known_since=oldest_known(record.spans, record.gaps, record.first_hour),
        spans=tuple(map(_span, record.spans)),
        # A revisit is drawn over the span that holds it, from its position on.
        cursors=(*record.spans, *(replace(each, after=each.reached) for each in record.revisits)),
    )
    if live is None:
        return report
    return _with_live_span(report, live, now)


def _with_live_span(report: StreamReport, live: Span, now: datetime) -> StreamReport:
    settled_at = max(_known(live.drained_at, moment_of(live.reached)), default=None)
    oldest_at = report.backlog.oldest_at if report.backlog else None
    return replace(
        report,
        position=live.reached,
        position_at=moment_of(live.reached),
        drained_at=live.drained_at,
        lag_s=_seconds_since(_earlier(settled_at, oldest_at), now),
        freshness_s=_seconds_since(settled_at, now),
    )


def _span(span: Span) -> SpanReport:
    return SpanReport(
        after=span.after, reached=span.reached, until=span.until, is_catch_up=span.is_catch_up
    )


def _revisit(revisit: ReopenedGap | Redelivery | Inherited) -> RevisitReport:
    kinds = {ReopenedGap: REOPENED_GAP, Redelivery: REDELIVERY, Inherited: INHERITED}
    return RevisitReport(kind=kinds[type(revisit)], reached=revisit.reached, until=revisit.until)


def _blocked(daemon: DaemonStatus) -> BlockedReport | None:
    if daemon.blocked_reason is None:
        return None
    return BlockedReport(
        code=daemon.blocked_code,
        reason=daemon.blocked_reason,
        hint=daemon.blocked_hint,
        since=daemon.blocked_since,
    )


def _backlog(spans: Sequence[Span], daemon: DaemonStatus) -> BacklogReport | None:
    """Return the backlog, or None. Identifies may be left after the last slice."""
    slices = unfinished_catch_up(spans)
    if not slices and daemon.catch_up_since is None:
        return None
    return BacklogReport(
        since=daemon.catch_up_since,
        error=daemon.catch_up_error,
        slices_left=len(slices),
        time_left_s=sum(_time_left_s(each) for each in slices),
        oldest_at=min(filter(None, (moment_of(each.reached) for each in slices)), default=None),
    )


def _time_left_s(span: Span) -> float:
    left = LogRange(after=span.reached, until=span.until or span.reached)
    return left.length.total_seconds()


def _seconds_since(moment: datetime | None, now: datetime) -> float | None:
    if moment is None:
        return None
    return round(max((now - moment).total_seconds(), 0.0), 1)


def _earlier(moment: datetime | None, other: datetime | None) -> datetime | None:
    return min(_known(moment, other), default=None)


def _known(*moments: datetime | None) -> list[datetime]:
    return [moment for moment in moments if moment is not None]

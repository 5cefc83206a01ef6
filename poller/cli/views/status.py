"""The report of `status`, for JSON and text."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from poller.adapters.sql_ledger.fatal_exit import FatalExit
from poller.cli.views import timeline
from poller.cli.views.output import NOT_IN_JSON, Part, can_show, say, say_parts
from poller.cli.views.wording import laid_out, lasting, moment_text, stream_title
from poller.core.log_ids import LogId
from poller.core.spans import Gap, LogCursor, LogRange
from poller.core.text.dates import iso
from poller.service.lifecycle.exit_codes import ExitCode

REOPENED_GAP, REDELIVERY, INHERITED = "reopened_gap", "redelivery", "inherited"
_REVISITS = {
    REDELIVERY: "sent to a wrong write key: {bounds} (`backfill` sends it again)",
    INHERITED: "of a removed route: {bounds} (read again for the events that it left)",
}
_INDENT = "  "
_NARROWEST_PICTURE = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonReport:
    """A process that runs the daemon or stands by. Both fields are None until it has said so."""

    pid: int | None
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """The worker that owns a stream, its machine, and the time since when it owns the stream."""

    pid: int | None
    host: str
    since: datetime | None

    def __str__(self) -> str:
        since = f" since {iso(self.since)}" if self.since else ""
        return f"process {self.pid} on {self.host}{since}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedReport:
    """The reason why the daemon is blocked."""

    code: str | None
    reason: str
    hint: str | None
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondReadingReport:
    """A stretch that is still to be read a second time.

    `reached` is the log id up to which the second reading has come.
    """

    reached: LogId
    until: LogId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisitReport:
    """A gap that is read after all, or a redelivery of what went to a wrong write key."""

    kind: str
    reached: LogId
    until: LogId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogReport:
    """The slices of a catch-up that are not finished.

    `since` is None until the daemon has noted the catch-up. `error` says why the catch-up cannot
    go on now. `oldest_at` is the time of the lowest position, which retention reaches first.
    """

    since: datetime | None
    error: str | None
    slices_left: int
    time_left_s: float
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanReport:
    """A span, with its positions."""

    after: LogId
    reached: LogId
    until: LogId | None
    is_catch_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """The state of one stream. The first four values are None if it has no live span.

    `freshness_s` is the time since the live span was known to hold everything: a quiet tenant is
    not late. `lag_s` counts a backlog too.
    `cursors` are the spans and the revisits, for the picture.
    """

    domain: str
    source_name: str
    generation: str
    position: LogId | None = None
    position_at: datetime | None = None
    drained_at: datetime | None = None
    lag_s: float | None = None
    freshness_s: float | None = None
    backlog: BacklogReport | None
    last_cycle_at: datetime | None
    last_error: str | None
    blocked: BlockedReport | None
    worker: WorkerReport | None
    events: Mapping[str, int]
    dead_letters: int
    dead_letters_by_reason: Mapping[str, int]
    gaps: tuple[Gap, ...]
    holes: tuple[LogRange, ...]
    pending_second_readings: tuple[SecondReadingReport, ...]
    revisits: tuple[RevisitReport, ...]
    known_since: datetime | None
    spans: tuple[SpanReport, ...]
    cursors: tuple[LogCursor, ...] = field(metadata=NOT_IN_JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Everything that `status` shows.

    `is_failed` is set if the last fatal error keeps the pipeline closed while its process goes on.
    """

    ledger: str
    version: str
    daemon: DaemonReport | None
    standby: DaemonReport | None
    last_fatal_error: FatalExit | None
    streams: tuple[StreamReport, ...]
    is_failed: bool = field(default=False, metadata=NOT_IN_JSON)

    def exit_code(self, *, strict: bool) -> ExitCode:
        """Return 3 if somebody must act. With `strict` return 69 if no daemon runs."""
        needs_action = any(stream.gaps or stream.blocked for stream in self.streams)
        has_letters = any(stream.dead_letters for stream in self.streams)
        is_down = self.daemon is None
        has_ended = self.is_failed or (is_down and self.last_fatal_error)
        if needs_action or has_ended or (strict and has_letters):
            return ExitCode.ATTENTION
        if strict and is_down:
            return ExitCode.UNAVAILABLE
        return ExitCode.DONE


Report = Callable[[datetime], StatusReport]
"""Reads the report as of this moment."""


def show_status(report: StatusReport, now: datetime) -> None:
    """Write the report as text."""
    say(*laid_out("ledger        ", report.ledger))
    say(f"version       {report.version}")
    daemon = report.daemon
    if daemon:
        since = iso(daemon.since) if daemon.since else "just now"
        say(f"daemon        runs as process {daemon.pid or '?'} since {since}")
    else:
        say("daemon        not running")
    if report.is_failed or not daemon:
        _show_fatal_error(report.last_fatal_error)
    standby = report.standby
    if standby:
        say(f"standby       process {standby.pid or '?'} takes over when the daemon has ended")
    for stream in report.streams:
        _show_stream(stream)
        _show_timeline(stream, now)


def _show_fatal_error(error: FatalExit | None) -> None:
    if error:
        text = f"{iso(error.at)}: error[{error.code}]: {error.error}"
        say(*laid_out("  ended       ", text), fg="red")
        say(*laid_out("              ", error.hint))


def _show_stream(stream: StreamReport) -> None:
    say("", stream_title(stream.domain, stream.source_name))
    if stream.worker:
        _line("worker", str(stream.worker))
    _line("position", moment_text(stream.position) if stream.position else "not begun")
    _line("drained", iso(stream.drained_at) if stream.drained_at else "never")
    _line("lag", "unknown" if stream.lag_s is None else lasting(stream.lag_s))
    _show_backlog(stream)
    _line("last cycle", _last_cycle(stream))
    events = [f"{count:,} {name.replace('_', '-')}" for name, count in stream.events.items()]
    _line("events", ", ".join(events))
    _show_dead_letters(stream)
    _show_gaps(stream)
    if stream.last_error:
        _line("last error", stream.last_error, fg="yellow")
    _show_blocked(stream.blocked)


def _last_cycle(stream: StreamReport) -> str:
    if stream.last_cycle_at is None:
        return "never"
    return f"{iso(stream.last_cycle_at)}{', failed' if stream.last_error else ''}"


def _show_backlog(stream: StreamReport) -> None:
    backlog = stream.backlog
    if backlog is None:
        return
    fresh = "unknown" if stream.freshness_s is None else lasting(stream.freshness_s)
    _line("freshness", f"{fresh}   (of new events, which go first)")
    oldest = f", the oldest of {iso(backlog.oldest_at)}" if backlog.oldest_at else ""
    left = f"{lasting(backlog.time_left_s)} of the log in {backlog.slices_left} slices{oldest}"
    if not backlog.slices_left:
        left = "all tracks are sent, and the users are still to be identified"
    _line("backlog", left, fg="yellow")
    if backlog.since:
        _line("", f"catching up since {iso(backlog.since)}", fg="yellow")
    if backlog.error:
        _line("", f"postponed: {backlog.error}", fg="yellow")


def _show_dead_letters(stream: StreamReport) -> None:
    if not stream.dead_letters:
        _line("dead letters", "none")
        return
    _line("dead letters", f"{stream.dead_letters:,}   (see `dead-letters list`)")
    for reason, count in stream.dead_letters_by_reason.items():
        say(f"    {reason}: {count}", fg="yellow")


def _show_gaps(stream: StreamReport) -> None:
    _line("gaps", str(len(stream.gaps) or "none"))
    for gap in stream.gaps:
        bounds = f"{moment_text(gap.after)} to {moment_text(gap.before)}"
        say(*laid_out("    ", f"lost, removed by retention: {bounds}"), fg="red")
    for each in stream.revisits:
        if each.kind in _REVISITS:
            bounds = f"{moment_text(each.reached)} to {moment_text(each.until or each.reached)}"
            text = _REVISITS[each.kind].format(bounds=bounds)
            say(*laid_out("    ", text), fg="yellow")
    for hole in stream.holes:
        bounds = f"{moment_text(hole.after)} to {moment_text(hole.until)}"
        say(*laid_out("    ", f"not sent: {bounds} (`backfill` sends it)"), fg="yellow")


def _show_blocked(blocked: BlockedReport | None) -> None:
    if blocked:
        since = f"since {iso(blocked.since)}: " if blocked.since else ""
        code = f"error[{blocked.code}]: " if blocked.code else ""
        _line("blocked", f"{since}{code}{blocked.reason}", fg="red")
        _line("", blocked.hint or "")


def _line(name: str, text: str, fg: str | None = None) -> None:
    say(*laid_out(f"  {name:<13}", text), fg=fg)


def _show_timeline(stream: StreamReport, now: datetime) -> None:
    """Draw the spans and gaps on a line as wide as the terminal."""
    since = stream.known_since
    if since is None:
        return
    columns = shutil.get_terminal_size().columns
    width, blocks = max(columns - 2 * len(_INDENT), _NARROWEST_PICTURE), can_show(timeline.BLOCKS)
    # The clock of the server may be ahead of this one.
    drained = [cursor.drained_at for cursor in stream.cursors if cursor.drained_at]
    now = max([now, since, *drained])
    cells = timeline.draw(stream.cursors, stream.gaps, since, now, width)
    axis = timeline.axis(since, now, width, blocks=blocks)
    say("")
    for parts in (
        timeline.picture(cells, blocks=blocks),
        [Part(text=axis, dim=True)],
        timeline.legend(cells, blocks=blocks),
    ):
        say_parts([Part(text=_INDENT), *parts])

"""The command `ledger`: show the ledger, move a position, and remove data."""

import threading
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from poller.adapters.sql_ledger.places import acquire_lock, place_of
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.set_position import set_position
from poller.adapters.sql_ledger.stream_removal import remove_stream
from poller.cli.commands.key import key
from poller.cli.commands.person import person
from poller.cli.commands.transfer import export_command, import_command
from poller.cli.groups import SuggestingGroup, examples
from poller.cli.ledger_options import source_option
from poller.cli.options import choose, config_option, json_option, read_settings, yes_option
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import say, say_json
from poller.cli.views.wording import stream_title
from poller.config import Settings, parse_moment
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import LogId, floor_id, just_below, moment_of
from poller.core.spans import Span
from poller.core.text.dates import iso
from poller.service.lifecycle.exit_codes import ExitCode

_EARLIEST = "earliest"
_CLOCK_DOUBT = timedelta(minutes=10)
"""A log id may be this much later than the clock of the host, which may be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSpanReport:
    """A span, with its positions."""

    after: LogId
    reached: LogId
    until: LogId | None
    confirmed: LogId
    is_catch_up: bool
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStreamReport:
    """A stream, with its spans."""

    domain: str
    source_name: str
    generation: str
    spans: tuple[LedgerSpanReport, ...]


@click.group(
    "ledger",
    cls=SuggestingGroup,
    epilog=examples("ledger show", "ledger set-position 2026-01-31T08:00:00Z"),
)
def ledger() -> None:
    """Show or move the ledger, move the position, explain a changed write key, or remove data."""


ledger.add_command(key)
ledger.add_command(person)
ledger.add_command(export_command)
ledger.add_command(import_command)


@ledger.command(epilog=examples("ledger show --json"))
@config_option
@json_option
def show(config: Path | None, *, as_json: bool) -> int:
    """Show the spans of every stream, with their positions."""
    settings = read_settings(config, secrets=False)
    with closing(LedgerReader.open(settings.state.url)) as reader:
        streams = [_stream_report(stream, reader.spans(stream)) for stream in reader.streams()]
    if as_json:
        say_json(streams)
    else:
        _show(place_of(settings.state.url).shown, streams)
    return ExitCode.DONE


def _stream_report(stream: Stream, spans: tuple[Span, ...]) -> LedgerStreamReport:
    return LedgerStreamReport(
        domain=stream.domain,
        source_name=stream.source_name,
        generation=stream.generation,
        spans=tuple(
            LedgerSpanReport(
                after=span.after,
                reached=span.reached,
                until=span.until,
                confirmed=span.confirmed,
                is_catch_up=span.is_catch_up,
                fence=span.fence,
            )
            for span in spans
        ),
    )


def _show(place: str, streams: list[LedgerStreamReport]) -> None:
    say(place)
    for stream in streams:
        say("", stream_title(stream.domain, stream.source_name))
        for span in stream.spans:
            say(f"  {'live' if span.until is None else 'span'}  after    {_with_time(span.after)}")
            say(f"        reached  {_with_time(span.reached)}")
            if span.until is not None:
                note = "  (catch-up)" if span.is_catch_up else ""
                say(f"        until    {_with_time(span.until)}{note}")


@ledger.command(
    "set-position",
    epilog=examples(
        "ledger set-position 2026-01-31T08:00:00Z", "ledger set-position earliest --yes"
    ),
)
@config_option
@click.argument("position")
@source_option
@yes_option
def move(config: Path | None, position: str, source_name: str | None, *, yes: bool) -> int:
    """Let the daemon continue at POSITION: a log id, a date, a time, or `earliest`.

    The daemon must not run meanwhile. After a move forward, the events between are not sent until
    a backfill sends them. After a move back, events are sent again under the same message ids,
    which Segment drops for about a day.
    """
    settings = read_settings(config, secrets=position == _EARLIEST)
    target = _oldest(settings) if position == _EARLIEST else _position(position)
    with acquire_lock(settings.state.url, "run"):
        with closing(LedgerReader.open(settings.state.url)) as reader:
            stream = choose(
                reader.streams(),
                domain=settings.auth0.domain,
                source_name=source_name,
                own=_own(settings),
            )
            live = next((span for span in reader.spans(stream) if span.is_live), None)
        say(stream_title(stream.domain, stream.source_name))
        say(
            f"  now  {_with_time(live.reached) if live else 'nothing begun'}",
            f"  then {_with_time(target)}",
        )
        confirm("Move the position?", is_answered=yes)
        set_position(settings.state.url, stream, target)
    return ExitCode.DONE


@ledger.command(
    "remove-stream",
    epilog=examples("ledger remove-stream --source-name web"),
)
@config_option
@click.option(
    "--domain", help="The domain of the tenant. The default is the domain in the settings."
)
@source_option
@click.option("--with-spans", is_flag=True, help="Remove the stream even if it has settled events.")
@yes_option
def remove(
    config: Path | None, domain: str | None, source_name: str | None, *, with_spans: bool, yes: bool
) -> int:
    """Remove a stream that was begun by mistake.

    Neither the daemon nor a backfill may run meanwhile.
    """
    settings = read_settings(config, secrets=False)
    url = settings.state.url
    with acquire_lock(url, "run"), acquire_lock(url, "backfill"):
        with closing(LedgerReader.open(url)) as reader:
            domain = domain or settings.auth0.domain
            stream = choose(
                reader.streams(), domain=domain, source_name=source_name, own=_own(settings)
            )
        say(stream_title(stream.domain, stream.source_name))
        confirm("Remove the stream with everything that the ledger holds of it?", is_answered=yes)
        remove_stream(url, stream, with_spans=with_spans)
    return ExitCode.DONE


def _oldest(settings: Settings) -> LogId:
    """Return the position just below the oldest event of the log.

    A later loss by retention then becomes a gap, which a position below all events would not show.
    """
    from poller.cli.wiring.services import connect  # noqa: PLC0415 - slow

    with connect(settings, threading.Event()) as services:
        oldest, _ = services.log.oldest_kept()
    if oldest is None:
        raise FatalError(
            "the log of the tenant is empty",
            code="log-empty",
            hint="give a date or a time instead of `earliest`",
        )
    return just_below(oldest)


def _position(text: str) -> LogId:
    made_at = moment_of(text) if text.isascii() and text.isdigit() else None
    if made_at is not None:
        if made_at > datetime.now(UTC) + _CLOCK_DOUBT:
            raise click.BadParameter(
                f"lies in the future, at {iso(made_at)}", param_hint="POSITION"
            )
        return LogId(text)
    try:
        moment = parse_moment(text)
    except ValueError:
        raise click.BadParameter(
            "must be a log id, `earliest`, or a time such as 2026-01-31, 2026-01-31T08:00:00Z "
            "or 30d",
            param_hint="POSITION",
        ) from None
    if moment > datetime.now(UTC):
        raise click.BadParameter("lies in the future", param_hint="POSITION")
    return floor_id(moment)


def _own(settings: Settings) -> tuple[str | None, str]:
    return settings.segment.source_name, settings.segment.generation


def _with_time(log_id: LogId) -> str:
    moment = moment_of(log_id)
    return f"{log_id}  {iso(moment)}" if moment else str(log_id)

"""`ledger`: the durable record itself, to look at, and to move a position in it by hand."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger.positions import set_position
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.sqlite.lock import LedgerLock
from poller.adapters.sql_ledger.stream_removal import remove_stream
from poller.cli.commands.person import person
from poller.cli.groups import SuggestingGroup, examples
from poller.cli.options import config_option, read_settings
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import say, say_json
from poller.config import Settings, parse_moment
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import LogId, floor_id, just_below, moment_of
from poller.core.messages import iso
from poller.core.spans import Span
from poller.service.lifecycle.exit_codes import ExitCode

_EARLIEST = "earliest"
_CLOCK_DOUBT = timedelta(minutes=10)
"""A log id may be so much later than the host's clock, which may be wrong."""


@click.group(
    "ledger",
    cls=SuggestingGroup,
    short_help="Show the durable record, or move a position in it.",
    epilog=examples("ledger show", "ledger set-position 2026-01-31T08:00:00Z"),
)
def ledger() -> None:
    """The durable record: what is settled, and where the daemon goes on."""


ledger.add_command(person)


@ledger.command(short_help="Every span, with its positions.", epilog=examples("ledger show --json"))
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for scripts.")
def show(config: Path | None, *, as_json: bool) -> int:
    """Shows every stream's spans, with the positions as they are kept."""
    settings = read_settings(config, secrets=False)
    reader = LedgerReader.open(settings.state.url)
    try:
        found = {stream: reader.spans(stream) for stream in reader.streams()}
    finally:
        reader.close()
    if as_json:
        say_json([_facts(stream, spans) for stream, spans in found.items()])
        return ExitCode.DONE
    say(settings.state.url)
    for stream, spans in found.items():
        say("", f"{stream.domain} → {stream.source_name}")
        for span in spans:
            say(f"  {'live' if span.is_live else 'span'}  after    {_with_time(span.after)}")
            say(f"        reached  {_with_time(span.reached)}")
            if span.until is not None:
                say(f"        until    {_with_time(span.until)}")
    return ExitCode.DONE


@ledger.command(
    "set-position",
    short_help="Let the daemon go on somewhere else.",
    epilog=examples(
        "ledger set-position 2026-01-31T08:00:00Z", "ledger set-position earliest --yes"
    ),
)
@config_option
@click.argument("position")
@click.option("--source-name", help="Which stream, where the ledger holds several.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def move(config: Path | None, position: str, source_name: str | None, *, yes: bool) -> int:
    """Lets the daemon go on at POSITION: a log id, a date, a time, or `earliest`. Refused while the daemon runs.

    Forward, what lies between is sent by nobody until a backfill takes it; backward, what lies above is sent again
    under the same message ids, which Segment drops for at least a day.
    """
    settings = read_settings(config, secrets=position == _EARLIEST)
    target = _oldest(settings) if position == _EARLIEST else _position(position)
    with LedgerLock.acquire(settings.state.url, "run"):
        reader = LedgerReader.open(settings.state.url)
        try:
            stream = choose(
                reader.streams(),
                domain=settings.auth0.domain,
                source_name=source_name,
                own=_own(settings),
            )
            live = next((span for span in reader.spans(stream) if span.is_live), None)
        finally:
            reader.close()
        say(f"{stream.domain} → {stream.source_name}")
        say(
            f"  now  {_with_time(live.reached) if live else 'nothing begun'}",
            f"  then {_with_time(target)}",
        )
        confirm("Move it?", is_answered=yes)
        set_position(settings.state.url, stream, target)
    return ExitCode.DONE


@ledger.command(
    "remove-stream",
    short_help="Remove all that is kept of one stream.",
    epilog=examples("ledger remove-stream --source-name web"),
)
@config_option
@click.option("--domain", help="The tenant's domain; by default that of the settings.")
@click.option(
    "--source-name", help="The name of the Segment source, where the ledger holds several."
)
@click.option("--with-spans", is_flag=True, help="Also forget what the stream has settled.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(
    config: Path | None, domain: str | None, source_name: str | None, *, with_spans: bool, yes: bool
) -> int:
    """Removes a stream that was begun by mistake. Refused while the daemon or a backfill runs."""
    settings = read_settings(config, secrets=False)
    url = settings.state.url
    with LedgerLock.acquire(url, "run"), LedgerLock.acquire(url, "backfill"):
        reader = LedgerReader.open(url)
        try:
            domain = domain or settings.auth0.domain
            stream = choose(
                reader.streams(), domain=domain, source_name=source_name, own=_own(settings)
            )
        finally:
            reader.close()
        say(f"{stream.domain} → {stream.source_name}")
        confirm("Remove it with all that the ledger holds of it?", is_answered=yes)
        remove_stream(url, stream, with_spans=with_spans)
    return ExitCode.DONE


def _oldest(settings: Settings) -> LogId:
    """Ask Auth0 for the oldest event kept, so that what retention takes from now on is noticed."""
    from poller.cli.wiring.services import connect  # noqa: PLC0415 - only this position needs the clients

    with connect(settings, threading.Event()) as services:
        oldest, _ = services.log.oldest()
    if oldest is None:
        raise FatalError(
            "the tenant's log is empty",
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
        found = parse_moment(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{error}; or give a log id, or `earliest`", param_hint="POSITION"
        ) from None
    if found > datetime.now(UTC):
        raise click.BadParameter("lies in the future", param_hint="POSITION")
    return floor_id(found)


def _own(settings: Settings) -> tuple[str | None, str]:
    return settings.segment.source_name, settings.segment.generation


def choose(
    streams: tuple[Stream, ...],
    *,
    domain: str,
    source_name: str | None,
    own: tuple[str | None, str],
) -> Stream:
    """Return the stream of this domain and source name. Of several, return that of the settings.

    `own` is the source name and the generation in the settings.

    Raises:
        FatalError: there is none, or several are left.
    """
    named = [
        each
        for each in streams
        if each.domain == domain and source_name in {None, each.source_name}
    ]
    if len(named) > 1:
        wanted = (source_name or own[0], own[1])
        named = [each for each in named if (each.source_name, each.generation) == wanted]
    if len(named) != 1:
        known = "; ".join(f"{each.domain} → {each.source_name}" for each in streams)
        raise FatalError(
            f"the ledger holds no one stream of {domain} with that source name",
            code="stream-ambiguous",
            hint=f"--source-name; it holds: {known}",
        )
    return named[0]


def _with_time(log_id: LogId) -> str:
    found = moment_of(log_id)
    return f"{log_id}  {iso(found)}" if found else str(log_id)


def _facts(stream: Stream, spans: tuple[Span, ...]) -> dict[str, Any]:
    shown = [
        {
            "after": span.after,
            "reached": span.reached,
            "until": span.until,
            "confirmed": span.confirmed,
        }
        for span in spans
    ]
    named = {
        "domain": stream.domain,
        "source_name": stream.source_name,
        "generation": stream.generation,
    }
    return {**named, "spans": shown}

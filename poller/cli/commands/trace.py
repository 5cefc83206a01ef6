"""The command `trace`: one event, or those of a user, where they stand, and their calls."""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from poller.adapters.sql_ledger.counts_reader import CountsReader
from poller.adapters.sql_ledger.dead_letters import DeadLetterStore, StoredDeadLetter, event_of
from poller.cli.groups import examples
from poller.cli.ledger_options import complete_dead_letters
from poller.cli.options import (
    TimeRange,
    TimeRangeType,
    WholeNumber,
    config_option,
    json_option,
    read_settings,
)
from poller.cli.segment_proof.calls import calls_of, outcomes_of
from poller.cli.views.events.trace import (
    DeadLetterStanding,
    EventStanding,
    RememberedEvent,
    TracedEvent,
    TraceReport,
    describe,
    show_trace,
)
from poller.cli.views.output import say_json
from poller.cli.views.wording import moment_text
from poller.cli.wiring.events import Line, events_in_memory
from poller.cli.wiring.services import Services, connect, rules_of, stream_of
from poller.config import Settings
from poller.core.count_names import OUTCOMES
from poller.core.counts import TallyKey, hour_of
from poller.core.errors import PollerError
from poller.core.events import LogEvent, Stream
from poller.core.log_ids import LogId
from poller.core.outcomes import DeadLetter, Filtered, Outcome
from poller.core.standing import standing_of
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.observability.logging_setup import configure_logging
from poller.service.upstream.retry import retrying

_MESSAGE_ID = re.compile(r"(identify|group|track|signup)-[0-9a-f]{40}")


@click.command(
    epilog=examples(
        "trace 90020260131080000000000000000000000000000000000000000001",
        "trace track-486fe391cfc26726c9e214d5c374f8e359f47195",
        "trace --user 'auth0|5f7c8ec7c33c6c004bbafe82' --at 2026-01-31T12:00:00Z",
    )
)
@config_option
@click.argument(
    "event_id",
    metavar="[LOG_ID|MESSAGE_ID]",
    required=False,
    shell_complete=complete_dead_letters,
)
@click.option("--user", "user_id", help="The newest events of this user id of Auth0.")
@click.option(
    "--at",
    "around",
    type=TimeRangeType(),
    help="The events within half an hour of this time, of this day, or of a time ago such as 3h.",
)
@click.option(
    "--last",
    default=20,
    type=WholeNumber(1, 1000),
    show_default=True,
    help="The most events, with --user or --at.",
)
@json_option
def trace(
    config: Path | None,
    event_id: str | None,
    *,
    user_id: str | None,
    around: TimeRange | None,
    last: int,
    as_json: bool,
) -> int:
    """Show an event of Auth0's log, where it stands in the ledger, and the calls that it becomes.

    LOG_ID names one event. MESSAGE_ID names a call that Segment got, and only the running daemon
    knows it, for its last 1,000 events. --user finds the newest events of a user, of every type.
    --at finds events of a time. Without --user these are only the types that the settings send, by
    default logins and signups. The calls are made now, as in a preview. The command sends nothing
    and stores nothing, and may run beside the daemon.
    """
    is_search = user_id is not None or around is not None
    if is_search == (event_id is not None):
        raise click.UsageError("give a log id, or --user and --at, but not both")
    settings = read_settings(config)
    configure_logging(settings.log.level, settings.log.format)
    with connect(settings, threading.Event()) as services:
        if event_id is None:
            report = _trace_search(settings, services, user_id, around, last)
        elif _MESSAGE_ID.fullmatch(event_id):
            report = _trace_message(settings, services, event_id)
        else:
            report = _trace_one(settings, services, LogId(event_id))
    if as_json:
        say_json(report)
    else:
        show_trace(report)
    is_found = any(each.event is not None for each in report.events)
    return ExitCode.DONE if is_found else ExitCode.ATTENTION


def _trace_message(settings: Settings, services: Services, message_id: str) -> TraceReport:
    """Trace the event of a message, if the running daemon remembers it.

    The ledger holds no message ids, and nobody can compute an event from a hash.
    """
    events = events_in_memory(settings)
    for event in events or ():
        if message_id in event["message_ids"]:
            return _trace_one(settings, services, LogId(event["log_id"]))
    why = "No daemon runs" if events is None else "The running daemon does not remember the message"
    kept = "A message id is known only in the memory of the daemon, for its last 1,000 events"
    return _report([], nothing_found=f"{why}. {kept}. Trace its user by --user and --at.")


def _trace_one(settings: Settings, services: Services, log_id: LogId) -> TraceReport:
    with closing(_Ledger(settings)) as ledger:
        for attempt in retrying():
            with attempt:
                event = services.search.event(log_id)
        if event is None:
            event = ledger.kept_event(log_id)
        if event is None:
            return _report([_unknown(log_id, ledger)])
        return _report(_traced(settings, services, [event], ledger))


def _trace_search(
    settings: Settings,
    services: Services,
    user_id: str | None,
    around: TimeRange | None,
    last: int,
) -> TraceReport:
    types = [] if user_id is not None else sorted(rules_of(settings).types)
    between = (around.since, around.until) if around else None
    with closing(_Ledger(settings)) as ledger:
        for attempt in retrying():
            with attempt:
                events = services.search.find(
                    types=types, user_id=user_id, between=between, most=last
                )
        if events:
            return _report(_traced(settings, services, events, ledger))
    return _report([], nothing_found=_nothing_found(services, user_id))


def _nothing_found(services: Services, user_id: str | None) -> str:
    for attempt in retrying():
        with attempt:
            oldest = services.log.oldest_in_search()
    kept = f"The oldest event that it keeps is of {moment_text(oldest)}. " if oldest else ""
    form = ""
    if user_id is not None:
        form = " --user takes Auth0's own user id, such as auth0|5f7c8ec7c33c, and no e-mail."
    return f"Auth0's search shows no such event. {kept}It shows new events seconds late.{form}"


def _report(events: Iterable[TracedEvent], *, nothing_found: str | None = None) -> TraceReport:
    return TraceReport(made_at=datetime.now(UTC), events=tuple(events), nothing_found=nothing_found)


def _unknown(log_id: LogId, ledger: "_Ledger") -> TracedEvent:
    standing = ledger.standing(log_id, None, None)
    return TracedEvent(
        log_id=log_id,
        type=None,
        event=None,
        standing=standing,
        calls=(),
        dead_letter=None,
        filtered=None,
    )


def _traced(
    settings: Settings, services: Services, events: Sequence[LogEvent], ledger: "_Ledger"
) -> Iterator[TracedEvent]:
    for event, outcome in outcomes_of(settings, services, events):
        yield TracedEvent(
            log_id=event.log_id,
            type=event.type,
            event=event.record,
            standing=ledger.standing(event.log_id, event, outcome),
            calls=calls_of(outcome),
            dead_letter=outcome.reason if isinstance(outcome, DeadLetter) else None,
            filtered=outcome.reason if isinstance(outcome, Filtered) else None,
        )


class _Ledger:
    """The ledger and the daemon's memory, as `trace` asks them about single events.

    The ledger is opened for reading only.
    """

    def __init__(self, settings: Settings) -> None:
        self._remembered = _remembered(settings)
        self._reader = CountsReader.open(settings.state.url)
        self._letters = DeadLetterStore.open(settings.state.url)
        self._stream: Stream = self._letters.recorded(stream_of(settings))

    def close(self) -> None:
        self._letters.close()
        self._reader.close()

    def kept_event(self, log_id: LogId) -> LogEvent | None:
        """Return the event of a dead letter, which the ledger keeps for longer than Auth0."""
        letter = self._letter(log_id)
        if letter is None:
            return None
        texts = self._letters.events([letter])
        return event_of(letter, texts[letter]) if letter in texts else None

    def standing(
        self, log_id: LogId, event: LogEvent | None, outcome: Outcome | None
    ) -> EventStanding:
        """Return where the event stands, as of one moment."""
        letter = self._letter(log_id)
        hour = hour_of(event, datetime.now(UTC)) if event else datetime.now(UTC)
        # The ledger remembers the recent ids of events that some settings send, and of no others.
        is_remembered = not (isinstance(outcome, Filtered) and not outcome.is_declined)
        with self._reader.at_one_moment():
            record = self._reader.record(self._stream)
            counts = self._reader.counts(self._stream, hour, hour + timedelta(hours=1))
            recent = self._reader.recent_ids(self._stream, [log_id])
        standing = standing_of(
            log_id,
            spans=record.spans,
            gaps=record.gaps,
            revisits=record.revisits,
            unread=record.unread,
            is_recent=log_id in recent if event and is_remembered else None,
        )
        return describe(
            standing,
            log_id,
            letter=_standing_of_letter(letter) if letter else None,
            hour=_outcomes(counts.tallies, event) if event else {},
            remembered=self._remembered.get(log_id),
            type_=event.type if event else None,
        )

    def _letter(self, log_id: LogId) -> StoredDeadLetter | None:
        pages = self._letters.pages(stream=self._stream, log_ids=(log_id,))
        return next((letter for page in pages for letter in page), None)


def _remembered(settings: Settings) -> dict[LogId, RememberedEvent]:
    """Return the events in the daemon's memory. A daemon that cannot be asked has none."""
    events: list[Line] | None = None
    with suppress(PollerError):
        events = events_in_memory(settings)
    return {
        LogId(each["log_id"]): RememberedEvent(
            settled_at=each["settled_at"],
            outcome=each["outcome"],
            reason=each["reason"],
            worker=each["worker"],
            message_ids=tuple(each["message_ids"]),
        )
        for each in events or ()
    }


def _standing_of_letter(letter: StoredDeadLetter) -> DeadLetterStanding:
    return DeadLetterStanding(
        reason=letter.reason, status=letter.status, dead_lettered_at=letter.dead_lettered_at
    )


def _outcomes(tallies: Mapping[TallyKey, int], event: LogEvent) -> dict[str, int]:
    """Return how many events of the type of this event had each outcome."""
    found = {key.outcome: number for key, number in tallies.items() if key.type == event.type}
    return {outcome: found[outcome] for outcome in OUTCOMES if found.get(outcome)}

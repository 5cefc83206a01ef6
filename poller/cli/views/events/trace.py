"""The report of `trace`: events, the place of each in the ledger, and the calls of now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from rich.text import Text

from poller.cli.views.events.calls import calls_text, lines_of, table_of_calls, used_parts
from poller.cli.views.output import NOT_IN_JSON
from poller.cli.views.terminal import Terminal
from poller.cli.views.wording import counted, moment_text
from poller.core.count_names import FORWARDED
from poller.core.log_ids import LogId
from poller.core.standing import Place, Standing
from poller.core.text.dates import iso

_MADE_NOW = (
    "The calls are made now, from the settings and the profiles of now. The calls that were sent "
    "then may have said something else."
)
_UNKNOWN = (
    "Auth0 shows no event with this id: retention removed it, or it is another tenant's. An event "
    "that is some seconds old may not be shown yet."
)
_WORDS: Mapping[Place, tuple[str, str | None]] = {
    "settled": ("settled, in the span {stretch}", None),
    "ahead": (
        "ahead of the ledger: the daemon has not read it yet",
        "`status` says whether the daemon runs, and how far it is",
    ),
    "backlog": ("in the backlog {stretch}", "the daemon sends it beside new events"),
    "unfinished_backfill": ("in the unfinished backfill {stretch}", "`backfill` goes on with it"),
    "second_reading": (
        "not settled: it came late, in the stretch {stretch}",
        "the second reading of the daemon sends it within poll.late_window",
    ),
    "gap": (
        "in the gap {stretch}: retention had removed it when the daemon asked for it",
        "if Auth0 shows it again, `backfill --since {begin} --until {end}` sends it",
    ),
    "reopened_gap": ("not settled: the gap {stretch} is read after all", "run `backfill`"),
    "redelivery": (
        "not settled: the stretch {stretch} went to a wrong write key, and is sent again",
        "run `backfill`",
    ),
    "no_span": (
        "in no span: neither the daemon nor a backfill of the log was to send it",
        "`backfill --since {moment}` sends what was not sent since then",
    ),
}
"""The words for a place, and the next step."""
_GOOD, _ATTENTION, _BAD = "green", "yellow", "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterStanding:
    """A dead letter of the ledger, by the time of the server."""

    reason: str
    status: int | None
    dead_lettered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedEvent:
    """An event as the running daemon settled it, from the memory of the daemon.

    `worker` names the work that settled it.
    """

    settled_at: str
    outcome: str
    reason: str | None
    worker: str
    message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStanding:
    """The place of an event in the ledger, in words and with the next step.

    `hour` holds what became of the events of its type and hour, as the ledger counts them.
    `remembered` is None if the daemon does not run, or has forgotten the event.
    """

    place: Place | Literal["dead_letter"]
    after: LogId | None
    until: LogId | None
    dead_letter: DeadLetterStanding | None
    hour: Mapping[str, int]
    remembered: RememberedEvent | None
    text: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedEvent:
    """An event, its place in the ledger, and what it becomes now.

    `event` is None if neither Auth0 nor the ledger keeps the event.
    """

    log_id: LogId
    type: str | None
    event: Any = field(repr=False)
    standing: EventStanding
    calls: Sequence[dict[str, Any]] = field(repr=False)
    dead_letter: str | None
    filtered: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceReport:
    """The events that were found, newest first. `nothing_found` says why there are none."""

    made_at: datetime
    events: tuple[TracedEvent, ...]
    nothing_found: str | None = field(default=None, metadata=NOT_IN_JSON)


def describe(
    standing: Standing,
    log_id: LogId,
    *,
    letter: DeadLetterStanding | None,
    hour: Mapping[str, int],
    remembered: RememberedEvent | None,
    type_: str | None,
) -> EventStanding:
    """Say in words where an event stands, and what to do about it."""
    text, hint = _words(standing, log_id)
    place: Place | Literal["dead_letter"] = standing.place
    if letter is not None:
        place = "dead_letter"
        status = f" ({letter.status})" if letter.status else ""
        text = f"dead letter since {iso(letter.dead_lettered_at)}: {letter.reason}{status}"
        hint = f"mend the cause, and send it by `dead-letters replay {log_id}`"
    elif place == "settled" and remembered is not None:
        text += f". {_of_memory(remembered)}"
    elif place == "settled" and hour:
        text += f". {_of_hour(hour, type_)}"
    return EventStanding(
        place=place,
        after=standing.after,
        until=standing.until,
        dead_letter=letter,
        hour=hour,
        remembered=remembered,
        text=text,
        hint=hint,
    )


def show_trace(report: TraceReport) -> None:
    """Print the events beside their calls."""
    console = Terminal()
    table = table_of_calls(
        console, "Auth0 log event, and where it stands", "Segment calls, as they are made now"
    )
    for each in report.events:
        table.add_row(_event(each), _calls(each))
    if report.events:
        console.print(table)
    if report.nothing_found:
        console.print(report.nothing_found)
    explained = f" {_MADE_NOW} --json shows everything." if report.events else ""
    number = counted(len(report.events), "event")
    console.print(f"{number}. Nothing was sent or stored.{explained}")


def _event(traced: TracedEvent) -> Text:
    standing = traced.standing
    parts = [lines_of({"log_id": traced.log_id})]
    parts += [Text(_UNKNOWN, style=_ATTENTION)] if traced.event is None else []
    parts += [used_parts(traced.event)] if traced.event is not None else []
    parts += [Text(standing.text, style=_colour(standing))]
    parts += [Text(standing.hint, style="dim")] if standing.hint else []
    return Text("\n").join(parts)


def _calls(traced: TracedEvent) -> Any:
    if traced.event is None:
        return Text("none can be made without the event", style="dim")
    return calls_text(traced.calls, dead_letter=traced.dead_letter, filtered=traced.filtered)


def _colour(standing: EventStanding) -> str:
    if standing.place == "settled":
        return _GOOD
    if standing.place in {"dead_letter", "gap"}:
        return _BAD
    return _ATTENTION


def _of_memory(remembered: RememberedEvent) -> str:
    """Say what the daemon remembers of the event."""
    reason = f": {remembered.reason}" if remembered.reason else ""
    outcome = f"{remembered.outcome.replace('_', ' ')}{reason}"
    work = remembered.worker.replace("_", " ")
    return f"The daemon settled it at {remembered.settled_at} ({work}): {outcome}"


def _of_hour(hour: Mapping[str, int], type_: str | None) -> str:
    """Say what became of the events of this type and hour. The ledger keeps no single outcome."""
    total = sum(hour.values())
    if hour.get(FORWARDED) == total:
        all_ = "the only event" if total == 1 else f"all {total:,} events"
        return f"Segment acknowledged {all_} of type {type_} of its hour"
    parts = ", ".join(f"{number:,} {outcome.replace('_', ' ')}" for outcome, number in hour.items())
    return f"Of the {counted(total, 'event')} of type {type_} of its hour: {parts}"


def _words(standing: Standing, log_id: LogId) -> tuple[str, str | None]:
    begin, end = (moment_text(each) if each else None for each in (standing.after, standing.until))
    stretch = f"from {begin} to {end}" if end else f"from {begin} on"
    text, hint = _WORDS[standing.place]
    words = {"stretch": stretch, "begin": begin, "end": end, "moment": moment_text(log_id)}
    return text.format_map(words), hint and hint.format_map(words)

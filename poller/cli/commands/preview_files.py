"""`preview PATH`: the calls that records in files would become, and a comparison for CI.

Nothing is asked of a service, so that the result depends on the files and the settings alone.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from poller.adapters.log_files import LogFile, MarkIndex, Refusals, by_expression, unwrapped
from poller.cli.segment_proof.calls import calls_of
from poller.cli.views.output import say
from poller.cli.wiring.file_sources import file_sources
from poller.cli.wiring.services import rules_of, stream_of
from poller.config import Settings
from poller.core.events import LogEvent
from poller.core.file_pages import UnreadableFileError
from poller.core.outcomes import DeadLetter, Filtered, Outcome, Profile
from poller.core.text.json_text import decode
from poller.core.translation.translator import LiveTranslator
from poller.service.lifecycle.exit_codes import ExitCode

_LATER = datetime(9999, 1, 1, tzinfo=UTC)
"""The time at which a profile from a file counts as read: after each event."""
_MOST_DIFFERENT_LINES = 200


def outcomes_of_files(
    settings: Settings,
    paths: Sequence[Path],
    *,
    record: str | None,
    users: Path | None,
    routes: Sequence[Settings] = (),
) -> list[tuple[LogEvent, Outcome]]:
    """Return the records of the files with what becomes of them, in the order of the files.

    `record` is a JMESPath expression that finds the event in each object. `users` is a file of
    profiles. `routes` are the settings of all routes of a file, if each event is to be shown as its
    own route sends it.

    Raises:
        UsageError: a file cannot be read to its end, or `record` is not an expression.
    """
    routes = routes or [settings]
    translators = [*map(_translator, routes)]
    profiles = _profiles(users) if users is not None else {}
    try:
        unwrap = by_expression(record) if record else unwrapped
    except ValueError as error:
        raise click.UsageError(f"--record is not a JMESPath expression: {error}") from None
    found: list[tuple[LogEvent, Outcome]] = []
    with file_sources(paths, None) as sources:
        for source in sources:
            file = LogFile(
                source.path,
                name=source.name,
                now=lambda: datetime.now(UTC),
                refusals=Refusals(only_codes=False),
                unwrap=unwrap,
            )
            for events in _pages(file):
                each = [[*made.outcomes(made.select(events), profiles)] for made in translators]
                found += of_own_routes(routes, events, each)
    return found


def _translator(settings: Settings) -> LiveTranslator:
    # The message ids are those of the settings, since no ledger takes part.
    stream = stream_of(settings)
    return LiveTranslator(stream, rules_of(settings))


def of_own_routes(
    routes: Sequence[Settings], events: Sequence[LogEvent], outcomes: Sequence[Sequence[Outcome]]
) -> Iterator[tuple[LogEvent, Outcome]]:
    """Yield each event with its outcome on the route that takes it.

    `outcomes` are those of all events on each route.
    """
    for number, event in enumerate(events):
        yield event, outcomes[deciding_route(routes, event)][number]


def deciding_route(routes: Sequence[Settings], event: LogEvent) -> int:
    """Return the number of the settings that decide what becomes of the event."""
    routing = routes[0].routing
    name = routing.taker(event) if routing else None
    names = [each.routing.own for each in routes if each.routing]
    return names.index(name) if name in names else 0


def _pages(file: LogFile) -> Iterator[tuple[LogEvent, ...]]:
    try:
        with file.read(MarkIndex(())) as reading:
            yield from (page.events for page in reading.pages())
            end = reading.truncation
    except UnreadableFileError as error:
        raise click.UsageError(f"{file.name} cannot be read: {error}") from None
    if end is not None:
        raise click.UsageError(f"{file.name} ends early at line {end.line}: {end.why}")


def _profiles(path: Path) -> dict[str, Profile]:
    """Return the profiles in a file: a JSON array, or a JSON object on each line.

    Raises:
        UsageError: the file holds anything else.
    """
    try:
        text = path.read_text()
        records = decode(text) if text.lstrip().startswith("[") else _lines(text)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--users {path} cannot be read: {error}") from None
    if not all(isinstance(each, dict) and isinstance(each.get("user_id"), str) for each in records):
        raise click.UsageError(f"--users {path} holds something other than users with a user_id")
    return {
        each["user_id"]: Profile(user_id=each["user_id"], read_at=_LATER, fields=each)
        for each in records
    }


def _lines(text: str) -> list[Any]:
    return [decode(line) for line in text.splitlines() if line.strip()]


def expectation_of(found: Sequence[tuple[LogEvent, Outcome]]) -> list[dict[str, Any]]:
    """Return what becomes of each event, in a form that a test can keep.

    The name and the version of Segment's library are left out, since they are not the mapping's.
    """
    return [{"log_id": event.log_id} | _shown(outcome) for event, outcome in found]


def _shown(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case DeadLetter():
            return {"dead_letter": outcome.reason}
        case Filtered():
            return {"filtered": outcome.reason}
    return {"calls": [_without_library(call) for call in calls_of(outcome)]}


def _without_library(call: Mapping[str, Any]) -> dict[str, Any]:
    context = {key: value for key, value in call["context"].items() if key != "library"}
    return {**call, "context": context}


def write_expectation(path: Path, expectation: Sequence[Mapping[str, Any]]) -> None:
    """Write the expectation, in place of the file that is there.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.write_text(_text(expectation))
    except OSError as error:
        raise click.UsageError(f"--write-expect {path} cannot be written: {error}") from None
    say(f"{path} holds what the records become now. Keep it beside them, and compare by --expect.")


def compare(path: Path, expectation: Sequence[Mapping[str, Any]]) -> ExitCode:
    """Print the difference to the expectation in a file. The exit code tells if there is any.

    Raises:
        UsageError: the file cannot be read, or is not JSON.
    """
    try:
        expected = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--expect {path} cannot be read: {error}") from None
    if expected == list(expectation):
        say(f"The records become what {path} expects.", fg="green")
        return ExitCode.DONE
    lines = difflib.unified_diff(
        _text(expected).splitlines(),
        _text(expectation).splitlines(),
        str(path),
        "these settings",
        lineterm="",
    )
    shown = list(lines)
    for line in shown[:_MOST_DIFFERENT_LINES]:
        say(line, fg={"+": "green", "-": "red"}.get(line[:1]))
    if len(shown) > _MOST_DIFFERENT_LINES:
        say(f"... and {len(shown) - _MOST_DIFFERENT_LINES} more lines")
    say("The records become something else than expected.", is_error=True)
    return ExitCode.ATTENTION


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

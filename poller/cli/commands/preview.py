"""`preview`: the newest events of interest beside the calls that they become; sends and stores nothing."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from poller.cli.groups import examples
from poller.cli.options import config_option, read_settings
from poller.cli.views.output import say_json
from poller.cli.views.terminal import Terminal
from poller.cli.wiring.services import connect, profiles_of, rules_of, stream_of
from poller.core.events import LogEvent
from poller.core.messages import wire
from poller.core.outcomes import DeadLetter, Filtered, Forwardable, Outcome
from poller.core.text.plain_text import visible
from poller.core.translation.translator import Translator
from poller.service.observability.logging_setup import configure_logging
from poller.service.upstream.retry import retrying

_USED = (
    "date",
    "type",
    "user_id",
    "user_name",
    "client_name",
    "client_id",
    "connection",
    "ip",
    "user_agent",
    "organization_id",
)
_MESSAGE_ID = len("identify-") + 40
_COLOURS = {"identify": "bold cyan", "track": "bold green", "group": "bold magenta"}


@click.command(
    short_help="Show the newest events beside the calls they become.",
    epilog=examples("preview --last 5", "preview --json"),
)
@config_option
@click.option(
    "--last", default=10, type=click.IntRange(1, 1000), show_default=True, help="How many events."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for scripts.")
def preview(config: Path | None, *, last: int, as_json: bool) -> int:
    """Shows the newest logins and signups beside the calls they become; sends and stores nothing."""
    settings = read_settings(config)
    configure_logging(settings.log.level, settings.log.format)
    translator = Translator(stream_of(settings), rules_of(settings))
    with connect(settings, threading.Event()) as services:
        for attempt in retrying():
            with attempt:
                events = services.log.newest(sorted(translator.types), last)
        directory = profiles_of(settings, services)
        for attempt in retrying():
            with attempt:
                profiles = directory.of(translator.users_in(events))
    rows = [_row(event, translator.event(event, profiles)) for event in events]
    if as_json:
        say_json(rows)
    else:
        _print(rows)
    return 0


def _row(event: LogEvent, outcome: Outcome) -> dict[str, Any]:
    return {
        "log_id": event.log_id,
        "event": event.record,
        "calls": [wire(message) for message in outcome.messages]
        if isinstance(outcome, Forwardable)
        else [],
        "dead_letter": outcome.reason if isinstance(outcome, DeadLetter) else None,
        "filtered": isinstance(outcome, Filtered),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    console = Terminal()
    width = console.width
    table = Table(show_lines=True, expand=True)
    table.add_column("Auth0 log event, what is used of it", ratio=1, overflow="fold")
    # As wide as a message id, which is there to be copied.
    table.add_column(
        "Segment calls, each with its messageId",
        width=max(_MESSAGE_ID, width * 3 // 5),
        overflow="fold",
    )
    for row in rows:
        table.add_row(_lines(_used(row["event"])), _calls(row))
    if rows:
        console.print(table)
    console.print(
        f"{len(rows)} event{'' if len(rows) == 1 else 's'}; nothing was sent or stored. --json shows all."
    )


def _used(event: Any) -> dict[str, Any]:
    record = event if isinstance(event, dict) else {}
    return {key: record[key] for key in _USED if record.get(key) not in {None, ""}}


def _calls(row: dict[str, Any]) -> Group | Text:
    if row["dead_letter"]:
        return Text(f"dead letter: {row['dead_letter']}", style="red")
    if row["filtered"]:
        return Text("filtered: not sent", style="yellow")
    return Group(*(_call(call) for call in row["calls"]))


def _call(call: dict[str, Any]) -> Text:
    name = f"track {call['event']}" if call["type"] == "track" else call["type"]
    who = {"groupId": call["groupId"]} if "groupId" in call else {}
    context = {f"context.{key}": value for key, value in _flattened(call["context"])}
    facts = {"userId": call["userId"], **who, "timestamp": call["timestamp"], **context}
    text = Text().append(name, style=_COLOURS[call["type"]]).append(f"\n{call['messageId']}")
    return text.append("\n").append_text(
        _lines(facts | (call.get("traits") or call.get("properties") or {}), "  ")
    )


def _flattened(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", found) for inner, found in _flattened(value))
        else:
            yield key, value


def _lines(facts: dict[str, Any], indent: str = "") -> Text:
    text = Text()
    for number, (key, value) in enumerate(facts.items()):
        text.append("\n" if number else "").append(f"{indent}{visible(key)} ", style="dim").append(
            visible(str(value))
        )
    return text

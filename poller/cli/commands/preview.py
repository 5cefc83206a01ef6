"""`preview`: the newest events of interest beside the calls that they become; sends and stores nothing."""

import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from poller.adapters.segment.tracking_plan import TrackingPlan
from poller.cli.groups import examples
from poller.cli.options import config_option, read_settings
from poller.cli.segment_proof.access import read_plan
from poller.cli.segment_proof.calls import calls_of, judge, newest_calls
from poller.cli.views.output import say, say_json
from poller.cli.views.terminal import Terminal
from poller.cli.wiring.services import connect
from poller.config import Settings
from poller.core.errors import PollerError
from poller.core.events import LogEvent
from poller.core.outcomes import DeadLetter, Filtered, Outcome
from poller.core.text.plain_text import visible
from poller.service.observability.logging_setup import configure_logging

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
    with connect(settings, threading.Event()) as services:
        newest = newest_calls(settings, services, last)
    plan = _plan_of(settings)
    rows = [_row(event, outcome, plan, settings) for event, outcome in newest]
    if as_json:
        say_json(rows)
    else:
        _print(rows)
    return 0


def _plan_of(settings: Settings) -> TrackingPlan | None:
    """Return the tracking plan, or None if there is none to be had. The preview goes on then."""
    try:
        return read_plan(settings)
    except PollerError as error:
        say(f"The tracking plan could not be read: {error}", is_error=True)
        return None


def _row(
    event: LogEvent, outcome: Outcome, plan: TrackingPlan | None, settings: Settings
) -> dict[str, Any]:
    calls = calls_of(outcome)
    judged = judge(calls, plan, settings) if plan is not None else []
    return {
        "log_id": event.log_id,
        "event": event.record,
        "calls": calls,
        "plan": [asdict(each) | {"text": str(each)} for each in judged],
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
    return Group(*(_call(call, row["plan"]) for call in row["calls"]))


def _call(call: dict[str, Any], judged: list[dict[str, Any]]) -> Text:
    name = f"track {call['event']}" if call["type"] == "track" else call["type"]
    who = {"groupId": call["groupId"]} if "groupId" in call else {}
    context = {f"context.{key}": value for key, value in _flattened(call["context"])}
    facts = {"userId": call["userId"], **who, "timestamp": call["timestamp"], **context}
    text = Text().append(name, style=_COLOURS[call["type"]]).append(f"\n{call['messageId']}")
    for each in judged:
        if each["message_id"] == call["messageId"]:
            said, hint = visible(each["text"]), visible(each["hint"])
            text.append(f"\n✗ {said}\n  {hint}", style="red")
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

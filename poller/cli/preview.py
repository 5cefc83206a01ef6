"""`preview`: the newest events of interest beside the calls that they become; sends and stores nothing."""

import json
import threading
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from poller.cli.wiring import config_option, connect, read_settings, stream_of
from poller.core.events import LogEvent, canonical
from poller.core.messages import wire
from poller.core.translate import EVENT_NAMES, DeadLetter, Forwardable, Translator
from poller.service.drain import warn_of_profiles
from poller.service.profiles import CachedProfiles
from poller.service.retry import patiently
from poller.service.telemetry import configure_logging


@click.command(short_help="Show the newest events beside the calls they become.")
@config_option
@click.option("--last", default=10, type=click.IntRange(1, 1000), show_default=True, help="How many events.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for scripts.")
def preview(config: Path | None, *, last: int, as_json: bool) -> int:
    """Shows the newest logins and signups beside the calls they become; sends and stores nothing."""
    settings = read_settings(config)
    configure_logging(settings.log.level)
    translator = Translator(stream_of(settings))
    with connect(settings, threading.Event()) as services:
        for attempt in patiently():
            with attempt:
                events = services.log.newest(tuple(EVENT_NAMES), last)
        directory = CachedProfiles(services.users, warn_of_profiles)
        profiles = directory.of(translator.users_in(events))
    rows = [_row(event, translator.event(event, profiles)) for event in events]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print(rows)
    return 0


def _row(event: LogEvent, outcome: Forwardable | DeadLetter | LogEvent) -> dict[str, Any]:
    return {
        "log_id": event.log_id,
        "event": json.loads(canonical(event.record)),
        "calls": [wire(message) for message in outcome.messages] if isinstance(outcome, Forwardable) else [],
        "dead_letter": outcome.reason if isinstance(outcome, DeadLetter) else None,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(show_lines=True, expand=True)
    table.add_column("Auth0 log event", ratio=1, overflow="fold")
    table.add_column("Segment calls", ratio=1, overflow="fold")
    for row in rows:
        table.add_row(_folding(row["event"]), _calls(row))
    console = Console()
    if rows:
        console.print(table)
    console.print(f"{len(rows)} events; nothing was sent or stored.")


def _calls(row: dict[str, Any]) -> Group | Text:
    if row["dead_letter"]:
        return Text(f"dead letter: {row['dead_letter']}", style="red")
    return Group(*(_folding(call) for call in row["calls"]))


def _folding(value: Any) -> Text:
    """JSON that is folded where it is too long, where rich's own is cut."""
    return JSONHighlighter()(Text(json.dumps(value, indent=2, ensure_ascii=False), overflow="fold"))

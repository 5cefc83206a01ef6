"""One log event beside the calls that it becomes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from poller.cli.views.output import sign
from poller.cli.views.terminal import Terminal
from poller.core.text.plain_text import visible

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanVerdictReport:
    """A verdict of the source's tracking plan on one call. `text` is the whole verdict."""

    message_id: str
    call: str
    effect: str
    field: str
    reason: str
    hint: str
    text: str


def table_of_calls(console: Terminal, left: str, right: str) -> Table:
    """Return an empty table for events on the left and calls on the right."""
    table = Table(show_lines=True, expand=True)
    table.add_column(left, ratio=1, overflow="fold")
    # The column is at least as wide as a message id, so people can copy the id.
    table.add_column(right, width=max(_MESSAGE_ID, console.width * 3 // 5), overflow="fold")
    return table


def used_parts(record: Any) -> Text:
    """Return the parts of a record that the calls are made of."""
    record = record if isinstance(record, dict) else {}
    return lines_of({key: record[key] for key in _USED if record.get(key) not in (None, "")})


def calls_text(
    calls: Sequence[dict[str, Any]],
    *,
    dead_letter: str | None,
    filtered: str | None,
    verdicts: Sequence[PlanVerdictReport] = (),
) -> Group | Text:
    """Return what becomes of an event: its calls, or the reason why there are none."""
    if dead_letter:
        return Text(f"dead letter: {dead_letter}", style="red")
    if filtered:
        return Text(f"filtered: {filtered}", style="yellow")
    return Group(*(_call(call, verdicts) for call in calls))


def lines_of(values: dict[str, Any], indent: str = "") -> Text:
    """Return a line for each name and its value."""
    lines = [
        Text.assemble((f"{indent}{visible(key)} ", "dim"), visible(str(value)))
        for key, value in values.items()
    ]
    return Text("\n").join(lines)


def _call(call: dict[str, Any], verdicts: Sequence[PlanVerdictReport]) -> Text:
    name = f"track {call['event']}" if call["type"] == "track" else call["type"]
    values: dict[str, Any] = {
        key: call[key] for key in ("userId", "anonymousId", "groupId", "timestamp") if key in call
    }
    values |= {f"context.{key}": value for key, value in _flattened(call["context"])}
    values |= call.get("traits") or call.get("properties") or {}
    text = Text().append(name, style=_COLOURS[call["type"]]).append(f"\n{call['messageId']}")
    for verdict in verdicts:
        if verdict.message_id == call["messageId"]:
            text.append(
                f"\n{sign('✗')} {visible(verdict.text)}\n  {visible(verdict.hint)}", style="red"
            )
    return text.append("\n").append_text(lines_of(values, "  "))


def _flattened(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", leaf) for inner, leaf in _flattened(value))
        else:
            yield key, value

"""A line of `tail`: one settled event."""

from typing import Any

from poller.cli.views.output import Part, say_parts, sign
from poller.cli.views.wording import lasting
from poller.core.count_names import DEAD_LETTERED, FILTERED

_COLOURS = {FILTERED: "yellow", DEAD_LETTERED: "red"}
_NARROW, _WIDE = 8, 30


def show_event(event: dict[str, Any]) -> None:
    """Print an event on one line: when it was settled, its type, its user, and what it became."""
    outcome = event["outcome"]
    person = (event["user"], event["application"], event["connection"])
    say_parts(
        [
            Part(text=f"{event['settled_at']}  ", dim=True),
            Part(text=f"{event['type'] or '?':<{_NARROW}}"),
            Part(text=f"{'  '.join(each for each in person if each):<{_WIDE}}  "),
            Part(text=_became(event), fg=_COLOURS.get(outcome, "green")),
            Part(text=_age(event), dim=True),
            Part(text=f"  {event['log_id']}", dim=True),
        ]
    )


def _became(event: dict[str, Any]) -> str:
    match event["outcome"]:
        case "dead_lettered":
            status = f" ({event['status']})" if event["status"] else ""
            return f"dead letter: {event['reason']}{status}"
        case "filtered":
            return f"filtered: {event['reason']}"
    return f"{sign('→')} {', '.join(event['calls']) or 'nothing new'}"


def _age(event: dict[str, Any]) -> str:
    age = "" if event["age_s"] is None else f"  {lasting(event['age_s'])} old"
    return age if event["worker"] == "live" else f"{age}  {event['worker'].replace('_', ' ')}"

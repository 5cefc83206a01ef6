"""The text of an alert: what, since when, where, what to type, and the place in the runbook.

It is made of declarations, counts, times, and names from the settings. No text of an answer or of
an event is in it, so it holds no person, no key and no body.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from poller.service.alerts.kinds import KINDS, RUNBOOK, Declaration, Kind, Severity
from poller.service.alerts.rules import Memory, Telling

_PROGRAM = "auth0-segment-poller"
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The host and the stream of a daemon. `options` are those that a command needs.

    A pipeline of several has a name. Its stream is not known if its file has a mistake.
    """

    host: str
    domain: str = ""
    source_name: str = ""
    options: str = ""
    pipeline: str = ""

    @property
    def stream(self) -> str:
        return f"{self.domain} to {self.source_name}" if self.domain else self.pipeline

    @property
    def names(self) -> list[str]:
        """The lines that name the stream and the pipeline, as far as they are known."""
        lines = {"Pipeline": self.pipeline, "Stream": self.stream if self.domain else ""}
        return [f"{name}: {value}" for name, value in lines.items() if value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One message to people."""

    kind: Kind
    at: datetime
    title: str
    body: str
    severity: Severity


def alert_of(telling: Telling, place: Place) -> Alert:
    """Return the message for what is to be told."""
    declared = KINDS[telling.memory.kind]
    lines = _recovery(telling, declared) if telling.is_recovery else _problem(telling, declared)
    headline = declared.recovered if telling.is_recovery else declared.title
    section = telling.memory.section or declared.section
    return Alert(
        kind=telling.memory.kind,
        at=telling.at,
        title=f"{headline} ({place.stream})",
        body="\n".join(
            [
                *lines,
                f"Host: {place.host}",
                *place.names,
                f"To type: {_PROGRAM} {declared.command}{place.options}",
                f"Runbook: {RUNBOOK}#{section}",
            ]
        ),
        severity="good" if telling.is_recovery else declared.severity,
    )


def group_text(
    kind: Kind, severity: Severity, bodies: Mapping[str, str], options: str
) -> tuple[str, str]:
    """Return the title and the body of one message for the same alert of several pipelines.

    `bodies` holds the alert of each pipeline. The first one by name is shown. `options` are those
    by which a command finds all pipelines.
    """
    declared, names = KINDS[kind], sorted(bodies)
    headline = declared.recovered if severity == "good" else declared.title
    others = len(names) - _MOST_NAMES
    shown = ", ".join(names[:_MOST_NAMES]) + (f", and {others} others" if others > 0 else "")
    lines = [
        f"{len(names)} pipelines tell the same: {shown}",
        f"To see all of them: {_PROGRAM} status{options}",
        "",
        f"The alert of {names[0]}:",
        bodies[names[0]],
    ]
    return f"{headline} ({len(names)} pipelines)", "\n".join(lines)


def _problem(telling: Telling, declared: Declaration) -> list[str]:
    memory = telling.memory
    return [
        f"{declared.title}.",
        f"{declared.meaning}.",
        *([f"{_detail(memory, declared)}."] if memory.detail else []),
        f"Since: {_moment(memory.since or telling.at)}",
        *([_held_back(memory.held_back)] if memory.held_back else []),
    ]


def _recovery(telling: Telling, declared: Declaration) -> list[str]:
    since = telling.memory.since or telling.at
    return [
        f"{declared.recovered}.",
        f"It had begun at {_moment(since)}, and was over at {_moment(telling.at)}.",
    ]


def _detail(memory: Memory, declared: Declaration) -> str:
    return memory.detail if declared.is_state else memory.detail.format(number=memory.number)


def _held_back(number: int) -> str:
    times = "once" if number == 1 else f"{number} times"
    return f"Held back: the same began and ended {times} since the last alert of this kind."


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

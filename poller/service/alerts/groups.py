"""The alerts of many pipelines in one process. People get one message, and not hundreds.

A cause that all pipelines share, such as a network that is down, lets each of them tell the same.
So an alert waits a minute for the same alert of the others, and one message tells of all of them.
The next message of that kind comes five minutes later at the earliest.

Each pipeline keeps its alert in its own queue until the message has arrived. So a restart loses
none, and the alerts that waited for a target are one message too.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from poller.service.alerts.kinds import Kind, Severity
from poller.service.alerts.outbox import QueuedAlert, delay_after
from poller.service.alerts.sender import Deliver, Target, send_alone
from poller.service.alerts.texts import group_text

GATHER_S = 60.0
"""The time that an alert waits for the same alert of other pipelines."""
PAUSE_S = 300.0
"""The shortest time between two messages of one kind to one target."""


_Key = tuple[str, Kind, Severity]


@dataclass(slots=True)
class _Group:
    """The alerts of one kind for one target, by pipeline.

    `arrived` holds the bodies of those that arrived, until their pipelines have learned it.
    """

    due_at: float = float("-inf")
    failures: int = 0
    is_sending: bool = False
    waiting: dict[str, QueuedAlert] = field(default_factory=dict)
    arrived: dict[str, str] = field(default_factory=dict)


class AlertGroups:
    """The alerts of all pipelines of a process that wait for each other. Thread-safe.

    `options` are those by which a command finds all pipelines.
    """

    def __init__(self, options: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._monotonic = monotonic
        self._groups: dict[_Key, _Group] = {}
        self._lock = threading.Lock()

    def of(self, pipeline: str) -> Deliver:
        """Return what delivers the alerts of a pipeline."""
        return partial(self._deliver, pipeline)

    def _deliver(self, pipeline: str, target: Target, queued: QueuedAlert) -> bool:
        """Send the whole group if it is time, and return whether this alert has arrived.

        Raises:
            TransientError: the group may not have arrived.
        """
        with self._lock:
            key = (target.key, queued.kind, queued.severity)
            group = self._groups.setdefault(key, _Group())
            if group.arrived.pop(pipeline, None) == queued.body:
                return True
            if not group.waiting:
                group.due_at = max(group.due_at, self._monotonic() + GATHER_S)
            group.waiting[pipeline] = queued
            if group.is_sending or self._monotonic() < group.due_at:
                return False
            group.is_sending = True
            alerts = dict(group.waiting)
        try:
            self._send(target, alerts)
        except BaseException:
            self._note_failure(group)
            raise
        self._note_arrival(group, alerts)
        return True

    def _send(self, target: Target, alerts: dict[str, QueuedAlert]) -> None:
        one, *others = alerts.values()
        if not others:
            send_alone(target, one)
            return
        bodies = {pipeline: queued.body for pipeline, queued in alerts.items()}
        title, body = group_text(one.kind, one.severity, bodies, self._options)
        target.send(title, body, one.severity)

    def _note_failure(self, group: _Group) -> None:
        with self._lock:
            group.is_sending = False
            group.due_at = self._monotonic() + delay_after(group.failures).total_seconds()
            group.failures += 1

    def _note_arrival(self, group: _Group, alerts: dict[str, QueuedAlert]) -> None:
        with self._lock:
            group.is_sending, group.failures = False, 0
            group.due_at = self._monotonic() + PAUSE_S
            group.arrived.update({name: queued.body for name, queued in alerts.items()})
            group.waiting.clear()  # an alert that came meanwhile is offered again

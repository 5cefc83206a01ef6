"""The alerts of pipelines that cannot be opened. Their ledgers may be out of reach.

So the memory of these alerts is in the process. A failure that outlives the process is told again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from poller.service.alerts.dead_mans_switch import Pings
from poller.service.alerts.kinds import Kind
from poller.service.alerts.rules import Condition
from poller.service.alerts.sender import AlertSender, Deliver, Target, send_alone
from poller.service.alerts.texts import Place
from poller.service.alerts.watch import Watch
from poller.service.observability.systemd import Supervisor

Row = Mapping[str, Any]
FAILED = "failed"


class FailureWatch(Watch):
    """The only state of a pipeline that may not be open: whether it has failed."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def settled(self) -> int:
        return 0

    @property
    def is_blocked(self) -> bool:
        return self._supervisor.condition.kind == FAILED

    def conditions(self, at: datetime) -> dict[Kind, Condition | None]:
        del at
        now = self._supervisor.condition
        if now.kind != FAILED:
            return {Kind.FAILED: None}
        detail = f"The error is {now.code}" if now.code else ""
        return {Kind.FAILED: Condition(since=now.since, detail=detail, section=now.code or "")}

    def marks(self) -> dict[Kind, str]:
        return {}


class FailurePings(Pings):
    """The pings of a pipeline that may not be open."""

    def start(self, text: str) -> None:
        """Send nothing. A pipeline that is open says by itself that it began."""


class AlertMemory:
    """The state of the alerts of one pipeline, in place of its ledger."""

    def __init__(self) -> None:
        self._rows: tuple[Sequence[Row], Sequence[Row]] = ((), ())

    def read_alerts(self) -> tuple[Sequence[Row], Sequence[Row]]:
        return self._rows

    def write_alerts(self, memories: Iterable[Row], queued: Iterable[Row]) -> None:
        self._rows = ([*memories], [*queued])

    def alert_facts(self) -> Row:
        return {}


class FailureAlerts:
    """Tells of the failures of one pipeline, each at most once an hour. Used by one thread."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        deliver: Deliver = send_alone,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._watch = FailureWatch(supervisor)
        self._deliver = deliver
        self._now = now
        self._memory = AlertMemory()
        self._sender: AlertSender | None = None

    def address(
        self, targets: Sequence[Target], place: Place, pings: FailurePings | None = None
    ) -> None:
        """Send to these targets from now on, and these pings."""
        if self._sender is not None:
            self._sender.end(None)
        self._sender = AlertSender(
            *(self._watch, self._memory, targets, place),
            pings=pings,
            deliver=self._deliver,
            now=self._now,
        )
        self._sender.load()

    def look(self) -> None:
        """Tell what is to be told, and send what is due."""
        if self._sender is not None:
            self._sender.look()

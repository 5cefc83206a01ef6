"""A daemon's alerts in virtual time, with receivers in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.core.errors import TransientError
from poller.core.forward import Forwarded
from poller.core.log_ids import EARLIEST
from poller.core.spans import Span
from poller.service.alerts.dead_mans_switch import Pings
from poller.service.alerts.kinds import Severity
from poller.service.alerts.sender import AlertSender, Deliver, send_alone
from poller.service.alerts.texts import Place
from poller.service.alerts.watch import Watch
from poller.service.lifecycle.backlog import NO_BACKLOG, Backlog
from tests.builders import page, settlement
from tests.fakes import STREAM, numbered

BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
PLACE = Place(host="box1", domain="acme.us.auth0.com", source_name="web", options=" --config x")


class Receiver:
    """A target of alerts. It fails while `is_failing`."""

    def __init__(self, key: str = "a") -> None:
        self.name = f"1 ({key})"
        self.key = key
        self.is_failing = False
        self.attempts = 0
        self.titles: list[str] = []
        self.bodies: list[str] = []
        self.severities: list[str] = []

    def send(self, title: str, body: str, severity: Severity) -> None:
        self.attempts += 1
        if self.is_failing:
            raise TransientError("it answered 503")
        self.titles.append(title.removesuffix(" (acme.us.auth0.com to web)"))
        self.bodies.append(body)
        self.severities.append(severity)


class MemoryLedger:
    """The alerts' part of a ledger. It cannot be written or read while `is_failing`."""

    def __init__(self) -> None:
        self.state: tuple[list[Any], list[Any]] = ([], [])
        self.gaps: list[datetime] = []
        self.dead_letters: dict[str, int] = {}
        self.is_failing = False
        self.writes = 0

    def read_alerts(self) -> tuple[list[Any], list[Any]]:
        return self.state

    def write_alerts(
        self, memories: Iterable[Mapping[str, Any]], queued: Iterable[Mapping[str, Any]]
    ) -> None:
        if self.is_failing:
            raise TransientError("the disk is full")
        self.writes += 1
        self.state = ([*memories], [*queued])

    def alert_facts(self) -> dict[str, Any]:
        if self.is_failing:
            raise TransientError("the disk is full")
        return {"gaps": tuple(self.gaps), "dead_letters": dict(self.dead_letters)}


class Switch:
    """A dead man's switch as Healthchecks is one: it knows when a ping is late.

    `falls` are the times at which it would tell people that the check is down.
    """

    def __init__(self, clock: "Bench", *, period: timedelta, grace: timedelta) -> None:
        self._clock = clock
        self._patience = period + grace
        self.pings: list[tuple[str, str | None]] = []
        self.last_success: datetime | None = None
        self.is_down = False
        self.falls: list[datetime] = []
        self.rises: list[datetime] = []

    def ping(self, kind: str, text: str = "", *, run_id: str | None = None) -> None:
        del text
        if kind != "success" or not self.pings or self.pings[-1][0] != "success":
            self.pings.append((kind, run_id))
        if kind == "success":
            self.last_success = self._clock.now
            if self.is_down:
                self.is_down = False
                self.rises.append(self._clock.now)
        elif kind == "fail":
            self._fall()

    def tick(self) -> None:
        """Look whether the next ping is late."""
        if self.last_success is not None and self._clock.now - self.last_success > self._patience:
            self._fall()

    def _fall(self) -> None:
        if not self.is_down:
            self.is_down = True
            self.falls.append(self._clock.now)


class Recorder:
    """A switch that only notes the kinds of its pings. It fails while `is_failing`."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.is_failing = False

    def ping(self, kind: str, text: str = "", *, run_id: str | None = None) -> None:
        del text, run_id
        if self.is_failing:
            raise TransientError("it answered 503")
        self.kinds.append(kind)


class Bench:
    """One daemon with its alerts. Time passes by `run` only."""

    def __init__(
        self,
        ledger: Any = None,
        *receivers: Receiver,
        deliver: Deliver = send_alone,
        place: Place = PLACE,
    ) -> None:
        self.deliver = deliver
        self.place = place
        self.now = BEGIN
        self.elapsed_s = 0.0
        self.ledger = ledger or MemoryLedger()
        self.receivers = receivers or (Receiver(),)
        self.receiver = self.receivers[0]
        self.backlog: Backlog = NO_BACKLOG
        self.is_settling = True
        self.switch = Switch(self, period=timedelta(minutes=1), grace=timedelta(minutes=5))
        span = Span(id=1, stream=STREAM, after=EARLIEST, reached=numbered(1))
        self._settlement = settlement(span, page(2))
        self.start()

    def start(self) -> None:
        """Begin a process."""
        self.watch = Watch(
            timedelta(seconds=30), monotonic=lambda: self.elapsed_s, now=lambda: self.now
        )
        self.watch.watch_backlog(lambda: self.backlog)
        self.sender = AlertSender(
            self.watch,
            self.ledger,
            self.receivers,
            self.place,
            deliver=self.deliver,
            pings=Pings(self.switch, monotonic=lambda: self.elapsed_s),  # type: ignore[arg-type]
            now=lambda: self.now,
        )
        self.sender.load()

    def settle(self) -> None:
        """Settle a page that sees the end of the log."""
        self.watch.note_time(self.now)
        settled = self._settlement
        read = replace(settled.page, served_at=self.now, believed_at=self.now, drained_to=self.now)
        self.watch.count_settled(
            Forwarded(cursor=settled.cursor, settlement=replace(settled, page=read))
        )

    def run(self, *, minutes: float = 0, step_s: float = 60.0) -> None:
        """Let time pass. A page is settled at each step, unless the daemon cannot."""
        for _ in range(max(round(minutes * 60 / step_s), 1)):
            self.now += timedelta(seconds=step_s)
            self.elapsed_s += step_s
            if self.is_settling and not self.watch.is_blocked:
                self.settle()
                self.watch.set_blocked(is_blocked=False)
            self.sender.look()
            self.switch.tick()

    @property
    def told(self) -> list[str]:
        """The titles of the alerts that the first receiver got since the last call."""
        told, self.receiver.titles = self.receiver.titles, []
        return told

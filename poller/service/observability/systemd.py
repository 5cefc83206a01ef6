"""The messages to systemd, after sd_notify(3).

systemd names a socket in $NOTIFY_SOCKET. The daemon sends it datagrams of lines such as
`STATUS=...`. Four kinds of message matter:

- READY=1 ends the start of the unit. A unit of Type=notify waits for it.
- STATUS is the text that `systemctl status` shows.
- EXTEND_TIMEOUT_USEC asks for more time than the unit gives, to start or to stop.
- WATCHDOG=1 is the sign of life that WatchdogSec= asks for. systemd kills a daemon that sends none
  in time, and starts it again. The daemon sends it only while its heartbeat is alive (see
  `liveness`), so a loop that hangs is killed although the process is well.

The manual page promises that the protocol does not change. So no library is needed. Of the
libraries, sdnotify had its last release in 2017, and cysystemd and systemd-python need a compiler
and libsystemd.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.core.errors import FatalError, PollerError, TransientError
from poller.core.text.plain_text import visible
from poller.service.lifecycle.backlog import NO_BACKLOG, Backlog
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.process import GRACE_S

OPENING = timedelta(minutes=10)
"""The time that a start may take. An older ledger is brought to the new version first."""
_ENDING = timedelta(seconds=GRACE_S + 2)
_SEND_TIMEOUT_S = 2.0
_BEATS_PER_WATCHDOG = 3  # sd_watchdog_enabled(3) advises two


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The condition of the daemon since `since`, by the clock of this machine.

    `kind` is `starting`, `standby`, `running`, `postponed`, `blocked`, `failed` or `stopping`. A
    postponed, blocked or failed daemon has a reason, and so has one that stands by. A postponed or
    failed one says when it tries again. A blocked one has the code of the error and a hint on what
    to do, and so may a failed one.
    """

    kind: str
    since: datetime
    reason: str | None = None
    code: str | None = None
    hint: str | None = None
    next_try_at: datetime | None = None


class Notifier:
    """The sender of messages to systemd. Without an address, nothing is sent.

    A socket without a listener does not stop the program either.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        if address and address.startswith("@"):
            # Such a name is in the abstract namespace. The kernel wants a zero byte first.
            self._address = "\0" + address[1:]

    def send(self, **fields: object) -> None:
        """Send one message with these fields. Thread-safe. Never raises."""
        if not self._address:
            return
        lines = (
            f"{name}={visible(' '.join(str(value).split()))}" for name, value in fields.items()
        )
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.settimeout(_SEND_TIMEOUT_S)
            sender.sendto("\n".join(lines).encode(), self._address)


class Supervisor:
    """The reports to systemd about the daemon. Thread-safe. No method raises.

    `watchdog` is the time within which systemd expects a sign of life. None means that it expects
    none.
    """

    def __init__(
        self,
        notifier: Notifier,
        heartbeat: Heartbeat,
        *,
        watchdog: timedelta | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._notifier = notifier
        self.heartbeat = heartbeat
        self.watchdog = watchdog
        self._monotonic = monotonic
        self._now = now
        self._due_at = float("-inf")
        self._last_cycle = "none yet"
        self.condition = Condition(kind="starting", since=now())

    @classmethod
    def of(cls, environ: Mapping[str, str], heartbeat: Heartbeat) -> "Supervisor":
        """Build the supervisor that the environment of a unit asks for."""
        return cls(Notifier(environ.get("NOTIFY_SOCKET")), heartbeat, watchdog=_watchdog(environ))

    def opening(self) -> None:
        """Tell that the ledger is about to be opened, which may take long."""
        self._notifier.send(STATUS="opening the ledger", EXTEND_TIMEOUT_USEC=_microseconds(OPENING))

    def standing_by(self, error: TransientError) -> None:
        """Tell that the process waits until another one has ended. Its start is done."""
        self._become("standby", reason=str(error))
        self._notifier.send(READY=1, STATUS=f"standby, and takes over when it is free: {error}")

    def ready(self) -> None:
        """Tell that settings and ledger are usable. The services may still not answer."""
        self._notifier.send(READY=1, STATUS="started; the first cycle is under way")

    def reloading(self) -> None:
        """Tell that the settings are read again."""
        self._notifier.send(
            RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000, STATUS="reading the settings"
        )

    def reloaded(self, status: str) -> None:
        """Tell that the settings were read again, and what came of it."""
        self._notifier.send(READY=1, STATUS=status)

    def tell(self, status: str) -> None:
        """Tell the state of all pipelines in one line."""
        self._notifier.send(STATUS=status)

    def stopping(self) -> None:
        """Tell that the daemon ends, after the page at hand."""
        self._become("stopping")
        self._notifier.send(
            STOPPING=1,
            STATUS="settling the page at hand",
            EXTEND_TIMEOUT_USEC=_microseconds(_ENDING),
        )

    def ended(self, error: FatalError) -> None:
        """Tell that a fatal error ends the process. systemd keeps the text until the next start."""
        self._notifier.send(STATUS=f"ended, and is not started again: {error}: {error.hint}")

    def look(self) -> None:
        """Send a sign of life if one is due and the loop is alive.

        Call this about every second, from another thread than the loop's.
        """
        if self.watchdog is None or self._monotonic() < self._due_at:
            return
        if not self.heartbeat.is_alive:
            return
        self._due_at = self._monotonic() + self.watchdog.total_seconds() / _BEATS_PER_WATCHDOG
        self._notifier.send(WATCHDOG=1)

    def progressed(self, count: CycleCount, backlog: Backlog = NO_BACKLOG) -> None:
        """Tell how far a long cycle is."""
        self._notifier.send(
            STATUS=f"{_newest(count)}; draining: {_counts(count)} so far{_backlog(backlog)}"
        )

    def finished(self, count: CycleCount, backlog: Backlog = NO_BACKLOG) -> None:
        """Tell that a cycle reached the end of the log."""
        self._become("running")
        self._last_cycle = f"{self._now():%Y-%m-%d %H:%M:%S} UTC"
        counts = _counts(count)
        self._notifier.send(
            STATUS=f"{_newest(count)}; last cycle {self._last_cycle}: {counts}{_backlog(backlog)}"
        )

    def postponed(self, error: TransientError, delay: timedelta) -> None:
        """Tell that a cycle failed and when the next one begins."""
        self._become("postponed", reason=str(error), next_try_at=self._now() + delay)
        wait = f"trying again in {delay.total_seconds():.0f} s"
        self._notifier.send(STATUS=f"{wait}: {error}; last whole cycle: {self._last_cycle}")

    def blocked(self, error: FatalError) -> None:
        """Tell that nothing goes on until somebody acts."""
        self._become("blocked", reason=str(error), code=error.code, hint=error.hint)
        self._notifier.send(
            STATUS=f"blocked: {error}: {error.hint}; last whole cycle: {self._last_cycle}"
        )

    def failed(self, error: PollerError, delay: timedelta) -> None:
        """Tell that a pipeline could not be opened, or was closed by an error, and is retried."""
        known = {"code": error.code, "hint": error.hint} if isinstance(error, FatalError) else {}
        self._become("failed", reason=str(error), next_try_at=self._now() + delay, **known)

    def _become(self, kind: str, **facts: Any) -> None:
        """Note the condition. It keeps the time at which it began, while its kind stays."""
        before = self.condition
        since = before.since if before.kind == kind else self._now()
        self.condition = Condition(kind=kind, since=since, **facts)


def _watchdog(environ: Mapping[str, str]) -> timedelta | None:
    """Return the watchdog's time, if it is meant for this process (sd_watchdog_enabled(3))."""
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    is_number = limit.isascii() and limit.isdigit() and int(limit) > 0
    is_ours = not pid or pid == str(os.getpid())
    if is_number and is_ours:
        return timedelta(microseconds=int(limit))
    return None


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _newest(count: CycleCount) -> str:
    """Return the age of the newest event when it was read."""
    age_s = count.facts().get("newest_age_s")
    if age_s is None:
        return "no event with a date" if count.read else "no new event"
    return f"newest event {age_s:.0f} s old"


def _counts(count: CycleCount) -> str:
    return f"{count.read} read, {count.forwarded} forwarded, {count.dead_lettered} dead-lettered"


def _backlog(backlog: Backlog) -> str:
    """Return what is left of a backlog, which the newest event does not show."""
    if backlog.since is None:
        return ""
    hours = backlog.time_left / timedelta(hours=1)
    text = f"; catching up since {backlog.since:%Y-%m-%d %H:%M} UTC: {hours:.1f} h of the log left"
    if backlog.postponed:
        return f"{text}, postponed: {backlog.postponed}"
    return text

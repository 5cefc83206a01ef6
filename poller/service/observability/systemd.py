"""What systemd is told of the daemon, and how: sd_notify(3).

The protocol is a datagram, and its manual page promises that it stays so. That is no reason for a dependency: sdnotify
has had no release since 2017, cysystemd and systemd-python need a compiler and libsystemd.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from poller.core.errors import FatalError, TransientError
from poller.core.text.plain_text import visible
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.process import GRACE_S

OPENING = timedelta(minutes=10)
"""What a start may take: an older ledger is brought to the new version first."""
_ENDING = timedelta(seconds=GRACE_S + 2)
_SEND_TIMEOUT_S = 2.0
_BEATS_PER_WATCHDOG = 3  # sd_watchdog_enabled(3) advises two


class Notifier:
    """Sends to the socket that systemd names; without one, and where it does not listen, nothing happens."""

    def __init__(self, address: str | None) -> None:
        # A name that begins with @ is in the abstract namespace, spelled with a zero byte for the kernel.
        self._address = "\0" + address[1:] if address and address.startswith("@") else address

    def send(self, **fields: object) -> None:
        """One message; its fields are in capitals as sd_notify(3) has them. Thread-safe, never raises."""
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
    """Tells systemd how the daemon fares, and that it lives for as long as its loop does.

    `watchdog` is what systemd waits for a sign of life; None: it does not.
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

    @classmethod
    def of(cls, environ: Mapping[str, str], heartbeat: Heartbeat) -> "Supervisor":
        """As the service manager asks in the environment."""
        return cls(Notifier(environ.get("NOTIFY_SOCKET")), heartbeat, watchdog=_watchdog(environ))

    def opening(self) -> None:
        """The ledger is about to be opened."""
        self._notifier.send(STATUS="opening the ledger", EXTEND_TIMEOUT_USEC=_microseconds(OPENING))

    def ready(self) -> None:
        """Settings and ledger proved usable; whether the services answer is another matter."""
        self._notifier.send(READY=1, STATUS="started; the first cycle is under way")

    def stopping(self) -> None:
        self._notifier.send(
            STOPPING=1,
            STATUS="settling the page at hand",
            EXTEND_TIMEOUT_USEC=_microseconds(_ENDING),
        )

    def ended(self, error: FatalError) -> None:
        """A fatal error ends the process; systemd keeps the text until the next start."""
        self._notifier.send(STATUS=f"ended, and is not started again: {error}: {error.hint}")

    def look(self) -> None:
        """To be called about every second, by a thread that is not the loop's: passes its heartbeat on."""
        if self.watchdog is None or self._monotonic() < self._due_at or not self.heartbeat.is_alive:
            return
        self._due_at = self._monotonic() + self.watchdog.total_seconds() / _BEATS_PER_WATCHDOG
        self._notifier.send(WATCHDOG=1)

    def progressed(self, count: CycleCount) -> None:
        self._notifier.send(STATUS=f"lag {_lag(count)}; catching up: {_counts(count)} so far")

    def finished(self, count: CycleCount) -> None:
        self._last_cycle = f"{self._now():%Y-%m-%d %H:%M:%S} UTC"
        self._notifier.send(
            STATUS=f"lag {_lag(count)}; last cycle {self._last_cycle}: {_counts(count)}"
        )

    def postponed(self, error: TransientError, delay: timedelta) -> None:
        wait = f"trying again in {delay.total_seconds():.0f} s"
        self._notifier.send(STATUS=f"{wait}: {error}; last whole cycle: {self._last_cycle}")

    def blocked(self, error: FatalError) -> None:
        self._notifier.send(
            STATUS=f"blocked: {error}: {error.hint}; last whole cycle: {self._last_cycle}"
        )


def _watchdog(environ: Mapping[str, str]) -> timedelta | None:
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    if not (limit.isascii() and limit.isdigit() and int(limit)) or (
        pid and pid != str(os.getpid())
    ):
        return None
    return timedelta(microseconds=int(limit))


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _lag(count: CycleCount) -> str:
    # A cycle that read nothing found the end of the log: nothing is late.
    return f"{count.facts().get('lag_s', 0.0):.0f} s"


def _counts(count: CycleCount) -> str:
    return f"{count.read} read, {count.forwarded} forwarded, {count.dead_lettered} dead-lettered"

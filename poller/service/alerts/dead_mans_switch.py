"""The pings to a dead man's switch, and the times at which they are sent.

- A ping of success goes out about once a minute, and only after a page was settled since the last
  one. The log of a quiet tenant is read too, so its empty pages count.
- A ping of failure goes out with the alert that nothing is forwarded, and when a fatal error closes
  a pipeline of several. Every other alert, each recovery and the stop of the daemon leave a line in
  the log of the switch.

A ping that fails is not repeated. The switch sees the silence.
"""

import time
import uuid
from collections.abc import Callable
from typing import Literal, Protocol

import structlog

from poller.core.errors import PollerError
from poller.service.alerts.kinds import KINDS
from poller.service.alerts.rules import Telling
from poller.service.alerts.texts import Alert

PING_S = 60.0

log = structlog.get_logger()


class Switch(Protocol):
    """A dead man's switch."""

    def ping(
        self,
        kind: Literal["success", "start", "fail", "log"],
        text: str = "",
        *,
        run_id: str | None = None,
    ) -> None:
        """Send one ping, with this text.

        Raises:
            TransientError: the ping may not have arrived.
        """
        ...


class Pings:
    """The pings of one daemon. Used by one thread."""

    def __init__(self, switch: Switch, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._switch = switch
        self._monotonic = monotonic
        self._run_id: str | None = str(uuid.uuid4())
        self._settled = 0
        self._due_at = float("-inf")
        self._has_warned = False

    def start(self, text: str) -> None:
        """Tell that the daemon begins. The first success has the same run id."""
        self._ping("start", text)

    def look(self, settled: int, *, is_blocked: bool) -> None:
        """Send a ping of success if it is time. `settled` counts the pages since the start."""
        if is_blocked or settled == self._settled or self._monotonic() < self._due_at:
            return
        if self._ping("success"):
            self._settled, self._due_at = settled, self._monotonic() + PING_S
            self._run_id = None

    def tell(self, telling: Telling, alert: Alert) -> None:
        """Tell of an alert, as a failure if nothing is forwarded."""
        is_down = KINDS[alert.kind].is_down and not telling.is_recovery
        self._ping("fail" if is_down else "log", f"{alert.title}\n{alert.body}")

    def fail(self, text: str) -> None:
        """Tell that nothing is forwarded."""
        self._ping("fail", text)

    def stop(self, text: str) -> None:
        """Tell that the daemon was told to stop."""
        self._ping("log", text)

    def _ping(self, kind: Literal["success", "start", "fail", "log"], text: str = "") -> bool:
        run_id = self._run_id if kind in {"start", "success"} else None
        try:
            self._switch.ping(kind, text, run_id=run_id)
        except PollerError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning("heartbeat.not_sent", reason=str(error))
            return False
        if self._has_warned:
            self._has_warned = False
            log.info("heartbeat.sent_again")
        return True

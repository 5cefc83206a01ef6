"""The hourly comparison of what Segment acknowledged with what Segment received, in the daemon.

It has a thread and connections of its own, so that no forwarding ever waits for it.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from poller.core.errors import PollerError
from poller.service.observability.instrumented import Observer, SegmentCounts

log = structlog.get_logger()

MINUTE_OF_LOOK = 12
"""The minute of each hour in which the look begins.

The counts of an hour are final ten minutes after it. So the look of the next hour sees them.
"""
MOST_MISSING = 200
MOST_MISSING_SHARE = 0.01
"""Above both of these bounds the alert fires. One page gives about 200 messages."""
_HOUR = timedelta(hours=1)
_HINT = "the delivery overview of the source in Segment names the hours and the reasons"

Look = Callable[[], SegmentCounts | None]


class HourlyLook:
    """Takes a look once an hour and tells an observer what it found.

    `look` compares the counts. It returns None if the ledger has counted nothing yet.
    """

    def __init__(
        self,
        look: Look,
        observer: Observer,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._look = look
        self._observer = observer
        self._now = now
        self._sleep = sleep

    def start(self) -> None:
        """Begin to look. The thread ends with the process."""
        threading.Thread(target=self._run, name="segment-look", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.wait_and_look()

    def wait_and_look(self) -> None:
        """Wait for the next time, and take one look. A failure is one line and one count."""
        self._sleep(seconds_to_wait(self._now()))
        try:
            counts = self._look()
        except PollerError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - a bug here must not touch the daemon
            self._fail(type(error).__name__)
        else:
            if counts is not None:
                self._tell(counts)

    def _tell(self, counts: SegmentCounts) -> None:
        self._observer.set_segment_counts(counts)
        if is_alarming(counts):
            log.warning(
                "segment.messages_missing",
                missing=counts.missing,
                acknowledged=counts.acknowledged,
                hint=_HINT,
            )

    def _fail(self, reason: str) -> None:
        self._observer.count_failed_look()
        log.warning("segment.not_compared", reason=reason)


def seconds_to_wait(now: datetime) -> float:
    """Return the time until the look of this hour or of the next one."""
    at = now.replace(minute=MINUTE_OF_LOOK, second=0, microsecond=0)
    return ((at if now < at else at + _HOUR) - now).total_seconds()


def is_alarming(counts: SegmentCounts) -> bool:
    """Return whether the alert fires for these counts."""
    return counts.missing > max(MOST_MISSING, MOST_MISSING_SHARE * counts.acknowledged)

"""The hourly comparison of what Segment acknowledged with what Segment received, in the daemon.

It has a thread and connections of its own, so that no forwarding ever waits for it.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime

import structlog

from poller.adapters.segment.public_api import PublicApi, RequestRefusedError
from poller.adapters.segment.source_counts import read_source_counts
from poller.adapters.sql_ledger.counts_reader import CountsReader
from poller.cli.segment_proof.access import has_write_key, public_api
from poller.cli.wiring.services import stream_of
from poller.config import Settings
from poller.core.counts import AcknowledgedCounts, SourceCounts, beginning_of_hour
from poller.core.errors import PollerError
from poller.service.observability.instrumented import Observer, SegmentCounts, is_alarming
from poller.service.upstream.threads import start_thread
from poller.service.verify.hour_figures import HOUR, REPEAT_HOURS
from poller.service.verify.received import FINAL_AFTER, SourceVerdict, compare_with_source

log = structlog.get_logger()

MINUTE_OF_LOOK = 12
"""The minute of each hour in which the look begins.

The counts of an hour are final ten minutes after it. So the look of the next hour sees them.
"""
HOURS_OF_ALERT = 24
_REASON = re.compile(r"[a-z][a-z_]{0,49}")
_HINT = "`verify --segment` names the hours, the events and the reasons"

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
        sleep: Callable[[float], object] = time.sleep,
        stopping: threading.Event | None = None,
    ) -> None:
        self._look = look
        self._stopping = stopping or threading.Event()
        self._observer = observer
        self._now = now
        self._sleep = sleep

    def start(self) -> None:
        """Begin to look. The thread ends at the stop, or with the process."""
        start_thread(self._run, "segment-look")

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.wait_and_look()

    def wait_and_look(self) -> None:
        """Wait for the next time, and take one look. A failure is one line and one count."""
        self._sleep(seconds_to_wait(self._now()))
        if self._stopping.is_set():
            return
        try:
            counts = self._look()
        except RequestRefusedError as error:
            self._fail(f"{error}: {error.hint}")
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
                "source.messages_missing",
                missing=counts.missing,
                acknowledged=counts.acknowledged,
                hint=_HINT,
            )

    def _fail(self, reason: str) -> None:
        self._observer.count_failed_look()
        log.warning("source.not_compared", reason=reason)


def seconds_to_wait(now: datetime) -> float:
    """Return the time until the look of this hour or of the next one."""
    at = now.replace(minute=MINUTE_OF_LOOK, second=0, microsecond=0)
    return ((at if now < at else at + HOUR) - now).total_seconds()


def look_hourly(
    settings: Settings,
    now: Callable[[], datetime],
    observer: Observer,
    stopping: threading.Event | None = None,
) -> None:
    """Begin the hourly look, if the settings have a token of Segment's Public API.

    `now` tells the time of the services. The look gets no client of live polling, so that it never
    tells the watchdog that the live loop is alive.
    """
    if settings.segment.api_token is None:
        return
    stopping = stopping or threading.Event()
    HourlyLook(
        lambda: compare_last_day(settings, now()),
        observer,
        now=now,
        sleep=stopping.wait,
        stopping=stopping,
    ).start()


def compare_last_day(settings: Settings, now: datetime) -> SegmentCounts | None:
    """Compare the last 24 hours that are final. `now` is the time of the services.

    Raises:
        PollerError: the ledger or Segment's counts cannot be read.
    """
    until = beginning_of_hour(now - FINAL_AFTER)
    first = until - (HOURS_OF_ALERT + REPEAT_HOURS) * HOUR
    # The ledger is read before Segment's counts, so that it is never ahead of them.
    acknowledged = _read_acknowledged(settings, first, now + HOUR)
    with public_api(settings) as api:
        if api is None:
            return None
        counted = _read_counts(api, settings, first, now)
    since = until - HOURS_OF_ALERT * HOUR
    comparison = compare_with_source(acknowledged, counted, since=since, until=until, now=now)
    rows = [row for row in comparison.rows if row.verdict is not SourceVerdict.NOT_KNOWN]
    if comparison.known_since is None or comparison.known_since >= until:
        return None
    return SegmentCounts(
        at=now,
        acknowledged=sum(row.acknowledged for row in rows),
        received=sum(row.received for row in rows),
        missing=sum(row.shortfall for row in rows),
        failed=_by_reason(row.failed for row in rows),
        filtered=_by_reason(row.filtered for row in rows),
    )


def _read_acknowledged(settings: Settings, since: datetime, until: datetime) -> AcknowledgedCounts:
    with closing(CountsReader.open(settings.state.url)) as reader:
        return reader.acknowledged(stream_of(settings), since, until)


def _read_counts(
    api: PublicApi, settings: Settings, since: datetime, now: datetime
) -> SourceCounts:
    """Return the counts of the source. A write key of no source has received nothing."""
    source_id = settings.segment.source_id
    if source_id is None:
        sources = api.sources()
        source_id = next((each.id for each in sources if has_write_key(each, settings)), None)
        if source_id is None and any(each.write_keys for each in sources):
            return SourceCounts(since=since)
    if source_id is None:
        raise RequestRefusedError(
            "the source is not known: the token may not see write keys",
            hint="set segment.source_id to the id that stands in the URL of the source",
        )
    return read_source_counts(api, source_id, since, now)


def _by_reason(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums by reason. A reason that looks like none of Segment's is `other`."""
    found: Counter[str] = Counter()
    for each in counts:
        for reason, number in each.items():
            found[reason if _REASON.fullmatch(reason) else "other"] += number
    return dict(found)

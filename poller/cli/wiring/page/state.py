"""The state of the daemon as the live page shows it."""

from datetime import UTC, datetime
from typing import Any

from poller.adapters.sql_ledger.reader import running_process
from poller.cli.views.output import to_json
from poller.cli.views.status import Report, StreamReport
from poller.config import Settings
from poller.core.errors import PollerError
from poller.core.text.dates import iso
from poller.service.observability.systemd import Supervisor
from poller.service.page.numbers import Numbers
from poller.service.page.ranges import ranges_of, slices_of


class PageState:
    """Reads the state: from the daemon itself, from its metrics, and from the ledger."""

    def __init__(
        self, settings: Settings, report: Report, supervisor: Supervisor, numbers: Numbers
    ) -> None:
        self._settings = settings
        self._report = report
        self._supervisor = supervisor
        self._numbers = numbers

    def read(self) -> dict[str, Any]:
        """Return the state. A ledger that cannot be read now is a problem, and not the end."""
        now = datetime.now(UTC)
        state = {
            "at": iso(now),
            "condition": to_json(self._supervisor.condition),
            "numbers": self._numbers.now(),
            "sample": self._numbers.sample(),
            "settings": {
                "domain": self._settings.auth0.domain,
                "source_name": self._settings.segment.source_name,
                "poll_interval_s": self._settings.poll.interval.total_seconds(),
            },
        }
        try:
            return {**state, **self._ledger(now), "problem": None}
        except PollerError as error:
            return {**state, **_NO_LEDGER, "problem": str(error)}

    def _ledger(self, now: datetime) -> dict[str, Any]:
        report = self._report(now)
        stream = next((each for each in report.streams if self._is_own(each)), None)
        backfill = running_process(self._settings.state.url, "backfill")
        return {
            "status": to_json(stream),
            "is_backfill_running": backfill is not None,
            "ranges": _ranges(stream, now) if stream else [],
            "slices": slices_of(stream.cursors) if stream else [],
        }

    def _is_own(self, stream: StreamReport) -> bool:
        segment = self._settings.segment
        own = (self._settings.auth0.domain, segment.source_name or "", segment.generation)
        return (stream.domain, stream.source_name, stream.generation) == own


_NO_LEDGER: dict[str, Any] = {
    "status": None,
    "is_backfill_running": None,
    "ranges": [],
    "slices": [],
}


def _ranges(stream: StreamReport, now: datetime) -> list[dict[str, Any]]:
    return ranges_of(stream.cursors, stream.gaps, stream.holes, stream.known_since, now)

"""From settings to the metrics, and to the listener that tells them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

from poller.adapters.http import Observe
from poller.config import Settings
from poller.core.forward import Forwarded
from poller.core.ports import Budget, LogSource, MessageSink
from poller.core.spans import Span
from poller.core.translation.event_facts import SIGNUP
from poller.service.lifecycle.cycles import CycleJournal
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.health import Health
from poller.service.observability.instrumented import (
    MeteredBudget,
    MeteredJournal,
    MeteredLog,
    MeteredSink,
    watch,
)
from poller.service.observability.meter import Meter

_DISTRIBUTION = "auth0-segment-poller"
_AUTH0_CALLS = {"/api/v2/logs": "logs", "/api/v2/users": "users", "/oauth/token": "token"}
_SEGMENT_CALLS = {"/v1/batch": "batch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrumentation:
    """Puts a meter beside the parts that work; without one they stay as they are."""

    meter: Meter | None = None

    def requests(self) -> tuple[Observe, Observe]:
        """Who is told of the requests to Auth0, and of those to Segment."""
        if self.meter is None:
            return _nobody, _nobody
        return self.meter.requests("auth0", _AUTH0_CALLS), self.meter.requests(
            "segment", _SEGMENT_CALLS
        )

    def budget(self, budget: Budget) -> Budget:
        return MeteredBudget(budget, self.meter) if self.meter else budget

    def log(self, source: LogSource) -> LogSource:
        return MeteredLog(source, self.meter) if self.meter else source

    def sink(self, sink: MessageSink) -> MessageSink:
        return MeteredSink(sink, self.meter) if self.meter else sink

    def pages(self, pages: Callable[[], Iterator[Forwarded]]) -> Callable[[], Iterator[Forwarded]]:
        meter = self.meter
        return (lambda: watch(pages(), meter)) if meter else pages

    def journal(self, journal: CycleJournal) -> CycleJournal:
        return MeteredJournal(journal, self.meter) if self.meter else journal

    def begun(self, live: Span | None) -> None:
        if self.meter:
            self.meter.begun(live)

    def confirmed(self, confirmed_at: datetime | None) -> None:
        if self.meter:
            self.meter.confirmed(confirmed_at)

    def measured(self, retention: timedelta) -> None:
        if self.meter:
            self.meter.measured(retention)


NO_METRICS = Instrumentation()


@contextmanager
def watching(settings: Settings, heartbeat: Heartbeat, *, once: bool) -> Iterator[Instrumentation]:
    """Answers `/metrics`, `/healthz` and `/readyz` meanwhile, where the settings say so; one drain is not listened to.

    Raises:
        FatalError: it cannot listen there.
    """
    if once or settings.metrics.listen is None:
        yield NO_METRICS
        return
    # Here, so that who does not listen does not wait for the library.
    from poller.service.observability.http_endpoint import Listener, routes_of  # noqa: PLC0415 - same

    meter = Meter({*settings.logins.types, SIGNUP})
    health = Health(meter, heartbeat, ready_lag=settings.metrics.ready_lag + settings.poll.interval)
    listener = Listener.open(
        *settings.metrics.listen, routes_of(meter, health, version(_DISTRIBUTION))
    )
    try:
        yield Instrumentation(meter=meter)
    finally:
        listener.close()


def _nobody(path: str, status: int | None, seconds: float) -> None:
    """Is told, and does nothing."""

"""The parts of the catch-up, which works on a backlog beside live polling.

Tracks of a backlog go where `catch_up.integrations` says. The identifies at the end hold the
profiles as they are then, so they go to all destinations, as those of live polling do.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from poller.adapters.auth0 import Auth0Log, Auth0Users, ManagementApi
from poller.adapters.http import Http
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.services import Services, rules_of, segment_sink
from poller.config import Settings
from poller.core.errors import PollerError, TransientError
from poller.core.forward import Forwarded
from poller.core.ports import MessageSink
from poller.core.spans import LogCursor
from poller.service.backfill.estimate import parallelism
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.daemon.backlog_workers import BacklogWorkers
from poller.service.daemon.catch_up import CatchUpRule
from poller.service.daemon.helped_slices import Helpers
from poller.service.lifecycle.process import Failed, Finished, Process, Reason, Work
from poller.service.observability.instrumented import (
    NO_OBSERVER,
    MeteredSink,
    Observer,
    metered_pages,
)
from poller.service.slices.deferred_identify import IdentifyRunner
from poller.service.slices.workers import SliceWorkers
from poller.service.upstream.background import BackgroundLimits
from poller.service.upstream.rate_limit import RateLimiter
from poller.service.upstream.send_rate import ThrottledSink

_USUAL_LATENCY_S = 0.1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpParts(BackfillParts):
    """The parts of a catch-up, whose slices belong to the process that runs it.

    The `observer` is told of each settled page and of each batch.
    """

    observer: Observer = NO_OBSERVER

    def until_daemon_takes_over(
        self, span: LogCursor, pages: Iterator[Forwarded]
    ) -> Iterator[Forwarded]:
        """Yield all pages, because this is the daemon."""
        del span
        return metered_pages(pages, self.observer)

    def identify_sink(self) -> MessageSink:
        return MeteredSink(self.services.segment, self.observer)


@contextmanager
def connect_background(
    settings: Settings, live: Services, stopping: threading.Event, observer: Observer
) -> Iterator[Services]:
    """Build clients that let those of live polling go first, under the same limits.

    Their requests do not tell the watchdog that the live loop is alive.
    """
    limits = BackgroundLimits(live.rate_limiter, live.send_rate, stopping)
    with ExitStack() as stack:

        def client(service: str, url: str) -> Http:
            observe = observer.requests_to(service.lower())
            http = Http(url, live.clients[service].clock, service=service, observe=observe)
            return stack.enter_context(closing(http))

        auth0 = client("Auth0", settings.auth0.base_url)
        segment = client("Segment", settings.segment.endpoint)
        api = ManagementApi(auth0, live.tokens, limits)
        tracks = segment_sink(settings, segment, stack, settings.catch_up.integrations)
        yield replace(
            live,
            log=Auth0Log(api, now=live.clock.now),
            users=Auth0Users(api, fields=rules_of(settings).profile_fields),
            segment=segment_sink(settings, segment, stack, None),
            sink=ThrottledSink(MeteredSink(tracks, observer), limits.wait),
            is_rate_limited=limits.is_rate_limited,
        )


def build_rule(
    settings: Settings,
    ledger: SqlLedger,
    rate_limiter: RateLimiter,
    begun: Callable[[datetime], None],
) -> CatchUpRule:
    """Build the decision when to catch up. `begun` is called after each beginning."""
    return CatchUpRule(
        ledger,
        behind=settings.poll.catch_up,
        pieces=lambda: _parallel(rate_limiter),
        begun=begun,
    )


def build_backlog_workers(
    settings: Settings,
    background: Services,
    ledger: SqlLedger,
    process: Work,
    *,
    observer: Observer,
    threads: BacklogThreads,
    helpers: Helpers | None,
) -> BacklogWorkers:
    """Build the work on the backlog while the daemon runs. Pipelines share the threads."""
    parts = CatchUpParts(settings=settings, services=background, ledger=ledger, observer=observer)

    def identifies() -> IdentifyRunner:
        # A failure postpones the identifies at once, so that no attempt waits inside the runner.
        since = identified_since(background)
        return parts.identify_runner(process, begun_at=since, role="run", patience=timedelta(0))

    return BacklogWorkers(
        parts.walker,
        ledger,
        process,
        identifies,
        parallel=lambda: _parallel(background.rate_limiter),
        threads=threads,
        helpers=helpers,
        is_rate_limited=background.is_rate_limited,
    )


def identified_since(background: Services) -> datetime:
    """Return the time from which on an identify that was sent is new enough: now.

    Before two clocks agree, it is later than any time. The host's clock alone may be late, and then
    a user whose last identify is old would be left out.
    """
    return background.clock.agreed() or datetime.max.replace(tzinfo=UTC)


def begin_backlog_job(
    settings: Settings,
    background: Services,
    ledger: SqlLedger,
    process: Process,
    end: Callable[[Reason], None],
) -> None:
    """Begin to work on the backlog as a job with an end, as `run --once` does.

    `end` is called when the job is done, at its first failure, and at once if there is no backlog.
    """
    spans, since = ledger.backlog(), ledger.catch_up_since()
    if not spans and since is None:
        end(Finished())
        return
    parts = CatchUpParts(settings=settings, services=background, ledger=ledger)

    def finish(reason: Reason) -> None:
        try:
            if isinstance(reason, Finished) and not process.stopping.is_set():
                _conclude(ledger, workers)
        except PollerError as error:
            reason = Failed(error)
        end(reason)

    workers = SliceWorkers(
        parts.walker,
        ledger,
        process,
        parallel=_parallel(background.rate_limiter),
        identifies=parts.identify_runner(
            process, begun_at=identified_since(background), role="run"
        ),
        is_rate_limited=background.is_rate_limited,
    )
    workers.begin(spans, finish)


def _conclude(ledger: SqlLedger, workers: SliceWorkers) -> None:
    """Note that the catch-up is over, unless another one has begun meanwhile.

    Raises:
        TransientError: a slice is not read to its end, or the ledger cannot be written.
    """
    if workers.unproved:
        raise TransientError("no answer of Auth0 proves that the backlog is read to its end")
    if not ledger.backlog():
        ledger.note_catch_up(since=None, error=None)
    log.info("catch_up.finished", lost=workers.lost, **workers.count.facts())


def _parallel(rate_limiter: RateLimiter) -> int:
    return parallelism(rate_limiter.status("logs"), _USUAL_LATENCY_S)

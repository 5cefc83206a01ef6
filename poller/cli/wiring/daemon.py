"""The parts of the daemon, built from the settings."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.wiring.catch_up import build_backlog_workers, build_rule
from poller.cli.wiring.ledgers import Ledgers
from poller.cli.wiring.routes import keep_routes_of, rules_for_unsettled, rules_since_changes
from poller.cli.wiring.services import Services, profiles_of, start_of
from poller.config import Settings
from poller.core.delivery import BatchSender
from poller.core.log_ids import LogId
from poller.core.translation.translator import LiveTranslator
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.daemon.daemon import Daemon
from poller.service.daemon.drain import Drain
from poller.service.daemon.first_start import FirstStart
from poller.service.daemon.helped_slices import Helpers
from poller.service.daemon.late_arrivals import SecondReader
from poller.service.daemon.maintenance import Maintenance
from poller.service.lifecycle.process import Work
from poller.service.observability.instrumented import (
    NO_OBSERVER,
    MeteredJournal,
    MeteredSink,
    Observer,
    TimedLog,
    metered_pages,
)
from poller.service.observability.systemd import Supervisor
from poller.service.upstream.retry import Backoff


def open_ledger(
    settings: Settings, work: Work, *, adopt: bool = False
) -> AbstractContextManager[SqlLedger]:
    """Open the ledger of a process that has one. See `Ledgers.opened`."""
    return Ledgers().opened(settings, work, adopt=adopt)


def build_drain(
    settings: Settings,
    services: Services,
    ledger: SqlLedger,
    work: Work,
    *,
    begun: Callable[[datetime], None] = lambda now: None,  # noqa: ARG005 - nobody works on it
    observer: Observer = NO_OBSERVER,
) -> Drain:
    """Build the drain of the live span, with the second reading that belongs to it.

    `begun` is called with the server's time when a catch-up has begun.
    """
    profiles = profiles_of(settings, services)
    rules = rules_since_changes(settings, ledger.whole)
    sender = BatchSender(
        MeteredSink(services.sink, observer), refusal_limit=settings.segment.refusal_limit
    )
    return Drain(
        source=TimedLog(services.log, observer),
        profiles=profiles,
        translator=LiveTranslator(ledger.stream, rules),
        sender=sender,
        ledger=ledger,
        first_start=_first_start(settings, services, ledger),
        second_reader=SecondReader(
            source=services.log,
            profiles=profiles,
            translator=LiveTranslator(ledger.stream, rules_for_unsettled(rules)),
            sender=sender,
            ledger=ledger,
            window=settings.poll.late_window,
            has_room=lambda: services.rate_limiter.has_room("logs"),
            report_confirmed=observer.set_confirmed,
        ),
        catch_up=build_rule(settings, ledger, services.rate_limiter, begun),
        stopping=work.stopping,
        observer=observer,
    )


def _first_start(settings: Settings, services: Services, ledger: SqlLedger) -> FirstStart:
    def together(first: LogId) -> None:
        keep_routes_of(settings, ledger.whole, first, ledger.neighbours)

    return FirstStart(ledger, services.log, start_of(settings), together)


def build_maintenance(
    settings: Settings,
    services: Services,
    ledger: SqlLedger,
    *,
    observer: Observer = NO_OBSERVER,
) -> Maintenance:
    """Build the maintenance that runs beside the cycles."""
    return Maintenance(
        ledger,
        services.log,
        agreed=services.clock.agreed,
        dead_letter_retention=settings.state.dead_letter_retention,
        measured=observer.set_retention,
    )


def build_daemon(  # noqa: PLR0913 - all the parts
    settings: Settings,
    services: Services,
    background: Services,
    ledger: SqlLedger,
    work: Work,
    *,
    observer: Observer,
    supervisor: Supervisor,
    threads: BacklogThreads,
    helpers: Helpers | None = None,
    never_ends: bool = False,
) -> Daemon:
    """Build the daemon, which drains the live span at every interval.

    It works on a backlog with the services of the `background`, in some of the `threads`, and with
    the `helpers`.
    """
    backlog = build_backlog_workers(
        settings, background, ledger, work, observer=observer, threads=threads, helpers=helpers
    )
    drain = build_drain(
        settings, services, ledger, work, begun=backlog.look_for_work, observer=observer
    )
    maintenance = build_maintenance(settings, services, ledger, observer=observer)
    observer.start_at(ledger.live_span())
    observer.watch_backlog(lambda: backlog.state)
    return Daemon(
        lambda: metered_pages(drain.pages(), observer),
        MeteredJournal(ledger, observer),
        work,
        interval=settings.poll.interval,
        backoff=Backoff(),
        maintain=maintenance.run_if_due,
        backlog=backlog,
        supervisor=supervisor,
        never_ends=never_ends,
    )

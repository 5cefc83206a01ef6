"""`run`: the daemon, or one drain."""

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import structlog

from poller.adapters.sql_ledger import LedgerLock, SqlLedger
from poller.cli.groups import examples
from poller.cli.options import config_option, read_settings
from poller.cli.segment_proof.background import check_key_in_background
from poller.cli.wiring.last_words import last_words
from poller.cli.wiring.metrics import serve_metrics
from poller.cli.wiring.services import Services, connect, profiles_of, rules_of, start_of, stream_of
from poller.config import Settings
from poller.core.delivery import BatchSender
from poller.core.translation.translator import Translator
from poller.service.daemon.daemon import Daemon
from poller.service.daemon.drain import Drain
from poller.service.daemon.late_arrivals import LookbackScan
from poller.service.daemon.maintenance import Maintenance
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.liveness import Heartbeat, StopEvent
from poller.service.lifecycle.one_shot import run_once
from poller.service.lifecycle.process import GRACE_S, Failed, Process, Reason, Signalled
from poller.service.observability.instrumented import (
    NO_OBSERVER,
    MeteredJournal,
    MeteredLog,
    MeteredSink,
    Observer,
    metered_pages,
)
from poller.service.observability.logging_setup import configure_logging
from poller.service.observability.systemd import Supervisor
from poller.service.upstream.retry import Backoff

_STDERR = 2

log = structlog.get_logger()


@click.command(
    short_help="Forward logins and signups, as a daemon or once.",
    epilog=examples("run --config /etc/auth0-segment-poller/acme.toml", "run --once"),
)
@config_option
@click.option("--once", is_flag=True, help="One drain to the end of the log, then exit: for cron.")
@click.option(
    "--new-stream", is_flag=True, help="Begin this tenant and source in a ledger that holds others."
)
def run(config: Path | None, *, once: bool, new_stream: bool) -> int:
    """Forwards new logins and signups, from where it last stopped, until it is told to stop."""
    heartbeat = Heartbeat()
    supervisor = Supervisor.of({} if once else os.environ, heartbeat)
    with last_words(config, supervisor):
        return _run(config, heartbeat, supervisor, once=once, new_stream=new_stream)


def _run(
    config: Path | None,
    heartbeat: Heartbeat,
    supervisor: Supervisor,
    *,
    once: bool,
    new_stream: bool,
) -> int:
    settings = read_settings(config)
    configure_logging(settings.log.level, settings.log.format)
    process = Process()
    if not once:
        supervisor.opening()
    with (
        open_ledger(settings, adopt=new_stream) as ledger,
        serve_metrics(settings, heartbeat, once=once) as observer,
        connect(
            settings,
            StopEvent(process.stopping, heartbeat),
            observer=observer,
            on_step=heartbeat.beat,
        ) as services,
    ):
        drain = drain_of(settings, services, ledger, process, observer=observer)
        upkeep = upkeep_of(settings, services, ledger, observer)
        if once:
            reason = run_once(drain.pages, ledger, process, upkeep=upkeep.look)
        else:
            if supervisor.watchdog:
                faulthandler.enable(
                    file=_STDERR
                )  # by SIGABRT the watchdog asks where every thread hangs
            daemon = daemon_of(
                settings,
                drain,
                ledger,
                process,
                upkeep=upkeep,
                observer=observer,
                supervisor=supervisor,
            )
            check_key_in_background(settings)
            reason = daemon.run()
        return finish(reason, process, interrupted=ExitCode.INTERRUPTED if once else ExitCode.DONE)


@contextmanager
def open_ledger(settings: Settings, *, adopt: bool = False) -> Iterator[SqlLedger]:
    """The ledger, made if there is none, held against a second writer."""
    stream = stream_of(settings)
    with LedgerLock.acquire(settings.state.url, "run"):
        ledger = SqlLedger.open(
            settings.state.url,
            stream,
            create=True,
            adopt=adopt,
            late_window=settings.poll.late_window,
        )
        try:
            log.info(
                "ledger.opened",
                ledger=settings.state.url,
                domain=stream.domain,
                source_name=stream.source_name,
            )
            yield ledger
        finally:
            ledger.close()


def daemon_of(
    settings: Settings,
    drain: Drain,
    ledger: SqlLedger,
    process: Process,
    *,
    upkeep: Maintenance,
    observer: Observer,
    supervisor: Supervisor,
) -> Daemon:
    observer.start_at(ledger.live_span())
    return Daemon(
        lambda: metered_pages(drain.pages(), observer),
        MeteredJournal(ledger, observer),
        process,
        interval=settings.poll.interval,
        backoff=Backoff(),
        upkeep=upkeep.look,
        supervisor=supervisor,
    )


def upkeep_of(
    settings: Settings, services: Services, ledger: SqlLedger, observer: Observer
) -> Maintenance:
    retention = settings.state.dead_letter_retention
    return Maintenance(
        ledger,
        services.log,
        agreed=services.clock.agreed,
        dead_letter_retention=retention,
        measured=observer.set_retention,
    )


def drain_of(
    settings: Settings,
    services: Services,
    ledger: SqlLedger,
    process: Process,
    *,
    observer: Observer = NO_OBSERVER,
) -> Drain:
    profiles = profiles_of(settings, services)
    translator = Translator(stream_of(settings), rules_of(settings))
    sender = BatchSender(
        MeteredSink(services.sink, observer), refusal_limit=settings.segment.refusal_limit
    )
    return Drain(
        source=MeteredLog(services.log, observer),
        profiles=profiles,
        translator=translator,
        sender=sender,
        ledger=ledger,
        bounds=services.log,
        lookback=LookbackScan(
            source=services.log,
            profiles=profiles,
            translator=translator,
            sender=sender,
            ledger=ledger,
            window=settings.poll.late_window,
            has_room=lambda: services.budget.has_room("logs"),
            measured=observer.set_confirmed,
        ),
        start=start_of(settings),
        stopping=process.stopping,
    )


def finish(reason: Reason, process: Process, *, interrupted: ExitCode) -> int:
    """Lets the page at hand settle, and turns the reason into an exit code.

    Raises:
        BaseException: what made the work fail.
    """
    code = interrupted if isinstance(reason, Signalled) else ExitCode.DONE
    if isinstance(reason, Signalled):
        _end_without_fail(code)
    log.info("run.stopping", reason=type(reason).__name__.lower())
    if not process.settle_down():
        log.warning("page.abandoned", note="not settled; it is sent again under the same ids")
        sys.stderr.flush()
        os._exit(
            code
        )  # the call under way may hold its thread for longer than anyone wants to wait
    if isinstance(reason, Failed):
        raise reason.error
    return code


def _end_without_fail(code: int) -> None:
    """Ends the process a second after its grace, even where a log line that nobody reads holds every thread."""
    timer = threading.Timer(GRACE_S + 1.0, os._exit, (code,))
    timer.daemon = True
    timer.start()

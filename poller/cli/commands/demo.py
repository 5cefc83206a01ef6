"""The command `demo`: the real daemon between a simulated tenant and a simulated Segment."""

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import click
from rich.live import Live
from rich.text import Text

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.backfill_plan import BackfillOptions, begin, survey
from poller.cli.commands.status import collect
from poller.cli.groups import examples
from poller.cli.options import DurationType
from poller.cli.segment_proof.demo import play_wrong_key
from poller.cli.views.demo import DemoView
from poller.cli.views.terminal import Terminal
from poller.cli.views.wording import counted
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.daemon import build_drain, open_ledger
from poller.cli.wiring.demo import demo_settings
from poller.cli.wiring.metrics import observer_of
from poller.cli.wiring.page.serving import serve_page
from poller.cli.wiring.services import Services, connect
from poller.config import Settings
from poller.core.log_ids import EARLIEST
from poller.sandbox import Fault, Reconciliation, Sandbox
from poller.service.daemon.daemon import Daemon
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Failed, Finished, Process, Reason, Signalled
from poller.service.observability.instrumented import MeteredJournal, Observer, metered_pages
from poller.service.observability.logging_setup import configure_logging
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.pipelines.pipelines import run_alone
from poller.service.slices.workers import SliceWorkers
from poller.service.upstream.retry import PATIENCE, Backoff
from poller.service.watching.feed import Feed

EVENTS_PER_SECOND = 25.0
DEFAULT_RUN = timedelta(seconds=10)
SHORTEST_RUN = timedelta(seconds=1)
_FAULTS = (
    Fault(action="status", status=503, path="/v1/batch", times=1, begins=2),
    Fault(action="drop_answer", path="/v1/batch", times=1, begins=4),
    Fault(action="reset", path="/api/v2/logs", times=1, begins=6),
)
"""Segment is down. Then an answer is lost after a batch was stored. Then Auth0 hangs up."""
_DEAD_LETTER_AFTER_S = 3.0
_LOGIN_WITHOUT_USER = {"type": "s", "client_name": "x"}
_OUTAGE = timedelta(days=2)
_SHORT_RETENTION, _LONG_RETENTION = timedelta(days=1), timedelta(days=30)
_NEXT = (
    "Next, with your own tenant: README.md says how to start. "
    "`auth0-segment-poller check` says what is missing."
)


@click.command(epilog=examples("demo", "demo --for 30s", "demo --fault wrong-key"))
@click.option(
    "--for",
    "run_for",
    type=DurationType(),
    help="How long to run, such as 30s or 1m. By default until Ctrl-C in a terminal, else 10s.",
)
@click.option(
    "--fault",
    type=click.Choice(["wrong-key"]),
    help="Show one mistake instead, and how it is found before the first event.",
)
def demo(run_for: timedelta | None, fault: str | None) -> int:
    """Run the real daemon between a simulated Auth0 tenant and a simulated Segment.

    The demo needs no account and no settings, and sends nothing to anybody. It shows that faults
    lose no event, then an outage that is longer than the tenant keeps its log, and the backfill
    after it.
    """
    if run_for is not None and run_for < SHORTEST_RUN:
        raise click.BadParameter("must be at least 1s", param_hint="--for")
    configure_logging("error", "text")
    console = Terminal()
    with _ended_like_ctrl_c():
        if fault is not None:
            for line in play_wrong_key():
                console.print(line)
            return ExitCode.DONE
        return _play(console, run_for)


def _play(console: Terminal, run_for: timedelta | None) -> ExitCode:
    """Play both acts: live traffic with faults, and an outage that is too long."""
    with _open_demo() as parts:
        if run_for is None and not console.is_terminal:
            run_for = DEFAULT_RUN
        if run_for is not None:
            console.print(
                f"The real daemon runs between a simulated tenant and a simulated Segment "
                f"for {run_for.total_seconds():g} s."
            )
        console.print(f"Watch it in a browser: {parts.page}", soft_wrap=True)
        _show_live_traffic(parts, console, run_for)
        console.print(parts.view.summary(parts.sandbox.reconcile()))
        for line in parts.play_outage():
            console.print(line)
        truth = parts.sandbox.reconcile()
        console.print(_conclusion(truth))
    if truth.lost or truth.duplicated:
        return ExitCode.ATTENTION
    return ExitCode.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demo:
    """The parts that the two acts of the demo share."""

    sandbox: Sandbox
    settings: Settings
    services: Services
    ledger: SqlLedger
    process: Process
    view: DemoView
    observer: Observer
    supervisor: Supervisor
    page: str | None
    """The link of the live page, which holds its secret."""

    def run_daemon(self) -> Reason:
        """Run the daemon until the time is over or somebody presses Ctrl-C."""
        observer = self.observer
        work = build_drain(
            self.settings, self.services, self.ledger, self.process, observer=observer
        )
        daemon = Daemon(
            lambda: metered_pages(self.view.watch(work.pages()), observer),
            MeteredJournal(self.ledger, observer),
            self.process,
            interval=self.settings.poll.interval,
            backoff=Backoff(),
            supervisor=self.supervisor,
        )
        return run_alone(daemon.step, self.process, self.supervisor)

    def drain(self) -> None:
        """Forward everything that is still ahead."""
        work = build_drain(self.settings, self.services, self.ledger, Process())
        drain(lambda: metered_pages(self.view.watch(work.pages()), self.observer), PATIENCE)

    def play_outage(self) -> Iterator[str]:
        """Play an outage that is longer than the log is kept. Yield a line after each step."""
        self._be_down_for_too_long()
        yield "Now the host is down for two days, and the tenant keeps its log for one day only."
        yield (
            "  The daemon is back. Its log tells of each gap by `gap.recorded`, as an error: of "
            "events that it never read, and of events that it read and wanted to read again."
        )
        self.drain()
        lost = self.sandbox.reconcile().lost
        yield (
            f"  It records a gap: {counted(len(set(lost)), 'event')} of the log were gone before "
            f"it read them, which stand for {len(lost)} logins and signups. (The first login by a "
            "social account is also a signup.) `status` shows the gap and exits with 3."
        )
        self.sandbox.tenant.retention = _LONG_RETENTION
        sent = self._backfill()
        sent_calls = len(lost) - len(self.sandbox.reconcile().lost)
        yield (
            "  The tenant's plan is upgraded, so its log goes back further. "
            f"`backfill --since earliest` sends {counted(sent, 'event')} of the gap, with their "
            f"{sent_calls} logins and signups: {len(lost) - sent_calls} are lost now."
        )

    def _be_down_for_too_long(self) -> None:
        clock, traffic = self.sandbox.clock, self.sandbox.traffic
        clock.advance(timedelta(minutes=2))
        traffic.grow(60, start=clock.now() - timedelta(minutes=1), end=clock.now())
        clock.advance(_OUTAGE)
        traffic.grow(20, start=clock.now() - timedelta(minutes=1), end=clock.now())
        self.sandbox.tenant.retention = _SHORT_RETENTION

    def _backfill(self) -> int:
        history = BackfillParts(
            settings=self.settings, services=self.services, ledger=self.ledger, no_identify=False
        )
        preview = survey(
            self.settings, self.ledger, self.services, BackfillOptions(since=EARLIEST, yes=True)
        )
        process = Process()
        work = SliceWorkers(
            history.walker,
            self.ledger,
            process,
            parallel=preview.parallel,
            identifies=history.identify_runner(process, begun_at=preview.begun_at),
        )
        work.run(begin(self.ledger, preview.plan, preview.parallel, is_open=True), None)
        return work.count.forwarded


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo like Ctrl-C, so that its folder is removed."""
    handled = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, lambda *_: _interrupt()) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt() -> None:
    raise KeyboardInterrupt


@contextmanager
def _open_demo() -> Iterator[_Demo]:
    with (
        tempfile.TemporaryDirectory(prefix="poller-demo-") as folder,
        Sandbox(seed=None) as sandbox,
    ):
        sandbox.faults.set(*_FAULTS)
        # A second signal also ends the demo by way of the folder's removal.
        settings, process = demo_settings(sandbox, Path(folder)), Process(abandon=_interrupt)
        feed, supervisor = Feed(), Supervisor(Notifier(None), Heartbeat())
        observer = observer_of(settings, feed)
        with (
            open_ledger(settings, process) as ledger,
            connect(settings, process.stopping, observer=observer) as services,
            serve_page(
                settings, feed, observer, supervisor, process, lambda now: collect(settings, now)
            ) as page,
        ):
            yield _Demo(
                sandbox=sandbox,
                settings=settings,
                services=services,
                ledger=ledger,
                process=process,
                view=DemoView(sandbox, page),
                observer=observer,
                supervisor=supervisor,
                page=page,
            )


def _show_live_traffic(parts: _Demo, console: Terminal, run_for: timedelta | None) -> None:
    """Run the daemon under live traffic, and then forward the rest. The sums can be compared then.

    Raises:
        BaseException: the error that made the daemon fail.
    """
    sandbox = parts.sandbox
    timers = [
        threading.Timer(
            _DEAD_LETTER_AFTER_S, lambda: sandbox.tenant.append([dict(_LOGIN_WITHOUT_USER)])
        )
    ]
    if run_for is not None:
        end = threading.Timer(run_for.total_seconds(), lambda: parts.process.end(Finished()))
        timers.append(end)
    for timer in timers:
        timer.daemon = True
        timer.start()
    sandbox.traffic.run(EVENTS_PER_SECOND)
    try:
        reason = _run_on_screen(parts, console)
    finally:
        for timer in timers:
            timer.cancel()
        sandbox.traffic.stop()
    parts.process.settle_down()
    if isinstance(reason, Failed):
        raise reason.error
    if isinstance(reason, Signalled) and reason.number != signal.SIGINT:
        _interrupt()
    parts.drain()


def _run_on_screen(parts: _Demo, console: Terminal) -> Reason:
    if not console.is_terminal:
        return parts.run_daemon()
    with Live(get_renderable=parts.view.render, console=console, refresh_per_second=8, screen=True):
        return parts.run_daemon()


def _conclusion(truth: Reconciliation) -> Text:
    if truth.lost or truth.duplicated:
        return Text(f"Done: events were lost or count twice. {_NEXT}", style="bold red")
    return Text(f"Done: nothing was lost, and nothing counts twice. {_NEXT}", style="bold")

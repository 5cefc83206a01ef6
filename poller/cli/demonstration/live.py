"""The demonstration: simulated traffic, the real daemon, and what a terminal shows of them."""

import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poller.cli.commands.run import drain_of, open_ledger
from poller.cli.demonstration.outage import Aftermath
from poller.cli.views.terminal import Terminal
from poller.cli.wiring.services import connect
from poller.config import Settings, load_settings
from poller.core.events import LogEvent
from poller.core.forward import Forwarded
from poller.core.settlement import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.translation.event_facts import SIGNUP
from poller.sandbox import Fault, Reconciliation, Sandbox
from poller.service.daemon.daemon import Daemon
from poller.service.daemon.drain import Drain
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Finished, Process, Signalled
from poller.service.observability.logging_setup import configure_logging
from poller.service.upstream.retry import PATIENCE, Backoff

EVENTS_PER_SECOND = 25.0
DEFAULT_RUN = timedelta(seconds=10)
_SHOWN = 14
_COLOURS = {FORWARDED: "green", DEAD_LETTERED: "red"}
_FAULTS = (
    Fault(action="status", status=503, path="/v1/batch", times=1, begins=2),
    Fault(action="drop_answer", path="/v1/batch", times=1, begins=4),
    Fault(action="reset", path="/api/v2/logs", times=1, begins=6),
)
"""What goes wrong on purpose: Segment down, its answer lost after it stored a batch, a broken connection to Auth0."""


_ODD_AFTER_S = 3.0
"""When a login without a user id comes in, which becomes a dead letter."""
_ALL_SHOWN_AFTER_S = 10.0
_NEXT = "Next, with your own tenant: the section Start of README.md. `auth0-segment-poller check` says what is missing."


def demonstrate(run_for: timedelta | None) -> int:
    """Runs until `run_for` is over, or on a terminal until Ctrl-C; says what came of it."""
    configure_logging("error")
    console = Terminal()
    is_watched = console.is_terminal and run_for is None
    with (
        tempfile.TemporaryDirectory(prefix="poller-demo-") as folder,
        Sandbox(seed=None) as sandbox,
    ):
        sandbox.faults.set(*_FAULTS)
        settings = _settings(sandbox, Path(folder))
        view = View(sandbox)
        process = Process()
        with open_ledger(settings) as ledger, connect(settings, process.stopping) as services:
            work = drain_of(settings, services, ledger, process)
            if not is_watched:
                length = DEFAULT_RUN if run_for is None else run_for
                console.print(
                    f"A simulated tenant and collector, and the real daemon between, for {length.total_seconds():g} s."
                )
                _end_after(length, process)
            code = _run(work, view, process, settings, ledger, console)
            _finish(drain_of(settings, services, ledger, Process()), view)
            console.print(view.summary(sandbox.reconcile()))
            for line in Aftermath(
                sandbox=sandbox, settings=settings, services=services, ledger=ledger
            ).play():
                console.print(line)
        truth = sandbox.reconcile()
        console.print(_end(truth))
    return ExitCode.ATTENTION if truth.lost or truth.duplicated else code


def _end(truth: Reconciliation) -> Text:
    is_well = not truth.lost and not truth.duplicated
    said = (
        "nothing was lost, and nothing counts twice"
        if is_well
        else "something is not as it must be"
    )
    return Text(f"Done: {said}. {_NEXT}", style="bold" if is_well else "bold red")


def _run(
    work: Drain, view: "View", process: Process, settings: Settings, journal: Any, console: Terminal
) -> ExitCode:
    daemon = Daemon(
        lambda: view.watch(work.pages()),
        journal,
        process,
        interval=settings.poll.interval,
        backoff=Backoff(),
    )
    view.sandbox.traffic.run(EVENTS_PER_SECOND)
    odd = threading.Timer(
        _ODD_AFTER_S, lambda: view.sandbox.tenant.append([{"type": "s", "client_name": "x"}])
    )
    odd.start()
    try:
        if not console.is_terminal:
            reason = daemon.run()
        else:
            with Live(
                get_renderable=view.render, console=console, refresh_per_second=8, screen=True
            ):
                reason = daemon.run()
    finally:
        odd.cancel()
        view.sandbox.traffic.stop()
    process.settle_down()
    if not isinstance(reason, Finished | Signalled):
        raise reason.error
    return ExitCode.DONE


def _finish(work: Drain, view: "View") -> None:
    """Forwards what is still ahead, so that the sums can be compared."""
    drain(lambda: view.watch(work.pages()), PATIENCE)


def _end_after(run_for: timedelta, process: Process) -> None:
    timer = threading.Timer(run_for.total_seconds(), lambda: process.end(Finished()))
    timer.daemon = True
    timer.start()


def _settings(sandbox: Sandbox, folder: Path) -> Settings:
    environ = {
        "POLLER_AUTH0__DOMAIN": sandbox.tenant.domain,
        "POLLER_AUTH0__CLIENT_ID": sandbox.tenant.client_id,
        "POLLER_AUTH0__CLIENT_SECRET": sandbox.tenant.client_secret,
        "POLLER_AUTH0__BASE_URL": sandbox.auth0_url,
        "POLLER_SEGMENT__WRITE_KEY": sandbox.write_key,
        "POLLER_SEGMENT__ENDPOINT": sandbox.segment_url,
        "POLLER_POLL__INTERVAL": "1s",
        "POLLER_POLL__START": "earliest",
        "POLLER_STATE__URL": f"sqlite:///{folder / 'ledger.db'}",
        **{name: os.environ[name] for name in ("HOME",) if name in os.environ},
    }
    return load_settings(None, environ)


class View:
    """The logins and signups that pass, what goes wrong meanwhile, and the totals so far."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.count = CycleCount()
        self._passing: deque[tuple[LogEvent, str]] = deque(maxlen=_SHOWN)
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def watch(self, pages: Iterator[Forwarded]) -> Iterator[Forwarded]:
        for forwarded in pages:
            with self._lock:
                self.count.add(forwarded.settlement)
                outcomes = sorted(forwarded.settlement.outcomes(), key=lambda pair: pair[0].log_id)
                self._passing.extend([pair for pair in outcomes if pair[1] != FILTERED][-_SHOWN:])
            yield forwarded

    def render(self) -> Group:
        with self._lock:
            rows, totals = list(self._passing), _totals(self.count)
        table = Table(box=None, header_style="bold")
        for heading, width in (("event", 10), ("at", 8), ("user", 24), ("became", 26)):
            table.add_column(heading, no_wrap=True, width=width)
        for event, outcome in rows:
            table.add_row(*_cells(event, outcome))
        faults = f"gone wrong so far, on purpose: {', '.join(self._faults()) or 'nothing yet'}"
        is_over = time.monotonic() - self._began > _ALL_SHOWN_AFTER_S
        told = (
            "Every fault was shown and overcome: Ctrl-C goes on to the sums."
            if is_over
            else "Ctrl-C ends it."
        )
        title = Text(f"Auth0 → Segment: both simulated, the daemon is real. {told}")
        title.stylize("bold")
        return Group(
            title, Text(), table, Text(), Text(totals, style="cyan"), Text(faults, style="yellow")
        )

    def summary(self, truth: Reconciliation) -> Group:
        """What came of it, by the word of the simulated services."""
        table = Table(title="What came of it", title_justify="left", show_header=False)
        rows = {
            "read": (self.count.read, "log events of every type"),
            "filtered": (self.count.filtered, "neither login nor signup"),
            "forwarded": (self.count.forwarded, "identify and track, acknowledged"),
            "dead-lettered": (self.count.dead_lettered, "can never become a valid call"),
            "sent again": (
                len(truth.resent),
                "messages, under the same ids, after a fault; dropped by Segment",
            ),
            "duplicates": (
                len(truth.duplicated),
                "logins or signups that the collector counts twice",
            ),
            "lost": (len(truth.lost), "logins or signups of the tenant that it does not have"),
        }
        for name, (value, meaning) in rows.items():
            table.add_row(name, str(value), meaning)
        return Group(
            table, Text(f"Gone wrong on purpose: {', '.join(self._faults()) or 'nothing'}.")
        )

    def _faults(self) -> list[str]:
        names = {
            "status": "Segment down (503)",
            "drop_answer": "an answer of Segment lost",
            "reset": "Auth0 cut off",
        }
        return [names[seen.fault] for seen in self.sandbox.faults.seen() if seen.fault]


def _cells(event: LogEvent, outcome: str) -> tuple[Text, ...]:
    style = _COLOURS.get(outcome, "")
    record = event.record if isinstance(event.record, dict) else {}
    name = "Signed Up" if event.type == SIGNUP else "Logged In"
    became = f"identify, track {name}" if outcome == FORWARDED else outcome.replace("_", "-")
    at = f"{event.date:%H:%M:%S}" if event.date else ""
    kind = {"s": "s  login", "ss": "ss signup"}.get(event.type, event.type)
    return tuple(
        Text(str(cell or ""), style=style) for cell in (kind, at, record.get("user_name"), became)
    )


def _totals(count: CycleCount) -> str:
    facts = count.facts()
    counts = ("read", "filtered", "forwarded", "dead_lettered")
    shown = [f"{name.replace('_', '-')} {facts[name]}" for name in counts]
    return "   ".join([*shown, *([f"lag {facts['lag_s']:.1f} s"] if "lag_s" in facts else [])])

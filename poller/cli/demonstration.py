"""The demonstration: simulated traffic, the real daemon, and what a terminal shows of them."""

import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poller.cli.run import drain_of, open_ledger
from poller.cli.wiring import connect
from poller.config import Settings, load_settings
from poller.core.events import LogEvent
from poller.core.forward import Forwarded
from poller.core.settlement import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.translate import EVENT_NAMES
from poller.sandbox import Reconciliation, Sandbox
from poller.service.daemon import Daemon
from poller.service.drain import Drain
from poller.service.once import drain
from poller.service.process import Exit, Finished, Process, Signalled
from poller.service.retry import PATIENCE, Backoff
from poller.service.telemetry import CycleCount, configure_logging

EVENTS_PER_SECOND = 25.0
DEFAULT_RUN = timedelta(seconds=10)
_SHOWN = 14
_COLOURS = {FORWARDED: "green", FILTERED: "dim", DEAD_LETTERED: "red"}


def demonstrate(run_for: timedelta | None) -> int:
    """Runs until `run_for` is over, or on a terminal until Ctrl-C; says what came of it."""
    configure_logging("error")
    console = Console()
    is_watched = console.is_terminal and run_for is None
    with tempfile.TemporaryDirectory(prefix="poller-demo-") as folder, Sandbox(seed=None) as sandbox:
        settings = _settings(sandbox, Path(folder))
        view = View(sandbox)
        process = Process()
        with open_ledger(settings) as ledger, connect(settings, process.stopping) as services:
            work = drain_of(settings, services, ledger, process)
            if not is_watched:
                _end_after(run_for or DEFAULT_RUN, process)
            code = _run(work, view, process, settings, ledger, console)
            _finish(drain_of(settings, services, ledger, Process()), view)
        truth = sandbox.reconcile()
    _summarise(view.count, truth, console)
    return Exit.ATTENTION if truth.lost else code


def _run(work: Drain, view: "View", process: Process, settings: Settings, journal: Any, console: Console) -> Exit:
    daemon = Daemon(
        lambda: view.watch(work.pages()), journal, process, interval=settings.poll.interval, backoff=Backoff()
    )
    view.sandbox.traffic.run(EVENTS_PER_SECOND)
    try:
        if not console.is_terminal:
            reason = daemon.run()
        else:
            with Live(get_renderable=view.render, console=console, refresh_per_second=8, transient=True):
                reason = daemon.run()
    finally:
        view.sandbox.traffic.stop()
    process.settle_down()
    if not isinstance(reason, Finished | Signalled):
        raise reason.error
    return Exit.DONE


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
    """What passes, and the totals so far."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.count = CycleCount()
        self._passing: deque[tuple[LogEvent, str]] = deque(maxlen=_SHOWN)
        self._lock = threading.Lock()

    def watch(self, pages: Iterator[Forwarded]) -> Iterator[Forwarded]:
        for forwarded in pages:
            with self._lock:
                self.count.add(forwarded.settlement)
                outcomes = sorted(forwarded.settlement.outcomes(), key=lambda pair: pair[0].log_id)
                self._passing.extend(outcomes[-_SHOWN:])
            yield forwarded

    def render(self) -> Group:
        with self._lock:
            rows, totals = list(self._passing), _totals(self.count)
        table = Table(expand=True, box=None, header_style="bold")
        for heading in ("date", "type", "user", "became"):
            table.add_column(heading, no_wrap=True)
        for event, outcome in rows:
            table.add_row(*_cells(event, outcome))
        return Group(
            Text("Auth0 → Segment, simulated; Ctrl-C ends it", style="bold"), table, Text(totals, style="cyan")
        )


def _cells(event: LogEvent, outcome: str) -> tuple[Text, ...]:
    style = _COLOURS[outcome]
    record = event.record if isinstance(event.record, dict) else {}
    became = f"identify, track {EVENT_NAMES[event.type]}" if outcome == FORWARDED else outcome.replace("_", " ")
    date = f"{event.date:%H:%M:%S.%f}"[:-3] if event.date else ""
    return tuple(Text(str(cell or ""), style=style) for cell in (date, event.type, record.get("user_name"), became))


def _totals(count: CycleCount) -> str:
    facts = count.facts()
    counts = ("read", "filtered", "forwarded", "dead_lettered")
    shown = [f"{name.replace('_', '-')} {facts[name]}" for name in counts]
    return "   ".join([*shown, *([f"lag {facts['lag_s']:.1f} s"] if "lag_s" in facts else [])])


def _summarise(count: CycleCount, truth: Reconciliation, console: Console) -> None:
    table = Table(title="What came of it", title_justify="left", show_header=False)
    rows = {
        "read": count.read,
        "filtered": count.filtered,
        "forwarded": count.forwarded,
        "dead-lettered": count.dead_lettered,
        "duplicates": len(truth.duplicated),
        "lost": len(truth.lost),
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
    console.print("Lost means: a login or signup of the tenant that the collector does not have.")

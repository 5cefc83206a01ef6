"""The screens of `demo`: the events that pass, the faults so far, and the sums at the end."""

import threading
import time
from collections import deque
from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from poller.cli.views.output import sign
from poller.core.count_names import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.events import LogEvent
from poller.core.forward import Forwarded
from poller.core.translation.event_types import SIGNUP
from poller.sandbox import Reconciliation, Sandbox
from poller.service.lifecycle.cycles import CycleCount

_ROWS = 14
_COLOURS = {FORWARDED: "green", DEAD_LETTERED: "red"}
_FAULT_NAMES = {
    "status": "Segment was down (503)",
    "drop_answer": "an answer of Segment was lost",
    "reset": "a connection to Auth0 was cut",
}
_ALL_FAULTS_SHOWN_AFTER_S = 10.0


class DemoView:
    """The logins and signups that pass, the faults meanwhile, and the totals so far.

    The thread of the daemon calls `watch`. The thread of the display calls `render`.
    """

    def __init__(self, sandbox: Sandbox, page: str | None = None) -> None:
        self.sandbox = sandbox
        self._page = page
        self.count = CycleCount()
        self._rows: deque[tuple[LogEvent, str]] = deque(maxlen=_ROWS)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        # While rich has the screen, stdout is an object that tells no encoding.
        self._arrow = sign("→")

    def watch(self, pages: Iterator[Forwarded]) -> Iterator[Forwarded]:
        """Yield these pages, and keep what is to be shown of them."""
        for forwarded in pages:
            outcomes = sorted(forwarded.settlement.by_event(), key=lambda pair: pair[0].log_id)
            with self._lock:
                self.count.add(forwarded.settlement)
                self._rows.extend([pair for pair in outcomes if pair[1] != FILTERED][-_ROWS:])
            yield forwarded

    def render(self) -> Group:
        """Draw the screen."""
        with self._lock:
            rows, totals = list(self._rows), _totals(self.count)
        table = Table(box=None, header_style="bold")
        for heading, width in (("event", 10), ("at", 8), ("user", 24), ("result", 26)):
            table.add_column(heading, no_wrap=True, width=width)
        for event, outcome in rows:
            table.add_row(*_cells(event, outcome))
        lines = (Text(), Text(totals, style="cyan"), Text(self._faults(), style="yellow"))
        link = Text(f"Watch it in a browser: {self._page}") if self._page else Text()
        return Group(Text(self._title(), style="bold"), link, Text(), table, *lines)

    def summary(self, truth: Reconciliation) -> Group:
        """Draw the sums at the end. `truth` is what the simulated services know."""
        table = Table(title="Result", title_justify="left", show_header=False)
        rows = {
            "read": (self.count.read, "log events of every type"),
            "filtered": (self.count.filtered, "events that are neither a login nor a signup"),
            "forwarded": (self.count.forwarded, "events that Segment acknowledged"),
            "dead-lettered": (self.count.dead_lettered, "events that can never become a call"),
            "sent again": (len(truth.resent), "calls that Segment dropped as known after a fault"),
            "duplicates": (len(truth.duplicated), "logins or signups that Segment counts twice"),
            "lost": (len(truth.lost), "logins or signups that Segment never got"),
        }
        for name, (value, meaning) in rows.items():
            table.add_row(name, str(value), meaning)
        return Group(table, Text(f"{self._faults()}."))

    def _title(self) -> str:
        title = f"Auth0 {self._arrow} Segment: both services are simulated, the daemon is real."
        if time.monotonic() - self._began > _ALL_FAULTS_SHOWN_AFTER_S:
            return f"{title} Press Ctrl-C to see the result."
        return f"{title} Press Ctrl-C to end."

    def _faults(self) -> str:
        seen = [_FAULT_NAMES[each.fault] for each in self.sandbox.faults.seen() if each.fault]
        return f"Faults on purpose: {', '.join(seen) or 'none yet'}"


def _cells(event: LogEvent, outcome: str) -> tuple[Text, ...]:
    record = event.record if isinstance(event.record, dict) else {}
    name = "Signed Up" if event.type == SIGNUP else "Logged In"
    kind = {"s": "s  login", "ss": "ss signup"}.get(event.type, event.type)
    at = event.date and f"{event.date:%H:%M:%S}"
    result = {FORWARDED: f"identify, track {name}"}.get(outcome, outcome.replace("_", "-"))
    cells = (kind, at, record.get("user_name"), result)
    return tuple(Text(str(cell or ""), style=_COLOURS.get(outcome, "")) for cell in cells)


def _totals(count: CycleCount) -> str:
    facts = count.facts()
    names = ("read", "filtered", "forwarded", "dead_lettered")
    return "   ".join(f"{name.replace('_', '-')} {facts[name]}" for name in names)

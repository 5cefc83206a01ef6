"""The thread that looks for what is to be told, and sends it.

The daemon never waits for this thread. A target that hangs or fails delays its own alerts, and the
ping that comes after it by some seconds.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from poller.core.errors import FatalError, PollerError
from poller.service.alerts.dead_mans_switch import Pings
from poller.service.alerts.kinds import Kind, Severity
from poller.service.alerts.outbox import Outbox, QueuedAlert
from poller.service.alerts.rules import Facts, Memories, Memory, Occurrence, decide, with_marks
from poller.service.alerts.texts import Place, alert_of
from poller.service.alerts.watch import LedgerFacts, Watch, new_dead_letters, new_gaps
from poller.service.upstream.threads import start_thread

LOOK_S = 15.0
END_S = 8.0
"""The time for the last alerts when a fatal error ends the process."""
STOP_S = 2.0
"""The time for the last ping when the daemon is told to stop."""
_RUNNING = "running"

Row = Mapping[str, Any]
log = structlog.get_logger()


class Target(Protocol):
    """One place that alerts go to. See `poller.adapters.alerting`."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    def send(self, title: str, body: str, severity: Severity) -> None: ...


Deliver = Callable[[Target, QueuedAlert], bool]
"""Sends an alert, and returns whether it arrived. It may have to wait, and is offered again then.

It raises a TransientError if the alert may not have arrived.
"""


def send_alone(target: Target, queued: QueuedAlert) -> bool:
    """Send an alert at once. See `Deliver`."""
    target.send(queued.title, queued.body, queued.severity)
    return True


class AlertLedger(Protocol):
    """The part of a ledger that keeps the state of the alerts."""

    def read_alerts(self) -> tuple[Sequence[Row], Sequence[Row]]: ...

    def write_alerts(self, memories: Iterable[Row], queued: Iterable[Row]) -> None: ...

    def alert_facts(self) -> Row: ...


class AlertSender:
    """The alerts of one daemon. All but `start`, `end` and `join` happens in one thread.

    A daemon that `is_opened_again` after a fatal error is one pipeline of several. If it cannot be
    opened, `failures` tells people, but its dead man's switch hears of the error at once.

    The state is in memory, and the ledger has a copy. A ledger that cannot be written, on a full
    disk for example, is just when an alert is needed.
    """

    def __init__(  # noqa: PLR0913 - what it looks at, and who is told
        self,
        watch: Watch,
        ledger: AlertLedger,
        targets: Sequence[Target],
        place: Place,
        *,
        pings: Pings | None = None,
        deliver: Deliver = send_alone,
        is_opened_again: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._is_opened_again = is_opened_again
        self._watch = watch
        self._ledger = ledger
        self._targets = targets
        self._place = place
        self._pings = pings
        self._deliver_to = deliver
        self._now = now
        self._memories: dict[Kind, Memory] = {}
        self._outbox = Outbox()
        self._saved: tuple[Memories, Outbox] | None = None
        self._saving = threading.Lock()
        self._is_loaded = False
        self._failing: set[str] = set()
        self._has_failed_to_save = False
        self._ending = threading.Event()
        self._error: FatalError | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in a thread, which ends with the process."""
        self._thread = start_thread(self._run, "alerts")

    def end(self, error: BaseException | None) -> None:
        """Say that the daemon ends, and why. None: it was told to stop. Does not wait.

        After a crash nothing is done here. The next start tells of it. A thread that waits for a
        target may not come to its end, so the ledger learns here that it is no crash.
        """
        if error is None or isinstance(error, PollerError):
            self._error = error if isinstance(error, FatalError) else None
            self._ending.set()
            self._safely(self._save)

    def join(self) -> None:
        """Wait for the last alerts, for a few seconds at most, if `end` was called."""
        if self._thread is not None and self._ending.is_set():
            is_last = self._error is not None and not self._is_opened_again
            self._thread.join(END_S if is_last else STOP_S)

    def _run(self) -> None:
        self._safely(self.load)
        while not self._ending.is_set():
            self._safely(self.look)
            self._ending.wait(LOOK_S)
        self._safely(lambda: self.finish(self._error))

    def _safely(self, step: Callable[[], None]) -> None:
        try:
            step()
        except PollerError as error:
            log.warning("alerts.failed", reason=str(error))
        except Exception as error:  # noqa: BLE001 - a bug here must not touch the daemon
            log.warning("alerts.failed", reason=type(error).__name__)

    def load(self) -> None:
        """Read the state of the process before, and find out whether it crashed."""
        memories, queued = self._ledger.read_alerts()
        read = (Memory(**{**row, "kind": Kind(row["kind"])}) for row in memories)
        self._memories = {memory.kind: memory for memory in read}
        outbox = Outbox(tuple(QueuedAlert(**{**row, "kind": Kind(row["kind"])}) for row in queued))
        self._outbox = outbox.for_targets(target.key for target in self._targets)
        self._watch.recall(self._memories)
        crashed = self._memories.get(Kind.CRASH, Memory(kind=Kind.CRASH)).mark == _RUNNING
        occurrence = Occurrence(number=1, detail="Such starts: {number:,}")
        # The daemon runs now, so an end that is not told yet is not news any more.
        ended = self._memories.get(Kind.ENDED, Memory(kind=Kind.ENDED))
        self._memories[Kind.ENDED] = Memory(kind=Kind.ENDED, told_at=ended.told_at)
        self._is_loaded = True
        self._decide({Kind.CRASH: occurrence} if crashed else {})
        if self._pings is not None:
            self._pings.start(f"The daemon began on {self._place.host}.")

    def look(self) -> None:
        """Look for what is to be told, and send what is due."""
        try:
            facts = LedgerFacts(**self._ledger.alert_facts())
        except PollerError:  # the daemon itself tells of a ledger that fails
            self._decide({})
        else:
            self._decide(*self._news(facts))
        self._deliver()
        if self._pings is not None:
            self._pings.look(self._watch.settled, is_blocked=self._watch.is_blocked)

    def finish(self, error: FatalError | None) -> None:
        """Tell of the end."""
        self._ending.set()
        ended = {}
        if error is not None and self._is_opened_again:
            self._tell_of_closing(error)
        elif error is not None:
            detail = f"The error is {error.code}"
            ended[Kind.ENDED] = Occurrence(number=1, detail=detail, section=error.code)
        elif self._pings is not None:
            self._pings.stop("The daemon was told to stop.")
        self._decide(ended)
        if ended:
            self._deliver()

    def _tell_of_closing(self, error: FatalError) -> None:
        if self._pings is not None:
            self._pings.fail(f"The error {error.code} closed the pipeline. It is tried again.")

    def _news(self, facts: LedgerFacts) -> tuple[dict[Kind, Occurrence], dict[Kind, str]]:
        occurrences, marks = {}, {}
        for kind, find in ((Kind.GAP, new_gaps), (Kind.DEAD_LETTERS, new_dead_letters)):
            memory = self._memories.get(kind, Memory(kind=kind))
            occurrence, marks[kind] = find(memory.mark, facts)
            if occurrence is not None:
                occurrences[kind] = occurrence
        return occurrences, marks

    def _decide(
        self, occurrences: Mapping[Kind, Occurrence], marks: Mapping[Kind, str] | None = None
    ) -> None:
        at = self._now()
        marked = with_marks(self._memories, {**self._watch.marks(), **(marks or {})})
        self._memories = {**self._memories, **{memory.kind: memory for memory in marked}}
        conditions = self._watch.conditions(at)
        facts = Facts(at=at, conditions=conditions, occurrences=occurrences)
        self._memories, tellings = decide(self._memories, facts)
        alerts = [alert_of(telling, self._place) for telling in tellings]
        for alert in alerts:
            self._outbox = self._outbox.put(alert, (target.key for target in self._targets))
        self._save()  # before the pings, which may take long
        for telling, alert in zip(tellings, alerts, strict=True):
            log.info("alert.told", kind=str(alert.kind), is_recovery=telling.is_recovery)
            if self._pings is not None:
                self._pings.tell(telling, alert)

    def _deliver(self) -> None:
        for target in self._targets:
            while (queued := self._outbox.due(target.key, self._now())) is not None:
                if not self._send(target, queued):
                    break
                self._outbox = self._outbox.without(queued)
                self._save()
        self._save()

    def _send(self, target: Target, queued: QueuedAlert) -> bool:
        """Return whether the alert arrived. If the attempt failed, the alert is postponed."""
        body = queued.body
        if queued.dropped:
            body += f"\nNot sent for lack of room: {queued.dropped} older alerts"
        try:
            if not self._deliver_to(target, replace(queued, body=body)):
                return False
        except PollerError as error:
            self._outbox = self._outbox.postponed(queued, self._now())
            if target.key not in self._failing:
                self._failing.add(target.key)
                log.warning("alert.not_sent", target=target.name, reason=str(error))
            return False
        if target.key in self._failing:
            self._failing.discard(target.key)
            log.info("alert.sent_again", target=target.name)
        return True

    def _save(self) -> None:
        """Copy the state to the ledger if it has changed. Thread-safe."""
        with self._saving:
            state = (self._with_mark_of_run(), self._outbox)
            if state == self._saved or not self._is_loaded:
                return
            memories = [_row_of(memory) for memory in state[0].values()]
            queued = [_row_of(each) for each in state[1].queued]
            try:
                self._ledger.write_alerts(memories, queued)
            except PollerError as error:
                if not self._has_failed_to_save:
                    self._has_failed_to_save = True
                    log.warning("alerts.not_saved", reason=str(error))
                return
            self._saved, self._has_failed_to_save = state, False

    def _with_mark_of_run(self) -> Memories:
        """Return the memories with a mark that is left in the ledger by a process that crashes."""
        marks = {Kind.CRASH: "" if self._ending.is_set() else _RUNNING}
        marked = with_marks(self._memories, marks)
        return {**self._memories, **{memory.kind: memory for memory in marked}}


def _row_of(value: Memory | QueuedAlert) -> Row:
    return asdict(value) | {"kind": str(value.kind)}

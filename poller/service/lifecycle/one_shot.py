"""One drain to the end of the log, for `run --once` and each slice of a backfill."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import structlog

from poller.core.errors import PollerError
from poller.core.forward import Forwarded
from poller.service.lifecycle.cycles import CycleCount, CycleJournal
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from poller.service.upstream.retry import PATIENCE, retrying

log = structlog.get_logger()


def run_once(
    pages: Callable[[], Iterator[Forwarded]],
    journal: CycleJournal,
    process: Process,
    *,
    beside: Callable[[Callable[[Reason], None]], None] = lambda end: end(Finished()),
    interval: timedelta = timedelta(seconds=30),
    maintain: Callable[[], None] = lambda: None,
    patience: timedelta = PATIENCE,
) -> Reason:
    """Drain to the end of the log in a thread, and return the reason to stop.

    The drain gives up after `patience` without a settled page. The main thread waits for signals
    meanwhile. `beside` begins the work on a backlog, and calls its argument at the end of that
    work. Until then the log is drained again every `interval`, and once more at the end.
    """
    begun = threading.Event()

    def work() -> None:
        reason: Reason
        with process.working():
            begun.set()
            try:
                _drain_and_log(pages, patience)
                reason = _drain_beside(
                    beside, lambda: _drain_and_log(pages, patience), interval, process.stopping
                )
                maintain()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                reason = Failed(error)
            _note(journal, reason)
        process.end(reason)

    threading.Thread(target=work, name="drain", daemon=True).start()
    begun.wait()  # a stop that comes now finds work under way, and waits for it
    return process.wait()


def _drain_beside(
    beside: Callable[[Callable[[Reason], None]], None],
    drain_again: Callable[[], None],
    interval: timedelta,
    stopping: threading.Event,
) -> Reason:
    """Drain again and again until the work beside has ended, and return how that work ended.

    A drain may find that this machine slept for hours, and begin another catch-up. So the work
    begins anew until nothing is left.
    """
    while True:
        ended: queue.SimpleQueue[Reason] = queue.SimpleQueue()
        beside(ended.put)
        if not ended.empty():
            return ended.get()
        while (reason := _wait_for(ended, interval)) is None:
            drain_again()
        if reason != Finished() or stopping.is_set():
            return reason
        drain_again()


def _wait_for(ended: "queue.SimpleQueue[Reason]", interval: timedelta) -> Reason | None:
    with contextlib.suppress(queue.Empty):
        return ended.get(timeout=interval.total_seconds())
    return None


def _drain_and_log(pages: Callable[[], Iterator[Forwarded]], patience: timedelta) -> None:
    count = CycleCount()
    outcome = "cycle.interrupted"
    try:
        drain(pages, patience, count=count)
        outcome = "cycle.finished"
    finally:
        log.info(outcome, **count.facts())


def _note(journal: CycleJournal, reason: Reason) -> None:
    """Leave a note for `status`. A bug leaves none: its text could hold an event."""
    error = reason.error if isinstance(reason, Failed) else None
    if error is not None and not isinstance(error, PollerError):
        return
    with contextlib.suppress(PollerError):  # the drain has already logged a ledger that fails
        if error is None:
            journal.note_blocked(None)
        journal.note_cycle(at=datetime.now(UTC), error=str(error) if error else None)


def drain(
    pages: Callable[[], Iterator[Forwarded]],
    patience: timedelta,
    *,
    stopping: threading.Event | None = None,
    count: CycleCount | None = None,
) -> None:
    """Forward to the end of the log, and try again after a transient error.

    `stopping` and `patience` mean what they mean for `retrying`. Each settled page begins a new
    patience.

    Raises:
        TransientError: `patience` went by without a settled page, or `stopping` was set.
        FatalError: nothing goes on until somebody acts.
    """
    count = count or CycleCount()
    steps = pages()
    while True:
        for attempt in retrying(patience, stopping):
            with attempt:
                try:
                    forwarded = next(steps, None)
                except Exception:
                    steps = pages()  # a generator that raised has ended
                    raise
        if forwarded is None:
            return
        count.add(forwarded.settlement)

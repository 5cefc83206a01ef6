"""One drain, then the end: for cron and for tests."""

import contextlib
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
    upkeep: Callable[[], None] = lambda: None,
    patience: timedelta = PATIENCE,
) -> Reason:
    """Drains to the end of the log; gives up after `patience` without a settled page."""

    begun = threading.Event()

    def work() -> None:
        with process.working():
            begun.set()
            try:
                drain(pages, patience)
                upkeep()
                reason: Reason = Finished()
            except BaseException as error:  # noqa: BLE001 - told by the main thread, bug or not
                reason = Failed(error)
            note(journal, reason)
        process.end(reason)

    threading.Thread(target=work, name="drain", daemon=True).start()
    begun.wait()  # so that whoever looks finds it at work
    return process.wait()


def note(journal: CycleJournal, reason: Reason) -> None:
    """Leaves for `status` how it went."""
    error = reason.error if isinstance(reason, Failed) else None
    with contextlib.suppress(PollerError):  # the drain has said more
        if error is None:
            journal.note_blocked(None)
        if error is None or isinstance(error, PollerError):
            journal.note_cycle(at=datetime.now(UTC), error=None if error is None else str(error))


def drain(
    pages: Callable[[], Iterator[Forwarded]],
    patience: timedelta,
    *,
    stopping: threading.Event | None = None,
) -> CycleCount:
    """Forwards to the end of the log, trying again where later may do.

    With `stopping` it is one of many, ends at once when told to, and says nothing at the end.

    Raises:
        TransientError: `patience` went by without a settled page.
        FatalError: nothing goes on until someone acts.
    """
    count = CycleCount()
    steps = pages()
    outcome = "cycle.interrupted"
    try:
        while True:
            for attempt in retrying(patience, stopping):
                with attempt:
                    try:
                        forwarded = next(steps, None)
                    except Exception:
                        steps = pages()  # a generator that raised is spent
                        raise
            if forwarded is None:
                outcome = "cycle.finished"
                return count
            count.add(forwarded.settlement)
    finally:
        if stopping is None:
            log.info(outcome, **count.facts())

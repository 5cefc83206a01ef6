"""One drain, then the end: for cron and for tests."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import structlog

from poller.core.forward import Forwarded
from poller.service.process import Failed, Finished, Process, Reason
from poller.service.retry import PATIENCE, patiently
from poller.service.telemetry import CycleCount

log = structlog.get_logger()


def run_once(pages: Callable[[], Iterator[Forwarded]], process: Process, *, patience: timedelta = PATIENCE) -> Reason:
    """Drains to the end of the log; gives up after `patience` without a settled page."""

    def work() -> None:
        with process.working():
            try:
                drain(pages, patience)
                reason: Reason = Finished()
            except BaseException as error:  # noqa: BLE001 - told by the main thread, bug or not
                reason = Failed(error)
        process.end(reason)

    with process.working():  # so that a signal before the thread has begun waits for it too
        threading.Thread(target=work, name="drain", daemon=True).start()
    return process.wait()


def drain(pages: Callable[[], Iterator[Forwarded]], patience: timedelta) -> CycleCount:
    """Forwards to the end of the log, trying again where later may do.

    Raises:
        TransientError: `patience` went by without a settled page.
        FatalError: nothing goes on until someone acts.
    """
    count = CycleCount()
    steps = pages()
    try:
        while True:
            for attempt in patiently(patience):
                with attempt:
                    try:
                        forwarded = next(steps, None)
                    except Exception:
                        steps = pages()  # a generator that raised is spent
                        raise
            if forwarded is None:
                return count
            count.add(forwarded.settlement)
    finally:
        log.info("cycle.finished", **count.facts())

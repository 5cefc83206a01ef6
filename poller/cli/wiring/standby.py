"""A process that stands by: it waits until the process that works on the ledger has ended."""

from collections.abc import Callable
from contextlib import ExitStack, suppress

import structlog

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.places import acquire_lock
from poller.core.errors import TransientError
from poller.service.lifecycle.process import Process, Reason
from poller.service.observability.systemd import Supervisor

_TICKS_PER_ATTEMPT = 3
"""Seconds between two attempts. A lease that nobody renews is over after 20 s."""

log = structlog.get_logger()


class _TakenOver(BaseException):
    """The ledger is open. It ends the wait of the main thread."""


class Standby:
    """The wait for the ledger. Call it in the main thread.

    `open_` takes the lock of `run` and opens the ledger. Meanwhile the process holds the lock
    `standby`, by which `status` knows of it. Others may stand by too, and `status` names one.
    """

    def __init__(
        self, url: str, open_: Callable[[], None], process: Process, supervisor: Supervisor
    ) -> None:
        self._url = url
        self._open = open_
        self._process = process
        self._supervisor = supervisor
        self._reason = ""
        self._ticks = 0

    def wait(self, *, is_patient: bool) -> Reason | None:
        """Return None once the ledger is open, or the reason to stop if one comes before.

        Raises:
            LedgerHeldError: another process holds the ledger, and this one is not patient.
            TransientError, FatalError: the ledger cannot be opened, and nobody else holds it.
        """
        try:
            self._open()
        except LedgerHeldError as error:
            if not is_patient:
                raise
            self._tell(error)
        else:
            return None
        with ExitStack() as stack:
            with suppress(LedgerHeldError):
                stack.enter_context(acquire_lock(self._url, "standby"))
            try:
                return self._process.wait(self._attempt)
            except _TakenOver:
                log.warning("standby.took_over", reason=self._reason)
                return None

    def _attempt(self) -> None:
        self._supervisor.heartbeat.beat()
        self._supervisor.look()
        self._ticks += 1
        if self._ticks % _TICKS_PER_ATTEMPT:
            return
        try:
            self._open()
        except TransientError as error:
            self._tell(error)
        else:
            raise _TakenOver

    def _tell(self, error: TransientError) -> None:
        if str(error) != self._reason:
            self._reason = str(error)
            log.info("standby.waiting", reason=self._reason)
        self._supervisor.standing_by(error)

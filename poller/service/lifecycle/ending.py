"""The end of a process: let the page in hand settle, then turn the reason into an exit code."""

import os
import sys
import threading

import structlog

from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.process import GRACE_S, Failed, Process, Reason, Signalled

log = structlog.get_logger()


def finish(reason: Reason, process: Process, *, interrupted: ExitCode) -> ExitCode:
    """Let the page in hand settle, and return the exit code.

    `interrupted` is the exit code after a signal. A page that is not settled within `GRACE_S` is
    abandoned. The process then ends at once with the exit code, even if the work has failed,
    because the call under way may hold its thread for much longer.

    Raises:
        BaseException: the work failed with this error, and the page is settled.
    """
    code = interrupted if isinstance(reason, Signalled) else ExitCode.DONE
    if isinstance(reason, Signalled):
        _end_without_fail(code)
    log.info("run.stopping", reason=type(reason).__name__.lower())
    if not process.settle_down():
        log.warning("page.abandoned", note="not settled; it is sent again under the same ids")
        sys.stderr.flush()
        os._exit(code)
    if isinstance(reason, Failed):
        raise reason.error
    return code


def _end_without_fail(code: ExitCode) -> None:
    """End the process a second after `GRACE_S`, even if every thread waits to write a log line."""
    timer = threading.Timer(GRACE_S + 1.0, os._exit, (code,))
    timer.daemon = True
    timer.start()

"""The end of a process: let the page in hand settle, then turn the reason into an exit code."""

import os
import sys
import threading
from collections.abc import Callable

import structlog

from poller.core.errors import FatalError, PollerError, TakenOverError
from poller.service.lifecycle.exit_codes import ExitCode, exit_code_of
from poller.service.lifecycle.process import GRACE_S, Failed, Process, Reason, Signalled

log = structlog.get_logger()


def finish(
    reason: Reason,
    process: Process,
    *,
    interrupted: ExitCode,
    grace_s: float = GRACE_S,
    end_at_once: Callable[[int], object] = os._exit,
) -> ExitCode:
    """Let the page in hand settle, and return the exit code.

    `interrupted` is the exit code after a signal. A page that is not settled within `grace_s` is
    abandoned. The process then ends at once, because the call under way may hold its thread for
    much longer. If the work has failed, the log says so, and the exit code is that of the error.

    Raises:
        BaseException: the work failed with this error, and the page is settled.
    """
    code = interrupted if isinstance(reason, Signalled) else ExitCode.DONE
    if isinstance(reason, Signalled):
        _end_without_fail(code)
    log.info("run.stopping", reason=type(reason).__name__.lower())
    if not process.settle_down(grace_s):
        log.warning("page.abandoned", note="not settled; it is sent again under the same ids")
        if isinstance(reason, Failed):
            code = _tell(reason.error)
        sys.stderr.flush()
        end_at_once(code)
        return code
    if isinstance(reason, Failed):
        raise reason.error
    return code


def _tell(error: BaseException) -> ExitCode:
    """Write the error to the log in one line, and return the exit code."""
    match error:
        case FatalError() | TakenOverError():
            log.error("run.failed", code=error.code, reason=str(error), hint=error.hint)
        case PollerError():
            log.error("run.failed", reason=str(error))
        case _:  # the text of a bug may quote an event
            log.error("run.failed", reason=f"a bug: {type(error).__name__}")
    return exit_code_of(error)


def _end_without_fail(code: ExitCode) -> None:
    """End the process a second after `GRACE_S`, even if every thread waits to write a log line."""
    timer = threading.Timer(GRACE_S + 1.0, os._exit, (code,))
    timer.daemon = True
    timer.start()

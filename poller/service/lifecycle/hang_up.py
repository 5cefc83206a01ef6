"""SIGHUP before the process can serve it.

SIGHUP means two things: the settings are to be read again, or the terminal of the process is gone.
By default it ends the process. So `run` remembers it from its first instant, before the imports,
which take most of a second. `Process` serves it later.
"""

import os
import signal
from types import FrameType


class _Early:
    had_terminal = False
    has_come = False


def remember() -> None:
    """Remember a SIGHUP from now on. If its terminal hangs up, the process ends all the same."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:  # nohup ignores it for a reason
        return
    _Early.had_terminal = has_terminal()
    signal.signal(signal.SIGHUP, _on_signal)


def take() -> bool:
    """Return whether a SIGHUP has come, and forget it."""
    has_come, _Early.has_come = _Early.has_come, False
    return has_come


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal. Opening any other one fails."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _on_signal(number: int, frame: FrameType | None) -> None:
    del frame
    if _Early.had_terminal and not has_terminal():
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _Early.has_come = True

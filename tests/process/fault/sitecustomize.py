"""Let a test set the wall clock of a process ahead by the seconds in the file WALL_CLOCK.

Python imports a module of this name at its start, where PYTHONPATH leads to it. The monotonic clock
stays as it is, as when a real clock is set.
"""

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Any

import apscheduler.schedulers.background

import poller.cli.commands.run

_FILE = Path(os.environ["WALL_CLOCK"])
_REAL = dt.datetime


class _AnyDatetime(type(_REAL)):  # type: ignore[misc] # the metaclass of an extension type
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _REAL)


class Clock(_REAL, metaclass=_AnyDatetime):
    """A datetime that is ahead by the seconds in the file."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        ahead = dt.timedelta(seconds=float(_FILE.read_text() or 0))
        return _REAL.now(tz) + ahead


for name, module in list(sys.modules.items()):
    if name.startswith(("poller.", "apscheduler.")) and vars(module).get("datetime") is _REAL:
        module.datetime = Clock  # type: ignore[attr-defined]

assert apscheduler.schedulers.base.datetime is Clock
assert poller.service.daemon.daemon.datetime is Clock

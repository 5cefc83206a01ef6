"""The exit codes of the commands, and the severities that they follow from."""

import enum
from collections.abc import Iterable

from poller.core.errors import FatalError, PollerError


class ExitCode(enum.IntEnum):
    """The exit codes of every command.

    69, 75 and 78 are UNAVAILABLE, TEMPFAIL and CONFIG of sysexits(3). 130 is the code of a shell
    for a command that SIGINT ended.
    """

    DONE = 0
    BUG = 1
    USAGE = 2
    ATTENTION = 3
    UNAVAILABLE = 69
    UNREACHABLE = 75
    CONFIG = 78
    INTERRUPTED = 130


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code of a process that this error ends."""
    match error:
        case FatalError():
            return ExitCode.CONFIG
        case PollerError():
            return ExitCode.UNREACHABLE
    return ExitCode.BUG


class Severity(enum.Enum):
    """The weight of one finding. The members are in ascending order."""

    GOOD = enum.auto()
    """Nothing is wrong."""
    ATTENTION = enum.auto()
    """The program works, and somebody should look."""
    UNREACHABLE = enum.auto()
    """A service does not answer now. A later attempt may succeed."""
    UNUSABLE = enum.auto()
    """The program cannot work until somebody acts."""

    @property
    def exit_code(self) -> ExitCode:
        """Return the exit code of a command that ends with this finding."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Severity.GOOD: ExitCode.DONE,
    Severity.ATTENTION: ExitCode.ATTENTION,
    Severity.UNREACHABLE: ExitCode.UNREACHABLE,
    Severity.UNUSABLE: ExitCode.CONFIG,
}


def worst(severities: Iterable[Severity]) -> Severity:
    """Return the highest of these severities, or GOOD if there is none."""
    return max(severities, key=lambda severity: severity.value, default=Severity.GOOD)

"""What is wrong with the settings, and where; never with the value that is wrong."""

from dataclasses import dataclass
from enum import IntEnum

from poller.core.errors import ErrorCode


class SettingsError(Exception):
    """The settings cannot be used.

    `problems` are all there are, those of the file first, in the order of its lines.
    """

    code: ErrorCode = "settings-invalid"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BadValueError(ValueError):
    """What is wrong with one value, told without the value: only such text reaches a user."""


class BadKeysError(BadValueError):
    """What is wrong with several lines of a table: each key, and what is wrong with its value."""

    def __init__(self, wrong: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{key}: {said}" for key, said in wrong))
        self.wrong = wrong


class BadLineError(BadValueError):
    """What is wrong with one line of a file."""

    def __init__(self, wrong: str, line: int) -> None:
        super().__init__(wrong)
        self.line = line


class Rank(IntEnum):
    """The order in which problems are listed."""

    FILE = 0
    ENVIRONMENT = 1
    CREDENTIAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value was given, or would have been."""

    rank: Rank
    source: str
    line: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return where if self.name is None else f"{where}: {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to put right."""

    place: Place
    wrong: str

    def __str__(self) -> str:
        return f"{self.place}: {self.wrong}"


def settings_error(problems: list[Problem]) -> SettingsError:
    """One error of all problems, sorted."""
    ordered = sorted(problems, key=lambda each: (each.place.rank, each.place.line or 0, str(each)))
    return SettingsError(tuple(str(each) for each in ordered))

"""Problems with the settings. A problem names its place, and never holds the wrong value."""

from dataclasses import dataclass
from enum import IntEnum

from poller.core.errors import ErrorCode


class SettingsError(Exception):
    """The settings cannot be used.

    `problems` are all problems. The problems of the file come first, in the order of its lines.
    """

    code: ErrorCode = "settings-invalid"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BadValueError(ValueError):
    """A problem with one value. The message does not hold the value, since it may be a secret."""


class PlaceholderError(BadValueError):
    """A value that is still the placeholder of config.example.toml."""


Key = str | tuple[str, ...]
"""A key of a table, or the keys on the way to a value in tables inside each other."""


class BadKeysError(BadValueError):
    """Problems with several lines of a table: each key, and the problem with its value."""

    def __init__(self, wrong: tuple[tuple[Key, str], ...]) -> None:
        super().__init__("; ".join(f"{_dotted(key)}: {problem}" for key, problem in wrong))
        self.wrong = wrong


def _dotted(key: Key) -> str:
    return key if isinstance(key, str) else ".".join(key)


class BadLineError(BadValueError):
    """A problem with one line of a file."""

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
    """The place of a value, or the place where a missing value belongs."""

    rank: Rank
    source: str
    line: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        if self.name is None:
            return where
        return f"{where}: {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to correct."""

    place: Place
    wrong: str

    def __str__(self) -> str:
        return f"{self.place}: {self.wrong}"


def settings_error(problems: list[Problem]) -> SettingsError:
    """Return one error with all problems, in the order of ranks and lines."""
    files = [each.place.source for each in problems if each.place.rank is Rank.FILE]
    order = {source: number for number, source in enumerate(dict.fromkeys(files))}

    def key(problem: Problem) -> tuple[Rank, int, int, str]:
        place = problem.place
        return place.rank, order.get(place.source, 0), place.line or 0, str(problem)

    ordered = sorted(problems, key=key)
    return SettingsError(tuple(str(each) for each in ordered))

"""A TOML file as tables, with the line of each key."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poller.config.errors import BadLineError, BadValueError, Place, Problem, Rank, settings_error
from poller.config.sources.secret_files import is_there, read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlFile:
    """A parsed file. `lines` holds the first line of every table and key, by its path."""

    path: Path
    tables: dict[str, Any]
    lines: dict[tuple[str, ...], int]

    def place(self, *path: str) -> Place:
        """Return the place of a table or key. A missing key has the line of its table."""
        line = next(
            (
                self.lines[path[:size]]
                for size in range(len(path), 0, -1)
                if path[:size] in self.lines
            ),
            None,
        )
        return Place(
            rank=Rank.FILE, source=str(self.path), line=line, name=".".join(map(shown, path))
        )


def read_toml(path: Path) -> TomlFile:
    """Return the file at `path`.

    Raises:
        SettingsError: the file does not exist, cannot be read, or is not TOML.
    """
    if not is_there(path):
        wrong = (
            "no such file: name another with --config FILE, or begin with a copy of "
            "config.example.toml"
        )
        raise settings_error([Problem(place=Place(rank=Rank.FILE, source=str(path)), wrong=wrong)])
    try:
        text = read_text(path).replace("\r\n", "\n")
        return TomlFile(path=path, tables=_parsed(text), lines=key_lines(text))
    except BadLineError as error:
        place = Place(rank=Rank.FILE, source=str(path), line=error.line)
        problem = Problem(place=place, wrong=str(error))
    except BadValueError as error:
        problem = Problem(place=Place(rank=Rank.FILE, source=str(path)), wrong=str(error))
    raise settings_error([problem])


def shown(key: str) -> str:
    """Return a key as it stands in TOML, on one line."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else ascii(key)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line on which each table and key of a valid TOML text begins.

    The standard parser reports no lines. So this function feeds it one statement at a time, below
    the header of the table. A statement is complete as soon as it parses.
    """
    lines: dict[tuple[str, ...], int] = {}
    header, statement, first = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            tables = tomllib.loads(header + statement)
        except ValueError:
            continue
        if statement.lstrip().startswith("["):
            header = statement
        for path in _paths(tables):
            lines.setdefault(path, first)
        statement, first = "", number + 1
    return lines


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # The parser's message may quote a secret in the file. So only the place is passed on.
        where = re.search(r"\(at line (\d+), column (\d+)\)\Z", str(error))
    line = int(where[1]) if where else text.rstrip().count("\n") + 1
    column = f" at column {where[2]}" if where else ""
    raise BadLineError(
        f"not valid TOML{column}: text needs quotes, and a key may stand only once", line
    )


def _paths(tables: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tables.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))

"""A TOML file as tables, with the line of each key."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poller.config.errors import BadLineError, BadValueError, Place, Problem, Rank, settings_error
from poller.config.sources.secret_files import is_there, read_text

_NO_END_OF_TEXT = "a text has no quote at its end"
_BAD_ESCAPE = (
    r"a backslash in a text is followed by a character that it cannot stand before: write \\\\"
    " for one backslash"
)
_TWICE = "this key or section stands in the file already"
_MISTAKES = {
    "Invalid value": "the value is of no known kind: a text needs quotes",
    "Expected '=' after a key": "a key must be followed by = and its value",
    "Invalid statement": "a line must be a [section], or a key with = and its value",
    "Expected newline or end of document": "something follows the value on the same line",
    "Expected ']": "the name of a section must end with ]",
    "Invalid initial character for a key part": "a key may hold letters, digits, - and _ only",
    "Cannot ": _TWICE,
    "Duplicate inline table key": "a key stands twice in a table in braces",
    "Unclosed array": "a list has no ] at its end",
    "Unclosed inline table": "a table in braces has no } at its end",
    "Unterminated string": _NO_END_OF_TEXT,
    "Expected": _NO_END_OF_TEXT,
    "Illegal character '\\n'": _NO_END_OF_TEXT,
    "Found invalid character '\\n'": _NO_END_OF_TEXT,
    "Illegal character": "a text holds a control character",
    "Found invalid character": "a text or a comment holds a control character",
    "Unescaped": _BAD_ESCAPE,
    "Invalid hex value": _BAD_ESCAPE,
    "Escaped character": _BAD_ESCAPE,
    "Invalid date or datetime": "this day or time does not exist",
}
"""The beginnings of the messages of tomllib (Python 3.11 to 3.13), and the same in our words."""
_OTHER = "the parser cannot read it here"


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlFile:
    """A parsed file. `lines` holds the first line of every table and key, by its path.

    The file of a pipeline in a folder has the name of the `pipeline`, and the `defaults` of the
    folder, if there are any. `route` is the one route that is meant, if the file holds several.
    """

    path: Path
    tables: dict[str, Any]
    lines: dict[tuple[str, ...], int]
    pipeline: str = ""
    defaults: "TomlFile | None" = None
    route: str = ""

    @property
    def name(self) -> str:
        """The name of the pipeline. A file alone has none."""
        if self.route:
            return f"{self.pipeline or self.path.stem}.{self.route}"
        return self.pipeline

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
        wrong = "no such file: name another with --config FILE, or make it with `init FILE`"
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
    if re.fullmatch(r"[A-Za-z0-9_-]+", key):
        return key
    return ascii(key)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line on which each table and key of a valid TOML text begins.

    The standard parser reports no lines. So this function feeds it one statement at a time, below
    the header of the table. A statement is complete as soon as it parses. A table of a list has its
    number in its path: `("routes", "0", "name")`.
    """
    lines: dict[tuple[str, ...], int] = {}
    of_lists: Counter[str] = Counter()
    header, statement, first = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        is_header = statement.lstrip().startswith("[")
        try:
            tables = tomllib.loads(statement if is_header else header + statement)
        except ValueError:
            continue
        if is_header:
            header = statement
        if statement.lstrip().startswith("[["):
            of_lists.update(tables.keys())
        for path in _paths(tables, of_lists):
            lines.setdefault(path, first)
        statement, first = "", number + 1
    return lines


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        where = re.search(r"\(at line (\d+), column (\d+)\)\Z", str(error))
        wrong = _in_our_words(str(error))
    line = int(where[1]) if where else text.rstrip().count("\n") + 1
    column = f" at column {where[2]}" if where else ""
    raise BadLineError(f"not valid TOML{column}: {wrong}", line)


def _in_our_words(message: str) -> str:
    """Return what is wrong, without the parser's own message, which may quote a secret.

    The parser has no codes, so its message is recognized by its beginning.
    """
    return next((ours for theirs, ours in _MISTAKES.items() if message.startswith(theirs)), _OTHER)


def _paths(
    tables: dict[str, Any], of_lists: Mapping[str, int], above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Yield the path of each table and key. `of_lists` counts the tables of each list so far."""
    for key, value in tables.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, of_lists, (*above, key))
        elif isinstance(value, list) and not above:
            first = max(of_lists[key] - 1, 0)
            for number, each in enumerate(value, first):
                yield (key, str(number))
                if isinstance(each, dict):
                    yield from _paths(each, of_lists, (key, str(number)))

"""The part of Auth0's Lucene dialect that the program uses for log search and user search."""

import json
import re
from collections.abc import Callable
from datetime import datetime

from poller.sandbox.auth0.entries import Entry, iso

SEARCHABLE = {
    *(
        "client_id",
        "client_name",
        "connection",
        "connection_id",
        "description",
        "date",
        "hostname",
        "ip",
        "log_id",
    ),
    *("organization_id", "user_id", "user_name", "user_agent", "strategy", "strategy_type", "type"),
}
"""The fields that the log search knows. Any other field is an error."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_TERM = re.compile(
    rf'(\w+):(\((?:[^()"]|{_QUOTED.pattern})*\)|[\[{{][^\]}}]*[\]}}]|{_QUOTED.pattern}|\S+)'
)


class UnknownFieldError(ValueError):
    """The query names a field that cannot be searched by."""


def logs_query(text: str) -> Callable[[Entry], bool]:
    """Return the test that a query makes of an entry.

    Terms are joined by AND, such as `type:("s" OR "ss")`, `date:[A TO B}`, `log_id:[A TO *]`, or
    a field with one exact value.

    Raises:
        UnknownFieldError: The query names a field that is not searchable.
    """
    terms = [(match[1], match[2]) for match in _TERM.finditer(text)]
    for name, _ in terms:
        if name not in SEARCHABLE:
            raise UnknownFieldError(f'unknown field "{name}"')
    return lambda entry: all(_holds(_value(entry, name), wanted) for name, wanted in terms)


def user_ids(text: str) -> tuple[str, list[str]]:
    """Return the field and the ids of `user_id:("a" OR "b")` or `identities.user_id:("a")`."""
    field, _, rest = text.partition(":")
    if field not in {"user_id", "identities.user_id"}:
        return field, []
    return field, [json.loads(quoted) for quoted in _QUOTED.findall(rest)]


def _value(entry: Entry, name: str) -> str:
    match name:
        case "type":
            return entry.type
        case "log_id":
            return entry.log_id
        case "date":
            return iso(entry.date)
    drawn = entry.draw("")
    if isinstance(drawn, dict):
        return str(drawn.get(name, ""))
    return ""


def _holds(value: str, wanted: str) -> bool:
    if wanted[0] in "[{":
        low, _, high = wanted[1:-1].partition(" TO ")
        value, low, high = (_comparable(text) for text in (value, low.strip(), high.strip()))
        above = low == "*" or (value >= low if wanted[0] == "[" else value > low)
        below = high == "*" or (value <= high if wanted[-1] == "]" else value < high)
        return above and below
    quoted = _QUOTED.findall(wanted)
    if quoted:
        return value in map(json.loads, quoted)
    return value in wanted.strip("()").split(" OR ")


def _comparable(text: str) -> str:
    """Return a date in a spelling that compares as text."""
    try:
        return iso(datetime.fromisoformat(text)) if "-" in text else text
    except ValueError:
        return text

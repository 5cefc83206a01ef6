"""The routes of a settings file: pipelines that divide the events of one tenant."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from poller.config.catalogue import SETTINGS, Setting
from poller.config.errors import BadValueError, Place, Problem
from poller.config.parsers.expressions import JmesPath, expression
from poller.config.parsers.texts import text
from poller.config.sources.toml import TomlFile
from poller.config.suggestions import nearest_key_of_route
from poller.core.translation.routing import Route, Routing

ROUTES = "routes"
_SEGMENT = "segment"
OF_ONE_SOURCE = frozenset((_SEGMENT, key) for key in ("write_key", "source_name", "source_id"))
"""The settings that each route must have for itself."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
KEYS: Mapping[str, tuple[str, str, str]] = {
    "name": (
        "text",
        "required",
        "The name of the route. The pipeline has the name of the file and this one: acme.shop.",
    ),
    "when": (
        "JMESPath",
        "required, but in the last route",
        "A condition on `log` alone. The first route whose condition holds takes an event.",
    ),
}
"""The keys that only a route has: the type, the default, and the help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """One `[[routes]]` table of a file, and its number from 0."""

    file: TomlFile
    number: int
    table: dict[str, Any] = field(repr=False)

    def place(self, key: str) -> Place:
        """Return the place of a key. It shows the route's name, or its number from 1."""
        name = self.table.get("name")
        shown = name if isinstance(name, str) and _NAME.fullmatch(name) else str(self.number + 1)
        place = self.file.place(ROUTES, str(self.number), key)
        return replace(place, name=f"{ROUTES}.{shown}.{key}")

    def written(self) -> dict[Setting, object]:
        """Return the keys of `[segment]` that the route has for itself."""
        known = {setting.key: setting for setting in settings_of_route(str(self.table["name"]))}
        return {known[key]: value for key, value in self.table.items() if key in known}

    def unknown(self) -> Iterator[Problem]:
        """Yield a problem for each key that no route has."""
        known = {*KEYS, *(setting.key for setting in settings_of_route(""))}
        for key in self.table:
            if key not in known:
                yield Problem(place=self.place(key), wrong=nearest_key_of_route(key, sorted(known)))


def settings_of_route(name: str) -> tuple[Setting, ...]:
    """Return the settings that a route may have for itself."""
    return tuple(replace(each, route=name) for each in SETTINGS if each.section == _SEGMENT)


def own_table(file: TomlFile | None) -> RouteTable | None:
    """Return the table of the route that is meant, or None."""
    if file is None or not file.route:
        return None
    return next((each for each in _tables(file) if each.table.get("name") == file.route), None)


def names_of_routes(file: TomlFile | None) -> tuple[str, ...]:
    """Return the names of the routes of a file, as far as they are names."""
    if file is None:
        return ()
    names = (each.table.get("name") for each in _tables(file))
    return tuple(name for name in names if isinstance(name, str))


def routing_of(file: TomlFile | None) -> Routing | None:
    """Return the routes of the file as one of them sees them, or None if it is no route."""
    if file is None or not file.route:
        return None
    return Routing(routes=read_routes(file)[0], own=file.route)


def read_routes(file: TomlFile) -> tuple[tuple[Route, ...], list[Problem]]:
    """Return the routes of a file in their order, and the problems with their names and conditions.

    A file without routes has neither.
    """
    if ROUTES not in file.tables:
        return (), []
    tables = list(_tables(file))
    if not tables:
        wrong = "must be one table or more, each of which begins with [[routes]]"
        return (), [Problem(place=file.place(ROUTES), wrong=wrong)]
    routes, problems, seen = [], [], dict[str, str]()
    for table in tables:
        is_last = table is tables[-1]
        try:
            name = _name(table, seen)
            routes.append(Route(name=name, when=_condition(table, is_last=is_last)))
        except _RouteError as error:
            problems.append(error.problem)
    return tuple(routes), problems


class _RouteError(Exception):
    """A problem with a route."""

    def __init__(self, table: RouteTable, key: str, wrong: str) -> None:
        super().__init__(wrong)
        self.problem = Problem(place=table.place(key), wrong=wrong)


def _tables(file: TomlFile) -> Iterator[RouteTable]:
    """Yield the tables of the routes. Anything else that stands there is no route."""
    written = file.tables.get(ROUTES)
    if isinstance(written, list) and all(isinstance(each, dict) for each in written):
        for number, table in enumerate(written):
            yield RouteTable(file=file, number=number, table=table)


def _name(table: RouteTable, seen: dict[str, str]) -> str:
    """Return the name of a route, and note it.

    Raises:
        _RouteError: there is no name, or none that a route may have, or another route has it.
    """
    name = table.table.get("name")
    if name is None:
        raise _RouteError(table, "name", 'is missing: give the route a name, such as name = "shop"')
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        wrong = (
            "must be a text of at most 32 letters, digits, _ and -, which begins with a letter or "
            "a digit"
        )
        raise _RouteError(table, "name", wrong)
    # The environment knows neither small letters nor a minus.
    folded = name.upper().replace("-", "_")
    if folded in seen:
        raise _RouteError(table, "name", f"is the name of another route ({seen[folded]}) already")
    seen[folded] = name
    return name


def source_twice(file: TomlFile, other: str) -> Problem:
    """Return the problem of a route that has the source of another route."""
    table = own_table(file)
    assert table is not None  # noqa: S101 - the file is that of a route
    wrong = (
        f"is that of the route {other}: for two conditions and one source, make them one route "
        "whose conditions are joined by ||"
    )
    return Problem(place=table.place("source_name"), wrong=wrong)


def _condition(table: RouteTable, *, is_last: bool) -> JmesPath | None:
    """Return the condition of a route, or None if the route takes the rest.

    Raises:
        _RouteError: it is no condition on an event, or it is missing above another route.
    """
    if "when" not in table.table:
        if is_last:
            return None
        wrong = (
            "is missing: a route without it takes every event, so the routes below it get none. "
            "Set it, or move this route to the end"
        )
        raise _RouteError(table, "when", wrong)
    try:
        condition = expression(text(table.table["when"]))
    except BadValueError as error:
        raise _RouteError(table, "when", str(error)) from None
    assert condition is not None  # noqa: S101 - there is a text
    if condition.names_user:
        wrong = (
            "may look at `log` (the event) only: a profile changes, so that two routes or none "
            "could take an event"
        )
        raise _RouteError(table, "when", wrong)
    if not condition.names_log:
        wrong = (
            "names nothing of the event, so it holds for all events or for none: write it like "
            "log.client_id == '...'. Leave it out in the last route, which then takes the rest"
        )
        raise _RouteError(table, "when", wrong)
    return condition

"""The routes of a settings file as its ledger knows them, for the rules of each route."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import structlog

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.route_files import Others, lost_routes, other_files
from poller.adapters.sql_ledger.routes import keep_routes, read_routing
from poller.adapters.sql_ledger.tables.routing import RecordedRoute, RoutingRow
from poller.cli.wiring.services import rules_of, stream_of, streams_of_routes
from poller.config import (
    Settings,
    SettingsError,
    load_settings,
    pipeline_names,
    read_pipeline,
    without_settings,
)
from poller.config.parsers.expressions import JmesPath
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.spans import LogRange
from poller.core.translation.routing import Route, RouteChange, Routing
from poller.core.translation.rules import Rules

_NEW_ROUTE = "it begins where the routes stand; `backfill` sends what was before"
_FIRST_ROUTES = "first start: the routes that had not begun begin together, at `poll.start`"
_RENAMED = "the routes of the file go on under its new name"
_CHANGED = "events up to this position still go by the routes before"

log = structlog.get_logger()


def routes_of(settings: Settings) -> tuple[RecordedRoute, ...]:
    """Return the routes of the file in their order. A file without routes is one route."""
    if settings.routing is None:
        return (RecordedRoute(stream=stream_of(settings), when=None),)
    return tuple(
        RecordedRoute(stream=stream, when=route.when.text if route.when else None)
        for stream, route in zip(streams_of_routes(settings), settings.routing.routes, strict=True)
    )


def file_of(settings: Settings) -> str:
    """Return the name under which the ledger keeps the routes of the settings file."""
    return settings.path.stem if settings.path else ""


def others_of(settings: Settings, database: Database) -> Others:
    """Return what the files name now that exchange routes with this one. See `keep_routes`.

    They had its routes, or have the routes that it had. A file whose streams are not known for sure
    is left out.
    """
    if settings.path is None:
        return {}
    file, routes, folder = file_of(settings), routes_of(settings), settings.path.parent
    others: dict[str, set[Stream] | None] = {}
    for other in other_files(database, file, routes):
        path = folder / f"{other}.toml"
        with suppress(SettingsError, OSError):  # the owner of the ledger may not look there
            others[other] = _streams_in(path) if path.exists() else None
    if lost := lost_routes(database, file, routes):
        for path in folder.glob("[!._]*.toml"):
            with suppress(SettingsError):
                others |= {path.stem: named} if lost & (named := _streams_in(path)) else {}
    return {each: named for each, named in others.items() if named is None or _are_known(named)}


def _streams_in(path: Path) -> set[Stream]:
    """Return the streams that a file names.

    The environment may hold secrets of that file, or only those of this one.

    Raises:
        SettingsError: the file has a mistake, or cannot be read.
    """
    return {
        stream_of(load_settings(read_pipeline(path, name), environ, secrets=False))
        for name in pipeline_names(path)
        for environ in (os.environ, without_settings(os.environ))
    }


def _are_known(streams: Iterable[Stream]) -> bool:
    return all(each.source_name for each in streams)


def keep_routes_of(
    settings: Settings,
    database: Database,
    first: LogId | None = None,
    neighbours: Collection[Stream] = (),
) -> None:
    """Notice a change of the routes of the file, and begin the new ones. See `keep_routes`."""
    file, routes, now = file_of(settings), routes_of(settings), datetime.now(UTC)
    others = others_of(settings, database)
    kept = keep_routes(database, file, routes, now, first, neighbours, others)
    if kept.renamed is not None:
        log.info("routes.renamed", now=file, note=_RENAMED)
    if kept.changed and kept.changed.after:
        removed = [each.source_name for each in kept.changed.unread]
        log.info("routes.changed", until=kept.changed.after, removed=removed, note=_CHANGED)
    note = _NEW_ROUTE if first is None else _FIRST_ROUTES
    for stream, after in kept.begun.items():
        log.info("route.begun", source_name=stream.source_name, after=after, note=note)


def rules_since_changes(settings: Settings, database: Database) -> Rules:
    """Return the rules by which routes divide the events that they have ahead of them.

    The routes are those that the ledger knows. If the file has others by now, no daemon has noticed
    that yet. What is ahead goes by the ones before then.
    """
    rules = rules_of(settings)
    rows = read_routing(database, settings.auth0.domain, file_of(settings))
    if not rows:
        return rules
    return replace(rules, routing=routing_since(rows, stream_of(settings)))


def rules_for_unsettled(rules: Rules) -> Rules:
    """Return the rules for events that are known not to be settled by the own route."""
    return replace(rules, routing=rules.routing and rules.routing.for_unsettled())


def routing_since(rows: Sequence[RoutingRow], own: Stream) -> Routing:
    """Return the routing of one route by the recorded routes and their changes."""
    return Routing(
        routes=_routes(rows[-1].routes),
        own=_name(own),
        changes=tuple(_change(before, after) for before, after in pairwise(rows)),
    )


def _change(before: RoutingRow, after: RoutingRow) -> RouteChange:
    assert after.after is not None  # noqa: S101 - only the first row has no change
    return RouteChange(
        until=after.after,
        before=_routes(before.routes),
        unread=_named(after.unread),
        settled={_name(stream): ids for stream, ids in after.settled.items()},
        read_again=_named(after.read_again),
    )


def _routes(routes: tuple[RecordedRoute, ...]) -> tuple[Route, ...]:
    """Return the routes under the names of their streams, which outlast those in the settings."""
    return tuple(
        Route(name=_name(each.stream), when=JmesPath(each.when) if each.when is not None else None)
        for each in routes
    )


def _named(parts: Mapping[Stream, tuple[LogRange, ...]]) -> dict[str, tuple[LogRange, ...]]:
    return {_name(stream): ranges for stream, ranges in parts.items()}


def _name(stream: Stream) -> str:
    return f"{stream.source_name}\n{stream.generation}"

"""What was served against what arrived, event by event."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from poller.sandbox.auth0.entries import Entry, iso
from poller.sandbox.auth0.tenant import Tenant
from poller.sandbox.segment.collector import Arrival, Collector

EVENTS = {"s": "Logged In", "ss": "Signed Up"}

Key = tuple[str, str, str]
"""User id, name of the event, date: no two events of the simulated tenant share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The verdict on a run; each tuple names events by log id, or messages by message id, and is empty in a good one.

    `events`: those of the log that a valid call can be made of. `expected`: the logins and signups that they tell of; a
    first social login is both. `lost`: expected and not published, by its event.
    `unexpected`: published tracks that no event of the log explains. `duplicated`: events published more than once.
    `resent`: messages that arrived more than once, under one id: at-least-once at work, and not a fault.
    `altered`: tracks or groups that came again under the same id with other content. `misordered`: tracks whose
    identify came only after them. `rejected`: messages that failed after the 200, with the code.
    """

    events: int
    expected: int
    delivered: int
    lost: tuple[str, ...]
    unexpected: tuple[str, ...]
    duplicated: tuple[str, ...]
    resent: tuple[str, ...]
    altered: tuple[str, ...]
    misordered: tuple[str, ...]
    rejected: tuple[str, ...]
    identified: int

    def shown(self, limit: int = 1000) -> dict[str, Any]:
        """As JSON: the lists cut at `limit`, with their whole lengths beside them."""
        found = asdict(self)
        lists = {name: value for name, value in found.items() if isinstance(value, tuple)}
        return {
            **found,
            **{name: list(value[:limit]) for name, value in lists.items()},
            "counts": {name: len(value) for name, value in lists.items()},
        }


def reconcile(tenant: Tenant, collector: Collector, *, above: str = "") -> Reconciliation:
    """Compares the log above the position `above` with what the collector has."""
    expected = {
        key: entry.log_id
        for entry in tenant.entries()
        if entry.log_id > above
        for key in keys_of(entry)
    }
    everything = {key for entry in tenant.entries() for key in keys_of(entry)}
    published = collector.published()
    tracks = Counter(_key(item) for item in published if item.type == "track")
    by_id: dict[str, list[Arrival]] = defaultdict(list)
    for item in tuple(collector.arrivals):
        by_id[item.message_id].append(item)
    return Reconciliation(
        events=len(set(expected.values())),
        expected=len(expected),
        delivered=sum(key in tracks for key in expected),
        lost=tuple(log_id for key, log_id in expected.items() if key not in tracks),
        unexpected=tuple(
            item.message_id
            for item in published
            if item.type == "track" and _key(item) not in everything
        ),
        duplicated=tuple(
            expected.get(key, "/".join(key)) for key, count in tracks.items() if count > 1
        ),
        resent=tuple(message_id for message_id, items in by_id.items() if len(items) > 1),
        altered=tuple(message_id for message_id, items in by_id.items() if _is_altered(items)),
        misordered=tuple(_misordered(published)),
        rejected=tuple(
            f"{item.message_id}: {item.fate}"
            for item in tuple(collector.arrivals)
            if item.fate not in {"published", "duplicate"}
        ),
        identified=sum(item.type == "identify" for item in published),
    )


def keys_of(entry: Entry) -> list[Key]:
    """How the calls of the event can be told apart at the collector; none where no valid call can be made of it.

    A first login by a social connection is a signup too, for which Auth0 logs no event of its own.
    """
    name = EVENTS.get(entry.type)
    if name is None:
        return []
    if entry.record is not None:
        return _keys_of_record(entry.record, name)
    names = [name, EVENTS["ss"]] if entry.kind == "first_social_login" else [name]
    return [(entry.user.user_id, each, iso(entry.date)) for each in names] if entry.user else []


def _keys_of_record(record: Any, name: str) -> list[Key]:
    user_id, date = record.get("user_id"), record.get("date")
    if not isinstance(user_id, str) or not user_id.strip() or not isinstance(date, str):
        return []
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        return []
    return [(user_id, name, iso(moment))]


def _key(item: Arrival) -> Key:
    try:
        return (item.user_id, item.event, iso(datetime.fromisoformat(item.timestamp)))
    except ValueError:
        return (item.user_id, item.event, item.timestamp)


def _is_altered(items: list[Arrival]) -> bool:
    # An identify carries the traits of its own attempt.
    return items[0].type != "identify" and len({item.digest for item in items}) > 1


def _misordered(published: Iterable[Arrival]) -> Iterable[str]:
    """Tracks that came before the identify of the same moment."""
    early: dict[tuple[str, str], str] = {}
    identified: set[tuple[str, str]] = set()
    for item in published:
        moment = (item.user_id, item.timestamp)
        if item.type == "track" and moment not in identified:
            early[moment] = item.message_id
        elif item.type == "identify":
            identified.add(moment)
            if moment in early:
                yield early.pop(moment)

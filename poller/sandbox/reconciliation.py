"""The comparison of the served events with the messages that arrived."""

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
"""The user id, the name and the date, which no two events of the simulated tenant share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The verdict on a run. Its tuples are empty after a good run, except perhaps `resent`.

    Events are named by log id, and messages by message id.

    `events`: The events of the log that a valid call can be made of.
    `expected`: The logins and signups of these events. A first social login is both.
    `lost`: Events that are expected and were not published.
    `unexpected`: Published tracks that no event of the log explains.
    `duplicated`: Events that were published more than once.
    `resent`: Messages that arrived more than once under one id. Delivery at least once may do so.
    `altered`: Tracks or groups that came again under one id with other content.
    `misordered`: Tracks that came before their identify.
    `rejected`: Messages that failed after the 200, with the code.
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
        """Return the verdict as JSON, with lists cut at `limit` and their whole lengths."""
        found = asdict(self)
        lists = {name: value for name, value in found.items() if isinstance(value, tuple)}
        return {
            **found,
            **{name: list(value[:limit]) for name, value in lists.items()},
            "counts": {name: len(value) for name, value in lists.items()},
        }


def reconcile(tenant: Tenant, collector: Collector, *, above: str = "") -> Reconciliation:
    """Compare the log above the position `above` with the messages at the collector."""
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
    """Return the keys of the calls that the event leads to, none if no valid call is possible.

    A first login by a social connection is a signup too. Auth0 logs no other event for it.
    """
    name = EVENTS.get(entry.type)
    if name is None:
        return []
    if entry.record is not None:
        return _keys_of_record(entry.record, name)
    names = [name, EVENTS["ss"]] if entry.kind == "first_social_login" else [name]
    if entry.user:
        return [(entry.user.user_id, each, iso(entry.date)) for each in names]
    return []


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
    # Every attempt of an identify carries its own traits.
    return items[0].type != "identify" and len({item.digest for item in items}) > 1


def _misordered(published: Iterable[Arrival]) -> Iterable[str]:
    """Yield the tracks that came before the identify of their moment."""
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

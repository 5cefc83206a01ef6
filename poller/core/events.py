"""Auth0's words: streams, log events, and the reading of records as log events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal

from poller.core.log_ids import LogId, moment_of
from poller.core.text.dates import TOLERANCE, believed_date, parse_date
from poller.core.text.json_text import encode, is_too_deep

SHORTEST_RETENTION = timedelta(hours=23)
"""Retention removes nothing that is younger.

The free plan keeps a day (Auth0 docs: Log Data Retention). An hour is taken off as a margin.
"""

BELOW_ALL = LogId("")
_EXCERPT_VALUES = 50
_EXCERPT_CHARACTERS = 512
"""Bounds of the part that is kept of a record that is nested too deep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The owner of a ledger row: a tenant, a Segment source, and a generation of the settings.

    Another tenant, source or generation never continues the spans of this one.

    `in_ids` is what message ids hold in place of the source name and the generation, from below to
    above. It is empty until the ledger was told that the write key was rotated or wrong.
    """

    domain: str
    source_name: str
    generation: str = ""
    in_ids: "tuple[NamesInIds, ...]" = field(default=(), compare=False)

    def names_at(self, log_id: LogId) -> "NamesInIds":
        """Return the names that the message ids of this event are made of."""
        names = NamesInIds(source_name=self.source_name, generation=self.generation)
        for each in self.in_ids:
            if each.after < log_id:
                names = each
        return names


@dataclass(frozen=True, slots=True, kw_only=True)
class NamesInIds:
    """The source name and the generation in the message ids of the events above `after`."""

    source_name: str
    generation: str
    after: LogId = BELOW_ALL


Defect = Literal["nested_too_deep", "unreadable_record"]
"""The reason for which an entry of the log cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """One entry of the tenant log.

    `defect` is the reason of a dead letter if the entry cannot be read. An entry without an id
    is given the id of the entry before it, plus a counter. So it keeps its place in the order, and
    has the same id at every reading from the same position.

    If the record's own date is implausible, `date` is the time in the log id, or None.
    """

    log_id: LogId
    type: str
    date: datetime | None
    record: Any = field(repr=False)
    defect: Defect | None = None
    has_implausible_date: bool = False

    @property
    def is_redated(self) -> bool:
        """True if `date` is the time in the log id, because the record's date is not believed."""
        return self.date is not None and self.has_implausible_date


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCount:
    """The tenant's own statistics of one UTC day. Auth0 does not publish their formula."""

    logins: int = 0
    signups: int = 0


def parse_events(records: Sequence[object], *, after: LogId) -> tuple[LogEvent, ...]:
    """Return each record as a log event, even a record of an unknown form.

    `after` is the position from which the records were read.
    """
    events = []
    last, unreadable = after, 0
    is_deep = is_too_deep([*records])  # one look at all of them, since nearly none is too deep
    for record in records:
        log_id = _id_of(record)
        if log_id is not None:
            last, unreadable = log_id, 0
            if is_deep and is_too_deep(record):
                event = replace(_event(log_id, _excerpt(record)), defect="nested_too_deep")
            else:
                event = _event(log_id, record)
            events.append(event)
            continue
        unreadable += 1
        derived = LogId(f"{last}+{unreadable:03d}")
        events.append(
            LogEvent(
                log_id=derived,
                type="",
                date=None,
                record=_excerpt(record) if is_too_deep(record) else record,
                defect="unreadable_record",
            )
        )
    return tuple(events)


def is_derived(log_id: LogId) -> bool:
    """Return whether `parse_events` gave the id, to a record that has none."""
    return "+" in log_id


def last_id(records: Sequence[object]) -> LogId | None:
    """Return the id of the last record that has one."""
    ids = (_id_of(record) for record in reversed(records))
    return next((log_id for log_id in ids if log_id is not None), None)


def canonical(record: object) -> str:
    """Return the record as JSON text.

    The text is the same at every reading, and it parses to the record again.
    """
    return encode(record, is_sorted=True)


def _event(log_id: LogId, record: Any, *, now: datetime | None = None) -> LogEvent:
    # Archives of Auth0's own extensions hold the name in `type`, and the code in `type_code`.
    code = record.get("type_code")
    kind = code if isinstance(code, str) and code else record.get("type")
    if not isinstance(kind, str) or not kind:
        return LogEvent(
            log_id=log_id, type="", date=None, record=record, defect="unreadable_record"
        )
    recorded = parse_date(record.get("date"))
    if recorded is None:
        return LogEvent(log_id=log_id, type=kind, date=None, record=record)
    date = believed_date(recorded, id_time=moment_of(log_id), now=now)
    return LogEvent(
        log_id=log_id,
        type=kind,
        date=date,
        record=record,
        has_implausible_date=date != recorded,
    )


def judge_dates(events: Iterable[LogEvent], now: datetime | None) -> tuple[LogEvent, ...]:
    """Return the events with no date in the future of `now`, a time that two clocks agree on.

    `now` is None if no two clocks agree. Then every date stays.
    """
    if now is None:
        return tuple(events)
    latest = now + TOLERANCE
    return tuple(
        event
        if event.defect or event.date is None or event.date <= latest
        else _event(event.log_id, event.record, now=now)
        for event in events
    )


def _excerpt(record: Any) -> dict[str, Any]:
    """Return the first plain values of a record that is nested too deep, each text cut short."""
    if not isinstance(record, dict):
        return {}
    plain = {
        key: value[:_EXCERPT_CHARACTERS] if isinstance(value, str) else value
        for key, value in record.items()
        if isinstance(value, str | int | float | None) and len(key) <= _EXCERPT_CHARACTERS
    }
    return dict(islice(plain.items(), _EXCERPT_VALUES))


def _id_of(record: object) -> LogId | None:
    # `_id` equals `log_id` in every recorded object of the API. Log streams have only `log_id`.
    if not isinstance(record, dict):
        return None
    for key in ("log_id", "_id"):
        value = record.get(key)
        if isinstance(value, str) and value:
            return LogId(value)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return LogId(str(value))
    return None

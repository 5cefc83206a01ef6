"""Settled events as the page shows them: a row of the table, and the calls behind a row.

With `show = "sent"` a row holds only what leaves: the values are taken from the calls, after
`[privacy]`. A filtered event and a dead letter then show their type, application and reason.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from poller.core.count_names import FORWARDED
from poller.core.counts import KINDS
from poller.core.events import LogEvent
from poller.core.messages import Message, Track
from poller.core.text.dates import iso
from poller.core.text.plain_text import visible, visible_lines
from poller.service.watching.feed import SettledEvent

SENT = "sent"
ALL = "all"
_APPLICATION = ("client_name", "clientName")
_CONNECTION = ("connection",)

Encode = Callable[[Message], bytes]
"""Encodes a message as it is posted."""


def row_of(settled: SettledEvent, show: str) -> dict[str, Any]:
    """Return the row of an event as JSON values. Every text is safe to show."""
    event = settled.event
    return {
        "number": settled.number,
        "log_id": visible(event.log_id),
        "settled_at": iso(settled.settled_at),
        "date": iso(event.date) if event.date else None,
        "type": visible(event.type),
        **_people(settled, show),
        "calls": [call_name(message) for message in settled.messages],
        "outcome": settled.outcome,
        "reason": settled.reason,
        "status": settled.status,
        "age_s": None if settled.age is None else round(settled.age.total_seconds(), 1),
        "worker": settled.worker,
    }


def detail_of(settled: SettledEvent, show: str, encode: Encode) -> dict[str, Any]:
    """Return the row, the calls as they are posted, and with `all` the record beside them."""
    is_shown = show == ALL or settled.outcome == FORWARDED
    return {
        **row_of(settled, show),
        "bodies": [_body(message, encode) for message in settled.messages if is_shown],
        "record": _texts(settled.event.record) if show == ALL else None,
    }


def letter_values(event: LogEvent, show: str) -> dict[str, Any]:
    """Return what the page shows of the event of a dead letter."""
    record = event.record if isinstance(event.record, dict) else {}
    return {
        "date": iso(event.date) if event.date else None,
        "application": _text(record, _APPLICATION),
        "record": _texts(event.record) if show == ALL else None,
    }


def call_name(message: Message) -> str:
    """Return the kind of a call, and the name of a track."""
    name = f" {message.event}" if isinstance(message, Track) else ""
    return visible(f"{KINDS[type(message)]}{name}")


def _people(settled: SettledEvent, show: str) -> dict[str, str | None]:
    record = settled.event.record if isinstance(settled.event.record, dict) else {}
    if show == ALL:
        return {
            "user": _text(record, ("user_name", "user_id")),
            "application": _text(record, _APPLICATION),
            "connection": _text(record, _CONNECTION),
        }
    if settled.outcome != FORWARDED:
        return {"user": None, "application": _text(record, _APPLICATION), "connection": None}
    message = next(iter(settled.messages), None)
    sent = next((each.properties for each in settled.messages if isinstance(each, Track)), {})
    user = message and (message.user_id or message.anonymous_id)
    return {
        "user": visible(user) if user else None,
        "application": _text(sent, _APPLICATION),
        "connection": _text(sent, _CONNECTION),
    }


def _text(values: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    found = next((values[name] for name in names if values.get(name)), None)
    return visible(found) if isinstance(found, str) else None


def _body(message: Message, encode: Encode) -> dict[str, str]:
    body = json.loads(encode(message))
    return {"name": call_name(message), "message_id": message.message_id, **_texts(body)}


def _texts(value: Any) -> dict[str, str]:
    """Return a value as JSON text, on one line and on several."""
    raw = json.dumps(value, ensure_ascii=False, default=str)
    pretty = json.dumps(value, ensure_ascii=False, default=str, indent=2)
    return {"raw": visible(raw), "pretty": visible_lines(pretty)}

"""Recorded log events of Auth0, and the calls that are expected of them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.core.messages import Group, Identify, Message, Track
from poller.core.outcomes import Profile
from poller.core.text.dates import iso
from poller.core.translation.rules import Rules
from tests.paths import DATA

CALLS = json.loads((DATA / "calls.json").read_text())
DATE = datetime(2023, 7, 26, 12, 41, 11, 855000, tzinfo=UTC)


def sample(name: str) -> list[Any]:
    payload = json.loads((DATA / "auth0-samples" / name).read_text())["payload"]
    return payload if isinstance(payload, list) else [payload]


def login(**changes: Any) -> dict[str, Any]:
    record = {
        "log_id": "90020230726124111855000000000000000001223372038981358728",
        "type": "s",
        "date": "2023-07-26T12:41:11.855Z",
        "user_id": "auth0|1",
        "user_name": "log@example.com",
        "client_name": "Web shop",
        "client_id": "c1",
        "connection": "db",
        "ip": "203.0.113.9",
        "user_agent": "Chrome",
        "details": {"stats": {"loginsCount": 7}},
    }
    return {key: value for key, value in (record | changes).items() if value is not ...}


SPEC = Rules(preset="spec", identify="changes")
FIELDS: dict[str, Any] = {
    "user_id": "auth0|1",
    "email": "ada@example.com",
    "name": "Ada Lovelace",
    "given_name": "Ada",
    "family_name": "Lovelace",
    "nickname": "ada",
    "phone_number": "+15550100",
    "picture": "https://cdn.example.com/ada.png",
    "created_at": "2020-01-02T03:04:05.678Z",
    "app_metadata": {"plan": "gold", "customer_id": "c-7", "roles": ["a", "b"]},
}
ADA = Profile(user_id="auth0|1", read_at=DATE + timedelta(seconds=5), fields=FIELDS)


def wire(message: Message) -> dict[str, Any]:
    """Return the message as Segment's HTTP API spells it, without its library's additions."""
    body: dict[str, Any] = {
        "messageId": message.message_id,
        "userId": message.user_id,
        "anonymousId": message.anonymous_id,
        "timestamp": iso(message.timestamp),
        "context": dict(message.context),
    }
    body = {key: value for key, value in body.items() if value is not None}
    match message:
        case Identify():
            return {"type": "identify", "traits": dict(message.traits), **body}
        case Track():
            return {
                "type": "track",
                "event": message.event,
                "properties": dict(message.properties),
                **body,
            }
        case Group():
            return {
                "type": "group",
                "groupId": message.group_id,
                "traits": dict(message.traits),
                **body,
            }
    raise TypeError(type(message).__name__)

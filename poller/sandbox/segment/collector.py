"""A Segment-compatible collector, with the rules of Segment's HTTP API.

It has the documented limits, and the documented codes of messages that fail after the 200.
"""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from poller.sandbox.auth0.entries import iso
from poller.sandbox.clock import Clock
from poller.sandbox.segment.source import Source

MAX_BODY_BYTES = 512_000
MAX_MESSAGE_BYTES = 32_768
MAX_MESSAGES = 2500
MAX_MESSAGE_ID = 100
SHORTEST_KEY = 8
"""The shortest write key that gets a 200, right or wrong. A shorter one is told to be invalid."""
_BODIES_KEPT = 20_000
_SUCCESS = (200, '{\n  "success": true\n}', "application/json")
_INVALID_KEY = (
    400,
    '{"success": false, "message": "An invalid write key was provided"}',
    "application/json",
)
_BAD_REQUEST = (400, "Bad Request", "text/plain")
_INVALID_JSON = (400, '{"success": false, "message": "invalid json"}', "application/json")

Answer = tuple[int, str, str]
"""The status, the body and the content type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message that arrived.

    `message` is its whole body, kept for the first 20,000 messages. `fate` is "published",
    "duplicate", "dropped" for a wrong key, or the code of its failure after the 200.
    """

    number: int
    at: datetime
    type: str
    message_id: str
    user_id: str
    event: str
    timestamp: str
    digest: str
    fate: str
    message: dict[str, Any] | None = field(repr=False, default=None)


class Collector:
    """A Segment source and the platform behind it. Thread-safe."""

    def __init__(self, clock: Clock, *, write_key: str) -> None:
        self.clock = clock
        self.source = Source(write_key)
        self.dedupe_window = timedelta(days=1)
        self.dedupes_wrong_keys = False
        """True if the ids of messages to a wrong key are remembered, which nobody knows."""
        self.refuses_large_messages = True
        self.refused_users: set[str] = set()
        self.suppressed_users: set[str] = set()
        self.failures: dict[str, str] = {}
        """The codes by which messages of a user fail after the 200, such as multi_user_error."""
        self.users: dict[str, dict[str, Any]] = {}
        self.arrivals: list[Arrival] = []
        self._published_at: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def receive(self, body: bytes, *, key: str | None, kind: str = "batch") -> Answer:
        """Take the unzipped body of one request.

        `key` is the key in the Authorization header, if there is one.
        """
        if len(body) > MAX_BODY_BYTES:
            return _BAD_REQUEST
        envelope = _parsed(body)
        messages = envelope.get("batch") if kind == "batch" else [envelope | {"type": kind}]
        if not isinstance(messages, list):
            return _INVALID_JSON
        key = key or envelope.get("writeKey")
        if not isinstance(key, str) or len(key) < SHORTEST_KEY:
            return _INVALID_KEY
        if any(self._is_refused(message) for message in messages):
            return _BAD_REQUEST
        with self._lock:
            for number, message in enumerate(messages):
                self._take(
                    message,
                    envelope,
                    is_known=key in self.source.write_keys,
                    is_excess=number >= MAX_MESSAGES,
                )
        return _SUCCESS

    def published(self, kind: str | None = None) -> list[Arrival]:
        """Return the messages that were passed on, in order of arrival."""
        with self._lock:
            return [
                item
                for item in self.arrivals
                if item.fate == "published" and kind in {None, item.type}
            ]

    def counts(self) -> dict[str, int]:
        """Return the number of arrivals by fate."""
        found: dict[str, int] = {}
        with self._lock:
            for item in self.arrivals:
                found[item.fate] = found.get(item.fate, 0) + 1
        return found

    def _is_refused(self, message: Any) -> bool:
        if isinstance(message, dict) and message.get("userId") in self.refused_users:
            return True
        return self.refuses_large_messages and len(json.dumps(message)) > MAX_MESSAGE_BYTES

    def _take(
        self, message: Any, envelope: dict[str, Any], *, is_known: bool, is_excess: bool
    ) -> None:
        now = self.clock.now()
        shown = message if isinstance(message, dict) else {}
        fate = "dropped" if not is_known else "excess" if is_excess else self._fate(message, now)
        arrival = Arrival(
            number=len(self.arrivals),
            at=now,
            type=str(shown.get("type")),
            message_id=str(shown.get("messageId")),
            user_id=str(shown.get("userId")),
            event=str(shown.get("event", "")),
            timestamp=str(shown.get("timestamp", "")),
            digest=hashlib.sha256(json.dumps(message, sort_keys=True).encode()).hexdigest()[:16],
            fate=fate,
            message=_enriched(self.source.plan.trimmed(shown), envelope, now)
            if len(self.arrivals) < _BODIES_KEPT
            else None,
        )
        self.arrivals.append(arrival)
        if fate == "dropped" and self.dedupes_wrong_keys:
            self._published_at.setdefault(arrival.message_id, now)
        if fate == "published":
            self._published_at[arrival.message_id] = now
            if arrival.type == "identify":
                self.users.setdefault(arrival.user_id, {}).update(shown.get("traits") or {})

    def _fate(self, message: Any, now: datetime) -> str:
        code = _code(message)
        if code is not None:
            return code
        if message.get("userId") in self.suppressed_users:
            return "suppressed"
        if message.get("userId") in self.failures:
            return self.failures[message["userId"]]
        reason = self.source.discard_reason(message)
        if reason is not None:
            return reason
        seen = self._published_at.get(str(message.get("messageId")))
        if seen is not None and now - seen < self.dedupe_window:
            return "duplicate"
        return "published"


def _parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body, or an empty object."""
    try:
        envelope = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _code(message: Any) -> str | None:
    """Return the code by which a message fails after the 200, or None if it does not."""
    if not isinstance(message, dict):
        return "properties_not_object"
    ids = [message.get("userId"), message.get("anonymousId")]
    if ids == [None, None]:
        return "no_user_anon_id"
    if any(value is not None and (not isinstance(value, str) or not value) for value in ids):
        return "id_not_string"
    message_id = message.get("messageId")
    if message_id is not None and (
        not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_MESSAGE_ID
    ):
        return "id_required"
    if message.get("type") == "track":
        return _code_of_track(message)
    return _code_of_object(message, "traits")


def _code_of_track(message: dict[str, Any]) -> str | None:
    event = message.get("event")
    if not event:
        return "event_not_defined"
    if isinstance(event, str):
        return _code_of_object(message, "properties")
    return "event_not_string"


def _code_of_object(message: dict[str, Any], name: str) -> str | None:
    if isinstance(message.get(name, {}), dict):
        return None
    return f"{name}_not_object"


def _enriched(
    message: dict[str, Any], envelope: dict[str, Any], received: datetime
) -> dict[str, Any]:
    """Return the message with its four times.

    `timestamp` is moved by the difference between the clocks of the sender and of Segment.
    """
    shown = {**message, "receivedAt": iso(received), "originalTimestamp": message.get("timestamp")}
    routes = {**(envelope.get("integrations") or {}), **(message.get("integrations") or {})}
    if routes:
        shown["integrations"] = routes
    try:
        sent = datetime.fromisoformat(message.get("sentAt") or envelope.get("sentAt") or "")
        original = datetime.fromisoformat(message.get("timestamp") or "")
        return {**shown, "sentAt": iso(sent), "timestamp": iso(received - (sent - original))}
    except (ValueError, TypeError):
        return {**shown, "timestamp": message.get("timestamp") or iso(received)}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")

"""From a log event and the user's profile to the calls it becomes; pure, and knows no neighbours.

The shape is that of the integration which Auth0 documented for its rules: identify, then track `Logged In` or
`Signed Up`.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from poller.core.events import LogEvent, Page, Stream, parse_date
from poller.core.messages import MAX_MESSAGE_BYTES, Identify, Message, Scalar, Track, iso, message_id, size

EVENT_NAMES = {"s": "Logged In", "ss": "Signed Up"}
"""The log event types of interest and the track event that each becomes."""

_TRIMMED_TEXT = 512
"""Characters left of each value of a message that would be too large whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A user as the directory showed it at `read_at`, in the server's time."""

    user_id: str = field(repr=False)
    read_at: datetime
    fields: Mapping[str, Any] = field(repr=False)


Profiles = Mapping[str, Profile]
"""By user id. Who is missing could not be had: deleted, or the directory failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that can never succeed, and why: a reason code, and a status where Segment gave one."""

    event: LogEvent = field(repr=False)
    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwardable:
    """An event and the calls it becomes, in the order in which they are to arrive."""

    event: LogEvent
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What a page becomes: each of its events is in exactly one of the three."""

    forwardable: tuple[Forwardable, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    filtered: tuple[LogEvent, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(message for entry in self.forwardable for message in entry.messages)


class Translator:
    """Translates for one stream; the same event and profile always give the same calls."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def users_in(self, events: Iterable[LogEvent]) -> tuple[str, ...]:
        """The ids of the users whose profiles these events need, each once, in order of appearance."""
        found = (user_id_of(event.record) for event in events if event.type in EVENT_NAMES)
        return tuple(dict.fromkeys(user_id for user_id in found if user_id))

    def page(self, page: Page, profiles: Profiles) -> Calls:
        return self.events(page.events, profiles)

    def events(self, events: Iterable[LogEvent], profiles: Profiles) -> Calls:
        outcomes = [self.event(event, profiles) for event in events]
        return Calls(
            forwardable=tuple(entry for entry in outcomes if isinstance(entry, Forwardable)),
            dead_letters=tuple(entry for entry in outcomes if isinstance(entry, DeadLetter)),
            filtered=tuple(entry for entry in outcomes if isinstance(entry, LogEvent)),
        )

    def event(self, event: LogEvent, profiles: Profiles) -> Forwardable | DeadLetter | LogEvent:
        """The calls, a dead letter, or the event itself where it is of no interest."""
        try:
            return self._outcome(event, profiles)
        except Exception:  # noqa: BLE001 - a bug must not stop the log; the letter is kept, to be replayed when it is mended
            return DeadLetter(event=event, reason="untranslatable")

    def _outcome(self, event: LogEvent, profiles: Profiles) -> Forwardable | DeadLetter | LogEvent:
        if event.defect:
            return DeadLetter(event=event, reason=event.defect)
        if event.type not in EVENT_NAMES:
            return event
        if event.date is None:
            return DeadLetter(event=event, reason="unparseable_date")
        user_id = user_id_of(event.record)
        if not user_id:
            return DeadLetter(event=event, reason="no_user_id")
        messages = tuple(fit(message) for message in self._messages(event, event.date, user_id, profiles.get(user_id)))
        if any(size(message) > MAX_MESSAGE_BYTES for message in messages):
            return DeadLetter(event=event, reason="too_large")
        return Forwardable(event=event, messages=messages)

    def _messages(self, event: LogEvent, date: datetime, user_id: str, profile: Profile | None) -> Iterator[Message]:
        common: dict[str, Any] = {
            "log_id": event.log_id,
            "user_id": user_id,
            "timestamp": date,
            "context": _context(event.record),
        }
        # A signup is the user's, not the event's: however often it is seen, it counts once.
        track_id = (
            message_id(self._stream, "signup", user_id)
            if event.type == "ss"
            else message_id(self._stream, "track", event.log_id)
        )
        yield Identify(
            message_id=message_id(self._stream, "identify", event.log_id),
            traits=_traits(event.type, event.record, date, profile),
            **common,
        )
        yield Track(
            message_id=track_id,
            event=EVENT_NAMES[event.type],
            properties=_properties(event.record),
            **common,
        )


def user_id_of(record: Mapping[str, Any]) -> str | None:
    """The event's user id; for a signup without one, that of the form it was made with (auth0-log-schemas: ss)."""
    body = _at(record, "details", "body")
    return _text(record.get("user_id")) or (_text(body.get("user_id")) if isinstance(body, Mapping) else None)


def fit(message: Message) -> Message:
    """The message, its long values cut if it would otherwise be too large for Segment."""
    if size(message) <= MAX_MESSAGE_BYTES:
        return message
    message = replace(message, context=_trimmed(message.context))
    if isinstance(message, Track):
        return replace(message, properties=_trimmed(message.properties))
    if isinstance(message, Identify):
        return replace(message, traits=_trimmed(message.traits))
    return message


def _trimmed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value[:_TRIMMED_TEXT] if isinstance(value, str) else value for key, value in values.items()}


def _context(record: Mapping[str, Any]) -> dict[str, Any]:
    return _present({"ip": _ip(record.get("ip")), "userAgent": _text(record.get("user_agent"))})


def _properties(record: Mapping[str, Any]) -> dict[str, Scalar]:
    return _present(
        {
            "clientName": _text(record.get("client_name")),
            "clientID": _text(record.get("client_id")),
            "connection": _text(record.get("connection")),
        }
    )


def _traits(kind: str, record: Mapping[str, Any], date: datetime, profile: Profile | None) -> dict[str, Scalar]:
    known = profile.fields if profile else {}
    # A profile read before the event would take count and last login back to what they were.
    current = known if profile and profile.read_at >= date else {}
    return _present(
        {
            "email": _text(known.get("email")) or _email_in_log(record),
            "signed_up": _date(known.get("created_at")),
            "login_count": _first(_logins_count(record), _count(current.get("logins_count"))),
            "last_login": iso(date) if kind == "s" else _date(current.get("last_login")),
        }
    )


def _logins_count(record: Mapping[str, Any]) -> int | None:
    """The login count that the event carries, in either of two places; null means unknown (auth0-log-schemas: s)."""
    count = _count(_at(record, "details", "stats", "loginsCount"))
    prompts = _at(record, "details", "prompts")
    if count is None and isinstance(prompts, list):
        found = (_count(_at(prompt, "stats", "loginsCount")) for prompt in prompts)
        return next((value for value in found if value is not None), None)
    return count


def _email_in_log(record: Mapping[str, Any]) -> str | None:
    """An e-mail from the event itself; `user_name` is often a phone number or a chosen name."""
    for candidate in (record.get("user_name"), _at(record, "details", "body", "email")):
        text = _text(candidate)
        local, at, domain = (text or "").rpartition("@")
        if text and at and local and "." in domain.strip(".") and not any(letter.isspace() for letter in text):
            return text
    return None


def _at(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _text(value: object) -> str | None:
    """Non-empty text that UTF-8 can carry; a number becomes its digits, anything else is absent."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    return value.encode("utf-8", "replace").decode()


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before anything else: an int may be too large for a float.
    return int(value) if 0 <= value < 2**53 and value == int(value) else None


def _date(value: object) -> str | None:
    moment = parse_date(value)
    return iso(moment) if moment else None


def _ip(value: object) -> str | None:
    text = _text(value)
    try:
        return str(ipaddress.ip_address(text)) if text else None
    except ValueError:
        return None


def _first(*values: Scalar | None) -> Scalar | None:
    return next((value for value in values if value is not None), None)


def _present(values: Mapping[str, Scalar | None]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}

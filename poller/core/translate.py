"""From a log event and the user's profile to the calls it becomes; pure, and knows no neighbours.

The shape is that of the integration which Auth0 documented for its rules: identify, then track `Logged In` or
`Signed Up`; for a signup that Auth0 does not log, both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from poller.core.events import LogEvent, Page, Stream, parse_date
from poller.core.messages import MAX_MESSAGE_BYTES, Identify, Message, Scalar, Track, iso, message_id, size
from poller.core.privacy import Privacy
from poller.core.records import at, count, date_text, email_in_log, ip_text, logins_count, text, user_id_of
from poller.core.rules import DEFAULT, SIGNUP, SSO_LOGIN, Rules

LOGGED_IN, SIGNED_UP = "Logged In", "Signed Up"
FIRST_LOGIN_WITHIN = timedelta(minutes=10)
"""A user who was created so shortly before a login was created by it."""

_NO_BROWSER = {"unknown", "other 0.0.0 / other 0.0.0"}
"""User agents of a signup that no browser asked for; the address beside is a server's (recordings, 2021 to 2023)."""
_GLOBAL_CLIENT = "All Applications"
"""The client of users made in the dashboard (recorded 2025)."""

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

    def __init__(self, stream: Stream, rules: Rules = DEFAULT) -> None:
        self._stream = stream
        self._rules = rules

    @property
    def types(self) -> frozenset[str]:
        """The log event types of interest."""
        return self._rules.types

    def is_of_interest(self, event: LogEvent) -> bool:
        """Whether the event becomes calls or a dead letter."""
        return bool(event.defect) or (event.type in self.types and self._counts(event.type, event.record))

    def users_in(self, events: Iterable[LogEvent]) -> tuple[str, ...]:
        """The ids of the users whose profiles these events need, each once, in order of appearance."""
        found = (user_id_of(event.record) for event in events if self.is_of_interest(event) and not event.defect)
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
        if not self.is_of_interest(event):
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
            "context": _context(event.type, event.record, self._rules.privacy),
        }
        is_signup = event.type == SIGNUP
        yield Identify(
            message_id=message_id(self._stream, "identify", event.log_id),
            traits=self._traits(event.record, date, profile, is_login=not is_signup),
            **common,
        )
        if is_signup or (self._rules.derive_signups and _is_first_login(event.record, date, profile)):
            yield Track(
                # A signup is the user's, not the event's: logged or derived, it counts once.
                message_id=message_id(self._stream, "signup", user_id),
                event=SIGNED_UP,
                properties=_signup_properties(event.record),
                **common,
            )
        if not is_signup:
            yield Track(
                message_id=message_id(self._stream, "track", event.log_id),
                event=LOGGED_IN,
                properties=_login_properties(event.type, event.record),
                **common,
            )

    def _traits(
        self, record: Mapping[str, Any], date: datetime, profile: Profile | None, *, is_login: bool
    ) -> dict[str, Scalar]:
        known = profile.fields if profile else {}
        # A profile read before the event would take count and last login back to what they were.
        current = known if profile and profile.read_at >= date else {}
        return _present(
            {
                "email": self._rules.privacy.of_email(text(known.get("email")) or email_in_log(record)),
                "signed_up": date_text(known.get("created_at")),
                "login_count": _first(logins_count(record), count(current.get("logins_count"))),
                "last_login": iso(date) if is_login else date_text(current.get("last_login")),
            }
        )

    def _counts(self, kind: str, record: Mapping[str, Any]) -> bool:
        if kind == SIGNUP:
            return self._rules.include_api_signups or not _is_made_by_api(record)
        return self._rules.include_sso_logins or not _is_sso(kind, record)


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


def _is_sso(kind: str, record: Mapping[str, Any]) -> bool:
    """Whether it is a login on an existing session: such events name no connection and no strategy."""
    named = text(record.get("connection")) or text(record.get("strategy"))
    return kind == SSO_LOGIN and not named and logins_count(record) is None


def _is_made_by_api(record: Mapping[str, Any]) -> bool:
    """Whether the event's own evidence shows that nobody signed up: see the recordings of 2023 and 2025."""
    return at(record, "details", "body", "is_signup") is False or record.get("client_name") == _GLOBAL_CLIENT


def _is_first_login(record: Mapping[str, Any], date: datetime, profile: Profile | None) -> bool:
    """Whether the login made the user, by a connection for which Auth0 logs no `ss`: any but a database's."""
    strategy = text(record.get("strategy"))
    if strategy in {None, "auth0"} or record.get("strategy_type") == "database":
        return False
    count = logins_count(record)
    created = parse_date(profile.fields.get("created_at")) if profile else None
    if created is None:
        return count == 1
    return count in {None, 1} and timedelta(0) <= date - created <= FIRST_LOGIN_WITHIN


def _context(kind: str, record: Mapping[str, Any], privacy: Privacy) -> dict[str, Any]:
    agent = record.get("user_agent")
    if kind == SIGNUP and isinstance(agent, str) and agent.strip().lower() in _NO_BROWSER:
        return {}
    return _present({"ip": privacy.of_ip(ip_text(record.get("ip"))), "userAgent": privacy.of_agent(text(agent))})


def _login_properties(kind: str, record: Mapping[str, Any]) -> dict[str, Scalar]:
    return _properties(record) | ({"sso": True} if _is_sso(kind, record) else {})


def _signup_properties(record: Mapping[str, Any]) -> dict[str, Scalar]:
    return _properties(record) | ({"created_by": "api"} if _is_made_by_api(record) else {})


def _properties(record: Mapping[str, Any]) -> dict[str, Scalar]:
    return _present(
        {
            "clientName": text(record.get("client_name")),
            "clientID": text(record.get("client_id")),
            "connection": text(record.get("connection")),
        }
    )


def _first(*values: Scalar | None) -> Scalar | None:
    return next((value for value in values if value is not None), None)


def _present(values: Mapping[str, Scalar | None]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}

"""The log entries of the simulated tenant, kept small and shown in the formats of three eras."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

LOGINS = frozenset({"login", "social_login", "first_social_login", "sso_login"})
SIGNUPS = frozenset({"signup", "api_signup"})
TYPES = {
    **dict.fromkeys(LOGINS, "s"),
    **dict.fromkeys(SIGNUPS, "ss"),
    "failed_login": "fp",
    "wrong_user": "fu",
}
"""The log types of the kinds that are not called by their type."""

ERAS = ("missing", "null", "2024")
"""The looks of an absent value.

Its key was missing until 2022 and has been missing since 2024. In the EU of 2023 it was null.
"""

_COUNTER = 1223372036854775807
"""The number at which the tail of the new log ids begins to count in every recording."""
_PART_COUNTED, _PART_OF_OLD_SCHEMA, _PART_MOBILE = 0.9, 0.3, 0.3
"""The shares of the logins of each kind, about as in the recordings."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_APPS = (
    ("zxPFD7BlvbiwfAzvi6WZNxDwhwFjyiV5", "Web shop"),
    ("11tYwy5rk6iavoGW9BgtXYuzcVrCasjE", "Mobile app"),
    ("naTYUHwINwCEtmhj8umEL7bHoB57L5e2", "Back office"),
)
_AGENTS = (
    "Chrome 114.0.0 / Windows 10.0.0",
    "Mobile Safari 16.5.0 / iOS 16.5.0",
    "Firefox 115.0.0 / Ubuntu 0.0.0",
)
_NULLABLE = (
    "organization_id",
    "organization_name",
    "hostname",
    "audience",
    "location_info",
    "connection",
    "strategy",
)


@dataclass(slots=True, kw_only=True)
class User:
    """A user. Each login moves the count and the last login."""

    user_id: str
    email: str
    connection: str
    strategy: str
    created_at: datetime
    logins_count: int = 0
    last_login: datetime | None = None
    searchable_at: datetime = _EPOCH
    deleted: bool = False
    linked: tuple[str, ...] = ()
    dates: set[tuple[str, int]] = field(default_factory=set)

    def profile(self) -> dict[str, Any]:
        """Return the user as `GET /users/{id}` shows it."""
        shown: dict[str, Any] = {
            "user_id": self.user_id,
            "email": self.email,
            "email_verified": True,
            "name": self.email,
            "nickname": self.email.partition("@")[0],
            "created_at": iso(self.created_at),
            "updated_at": iso(self.last_login or self.created_at),
            "identities": [
                _identity(self.user_id) | {"connection": self.connection},
                *map(_identity, self.linked),
            ],
        }
        if self.last_login is not None:  # a user who never logged in has neither key
            shown |= {"last_login": iso(self.last_login), "logins_count": self.logins_count}
        return shown


def _identity(user_id: str) -> dict[str, Any]:
    provider, _, identity = user_id.partition("|")
    return {"provider": provider, "user_id": identity, "isSocial": provider != "auth0"}


@dataclass(slots=True, kw_only=True)
class Entry:
    """A log entry, kept small and drawn in full only for an answer.

    A `record` comes from a test and is served unchanged. The event shows `count` as its number of
    logins.
    """

    log_id: str
    kind: str
    date: datetime
    number: int
    user: User | None = None
    count: int = 0
    record: Any = None

    @property
    def type(self) -> str:
        return TYPES.get(self.kind, self.kind)

    def draw(self, domain: str) -> Any:
        """Return the entry as the API shows it, equal at every reading."""
        if self.record is not None:
            return self.record
        dice = random.Random(self.number)  # noqa: S311 - a simulation, the same at every reading
        shown = _common(self, domain, dice)
        shown.update(_DRAWN.get(self.kind, _noise)(self, dice))
        return _in_era(shown, ERAS[dice.randrange(len(ERAS))], domain)


def log_id(ingested: datetime, number: int, *, length: int = 56) -> str:
    """Return an id as Auth0 makes it.

    It consists of `900`, the ingest time in microseconds, and a counter of the whole region.
    """
    tail = f"{_COUNTER + number:0{length - 23}d}"
    return f"900{ingested.astimezone(UTC):%Y%m%d%H%M%S%f}{tail}"


def ingest_time(identifier: str) -> datetime:
    """Return the ingest time inside an id of Auth0."""
    return datetime.strptime(identifier[3:23], "%Y%m%d%H%M%S%f").replace(tzinfo=UTC)


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def free_date(user: User | None, log_type: str, wanted: datetime) -> datetime:
    """Return the first free date of this user and type at or after the wanted one.

    Dates count in milliseconds. The events of a user can then be told apart by type and date.
    """
    if user is None:
        return wanted
    milliseconds = (wanted - _EPOCH) // timedelta(milliseconds=1)
    while (log_type, milliseconds) in user.dates:
        milliseconds += 1
    user.dates.add((log_type, milliseconds))
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _common(entry: Entry, domain: str, dice: random.Random) -> dict[str, Any]:
    client_id, client_name = _APPS[dice.randrange(len(_APPS))]
    user = entry.user
    return {
        "_id": entry.log_id,
        "log_id": entry.log_id,
        "date": iso(entry.date),
        "type": entry.type,
        "description": None,
        "connection": user.connection if user else None,
        "connection_id": "con_8zwbqZgUEdwZtyWc",
        "client_id": client_id,
        "client_name": client_name,
        "ip": f"203.0.113.{dice.randrange(256)}",
        "user_agent": _AGENTS[dice.randrange(len(_AGENTS))],
        "hostname": domain,
        "user_id": user.user_id if user else None,
        "user_name": user.email if user else None,
        "strategy": user.strategy if user else None,
        "strategy_type": "social" if user and user.strategy != "auth0" else "database",
        "audience": None,
        "organization_id": None,
        "organization_name": None,
        "location_info": None,
        "isMobile": dice.random() < _PART_MOBILE,
    }


def _login(entry: Entry, dice: random.Random) -> dict[str, Any]:
    ended = int(entry.date.timestamp() * 1000)
    # Null means unknown. A social login always has its count, because only the count tells which
    # of two logins within minutes made the user.
    is_social = entry.user is not None and entry.user.strategy != "auth0"
    is_counted = dice.random() < _PART_COUNTED or is_social
    stats = {"loginsCount": entry.count if is_counted else None}
    prompt = {
        "name": "prompt-authenticate",
        "completedAt": ended - 5,
        "connection": entry.user.connection if entry.user else None,
        "identity": entry.number,  # a number or text; both were recorded
        "stats": stats,
        "elapsedTime": None,
    }
    details = {
        "prompts": [prompt],
        "initiatedAt": ended - 4000,
        "completedAt": ended,
        "elapsedTime": 4000,
        "session_id": f"s{entry.number}",
    }
    has_old_schema = dice.random() < _PART_OF_OLD_SCHEMA
    return {"details": details if has_old_schema else {**details, "stats": stats}}


def _sso_login(entry: Entry, dice: random.Random) -> dict[str, Any]:
    del dice
    gone = ("connection", "strategy", "strategy_type", "description")
    details = {
        "prompts": [],
        "completedAt": int(entry.date.timestamp() * 1000),
        "elapsedTime": None,
    }
    return {**dict.fromkeys(gone, _ABSENT), "connection_id": "", "details": details}


def _signup(entry: Entry, dice: random.Random) -> dict[str, Any]:
    body: dict[str, Any] = {
        "client_id": _APPS[0][0],
        "tenant": "acme",
        "email": entry.user.email if entry.user else "",
        "password": "*****",
        "connection": entry.user.connection if entry.user else "",
    }
    if entry.kind == "api_signup":
        body["is_signup"] = False
        return {"description": "", "user_agent": "unknown", "details": {"body": body}}
    return {
        "description": "",
        "details": {"body": body | {"request_language": dice.choice(["en", "de"])}},
    }


def _sapi(entry: Entry, dice: random.Random) -> dict[str, Any]:
    del dice
    created = {"user_id": entry.user.user_id if entry.user else ""}
    details = {
        "request": {"method": "post", "path": "/api/v2/users"},
        "response": {"body": created, "statusCode": 201},
    }
    return {
        "description": "Create a User",
        "user_id": None,
        "user_name": None,
        "client_name": "",
        "details": details,
    }


def _noise(entry: Entry, dice: random.Random) -> dict[str, Any]:
    del entry
    return {
        "details": dice.choice([None, {}, {"error": "x"}]),
        "scope": dice.choice([["openid", "email"], "openid"]),
    }


_DRAWN: dict[str, Callable[[Entry, random.Random], dict[str, Any]]] = {
    "login": _login,
    "social_login": _login,
    "first_social_login": _login,
    "sso_login": _sso_login,
    "signup": _signup,
    "api_signup": _signup,
    "sapi": _sapi,
}
_ABSENT = object()  # marks a key that the kind has in no era


def _in_era(shown: dict[str, Any], era: str, domain: str) -> dict[str, Any]:
    shown = {key: value for key, value in shown.items() if value is not _ABSENT}
    if era != "null":
        shown = {
            key: value for key, value in shown.items() if value is not None or key not in _NULLABLE
        }
    if era == "2024":
        shown |= {"$event_schema": {"version": "1.0.0"}, "tenant_name": domain.partition(".")[0]}
    return shown

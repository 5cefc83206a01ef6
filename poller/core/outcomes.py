"""The profiles that translation takes, and the outcomes that it makes of events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from poller.core.events import Defect, LogEvent
from poller.core.log_ids import LogId
from poller.core.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A user as the directory showed it at `read_at`, in the server's time.

    `user_id` is the id of the user's primary account, even if the id of a linked account was
    asked for.
    """

    user_id: str = field(repr=False)
    read_at: datetime
    fields: Mapping[str, Any] = field(repr=False)


Profiles = Mapping[str, Profile]
"""Profiles by the user id that was asked for.

A missing user was deleted, or the directory failed.
"""


DeadLetterReason = Literal[
    Defect,
    "unparseable_date",
    "implausible_date",
    "no_user_id",
    "too_large",
    "expression_failed",
    "untranslatable",
    "refused_by_segment",
]
"""The reason code of a dead letter. docs/guides/dead-letters.md explains each of them."""
DEAD_LETTER_REASONS: frozenset[str] = frozenset(get_args(DeadLetterReason))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that can never be sent, with a reason code, and Segment's status if any."""

    event: LogEvent = field(repr=False)
    reason: DeadLetterReason
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingIdentify:
    """A user whose tracks were sent without an identify.

    `user_id` is Auth0's id, `sent_as` the id in the tracks, and `log_id` the newest event's.
    """

    user_id: str = field(repr=False)
    sent_as: str = field(repr=False)
    log_id: LogId


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedIdentify:
    """A pending identify, and the server's time at which it became pending."""

    who: PendingIdentify
    queued_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwardable:
    """An event and the calls it becomes, in the order in which they are to arrive.

    `pending_identify` is set if the identify is not among them and is sent later.
    """

    event: LogEvent
    messages: tuple[Message, ...]
    pending_identify: PendingIdentify | None = None


FilterReason = Literal[
    "type",
    "sso_login",
    "api_signup",
    "agent",
    "other_route",
    "no_route",
    "condition",
    "no_user",
]
"""The reason why an event becomes no call.

- `type`: the settings send no event of this type.
- `sso_login`, `api_signup`, `agent`: `logins.include_sso`, `signups.include_api_created` or
  `logins.include_agents` leaves it out.
- `other_route`: another route of the tenant takes it.
- `no_route`: no route of the tenant takes it.
- `condition`: `events.when` does not hold.
- `no_user`: the event is of a type under `events.types`, and names no user.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """An event that becomes no call, and the reason.

    `is_declined` says that other settings would send it.
    """

    event: LogEvent
    reason: FilterReason = "type"
    is_declined: bool = False


Outcome = Forwardable | DeadLetter | Filtered


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls of a page, and the events that become no call.

    Each event of the page is in exactly one of the three.
    """

    forwardable: tuple[Forwardable, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    filtered: tuple[Filtered, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(message for entry in self.forwardable for message in entry.messages)

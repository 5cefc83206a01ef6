"""What translation takes and makes: profiles, and for each event its calls, its dead letter, or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from poller.core.events import LogEvent
from poller.core.log_ids import LogId
from poller.core.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A user as the directory showed it at `read_at`, in the server's time.

    `user_id` is the user's own: that of the primary account, where it was asked for by that of a linked one.
    """

    user_id: str = field(repr=False)
    read_at: datetime
    fields: Mapping[str, Any] = field(repr=False)


Profiles = Mapping[str, Profile]
"""By the user id that was asked for. Who is missing could not be had: deleted, or the directory failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that can never succeed, and why: a reason code, and a status where Segment gave one."""

    event: LogEvent = field(repr=False)
    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingIdentify:
    """A user whose tracks were sent without an identify: Auth0's id, the one they were sent under, and the event."""

    user_id: str = field(repr=False)
    sent_as: str = field(repr=False)
    log_id: LogId


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedIdentify:
    """A pending identify, and since when it is pending by the server's clock."""

    who: PendingIdentify
    queued_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwardable:
    """An event and the calls it becomes, in the order in which they are to arrive.

    `pending_identify` is set where the identify is not among them and is sent later.
    """

    event: LogEvent
    messages: tuple[Message, ...]
    pending_identify: PendingIdentify | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """An event that becomes nothing; `is_declined` where the settings say so, and others would send it."""

    event: LogEvent
    is_declined: bool = False


Outcome = Forwardable | DeadLetter | Filtered


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What a page becomes: each of its events is in exactly one of the three."""

    forwardable: tuple[Forwardable, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    filtered: tuple[Filtered, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(message for entry in self.forwardable for message in entry.messages)

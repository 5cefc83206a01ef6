"""The parts that the live page needs from the daemon around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from poller.service.observability.http_endpoint import Query, Response
from poller.service.page.numbers import Numbers
from poller.service.watching.feed import Feed
from poller.service.watching.rows import Encode

Action = Literal["replay", "discard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The dead letters of an action: one by its log id, or all that have a reason."""

    log_id: str = ""
    reason: str = ""


class DeadLetters(Protocol):
    """The dead letters of the daemon's stream, as JSON values.

    Every method may wait for the ledger, and may raise a `PollerError`, such as for a locked one.
    """

    def reasons(self) -> dict[str, int]:
        """Return the number of dead letters by reason."""
        ...

    def page(self, *, after: str, reason: str) -> list[dict[str, Any]]:
        """Return the next dead letters above a log id, without their events.

        An empty reason stands for all reasons.
        """
        ...

    def detail(self, log_id: str) -> dict[str, Any] | None:
        """Return one dead letter with what the settings allow of its event, or None."""
        ...

    def act(self, action: Action, target: Target) -> dict[str, Any]:
        """Replay or discard dead letters, and return their numbers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts:
    """The feed, and the functions that the page asks.

    `show` is `sent` or `all`. `encode` encodes a message as it is posted. `state` returns the state
    of the daemon as JSON values, and may wait for the ledger.
    """

    feed: Feed
    show: str
    encode: Encode
    state: Callable[[], dict[str, Any]]
    dead_letters: DeadLetters
    numbers: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyParts:
    """The functions that the page of many pipelines asks. None of them waits.

    - `find` returns the parts of a pipeline by its name. They are the same object until its
      settings change. It returns None for a pipeline that has no settings now.
    - `state` returns the state of all pipelines as JSON values, the worst first.
    - `ready` answers `/readyz`.
    """

    find: Callable[[str], PageParts | None]
    state: Callable[[], dict[str, Any]]
    ready: Callable[[Query], Response]

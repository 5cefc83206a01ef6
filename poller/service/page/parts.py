"""The parts that the live page needs from the daemon around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from poller.service.page.feed import Feed
from poller.service.page.rows import Encode


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

"""Profiles, remembered for a while; a directory that fails costs traits, never events."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from poller.core.errors import FatalError, PollerError, TransientError
from poller.core.outcomes import Profile, Profiles
from poller.core.ports import ProfileDirectory

CAPACITY = 10_000  # users; a profile is about 1 KB
LIFETIME_S = 300.0
PAUSE_S = 60.0
"""For so long a directory that failed is left alone: each page would otherwise wait for it."""
FATAL_PAUSE_S = 3600.0
"""For so long one that needs someone to act: every attempt costs a new token, in case its scope has been granted."""


class CachedProfiles:
    """A ProfileDirectory that never raises: who cannot be had is missing. Used by one thread.

    Where profiles are needed it does raise: an outage must not send a person under another id, or leave one out.
    """

    def __init__(
        self,
        directory: ProfileDirectory,
        on_failure: Callable[[PollerError], None],
        *,
        is_needed: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._on_failure = on_failure
        self._is_needed = is_needed
        self._monotonic = monotonic
        self._held: OrderedDict[str, tuple[float, Profile | None]] = OrderedDict()
        self._paused_until = float("-inf")

    def of(self, user_ids: Sequence[str]) -> Profiles:
        """The profiles, from memory where they are fresh; absent users are remembered too."""
        self._forget_stale()
        missing = [user_id for user_id in user_ids if user_id not in self._held]
        read = self._read(missing) if missing else {}
        known = {user_id: self._held[user_id][1] for user_id in user_ids if user_id in self._held}
        return {
            user_id: profile
            for user_id, profile in {**known, **read}.items()
            if profile is not None
        }

    def _read(self, user_ids: Sequence[str]) -> Profiles:
        now = self._monotonic()
        if now < self._paused_until:
            return {}
        try:
            read = self._directory.of(user_ids)
        except (TransientError, FatalError) as error:
            if self._is_needed:
                raise
            self._paused_until = now + (FATAL_PAUSE_S if isinstance(error, FatalError) else PAUSE_S)
            self._on_failure(error)
            return {}
        for user_id in user_ids:
            self._held[user_id] = (now + LIFETIME_S, read.get(user_id))
        while len(self._held) > CAPACITY:
            self._held.popitem(last=False)
        return read

    def _forget_stale(self) -> None:
        # In order of reading, so the stale ones are in front.
        now = self._monotonic()
        while self._held and next(iter(self._held.values()))[0] <= now:
            self._held.popitem(last=False)

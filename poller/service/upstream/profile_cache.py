"""A cache of user profiles.

A tenant's users are asked for again and again, and each request takes from the rate limit. A
directory that fails costs traits, and never an event.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from poller.core.errors import FatalError, PollerError, TransientError
from poller.core.outcomes import Profile, Profiles
from poller.core.ports import ProfileDirectory

CAPACITY = 10_000
"""The number of users in the cache. A profile is about 1 KB."""
LIFETIME_S = 300.0
PAUSE_S = 60.0
"""The time without requests after a failure. Otherwise each page would wait for the directory."""
FATAL_PAUSE_S = 3600.0
"""The time without requests after a failure that somebody must mend.

Each attempt costs a new token, which may have the missing scope.
"""


class CachedProfiles:
    """A ProfileDirectory that leaves out the users it cannot read. Thread-safe.

    A profile is never replaced by one that was asked for earlier. So a caller never sees older
    traits of a user than an earlier call returned, whichever thread read them.

    With `is_needed` it raises instead. Then the rules need the profile to know the id of a user,
    and an outage must not send a user under another id.
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
        self._cached: OrderedDict[str, tuple[float, Profile | None]] = OrderedDict()
        """The end of life and the profile, in the order of reading. None is a missing user."""
        self._paused_until = float("-inf")
        self._lock = threading.Lock()  # never held during a request

    def of(self, user_ids: Sequence[str]) -> Profiles:
        """Return the profiles of these users, from the cache if they are there.

        Raises:
            TransientError, FatalError: the directory failed, and profiles are needed.
        """
        with self._lock:
            self._forget_stale()
            cached = {id_: self._cached[id_][1] for id_ in user_ids if id_ in self._cached}
        missing = [user_id for user_id in user_ids if user_id not in cached]
        profiles = {**cached, **(self._read(missing) if missing else {})}
        return {id_: profile for id_, profile in profiles.items() if profile is not None}

    def _read(self, user_ids: Sequence[str]) -> Mapping[str, Profile | None]:
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
        with self._lock:
            return {user_id: self._keep(user_id, now, read.get(user_id)) for user_id in user_ids}

    def _keep(self, user_id: str, asked_at: float, profile: Profile | None) -> Profile | None:
        """Keep a profile, and return the newest profile of the user. The caller holds the lock."""
        ends_at, kept = self._cached.pop(user_id, (float("-inf"), None))
        newest = max((asked_at + LIFETIME_S, profile), (ends_at, kept), key=lambda each: each[0])
        self._cached[user_id] = newest
        if len(self._cached) > CAPACITY:
            self._cached.popitem(last=False)
        return newest[1]

    def _forget_stale(self) -> None:
        # The cache is in the order of reading, so the stale profiles are in front.
        now = self._monotonic()
        while self._cached and next(iter(self._cached.values()))[0] <= now:
            self._cached.popitem(last=False)

"""The actions of people at the simulated tenant, most of them of no interest to the program."""

import bisect
import itertools
import math
import random
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from poller.sandbox.auth0.entries import Entry, User
from poller.sandbox.auth0.tenant import Tenant

MIX = {
    "login": 12,
    "social_login": 3,
    "first_social_login": 1,
    "sso_login": 4,
    "signup": 2,
    "api_signup": 1,
    "seacft": 18,
    "ssa": 19,
    "slo": 6,
    "failed_login": 5,
    "wrong_user": 2,
    "w": 2,
    "fsa": 6,
    "seccft": 8,
    "sepft": 2,
    "mgmt_api_read": 4,
    "svr": 2,
    "scp": 1,
    "sui": 1,
    "limit_wc": 1,
}
"""The frequency of each kind, in a hundred. The longest real page on record has 18 logins."""
_NAMELESS = {"w", "seccft", "fsa", "mgmt_api_read", "limit_wc"}
_TICK_S = 0.02
_FEWEST_USERS = 50
"""A smaller tenant gets a new user with each event."""
_STEPS = 1000


class Traffic:
    """A source of events: one at a time, at a rate, or in bulk over a past stretch."""

    def __init__(self, tenant: Tenant, seed: int | None = None) -> None:
        self._tenant = tenant
        self._dice = random.Random(seed)  # noqa: S311 - a simulation
        self._kinds, self._weights = zip(*MIX.items(), strict=True)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._order: list[User] = []
        self.newcomers = 0.05
        """The share of the events that come from new users."""

    def happen(self, kind: str | None = None, *, at: datetime | None = None) -> list[Entry]:
        """Let one thing happen, and return the entries that Auth0 would write.

        A signup through the API has a second entry of type `sapi`.
        """
        kind = kind or self._dice.choices(self._kinds, self._weights)[0]
        record = self._tenant.record_event
        if kind in _NAMELESS:
            return [record(kind, ingested=at)]
        if kind not in {"signup", "api_signup", "first_social_login"}:
            return [record(kind, self._somebody(at), ingested=at)]
        user = self._tenant.add_user(created_at=at, is_social=kind == "first_social_login")
        kinds = [kind, "sapi"] if kind == "api_signup" else [kind]
        if self._dice.random() < 0.5:  # noqa: PLR2004 - the twins come in either order
            kinds.reverse()
        made = [record(each, user, ingested=at) for each in kinds]
        # A login that creates its user has the date of the user.
        user.created_at = made[kinds.index(kind)].date
        return made

    def grow(
        self,
        count: int,
        *,
        start: datetime,
        end: datetime,
        kinds: Iterable[str] | None = None,
        swing: float = 1.0,
    ) -> tuple[Entry, Entry]:
        """Write at least `count` entries between two moments, and return the first and the last.

        A `swing` above one makes the middle of each day that much denser than the night.
        """
        when = _Density(start, end, swing)
        chosen = tuple(kinds or ())
        made: list[Entry] = []
        number = 0
        first = last = None
        while number < count:
            at = when.at(number / max(count, 1))
            made = self.happen(self._dice.choice(chosen) if chosen else None, at=at)
            number += len(made)
            first, last = first or made[0], made[-1]
        if first is None or last is None:
            raise ValueError("nothing to grow")
        return first, last

    def run(self, events_per_second: float) -> None:
        """Let things happen from now on, in a separate thread."""
        self.stop()
        self._stopping.clear()
        self._thread = threading.Thread(
            target=self._run, args=(events_per_second,), name="traffic", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, events_per_second: float) -> None:
        began, happened = time.monotonic(), 0
        while not self._stopping.wait(_TICK_S):
            due = (time.monotonic() - began) * events_per_second
            while happened < due:
                happened += len(self.happen())

    def people(self, count: int) -> None:
        """Add users from long ago. From now on only signups add others."""
        for _ in range(count):
            self._old_user(None)
        self.newcomers = 0.0

    def _somebody(self, at: datetime | None) -> User:
        """Return a user, most often a known one.

        A new user signed up long ago, so no signup is missing in the log.
        """
        users = self._tenant.users
        if len(users) < _FEWEST_USERS or self._dice.random() < self.newcomers:
            return self._old_user(at)
        number = self._dice.randrange(len(users))
        return self._pick(number)

    def _old_user(self, at: datetime | None) -> User:
        user = self._tenant.add_user(
            created_at=(at or self._tenant.clock.now()) - timedelta(days=400)
        )
        user.logins_count = self._dice.randrange(1, 50)
        user.last_login = user.created_at
        return user

    def _pick(self, number: int) -> User:
        with self._tenant.lock:
            if len(self._order) < len(self._tenant.users):
                self._order = list(self._tenant.users.values())
            return self._order[number]


class _Density:
    """A distribution of events between two moments, even or in waves of a day."""

    def __init__(self, start: datetime, end: datetime, swing: float) -> None:
        self._start, self._end = start, end
        days = (end - start) / timedelta(days=1)
        waves = (0.5 - 0.5 * math.cos(2 * math.pi * days * step / _STEPS) for step in range(_STEPS))
        self._sums = [0.0, *itertools.accumulate(1 + (swing - 1) * wave for wave in waves)]

    def at(self, part: float) -> datetime:
        """Return the moment by which this part of the events has happened."""
        wanted = part * self._sums[-1]
        step = min(bisect.bisect_right(self._sums, wanted), _STEPS) - 1
        inside = (wanted - self._sums[step]) / (self._sums[step + 1] - self._sums[step])
        return self._start + (self._end - self._start) * ((step + inside) / _STEPS)

"""A simulated Auth0 tenant with its log, its users and its credentials."""

import bisect
import random
import threading
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.sandbox.auth0.entries import (
    LOGINS,
    SIGNUPS,
    Entry,
    User,
    free_date,
    ingest_time,
    iso,
    log_id,
)
from poller.sandbox.clock import Clock

TICKET_SCOPES = ("read:logs", "read:users", "read:stats")
_CONNECTIONS = (("Username-Password-Authentication", "auth0"), ("google-oauth2", "google-oauth2"))


class Tenant:
    """The state behind the API. Tests may change every field while it serves. Thread-safe."""

    def __init__(
        self, clock: Clock, *, seed: int | None = None, domain: str = "acme.us.auth0.com"
    ) -> None:
        self.clock = clock
        self.domain = domain
        self.client_id = "sandboxSandboxSandboxSandbox0000"
        self.client_secret = "sandbox-secret-" + "0" * 49
        self.public_key: str | None = None
        self.scopes: tuple[str, ...] = TICKET_SCOPES
        self.token_lifetime = timedelta(days=1)
        self.is_granted = True
        """True if the application is authorized for the Management API."""
        self.states_scope = True
        """True if the answer with a token states its scope and lifetime. Both are optional."""
        self.unsearchable: list[str] = []
        """The user ids for which the search of users answers 400."""
        self.retention = timedelta(days=30)
        self.index_lag = timedelta(seconds=2)
        self.longest_lag = timedelta(seconds=5)
        """The longest time from the date of an entry to the time in its id."""
        self.id_length = 56
        self.most_shown: int | None = None
        """The largest number of entries on a page by checkpoint, for any request."""
        self.visible_after = timedelta()
        """The time from an entry's id until the entry appears in pages by checkpoint."""
        self.stats_have_sso = True  # Auth0 does not say whether its own statistics do
        self.keeps_drawn = False
        """True if drawn entries are kept, which costs memory and saves time for each page."""
        self.users: dict[str, User] = {}
        self.lock = threading.RLock()
        self._entries: list[Entry] = []
        self._ids: list[str] = []
        self._number = 0
        self._dice = random.Random(seed)  # noqa: S311 - a simulation

    # What happens at the tenant

    def add_user(
        self, created_at: datetime | None = None, *, is_social: bool | None = None
    ) -> User:
        """Add a user, who appears in the search index after its lag."""
        with self.lock:
            now = self.clock.now()
            number = len(self.users) + 1
            connection, strategy = _CONNECTIONS[number % 4 == 0 if is_social is None else is_social]
            user = User(
                user_id=f"{strategy}|{number:024x}",
                email=f"user{number}@example.com",
                connection=connection,
                strategy=strategy,
                created_at=created_at or now,
                searchable_at=now + self.index_lag,
            )
            self.users[user.user_id] = user
            return user

    def record_event(
        self,
        kind: str,
        user: User | None = None,
        *,
        ingested: datetime | None = None,
        lag: timedelta | None = None,
    ) -> Entry:
        """Write one entry into the log, with the time `ingested` in its id.

        `ingested` is now by default. The date lies `lag` earlier, by default up to `longest_lag`.
        """
        with self.lock:
            ingested = ingested or self.clock.now()
            if lag is None:
                longest_s = self.longest_lag.total_seconds()
                lag = timedelta(seconds=self._dice.uniform(0.01, longest_s))
            probe = Entry(log_id="", kind=kind, date=ingested, number=0)
            date = free_date(user, probe.type, ingested - lag)
            if user is not None and kind in LOGINS | SIGNUPS:
                _live(user, kind, date)
            self._number += 1
            identifier = log_id(ingested, self._number, length=self.id_length)
            count = user.logins_count if user else 0
            return self._insert(
                Entry(
                    log_id=identifier,
                    kind=kind,
                    date=date,
                    number=self._number,
                    user=user,
                    count=count,
                )
            )

    def append(self, records: Iterable[Any]) -> list[Entry]:
        """Write records into the log unchanged, except that a record without an id gets one."""
        return [self._append(record) for record in records]

    def _append(self, record: Any) -> Entry:
        with self.lock:
            self._number += 1
            now = self.clock.now()
            identifier = log_id(now, self._number, length=self.id_length)
            kind = ""
            if isinstance(record, dict):
                record = {
                    "_id": identifier,
                    "log_id": identifier,
                    "date": now.isoformat(),
                    **record,
                }
                kind = str(record.get("type", ""))
            return self._insert(
                Entry(log_id=identifier, kind=kind, date=now, number=self._number, record=record)
            )

    def _insert(self, entry: Entry) -> Entry:
        if not self._ids or entry.log_id > self._ids[-1]:
            self._ids.append(entry.log_id)
            self._entries.append(entry)
        else:
            at = bisect.bisect_left(self._ids, entry.log_id)
            self._ids.insert(at, entry.log_id)
            self._entries.insert(at, entry)
        return entry

    # What the API reads

    def after(self, position: str, take: int) -> list[Entry]:
        """Return up to `take` kept entries above `position`, oldest first."""
        with self.lock:
            first = max(bisect.bisect_right(self._ids, position), self._first_kept())
            last = bisect.bisect_left(self._ids, self._first_hidden())
            return self._entries[first : min(first + min(take, self.most_shown or take), last)]

    def newest(self, *, before: datetime | None = None) -> list[Entry]:
        """Return the entries that the search index shows, newest first."""
        with self.lock:
            shown = [
                entry
                for entry in self._entries[self._first_kept() :]
                if self._is_indexed(entry, before)
            ]
        return shown[::-1]

    def entries(self) -> Sequence[Entry]:
        """Return every entry of all time, in log-id order."""
        with self.lock:
            return tuple(self._entries)

    def user(self, user_id: str) -> User | None:
        with self.lock:
            found = self.users.get(user_id)
            if found is None or found.deleted:
                return None
            return found

    def link(self, primary: User, secondary: User) -> None:
        """Link an account to another one. It is no user of its own any more."""
        with self.lock:
            primary.linked = (*primary.linked, secondary.user_id)
            secondary.deleted = True

    def users_with_identities(self, identities: Collection[str]) -> list[User | None]:
        """Return the users with one of these ids as the id of an identity of theirs."""
        with self.lock:
            return [
                user
                for user in self.users.values()
                if not user.deleted
                and any(each["user_id"] in identities for each in user.profile()["identities"])
            ]

    def daily(self, first: str, last: str) -> list[dict[str, Any]]:
        """Return the logins and signups of each UTC day, from the first day to the last.

        A day is written as YYYYMMDD, and a day without any is left out. The counts are as old as
        the last run of the hourly job. A first social login counts as a signup too, though the log
        has no `ss` event for it.
        """
        run_at = _last_run(self.clock.now())
        days: dict[str, dict[str, int]] = {}
        with self.lock:
            for entry in self._entries:
                day = f"{entry.date.astimezone(UTC):%Y%m%d}"
                logins = entry.type == "s" and (entry.kind != "sso_login" or self.stats_have_sso)
                signups = entry.type == "ss" or entry.kind == "first_social_login"
                if first <= day <= last and (logins or signups) and entry.date < run_at:
                    counts = days.setdefault(day, {"logins": 0, "signups": 0})
                    counts["logins"] += logins
                    counts["signups"] += signups
        return [_daily(day, counts, run_at) for day, counts in sorted(days.items())]

    def _first_hidden(self) -> str:
        """Return the id above which nothing is shown by checkpoint yet."""
        if not self.visible_after:
            return "~"
        return log_id(self.clock.now() - self.visible_after, 0, length=self.id_length)

    def _first_kept(self) -> int:
        floor = log_id(self.clock.now() - self.retention, -(10**15), length=self.id_length)
        return bisect.bisect_left(self._ids, floor)

    def _is_indexed(self, entry: Entry, before: datetime | None) -> bool:
        try:
            ingested = ingest_time(entry.log_id)
        except ValueError:
            return True
        return ingested <= (before or self.clock.now()) - self.index_lag


def _last_run(now: datetime) -> datetime:
    """Return the last run of the job behind the statistics, at about hh:21 (recorded 2021)."""
    run_at = now.replace(minute=21, second=32, microsecond=0)
    if run_at <= now:
        return run_at
    return run_at - timedelta(hours=1)


def _daily(day: str, counts: dict[str, int], run_at: datetime) -> dict[str, Any]:
    begin = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
    ended = _last_run(begin + timedelta(days=2))  # a day is updated until the end of the next one
    return {
        "date": iso(begin),
        **counts,
        "leaked_passwords": 0,
        "created_at": iso(_last_run(begin + timedelta(hours=1))),
        "updated_at": iso(min(run_at, ended)),
    }


def _live(user: User, kind: str, date: datetime) -> None:
    # A login on an existing session does not move the count.
    if kind in LOGINS and kind != "sso_login":
        user.logins_count += 1
    if kind in LOGINS:
        user.last_login = max(date, user.last_login or date)

"""The tenant's users, read many at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from urllib.parse import quote

from poller.adapters.auth0.api import ManagementApi, Reply
from poller.adapters.auth0.verdicts import SERVICE
from poller.core.errors import UnusableAnswerError
from poller.core.outcomes import Profile

ALWAYS = {"user_id", "identities"}
"""The fields that identify the user. `identities` also names the accounts that were linked."""
MAX_QUERY_BYTES = 4_000  # of the URL, since the API answers a long one with 414
MAX_USERS = 100  # the most that per_page allows
LONGEST_ID = 512
"""The most characters of a user id.

A longer id is not a user's, and would make the URL too long for the other ids.
"""
_LONGER_FIELD = "identities.user_id"
_REFUSED = frozenset({400, 414})
_NOBODY = frozenset({400, 404, 414})
"""The answers to an id without a user. Auth0 refuses an id of a form that it never makes."""
SEARCH_LAG = timedelta(seconds=10)
"""A profile from the search counts as read this much earlier.

The search shows changed users late (Auth0 docs: User Search Best Practices).
"""


class Auth0Users:
    """The users of one tenant. Each call makes one attempt.

    `fields` are the fields of a profile that are asked for. None stands for all. With
    `search_linked`, a user who is missing is also searched for as a linked account.
    """

    def __init__(
        self,
        api: ManagementApi,
        *,
        fields: frozenset[str] | None,
        search_linked: bool = False,
    ) -> None:
        self._api = api
        self._search_linked = search_linked
        self._fields = (
            {}
            if fields is None
            else {"fields": ",".join(sorted(ALWAYS | fields)), "include_fields": "true"}
        )

    def of(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles of these users. A user who was deleted is missing.

        The search finds most of them in few requests. A user whom the search does not show yet is
        read by id. The id of an account that was linked to another user gives that user's profile,
        if that user is asked for too, or if linked accounts are searched for.

        Raises:
            TransientError, FatalError: Auth0 cannot answer.
        """
        profiles: dict[str, Profile] = {}
        user_ids = [user_id for user_id in user_ids if len(user_id) <= LONGEST_ID]
        for chunk in chunks(user_ids):
            profiles.update(self._search(chunk))
        linked = _linked(profiles.values())
        if self._search_linked:
            missing = [each for each in user_ids if each not in profiles and each not in linked]
            linked |= _linked(self._primaries(missing))
        profiles.update(
            {
                user_id: linked[user_id]
                for user_id in user_ids
                if user_id not in profiles and user_id in linked
            }
        )
        for user_id in user_ids:
            profile = None if user_id in profiles else self._get(user_id)
            if profile is not None:
                profiles[user_id] = profile
        return profiles

    def _primaries(self, user_ids: Sequence[str]) -> Iterator[Profile]:
        """Yield the users to whom these accounts may be linked, one request for many accounts.

        The search knows the part of an identity's id that follows its provider.
        """
        identities = {user_id.partition("|")[2] for user_id in user_ids} - {""}
        for chunk in chunks(sorted(identities)):
            yield from (profile for _, profile in self._search(chunk, _LONGER_FIELD))

    def _search(
        self, user_ids: Sequence[str], field: str = "user_id"
    ) -> Iterator[tuple[str, Profile]]:
        """Yield the users that the search shows.

        If Auth0 refuses the search, it refuses one of the ids. The search is halved until that
        id stands alone. The id is then left out here, and read by itself.
        """
        params = {
            "q": query_of(user_ids, field),
            "search_engine": "v3",
            "per_page": str(MAX_USERS),
            "primary_order": "false",  # faster, and the order does not matter here
            **self._fields,
        }
        reply = self._api.get("users", params, endpoint="users", absent=_REFUSED)
        if reply.value is None and len(user_ids) > 1:
            middle = len(user_ids) // 2
            yield from self._search(user_ids[:middle], field)
            yield from self._search(user_ids[middle:], field)
        elif reply.value is not None:
            yield from _profiles(reply)

    def _get(self, user_id: str) -> Profile | None:
        path = f"users/{quote(user_id, safe='')}"
        reply = self._api.get(path, self._fields, endpoint="users", absent=_NOBODY)
        if not isinstance(reply.value, Mapping):
            return None
        return Profile(user_id=user_id, read_at=reply.at, fields=reply.value)


def _profiles(reply: Reply) -> Iterator[tuple[str, Profile]]:
    if not isinstance(reply.value, list):
        raise UnusableAnswerError(
            "Auth0 answered the request for users with JSON that is not a list", service=SERVICE
        )
    for record in reply.value:
        user_id = record.get("user_id") if isinstance(record, Mapping) else None
        if isinstance(user_id, str):
            yield user_id, Profile(user_id=user_id, read_at=reply.at - SEARCH_LAG, fields=record)


def chunks(user_ids: Sequence[str]) -> Iterator[list[str]]:
    """Divide the ids into searches whose URL is not too long."""
    held: list[str] = []
    for user_id in user_ids:
        if held and (
            len(held) == MAX_USERS
            or len(quote(query_of([*held, user_id], _LONGER_FIELD))) > MAX_QUERY_BYTES
        ):
            yield held
            held = []
        held.append(user_id)
    if held:
        yield held


def query_of(user_ids: Sequence[str], field: str = "user_id") -> str:
    # Lucene's quoting is JSON's: backslashes before \ and ".
    terms = [json.dumps(user_id, ensure_ascii=False) for user_id in user_ids]
    return f"{field}:({' OR '.join(terms)})"


def _linked(profiles: Iterable[Profile]) -> dict[str, Profile]:
    """Return each profile under the user ids that its linked accounts had before the linking."""
    linked: dict[str, Profile] = {}
    for profile in profiles:
        identities = profile.fields.get("identities")
        for identity in identities if isinstance(identities, list) else ():
            if (
                isinstance(identity, Mapping)
                and identity.get("provider")
                and identity.get("user_id")
            ):
                linked[f"{identity['provider']}|{identity['user_id']}"] = profile
    return linked

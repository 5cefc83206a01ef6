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
"""Who it is; `identities` also names the accounts that were linked to it."""
MAX_QUERY_BYTES = 4_000  # of URL; the API answers 414 to long ones
MAX_USERS = 100  # the most that per_page allows
LONGEST_ID = (
    512  # characters; a longer one is no user's, and would make the URL too long for the others
)
_REFUSED = frozenset({400, 414})
_NOBODY = frozenset({400, 404, 414})
"""Of one user. An id that is none of Auth0's own making is refused, and nobody has it."""
SEARCH_LAG = timedelta(seconds=10)
"""What the search shows counts as read so much earlier: it lags (Auth0 docs: User Search Best Practices)."""


class Auth0Users:
    """The users of one tenant. One attempt a call; raises TransientError or FatalError.

    `fields` of a profile are asked for and nothing else; None: all.
    """

    def __init__(self, api: ManagementApi, *, fields: frozenset[str] | None) -> None:
        self._api = api
        self._fields = (
            {}
            if fields is None
            else {"fields": ",".join(sorted(ALWAYS | fields)), "include_fields": "true"}
        )

    def of(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        """The profiles by search, and by id for those that the index does not have; who is deleted is missing.

        An id of an account that was linked to one of these users is answered with that user's profile.
        """
        found: dict[str, Profile] = {}
        user_ids = [user_id for user_id in user_ids if len(user_id) <= LONGEST_ID]
        for chunk in chunks(user_ids):
            found.update(self._search(chunk))
        linked = _linked(found.values())
        found.update(
            {
                user_id: linked[user_id]
                for user_id in user_ids
                if user_id not in found and user_id in linked
            }
        )
        for user_id in user_ids:
            profile = None if user_id in found else self._get(user_id)
            if profile is not None:
                found[user_id] = profile
        return found

    def _search(self, user_ids: Sequence[str]) -> Iterator[tuple[str, Profile]]:
        """Search for these users; where the search is refused, halve down to the ids that it refuses.

        Such an id is not found here, so that it is read alone.
        """
        params = {
            "q": query_of(user_ids),
            "search_engine": "v3",
            "per_page": str(MAX_USERS),
            "primary_order": "false",  # faster, and the order is of no use here
            **self._fields,
        }
        reply = self._api.get("users", params, bucket="users", absent=_REFUSED)
        if reply.value is None and len(user_ids) > 1:
            middle = len(user_ids) // 2
            yield from self._search(user_ids[:middle])
            yield from self._search(user_ids[middle:])
        elif reply.value is not None:
            yield from _profiles(reply)

    def _get(self, user_id: str) -> Profile | None:
        path = f"users/{quote(user_id, safe='')}"
        reply = self._api.get(path, self._fields, bucket="users", absent=_NOBODY)
        if not isinstance(reply.value, Mapping):
            return None
        return Profile(user_id=user_id, read_at=reply.at, fields=reply.value)


def _profiles(reply: Reply) -> Iterator[tuple[str, Profile]]:
    if not isinstance(reply.value, list):
        raise UnusableAnswerError("Auth0 answered users with JSON that is no list", service=SERVICE)
    for record in reply.value:
        user_id = record.get("user_id") if isinstance(record, Mapping) else None
        if isinstance(user_id, str):
            yield user_id, Profile(user_id=user_id, read_at=reply.at - SEARCH_LAG, fields=record)


def chunks(user_ids: Sequence[str]) -> Iterator[list[str]]:
    """Divide the ids so that no search for them makes the URL too long."""
    held: list[str] = []
    for user_id in user_ids:
        if held and (
            len(held) == MAX_USERS or len(quote(query_of([*held, user_id]))) > MAX_QUERY_BYTES
        ):
            yield held
            held = []
        held.append(user_id)
    if held:
        yield held


def query_of(user_ids: Sequence[str]) -> str:
    # Lucene's quoting is JSON's: backslashes before \ and ".
    terms = [json.dumps(user_id, ensure_ascii=False) for user_id in user_ids]
    return f"user_id:({' OR '.join(terms)})"


def _linked(profiles: Iterable[Profile]) -> dict[str, Profile]:
    """The profiles by the ids that their identities would have as users of their own."""
    found: dict[str, Profile] = {}
    for profile in profiles:
        identities = profile.fields.get("identities")
        for identity in identities if isinstance(identities, list) else ():
            if (
                isinstance(identity, Mapping)
                and identity.get("provider")
                and identity.get("user_id")
            ):
                found[f"{identity['provider']}|{identity['user_id']}"] = profile
    return found

"""Single log events of a tenant: by their id, by their user, and by their time.

The search shows new events late, and only what retention has left. Its syntax is the Lucene subset
of Auth0 docs, Log Search Query Syntax.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from poller.adapters.auth0.api import ManagementApi
from poller.adapters.auth0.users import LONGEST_ID, query_of
from poller.adapters.auth0.verdicts import SERVICE
from poller.core.errors import UnusableAnswerError
from poller.core.events import LogEvent, parse_events
from poller.core.log_ids import EARLIEST, LogId
from poller.core.pages import PAGE_SIZE
from poller.core.text.dates import iso

SEARCH_LIMIT = 1000
"""The most log events that a search returns, over all its pages."""
_ABSENT = frozenset({400, 404, 414})
"""The answers to an id without an event. Auth0 may refuse an id of a form that it never makes."""
_REFUSED = frozenset({400, 414})


class Auth0LogSearch:
    """The events of one tenant that can be named or searched for. Each call makes one attempt.

    Each call raises TransientError or FatalError.
    """

    def __init__(self, api: ManagementApi) -> None:
        self._api = api

    def event(self, log_id: LogId) -> LogEvent | None:
        """Return the event with this id, or None if the tenant keeps no such event."""
        if len(log_id) > LONGEST_ID:
            return None
        path = f"logs/{quote(log_id, safe='')}"
        record = self._api.get(path, {}, endpoint="logs", absent=_ABSENT).value
        if record is None:
            return None
        return parse_events([record], after=log_id)[0]

    def find(
        self,
        *,
        most: int,
        types: Sequence[str] = (),
        user_id: str | None = None,
        between: tuple[datetime, datetime] | None = None,
    ) -> tuple[LogEvent, ...]:
        """Return the newest events that match every argument, newest first.

        There are at most `most` of them, and at most 1,000. The first of the two times is within
        the range, and the second one is not. Without arguments all events match. If Auth0 refuses
        the user id, nobody has it.
        """
        query = {"q": " AND ".join(_terms(types, user_id, between))}
        params = query if query["q"] else {}
        events: list[LogEvent] = []
        for page in range(SEARCH_LIMIT // PAGE_SIZE):
            paging = {"page": str(page), "per_page": str(min(most, PAGE_SIZE))}
            absent = _REFUSED if user_id is not None else frozenset[int]()
            reply = self._api.get("logs", params | paging, endpoint="logs", absent=absent)
            records = _listed(reply.value)
            events += parse_events(records, after=EARLIEST)
            if len(events) >= most or len(records) < PAGE_SIZE:
                break
        return tuple(events[:most])


def _terms(
    types: Sequence[str], user_id: str | None, between: tuple[datetime, datetime] | None
) -> list[str]:
    terms = []
    if types:
        terms.append(query_of(types, "type"))
    if user_id is not None:
        terms.append(query_of([user_id]))
    if between is not None:
        since, until = map(iso, between)
        terms.append(f"date:[{since} TO {until}}}")
    return terms


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnusableAnswerError(
            "Auth0 answered the search for logs with JSON that is not a list", service=SERVICE
        )
    return value

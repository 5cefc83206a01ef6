"""Segment's Public API: workspace, sources, destinations, tracking plans. It is only read.

The client is our own, because Segment's Python library is in public beta and not on PyPI. All
paths, fields and limits are from Segment's Public API documentation and its generated models
(segmentio/public-api-sdk-python at 73.2.0).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from poller.adapters.http import Answer, Http
from poller.adapters.parsing import LONGEST_RETRY_AFTER, parse_http_date
from poller.adapters.segment.verdicts import SERVICE, in_between
from poller.adapters.segment.workspace import (
    ConnectedItem,
    Controls,
    Rule,
    SourceDetails,
    Workspace,
    parse_connection,
    parse_controls,
    parse_rule,
    parse_source,
    parse_workspace,
)
from poller.core.errors import PollerError, TransientError, UnusableAnswerError

DEADLINE_S = 10.0
PAGE_SIZE = 200
"""The largest page that every version of the documentation allows."""
MOST_PAGES = 50
"""A bound for lists without an end. A workspace has at most some thousands of sources or rules."""
_TOO_MANY, _REQUEST_TIMEOUT, _SERVER_ERROR = 429, 408, 500
_DENIED = {401, 403}
_NOT_FOUND = 404
_SUCCESS = range(200, 300)
_TYPE = re.compile(r"[\w -]{1,40}", re.ASCII)


class RequestRefusedError(PollerError):
    """Segment refuses a request of the Public API. `hint` says what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class AccessDeniedError(RequestRefusedError):
    """The token is unknown in this region, was revoked, or lacks a role."""


class UnknownPathError(RequestRefusedError):
    """The path, or what it names, does not exist in this workspace."""


class PublicApi:
    """The workspace that a token belongs to. Thread-safe."""

    def __init__(self, token: str, http: Http) -> None:
        self._token = token
        self._http = http

    def workspace(self) -> Workspace:
        """Return the workspace of the token.

        Every other method raises the same errors.

        Raises:
            AccessDeniedError: the token is unknown in this region, was revoked, or lacks a role.
            RequestRefusedError: Segment refuses the request for another reason.
            TransientError: no usable answer came.
            FatalError: the proxy variables or the CA certificates of this machine are unusable.
        """
        return parse_workspace(_table(self._get("/"), "workspace"))

    def sources(self) -> tuple[SourceDetails, ...]:
        """Return every source that the token may see."""
        return tuple(map(parse_source, self._pages("/sources", "sources")))

    def source(self, source_id: str) -> SourceDetails:
        """Return one source, with the id of its tracking plan."""
        data = self._get(f"/sources/{_quoted(source_id)}")
        plan_id = data.get("trackingPlanId")
        source = _table(data, "source")
        return parse_source(source, plan_id if isinstance(plan_id, str) else "")

    def destinations(self, source_id: str) -> tuple[ConnectedItem, ...]:
        """Return the destinations that a source is connected to."""
        path = f"/sources/{_quoted(source_id)}/connected-destinations"
        return tuple(map(parse_connection, self._pages(path, "destinations")))

    def warehouses(self, source_id: str) -> tuple[ConnectedItem, ...]:
        """Return the warehouses that a source is connected to."""
        path = f"/sources/{_quoted(source_id)}/connected-warehouses"
        return tuple(map(parse_connection, self._pages(path, "warehouses")))

    def controls(self, source_id: str) -> Controls:
        """Return what a source does with calls that its tracking plan does not allow."""
        return parse_controls(
            _table(self._get(f"/sources/{_quoted(source_id)}/settings"), "settings")
        )

    def rules(self, plan_id: str) -> tuple[Rule, ...]:
        """Return the rules of a tracking plan."""
        path = f"/tracking-plans/{_quoted(plan_id)}/rules"
        return tuple(map(parse_rule, self._pages(path, "rules")))

    def delivery(
        self, source_id: str, path: str, begin: str, end: str, *, with_reasons: bool
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of a part of Delivery Overview, by hour, name, type, and reason if asked.

        Raises also UnknownPathError: the workspace does not have the beta.
        """
        names = ["eventName", "eventType", *(["discardReason"] if with_reasons else [])]
        params = {"sourceId": source_id, **_window(begin, end, names)}
        return self._pages(f"/delivery-overview/{path}", "dataset", params, version="v1beta")

    def volume(self, source_id: str, begin: str, end: str) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of Events Volume, by hour, name and type."""
        params = {"sourceId.0": source_id, **_window(begin, end, ["eventName", "eventType"])}
        return self._pages("/events/volume", "result", params)

    def suppressed_users(self) -> frozenset[str]:
        """Return the ids of the users whose calls Segment drops. They are personal data."""
        return frozenset(
            user_id
            for entry in self._pages("/suppressions", "suppressed")
            if entry.get("subjectType") == "USER_ID" and isinstance(entry.get("subjectIds"), list)
            for user_id in entry["subjectIds"]
            if isinstance(user_id, str)
        )

    def _pages(
        self,
        path: str,
        name: str,
        asked: Mapping[str, str] | None = None,
        *,
        version: str = "v1",
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a list, page after page, until a page has no `next` cursor."""
        params, seen = {"pagination.count": str(PAGE_SIZE), **(asked or {})}, set()
        for _ in range(MOST_PAGES):
            data = self._get(path, params, version=version)
            found = data.get(name)
            if not isinstance(found, list):
                raise UnusableAnswerError(f"Segment's API answered no {name}", service=SERVICE)
            yield from (each for each in found if isinstance(each, Mapping))
            cursor = _table(data, "pagination").get("next")
            if not isinstance(cursor, str) or not cursor:
                return
            if cursor in seen:
                break
            seen.add(cursor)
            params = {**params, "pagination.cursor": cursor}
        raise UnusableAnswerError(f"Segment's API lists {name} without an end", service=SERVICE)

    def _get(
        self, path: str, params: Mapping[str, str] | None = None, *, version: str = "v1"
    ) -> Mapping[str, Any]:
        """Make one attempt at a GET and return its `data`."""
        answer = self._http.call(
            "GET",
            path,
            params=dict(params or {}),
            headers={
                "Accept": f"application/vnd.segment.{version}+json",
                "Authorization": f"Bearer {self._token}",
            },
        )
        if answer.status not in _SUCCESS:
            raise _refusal(answer)
        data = answer.json_object.get("data")
        if not isinstance(data, Mapping):
            raise UnusableAnswerError(f"{in_between(answer)}, without data", service=SERVICE)
        return data


def _window(begin: str, end: str, group_by: Sequence[str]) -> dict[str, str]:
    """Return the parameters of counts by the hour. The end is exclusive."""
    names = {f"groupBy.{number}": name for number, name in enumerate(group_by)}
    return {"startTime": begin, "endTime": end, "granularity": "HOUR", **names}


def _refusal(answer: Answer) -> PollerError:
    """Return the error for an answer that is not a success.

    Only an answer of Segment itself can be final. Any other answer is transient.
    """
    status, error = answer.status, _first_error(answer)
    if status in {_TOO_MANY, _REQUEST_TIMEOUT} or status >= _SERVER_ERROR:
        said = f"Segment's API answered {status}"
        return TransientError(said, retry_after=_wait(answer, error), service=SERVICE)
    if not error:
        return TransientError(in_between(answer), retry_after=answer.retry_after, service=SERVICE)
    kind = error.get("type")
    shown = f" ({kind})" if isinstance(kind, str) and _TYPE.fullmatch(kind) else ""
    message = f"Segment's API answered {status}{shown}"
    if status in _DENIED:
        return AccessDeniedError(
            message,
            hint="check segment.api_token and its roles, and that segment.api_endpoint is of the "
            "workspace's region",
        )
    kind_of_error = UnknownPathError if status == _NOT_FOUND else RequestRefusedError
    return kind_of_error(
        message, hint="check segment.source_id, and look at the access of the token in Segment"
    )


def _first_error(answer: Answer) -> Mapping[str, Any]:
    """Return the first of Segment's `errors`, or an empty object if the answer has none."""
    errors = answer.json_object.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    return first if isinstance(first, Mapping) else {}


def _wait(answer: Answer, error: Mapping[str, Any]) -> timedelta | None:
    """Return how long to wait, or None if the answer does not say.

    `Retry-After` comes first, then `msBeforeNext`, then `X-RateLimit-Reset`. The reset is a date
    in the form of RFC 5322. It is compared with the server's own clock.
    """
    if answer.retry_after is not None:
        return answer.retry_after
    milliseconds = _table(error, "data").get("msBeforeNext")
    if isinstance(milliseconds, int) and not isinstance(milliseconds, bool) and milliseconds >= 0:
        longest = LONGEST_RETRY_AFTER // timedelta(milliseconds=1)
        return timedelta(milliseconds=min(milliseconds, longest))
    reset = parse_http_date(answer.headers.get("x-ratelimit-reset"))
    if reset is None:
        return None
    return min(max(reset - (answer.date or answer.at), timedelta()), LONGEST_RETRY_AFTER)


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _quoted(text: str) -> str:
    return quote(text, safe="")

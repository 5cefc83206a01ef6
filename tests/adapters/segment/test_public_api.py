"""The client of the Public API: versions, cursors, limits, verdicts, and a token that stays."""

import json
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.public_api import (
    MOST_PAGES,
    AccessDeniedError,
    PublicApi,
    RequestRefusedError,
    UnknownPathError,
)
from poller.adapters.segment.workspace import CallControls, parse_controls
from poller.core.errors import PollerError, TransientError, UnusableAnswerError
from tests.scripted import Reply, Scripted

TOKEN = "sgp_secretToken"
DATE = {"Date": "Mon, 23 Nov 2026 10:00:00 GMT"}


@pytest.fixture
def api(scripted: Scripted) -> Iterator[PublicApi]:
    http = Http(scripted.origin, ServerClock(), deadline_s=60.0)
    yield PublicApi(TOKEN, http)
    http.close()


def data(**found: Any) -> Reply:
    return Reply(body=json.dumps({"data": found}).encode())


def refused(status: int, headers: dict[str, str] | None = None, **error: Any) -> Reply:
    body = json.dumps({"errors": [{"type": "some-type", "message": TOKEN, **error}]})
    return Reply(status=status, body=body.encode(), headers=headers or {})


def test_each_request_names_its_version_and_carries_the_token(
    api: PublicApi, scripted: Scripted
) -> None:
    scripted.replies = [data(workspace={"id": "w", "slug": "acme", "name": "Acme"})]
    assert api.workspace().name == "Acme"
    asked = scripted.asked[0]
    assert (asked.method, asked.path) == ("GET", "/")
    assert asked.headers["Accept"] == "application/vnd.segment.v1+json"
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_source_comes_with_its_plan_and_no_key_in_its_repr(
    api: PublicApi, scripted: Scripted
) -> None:
    source = {"id": "s/1", "slug": "web", "enabled": False, "writeKeys": ["k1", 7]}
    scripted.replies = [data(source=source, trackingPlanId="tp"), data(source={})]
    found = api.source("s/1")
    assert (found.name, found.is_enabled, found.write_keys, found.plan_id) == (
        "web",
        False,
        ("k1",),
        "tp",
    )
    assert "k1" not in repr(found)
    assert api.source("x").plan_id == ""
    assert scripted.asked[0].path == "/sources/s%2F1"


def test_a_list_is_read_page_by_page(api: PublicApi, scripted: Scripted) -> None:
    scripted.replies = [
        data(sources=[{"id": "1"}, None], pagination={"current": "a", "next": "b=="}),
        data(sources=[{"id": "2"}], pagination={"current": "b=="}),
    ]
    assert [source.id for source in api.sources()] == ["1", "2"]
    assert [asked.query for asked in scripted.asked] == [
        {"pagination.count": "200"},
        {"pagination.count": "200", "pagination.cursor": "b=="},
    ]


def test_a_list_without_an_end_is_given_up(api: PublicApi, scripted: Scripted) -> None:
    scripted.replies = [data(rules=[], pagination={"next": "same"})]
    with pytest.raises(UnusableAnswerError, match="without an end"):
        api.rules("tp")
    assert len(scripted.asked) == 2
    scripted.replies = [data(rules=[], pagination={"next": str(n)}) for n in range(MOST_PAGES + 1)]
    with pytest.raises(UnusableAnswerError, match="without an end"):
        api.rules("tp")
    assert len(scripted.asked) == 2 + MOST_PAGES


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refused(401), AccessDeniedError),
        (refused(403), AccessDeniedError),
        (refused(404), UnknownPathError),
        (refused(422), RequestRefusedError),
        (refused(500), TransientError),
        (Reply(status=401, body=b"<html>"), TransientError),
        (Reply(status=302, body=b"", headers={"Location": "https://x.invalid"}), TransientError),
        (Reply(body=b"<html>"), UnusableAnswerError),
        (Reply(body=b'{"data": []}'), UnusableAnswerError),
    ],
    ids=lambda case: str(getattr(case, "status", "")),
)
def test_each_answer_has_its_verdict_and_no_verdict_tells_the_token(
    api: PublicApi, scripted: Scripted, reply: Reply, error: type[PollerError]
) -> None:
    scripted.replies = [reply]
    with pytest.raises(error) as raised:
        api.workspace()
    assert type(raised.value) is error
    told = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert TOKEN not in told + getattr(raised.value, "hint", "")


def test_the_type_of_a_refusal_is_shown_where_it_is_a_word(
    api: PublicApi, scripted: Scripted
) -> None:
    for kind, shown in (("input-validation", " (input-validation)"), ("<b>", ""), (7, "")):
        scripted.replies = [refused(422, type=kind)]
        with pytest.raises(RequestRefusedError) as raised:
            api.workspace()
        assert str(raised.value) == f"Segment's API answered 422{shown}"


@pytest.mark.parametrize(
    ("headers", "error", "wait_s"),
    [
        ({"Retry-After": "7"}, {"data": {"msBeforeNext": 1000}}, 7.0),
        ({}, {"data": {"msBeforeNext": 57647}}, 57.647),
        ({}, {"data": {"msBeforeNext": 10**12}}, 600.0),
        ({}, {"data": {"msBeforeNext": True}}, None),
        ({"X-RateLimit-Reset": "Mon, 23 Nov 2026 10:00:30 +0000"}, {}, 30.0),
        ({"X-RateLimit-Reset": "1790000000"}, {}, None),
        ({}, {}, None),
    ],
)
def test_a_429_says_how_long_to_wait(
    api: PublicApi,
    scripted: Scripted,
    headers: dict[str, str],
    error: dict[str, Any],
    wait_s: float | None,
) -> None:
    scripted.replies = [refused(429, DATE | headers, **error)]
    with pytest.raises(TransientError) as raised:
        api.workspace()
    wait = None if wait_s is None else timedelta(seconds=wait_s)
    assert raised.value.retry_after == wait


def controls(**settings: Any) -> CallControls:
    return parse_controls({"track": settings}).track


def test_controls_that_are_not_stated_allow() -> None:
    assert parse_controls({}).group == controls() == CallControls()
    assert parse_controls({"track": [], "identify": None}).identify == CallControls()


def test_controls_name_what_is_blocked_and_what_is_left_out() -> None:
    assert controls(allowUnplannedEvents=False) == CallControls(blocks_unplanned=True)
    assert controls(allowUnplannedEventProperties=False).omits_unplanned_fields
    assert controls(allowPropertiesOnViolations=False).on_violation == "OMIT"
    both = controls(allowPropertiesOnViolations=False, allowEventOnViolations=False)
    assert both.on_violation == "BLOCK"
    commons = [
        controls(commonEventOnViolations=common).on_common_violation
        for common in ("ALLOW", "BLOCK", "OMIT_PROPERTIES", "OMIT_TRAITS", "?")
    ]
    assert commons == ["ALLOW", "BLOCK", "OMIT", "OMIT", "ALLOW"]
    identify = parse_controls({"identify": {"allowUnplannedTraits": False}}).identify
    assert identify.omits_unplanned_fields


Call = Callable[[PublicApi], object]


@pytest.mark.parametrize(
    ("call", "path", "name"),
    [
        (lambda api: api.destinations("s"), "/sources/s/connected-destinations", "destinations"),
        (lambda api: api.warehouses("s"), "/sources/s/connected-warehouses", "warehouses"),
    ],
)
def test_connections_go_by_their_name_or_their_kind(
    api: PublicApi, scripted: Scripted, call: Call, path: str, name: str
) -> None:
    named = {"id": "1", "name": "Main", "metadata": {"name": "Kind"}}
    unnamed = {"id": "2", "enabled": False, "metadata": {"name": "Kind"}}
    scripted.replies = [data(**{name: [named, unnamed, {"id": "3"}]})]
    found: Any = call(api)
    assert [(each.name, each.is_enabled) for each in found] == [
        ("Main", True),
        ("Kind", False),
        ("3", True),
    ]
    assert scripted.asked[0].path == path

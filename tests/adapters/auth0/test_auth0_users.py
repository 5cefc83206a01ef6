import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.adapters.auth0 import Auth0Users, Credentials, ManagementApi, TokenSource
from poller.adapters.auth0.users import (
    ALWAYS,
    MAX_QUERY_BYTES,
    MAX_USERS,
    SEARCH_LAG,
    chunks,
    query_of,
)
from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.errors import FatalError, TransientError
from poller.core.translation.rules import DEFAULT
from tests.adapters.auth0.answers import INSUFFICIENT, Budget, error, token
from tests.scripted import Reply, Scripted

DATE = "Mon, 23 Nov 2026 10:00:00 GMT"
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


def found(value: object) -> Reply:
    return Reply(body=json.dumps(value).encode(), headers={"Date": DATE})


def user(user_id: str) -> dict[str, Any]:
    return {"user_id": user_id, "email": f"{user_id.partition('|')[2]}@example.com"}


ABSENT = error(404, errorCode="inexistent_user")


@pytest.fixture
def users(scripted: Scripted) -> Iterator[Auth0Users]:
    http = Http(scripted.origin, ServerClock(host=lambda: NOW))
    tokens = TokenSource(
        Credentials(domain="acme.us.auth0.com", client_id="c", client_secret="s"), http
    )
    scripted.replies = [token()]
    tokens.current()
    scripted.asked.clear()
    yield Auth0Users(ManagementApi(http, tokens, Budget()), fields=DEFAULT.profile_fields)
    http.close()


def test_a_pages_users_cost_one_request_and_only_the_fields_that_are_used(
    users: Auth0Users, scripted: Scripted
) -> None:
    scripted.replies = [found([user("auth0|b"), user("auth0|a")])]
    profiles = users.of(["auth0|a", "auth0|b"])
    assert {user_id: profile.fields["email"] for user_id, profile in profiles.items()} == {
        "auth0|a": "a@example.com",
        "auth0|b": "b@example.com",
    }
    (asked,) = scripted.asked
    assert asked.query["q"] == 'user_id:("auth0|a" OR "auth0|b")'
    assert asked.query["fields"] == ",".join(sorted(ALWAYS | (DEFAULT.profile_fields or set())))
    assert asked.query["search_engine"] == "v3"


def test_a_user_outside_the_index_is_read_by_id_and_a_deleted_user_is_missing(
    users: Auth0Users, scripted: Scripted
) -> None:
    scripted.replies = [found([user("auth0|a")]), found(user("auth0|new")), ABSENT]
    profiles = users.of(["auth0|a", "auth0|new", "auth0|gone"])
    assert set(profiles) == {"auth0|a", "auth0|new"}
    assert [asked.path for asked in scripted.asked[1:]] == [
        "/api/v2/users/auth0%7Cnew",
        "/api/v2/users/auth0%7Cgone",
    ]


def test_a_profile_from_the_index_counts_as_read_a_little_earlier(
    users: Auth0Users, scripted: Scripted
) -> None:
    scripted.replies = [found([user("auth0|a")]), found(user("auth0|b"))]
    profiles = users.of(["auth0|a", "auth0|b"])
    assert profiles["auth0|a"].read_at == NOW - SEARCH_LAG < NOW - timedelta(seconds=1)
    assert profiles["auth0|b"].read_at == NOW


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(status=503), TransientError),
        (INSUFFICIENT, FatalError),
        (found({"users": []}), TransientError),
    ],
    ids=["503", "403", "no list"],
)
def test_a_directory_that_cannot_answer_says_so(
    users: Auth0Users, scripted: Scripted, reply: Reply, verdict: type[Exception]
) -> None:
    scripted.replies = [reply, token("t2"), reply] if reply is INSUFFICIENT else [reply]
    with pytest.raises(verdict):
        users.of(["auth0|a"])


def test_odd_profiles_are_left_out_one_by_one(users: Auth0Users, scripted: Scripted) -> None:
    scripted.replies = [found([None, 5, {"user_id": 7}, user("auth0|a")])]
    assert set(users.of(["auth0|a"])) == {"auth0|a"}


@given(st.lists(st.text(min_size=1, max_size=60), max_size=220, unique=True))
def test_queries_name_every_id_once_within_the_length_that_the_api_takes(
    user_ids: list[str],
) -> None:
    named: list[str] = []
    for chunk in chunks(user_ids):
        query = query_of(chunk)
        assert query.startswith("user_id:(")
        assert query.endswith(")")
        terms = quoted_terms(query[len("user_id:(") : -1])
        assert terms == chunk
        assert 1 <= len(terms) <= MAX_USERS
        assert len(terms) == 1 or len(quote(query, errors="replace")) <= MAX_QUERY_BYTES
        named += terms
    assert named == user_ids


def quoted_terms(text: str) -> list[str]:
    """The values of `"…" OR "…"`, each a JSON string."""
    decoder, terms, at = json.JSONDecoder(), [], 0
    while at < len(text):
        term, at = decoder.raw_decode(text, at)
        terms.append(term)
        assert text[at : at + 4] in {" OR ", ""}
        at += 4
    return terms


def test_a_linked_account_is_answered_with_the_user_it_was_linked_to(
    users: Auth0Users, scripted: Scripted
) -> None:
    identities = [
        {"provider": "auth0", "user_id": "a"},
        {"provider": "google-oauth2", "user_id": "7"},
        "odd",
        {},
    ]
    scripted.replies = [found([user("auth0|a") | {"identities": identities}])]
    profiles = users.of(["auth0|a", "google-oauth2|7"])
    assert profiles["google-oauth2|7"].user_id == "auth0|a"
    assert len(scripted.asked) == 1


@pytest.fixture
def searching(users: Auth0Users) -> Auth0Users:
    return Auth0Users(users._api, fields=DEFAULT.profile_fields, search_linked=True)


def test_a_linked_account_is_searched_for_in_one_request(
    searching: Auth0Users, scripted: Scripted
) -> None:
    linked = [{"provider": "auth0", "user_id": "a"}, {"provider": "google-oauth2", "user_id": "7"}]
    scripted.replies = [found([]), found([user("auth0|a") | {"identities": linked}]), ABSENT]
    profiles = searching.of(["google-oauth2|7", "facebook|7"])
    assert {asked_for: profile.user_id for asked_for, profile in profiles.items()} == {
        "google-oauth2|7": "auth0|a"
    }
    assert scripted.asked[1].query["q"] == 'identities.user_id:("7")'
    # The same id at another provider is another account.
    assert [asked.path for asked in scripted.asked[2:]] == ["/api/v2/users/facebook%7C7"]


def test_no_linked_account_is_searched_for_while_nobody_is_missing(
    searching: Auth0Users, scripted: Scripted
) -> None:
    scripted.replies = [found([user("auth0|a")])]
    searching.of(["auth0|a"])
    assert len(scripted.asked) == 1


def test_an_id_that_the_api_refuses_costs_nobody_elses_profile(
    users: Auth0Users, scripted: Scripted
) -> None:
    scripted.replies = [
        found([user("auth0|a")]),
        error(400, errorCode="invalid_uri"),
        found(user("auth0|new")),
    ]
    assert set(users.of(["auth0|a", "odd", "auth0|new"])) == {"auth0|a", "auth0|new"}


URI_TOO_LONG = Reply(status=414, body=b"URI Too Long", headers={"Content-Type": "text/plain"})
REFUSED = error(400, errorCode="invalid_query_string")


@pytest.mark.parametrize("refusal", [REFUSED, URI_TOO_LONG], ids=["400", "414"])
def test_one_id_that_the_search_refuses_is_found_by_halving_and_read_alone(
    users: Auth0Users, scripted: Scripted, refusal: Reply
) -> None:
    a, b, c, odd = "auth0|a", "auth0|b", "auth0|c", "auth0|odd"
    scripted.replies = [
        refusal,  # all four
        found([user(a), user(b)]),
        refusal,  # the other half
        found([user(c)]),
        refusal,  # the odd one
        found(user(odd)),
    ]
    assert set(users.of([a, b, c, odd])) == {a, b, c, odd}
    assert [asked.query.get("q", asked.path) for asked in scripted.asked] == [
        query_of([a, b, c, odd]),
        query_of([a, b]),
        query_of([c, odd]),
        query_of([c]),
        query_of([odd]),
        "/api/v2/users/auth0%7Codd",
    ]


@pytest.mark.parametrize("refusal", [REFUSED, URI_TOO_LONG, ABSENT], ids=["400", "414", "404"])
def test_an_id_that_auth0_refuses_alone_has_no_profile(
    users: Auth0Users, scripted: Scripted, refusal: Reply
) -> None:
    scripted.replies = [REFUSED, refusal]
    assert users.of(["auth0|odd"]) == {}


def test_a_page_in_auth0s_place_does_not_make_a_user_absent(
    users: Auth0Users, scripted: Scripted
) -> None:
    for status in (400, 404):
        portal = Reply(status=status, body=b"<html>", headers={"Content-Type": "text/html"})
        scripted.replies = [found([]), portal]
        with pytest.raises(
            TransientError, match=f"between here and Auth0 answered: {status} text/html"
        ):
            users.of(["auth0|a"])

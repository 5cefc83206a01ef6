"""Single events of the log, by id and by search."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from poller.adapters.auth0 import Auth0LogSearch, Credentials, ManagementApi, TokenSource
from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.errors import FatalError, TransientError, UnusableAnswerError
from poller.core.log_ids import LogId
from tests.adapters.auth0.answers import Budget, error, token
from tests.adapters.auth0.log_pages import NOW, STREAM, log_id, page, record
from tests.scripted import Reply, Scripted


@pytest.fixture
def search(scripted: Scripted) -> Iterator[Auth0LogSearch]:
    http = Http(scripted.origin, ServerClock(host=lambda: NOW))
    tokens = TokenSource(Credentials(domain=STREAM.domain, client_id="c", client_secret="s"), http)
    scripted.replies = [token()]
    tokens.current()
    scripted.asked.clear()
    yield Auth0LogSearch(ManagementApi(http, tokens, Budget()))
    http.close()


def test_the_newest_events_are_searched_by_type_over_as_many_pages_as_it_takes(
    search: Auth0LogSearch, scripted: Scripted
) -> None:
    newest = [record(log_id(number), "s") for number in range(150, 0, -1)]
    scripted.replies = [page(*newest[:100]), page(*newest[100:])]
    found = search.find(types=("s", "ss"), most=120)
    assert [event.log_id for event in found] == [log_id(number) for number in range(150, 30, -1)]
    assert [asked.query["q"] for asked in scripted.asked] == ['type:("s" OR "ss")'] * 2
    assert [asked.query["page"] for asked in scripted.asked] == ["0", "1"]
    assert not any("from" in asked.query for asked in scripted.asked)


def test_a_search_joins_its_terms_and_quotes_the_user_id(
    search: Auth0LogSearch, scripted: Scripted
) -> None:
    scripted.replies = [page()]
    between = (NOW, NOW + timedelta(hours=1))
    assert search.find(user_id='x" OR type:"s', between=between, most=5) == ()
    assert scripted.asked[0].query["q"] == (
        'user_id:("x\\" OR type:\\"s") AND '
        "date:[2026-11-23T10:00:00.000Z TO 2026-11-23T11:00:00.000Z}"
    )
    assert scripted.asked[0].query["per_page"] == "5"


def test_a_user_id_that_auth0_refuses_is_the_id_of_nobody(
    search: Auth0LogSearch, scripted: Scripted
) -> None:
    scripted.replies = [error(400, errorCode="invalid_query_string")]
    assert search.find(user_id="\\", most=5) == ()
    with pytest.raises(FatalError):
        search.find(most=5)


def test_an_event_is_found_by_its_id_whatever_is_in_the_id(
    search: Auth0LogSearch, scripted: Scripted
) -> None:
    scripted.replies = [Reply(body=b'{"log_id": "a/b?", "type": "s"}')]
    found = search.event(LogId("a/b?"))
    assert found is not None
    assert (found.log_id, found.type) == ("a/b?", "s")
    assert scripted.asked[0].path == "/api/v2/logs/a%2Fb%3F"


@pytest.mark.parametrize("status", [400, 404])
def test_an_id_without_an_event_is_no_error(
    search: Auth0LogSearch, scripted: Scripted, status: int
) -> None:
    scripted.replies = [error(status, message="Log not found.")]
    assert search.event(log_id(1)) is None


def test_a_404_that_is_not_auth0s_own_says_nothing_about_the_event(
    search: Auth0LogSearch, scripted: Scripted
) -> None:
    scripted.replies = [Reply(status=404, body=b"<html>no such page</html>")]
    with pytest.raises(TransientError):
        search.event(log_id(1))


def test_an_id_that_no_event_can_have_is_not_asked_for(
    search: Auth0LogSearch, scripted: Scripted
) -> None:
    assert search.event(LogId("9" * 10_000)) is None
    assert scripted.asked == []


def test_a_search_that_is_answered_with_anything_but_a_list_is_unusable(
    search: Auth0LogSearch, scripted: Scripted
) -> None:
    scripted.replies = [Reply(body=b'{"logs": []}')]
    with pytest.raises(UnusableAnswerError):
        search.find(most=5)

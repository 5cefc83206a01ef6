import json
from collections.abc import Iterator
from datetime import date

import pytest

from poller.adapters.auth0 import Auth0Stats, Credentials, ManagementApi, TokenSource
from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.errors import FatalError, TransientError
from poller.core.events import DailyCount
from tests.adapters.auth0.answers import Budget, error, token
from tests.paths import DATA
from tests.scripted import Reply, Scripted

SAMPLE = DATA / "auth0-samples/22_stats_daily_eu.json"
FIRST, LAST = date(2021, 9, 16), date(2021, 9, 17)


@pytest.fixture
def stats(scripted: Scripted) -> Iterator[Auth0Stats]:
    http = Http(scripted.origin, ServerClock())
    tokens = TokenSource(
        Credentials(domain="acme.us.auth0.com", client_id="c", client_secret="s"), http
    )
    scripted.replies = [token()]
    tokens.current()
    scripted.asked.clear()
    yield Auth0Stats(ManagementApi(http, tokens, Budget()))
    http.close()


def found(value: object) -> Reply:
    return Reply(body=json.dumps(value).encode())


def test_the_days_asked_for_are_read_from_what_auth0_really_sends(
    stats: Auth0Stats, scripted: Scripted
) -> None:
    scripted.replies = [found(json.loads(SAMPLE.read_text())["payload"])]
    assert stats.daily(FIRST, LAST) == {
        date(2021, 9, 16): DailyCount(logins=3, signups=1),
        date(2021, 9, 17): DailyCount(logins=5, signups=0),
    }
    (asked,) = scripted.asked
    assert (asked.path, asked.query) == (
        "/api/v2/stats/daily",
        {"from": "20210916", "to": "20210917"},
    )


def test_a_missing_scope_is_named(stats: Auth0Stats, scripted: Scripted) -> None:
    insufficient = error(
        403,
        message="Insufficient scope, expected any of: read:stats",
        errorCode="insufficient_scope",
    )
    scripted.replies = [insufficient, token("t2"), insufficient]
    with pytest.raises(FatalError, match="lacks read:stats") as refused:
        stats.daily(FIRST, LAST)
    assert "grant read:stats" in refused.value.hint


@pytest.mark.parametrize(
    "value",
    [
        {},
        [7],
        [{"date": "yesterday", "logins": 1}],
        [{"date": 7}],
        [{"date": "2021-09-16", "logins": "3", "signups": 1}],
        [{"date": "2021-09-16", "logins": -1, "signups": 1}],
        [{"date": "2021-09-16", "logins": 1, "signups": True}],
        [{"date": "2021-09-16", "logins": 1}],
        [{"date": "2021-09-16", "logins": None, "signups": 1}],
    ],
)
def test_an_unreadable_count_is_not_taken_for_a_day_without_events(
    stats: Auth0Stats, scripted: Scripted, value: object
) -> None:
    scripted.replies = [found(value)]
    with pytest.raises(TransientError):
        stats.daily(FIRST, LAST)

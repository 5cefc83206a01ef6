"""Fixtures for the tests of the log."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from poller.adapters.auth0 import Auth0Log, Credentials, ManagementApi, TokenSource
from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.log_ids import LogId
from tests.adapters.auth0.answers import Budget, token
from tests.adapters.auth0.log_pages import NOW, STREAM
from tests.scripted import Scripted


@pytest.fixture
def host() -> datetime:
    """Return the time of this machine's clock."""
    return NOW


@pytest.fixture
def others() -> list[LogId]:
    """Return the last ids of the pages whose links name another position."""
    return []


@pytest.fixture
def log(scripted: Scripted, host: datetime, others: list[LogId]) -> Iterator[Auth0Log]:
    http = Http(scripted.origin, ServerClock(host=lambda: host))
    tokens = TokenSource(Credentials(domain=STREAM.domain, client_id="c", client_secret="s"), http)
    scripted.replies = [token()]
    tokens.current()
    scripted.asked.clear()
    api = ManagementApi(http, tokens, Budget())
    yield Auth0Log(api, now=lambda: NOW, on_other_link=others.append)
    http.close()

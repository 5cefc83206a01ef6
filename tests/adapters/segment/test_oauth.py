"""A token is fetched by a signed assertion, renewed in time, and survives outages and clocks."""

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import jwt
import pytest

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.encoding import MessageEncoder
from poller.adapters.segment.oauth import OAuthApp, OAuthTokens
from poller.adapters.segment.tracking import SegmentSink
from poller.core.errors import FatalError, PollerError, TransientError, UnusableAnswerError
from poller.core.log_ids import LogId
from poller.core.messages import Track
from poller.sandbox import Fault, Sandbox
from tests.builders import batch_of
from tests.scripted import Reply, Scripted

BATCH = batch_of(
    MessageEncoder(),
    (
        Track(
            message_id="track-1",
            log_id=LogId("1"),
            user_id="auth0|1",
            timestamp=datetime(2026, 11, 23, tzinfo=UTC),
            context={},
            event="Logged In",
            properties={},
        ),
    ),
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One sandbox for all tests, since to make its key takes a while."""
    with Sandbox(seed=1) as running:
        yield running


@dataclass
class Client:
    """An application of the sandbox, its monotonic clock, and its HTTP clients."""

    sandbox: Sandbox
    now: float = 0.0
    clients: list[Http] = field(default_factory=list)

    def http(self, origin: str) -> Http:
        self.clients.append(Http(origin, ServerClock(), service="Segment", deadline_s=60.0))
        return self.clients[-1]

    def app(self) -> OAuthApp:
        server = self.sandbox.oauth
        return OAuthApp(
            client_id=server.client_id,
            key_id=server.key_id,
            private_key=server.private_key,
            scope="tracking_api:write",
            audience=self.sandbox.oauth_url,
        )

    def tokens(self, app: OAuthApp | None = None, origin: str = "") -> OAuthTokens:
        http = self.http(origin or self.sandbox.oauth_url)
        return OAuthTokens(app or self.app(), http, monotonic=lambda: self.now)

    def asked(self) -> int:
        return len(self.sandbox.faults.seen("oauth"))


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    made = Client(sandbox)
    sandbox.oauth.lifetime = timedelta(days=1)
    yield made
    for http in made.clients:
        http.close()
    sandbox.faults.clear()
    sandbox.source.requires_oauth = False


DAY_S = 86_400.0


def test_one_token_serves_for_half_of_its_lifetime(client: Client) -> None:
    tokens, before = client.tokens(), client.asked()
    first = tokens.current()
    client.now = DAY_S / 2 - 1
    assert tokens.current() == first
    assert client.asked() == before + 1
    client.now = DAY_S / 2
    assert tokens.current().value != first.value
    assert "sandboxOAuthToken" not in repr(first)


def test_an_outage_is_not_noticed_until_the_token_ends(client: Client) -> None:
    tokens = client.tokens()
    first = tokens.current()
    client.sandbox.faults.set(Fault(action="status", service="oauth", times=None))
    for moment in (DAY_S / 2, DAY_S - 1):
        client.now = moment
        before = client.asked()
        assert [tokens.current(), tokens.current()] == [first, first]
        assert client.asked() == before + 1
    client.now = DAY_S
    with pytest.raises(TransientError, match="answered 503"):
        tokens.current()
    client.sandbox.faults.clear()
    assert tokens.current().value != first.value


def test_a_token_that_is_refused_is_renewed_once_for_all_threads(client: Client) -> None:
    tokens = client.tokens()
    first = tokens.current()
    second = tokens.renew(first)
    assert second.value != first.value
    assert tokens.renew(first) == second == tokens.current()


@pytest.mark.parametrize("minutes", [-7, 7])
def test_a_clock_that_is_off_is_learnt_from_the_first_refusal(
    scripted: Scripted, client: Client, minutes: int
) -> None:
    answers = datetime.now(UTC) + timedelta(minutes=minutes)
    date = {"Date": answers.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    refusal = {"error": "invalid_request", "error_description": "Token is expired"}
    scripted.replies = [
        Reply(status=400, body=json.dumps(refusal).encode(), headers=date),
        Reply(body=b'{"access_token": "t", "expires_in": 60}', headers=date),
    ]
    assert client.tokens(origin=scripted.origin).current().value == "t"
    issued = []
    for asked in scripted.asked:
        assertion = parse_qs(asked.body.decode())["client_assertion"][0]
        claims = jwt.decode(assertion, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] < 60
        issued.append(claims["iat"])
    assert abs(issued[1] - issued[0] - minutes * 60) <= 5


def test_no_assertion_is_used_twice(client: Client) -> None:
    tokens = client.tokens()
    for _ in range(3):
        tokens.renew(tokens.current())


Change = Callable[[OAuthApp], OAuthApp]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda app: replace(app, client_id="other"), "segment-oauth-refused"),
        (lambda app: replace(app, key_id="other"), "segment-oauth-refused"),
        (lambda app: replace(app, scope="other"), "segment-oauth-refused"),
        (lambda app: replace(app, audience="https://oauth2.segment.io"), "segment-oauth-refused"),
        (lambda app: replace(app, private_key="none"), "segment-private-key-unusable"),
    ],
)
def test_an_application_that_is_not_known_is_fatal_and_tells_no_key(
    client: Client, change: Change, code: str
) -> None:
    app = client.app()
    with pytest.raises(FatalError) as raised:
        client.tokens(change(app)).current()
    assert raised.value.code == code
    told = "".join(traceback.format_exception(raised.value)) + raised.value.hint + repr(app)
    assert "PRIVATE KEY" not in told


@pytest.mark.parametrize(
    ("reply", "error", "wait_s"),
    [
        (Reply(status=429, headers={"X-RateLimit-Reset": "9"}), TransientError, 9),
        (Reply(status=429, headers={"Retry-After": "8"}), TransientError, 8),
        (Reply(status=500), TransientError, None),
        (Reply(status=401, body=b"<html>"), TransientError, None),
        (Reply(status=302, headers={"Location": "https://x.invalid"}), TransientError, None),
        (Reply(body=b"<html>"), UnusableAnswerError, None),
        (Reply(body=b'{"access_token": "a b"}'), UnusableAnswerError, None),
        (Reply(status=400, body=b'{"error": "invalid_client"}'), FatalError, None),
    ],
    ids=lambda case: str(getattr(case, "status", "")),
)
def test_each_answer_without_a_token_has_its_verdict(
    client: Client,
    scripted: Scripted,
    reply: Reply,
    error: type[PollerError],
    wait_s: int | None,
) -> None:
    scripted.replies = [reply]
    with pytest.raises(error) as raised:
        client.tokens(origin=scripted.origin).current()
    assert type(raised.value) is error
    wait = getattr(raised.value, "retry_after", None)
    assert wait == (None if wait_s is None else timedelta(seconds=wait_s))


def sink(client: Client, tokens: OAuthTokens | None) -> SegmentSink:
    http = client.http(client.sandbox.segment_url)
    return SegmentSink(client.sandbox.write_key, http, ServerClock(), tokens=tokens)


def test_a_source_that_enforces_oauth_takes_a_batch_with_a_token_and_none_without(
    client: Client,
) -> None:
    client.sandbox.source.requires_oauth = True
    with pytest.raises(FatalError, match="401") as raised:
        sink(client, None).send(BATCH)
    assert "segment.oauth_client_id" in raised.value.hint
    assert sink(client, client.tokens()).send(BATCH).message_ids == ("track-1",)
    assert client.sandbox.collector.arrivals[-1].user_id == "auth0|1"


def test_a_revoked_token_is_replaced_within_the_same_send(client: Client) -> None:
    client.sandbox.source.requires_oauth = True
    tokens = client.tokens()
    first = tokens.current()
    client.sandbox.oauth.revoke()
    assert sink(client, tokens).send(BATCH).message_ids == ("track-1",)
    assert tokens.current().value != first.value


def test_a_token_that_is_refused_again_is_fatal(client: Client) -> None:
    tokens, before = client.tokens(), client.asked()
    body = '{"success": false}'
    fault = Fault(action="status", service="segment", status=403, body=body, times=None)
    client.sandbox.faults.set(fault)
    with pytest.raises(FatalError, match="403"):
        sink(client, tokens).send(BATCH)
    assert client.asked() == before + 2

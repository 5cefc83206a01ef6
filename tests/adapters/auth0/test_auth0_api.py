import json
from collections.abc import Iterator
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from poller.adapters.auth0 import Credentials, ManagementApi, TokenSource
from poller.adapters.auth0.api import MAX_RECORDS
from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.parsing import LONGEST_RETRY_AFTER
from poller.core.errors import FatalError, PollerError, TransientError, UnusableAnswerError
from tests.adapters.auth0.answers import INSUFFICIENT, Budget, error, token
from tests.scripted import Reply, Scripted

DOMAIN = "acme.us.auth0.com"
SECRET = "a-very-secret-secret"


class Bench:
    """The API over a scripted server, at a time that stands still until moved."""

    def __init__(self, scripted: Scripted, credentials: Credentials) -> None:
        self.now = 0.0
        self.http = Http(scripted.origin, ServerClock(), service="Auth0")
        self.tokens = TokenSource(credentials, self.http, monotonic=lambda: self.now)
        self.budget = Budget()
        self.api = ManagementApi(self.http, self.tokens, self.budget)


@pytest.fixture
def bench(scripted: Scripted) -> Iterator[Bench]:
    made = Bench(scripted, Credentials(domain=DOMAIN, client_id="client", client_secret=SECRET))
    yield made
    made.http.close()


LIST = Reply(body=b"[]")
EXPIRED = error(401, message="Invalid token")
OPAQUE = error(400, message="Bad HTTP authentication header format", errorCode="Bearer")


def paths(scripted: Scripted) -> list[str]:
    return [asked.path for asked in scripted.asked]


def test_one_token_serves_its_whole_lifetime_less_a_minute(
    bench: Bench, scripted: Scripted
) -> None:
    scripted.replies = [token("t1"), LIST]
    for bench.now in (0.0, 80_000.0, 86_339.0):
        bench.api.get("logs", {}, endpoint="logs")
    assert paths(scripted).count("/oauth/token") == 1
    assert scripted.asked[-1].headers["Authorization"] == "Bearer t1"
    bench.now = 86_340.0
    scripted.replies = [token("t2"), LIST]
    bench.api.get("logs", {}, endpoint="logs")
    assert scripted.asked[-1].headers["Authorization"] == "Bearer t2"


def test_the_token_is_asked_for_with_the_tenants_own_audience(
    bench: Bench, scripted: Scripted
) -> None:
    scripted.replies = [token()]
    assert bench.tokens.current().scopes == {"read:logs"}
    assert json.loads(scripted.asked[0].body) == {
        "grant_type": "client_credentials",
        "client_id": "client",
        "client_secret": SECRET,
        "audience": f"https://{DOMAIN}/api/v2/",
    }


def test_a_private_key_signs_an_assertion_for_the_tenant_whatever_the_origin(
    scripted: Scripted,
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    bench = Bench(scripted, Credentials(domain=DOMAIN, client_id="client", private_key=pem))
    scripted.replies = [token()]
    bench.tokens.current()
    bench.http.close()
    body = json.loads(scripted.asked[0].body)
    claims = jwt.decode(
        body["client_assertion"],
        key.public_key(),
        algorithms=["RS256"],
        audience=f"https://{DOMAIN}/",
    )
    assert claims["iss"] == claims["sub"] == "client"
    assert "client_secret" not in body


def test_a_key_that_cannot_sign_is_fatal_and_not_quoted(scripted: Scripted) -> None:
    bench = Bench(scripted, Credentials(domain=DOMAIN, client_id="client", private_key="not a key"))
    with pytest.raises(FatalError, match="cannot sign") as raised:
        bench.tokens.current()
    assert "not a key" not in str(raised.value)
    assert scripted.asked == []


@pytest.mark.parametrize(
    "refusal", [EXPIRED, INSUFFICIENT, OPAQUE], ids=["401", "403", "400 Bearer"]
)
def test_a_refused_token_is_renewed_once_and_the_request_repeated(
    bench: Bench, scripted: Scripted, refusal: Reply
) -> None:
    scripted.replies = [token("t1"), refusal, token("t2"), LIST]
    assert bench.api.get("logs", {}, endpoint="logs").value == []
    assert paths(scripted) == ["/oauth/token", "/api/v2/logs"] * 2


@pytest.mark.parametrize(
    ("refusal", "says"),
    [(EXPIRED, "401"), (INSUFFICIENT, "lacks read:logs or read:logs_users"), (OPAQUE, "400")],
    ids=["401", "403", "400 Bearer"],
)
def test_a_new_token_that_is_refused_too_is_fatal(
    bench: Bench, scripted: Scripted, refusal: Reply, says: str
) -> None:
    scripted.replies = [token("t1"), refusal, token("t2"), refusal]
    with pytest.raises(FatalError, match=says):
        bench.api.get("logs", {}, endpoint="logs")
    assert len(scripted.asked) == 4


PAGE = b"<html>Own text</html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}


def page(status: int, **headers: str) -> Reply:
    """An answer of a proxy, a portal or a firewall."""
    return Reply(status=status, body=PAGE, headers=HTML | headers)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (error(429, errorCode="too_many_requests"), TransientError),
        (Reply(status=500, body=b"<html>"), TransientError),
        (Reply(status=503), TransientError),
        (Reply(body=b"<html>"), UnusableAnswerError),
        (Reply(body=b'[{"log_id": "9'), UnusableAnswerError),
        (Reply(body=b"[" + b"{}," * MAX_RECORDS + b"{}]"), UnusableAnswerError),
        (error(400, errorCode="invalid_query_string"), FatalError),
        (error(404), FatalError),
        (error(405), FatalError),
        (Reply(status=403, body=b'{"error": "blocked by policy"}'), TransientError),
        (
            Reply(status=403, body=b'{"statusCode": 200, "errorCode": "insufficient_scope"}'),
            TransientError,
        ),
        (page(302, Location="https://example.com"), TransientError),
        *((page(status), TransientError) for status in (400, 401, 403, 404, 407, 451, 511)),
    ],
    ids=lambda value: (
        f"{value.status} {value.body[:20]!r}" if isinstance(value, Reply) else value.__name__
    ),
)
def test_each_answer_has_its_verdict(
    bench: Bench, scripted: Scripted, reply: Reply, verdict: type[PollerError]
) -> None:
    scripted.replies = [token(), reply]
    with pytest.raises(verdict) as raised:
        bench.api.get("logs", {}, endpoint="logs")
    assert type(raised.value) is verdict
    assert "Own text" not in str(raised.value)
    if isinstance(raised.value, TransientError):
        assert raised.value.service == "Auth0"
        assert paths(scripted).count("/oauth/token") == 1


@pytest.mark.parametrize("status", [401, 403])
def test_the_error_names_the_status_and_type_of_an_answer_that_is_not_auth0s_and_keeps_the_token(
    bench: Bench, scripted: Scripted, status: int
) -> None:
    scripted.replies = [token(), page(status)]
    with pytest.raises(
        TransientError, match=f"^something between here and Auth0 answered: {status} text/html$"
    ):
        bench.api.get("logs", {}, endpoint="logs")
    assert paths(scripted).count("/oauth/token") == 1


def test_a_media_type_of_its_own_making_is_not_repeated(bench: Bench, scripted: Scripted) -> None:
    scripted.replies = [token(), Reply(status=403, headers={"Content-Type": "\x1b[2Jevil"})]
    with pytest.raises(TransientError, match=r"answered: 403 without a media type$"):
        bench.api.get("logs", {}, endpoint="logs")


def test_a_missing_scope_and_whatever_else_forbids_have_different_hints(
    bench: Bench, scripted: Scripted
) -> None:
    scripted.replies = [token(), INSUFFICIENT, token("t2"), INSUFFICIENT]
    with pytest.raises(FatalError, match="lacks read:logs") as scope:
        bench.api.get("logs", {}, endpoint="logs")
    assert "grant read:logs" in scope.value.hint
    denied = error(403, error="Forbidden", message="Access denied", errorCode="access_denied")
    scripted.replies = [denied, token("t3"), denied]
    with pytest.raises(FatalError, match=r"403 \(access_denied\)") as other:
        bench.api.get("logs", {}, endpoint="logs")
    assert "Tenant Access Control List" in other.value.hint
    assert "grant" not in other.value.hint


@pytest.mark.parametrize("status", [400, 404, 414])
def test_a_status_that_means_absent_counts_only_from_auth0_itself(
    bench: Bench, scripted: Scripted, status: int
) -> None:
    absent = frozenset({status})
    scripted.replies = [token(), error(status)]
    assert bench.api.get("users/x", {}, endpoint="users", absent=absent).value is None
    scripted.replies = [page(status)]
    if status == 414:  # whoever gives it, the request was too long for it
        assert bench.api.get("users/x", {}, endpoint="users", absent=absent).value is None
        return
    with pytest.raises(TransientError):
        bench.api.get("users/x", {}, endpoint="users", absent=absent)


def refused(status: int, code: str, description: str = "Unauthorized") -> Reply:
    body = {"error": code, "error_description": description}
    return Reply(
        status=status, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (refused(401, "access_denied"), FatalError),
        (refused(403, "access_denied"), FatalError),
        (refused(403, "unauthorized_client"), FatalError),
        (refused(400, "invalid_request"), FatalError),
        (refused(429, "too_many_requests"), TransientError),
        (error(403, error="Forbidden"), TransientError),
        (Reply(status=500), TransientError),
        (Reply(status=404), TransientError),
        *((page(status), TransientError) for status in (302, 400, 401, 403, 404, 407, 451)),
        (page(200), UnusableAnswerError),
        (Reply(body=b'{"access_token": 5, "expires_in": 1}'), UnusableAnswerError),
        (Reply(body=b'{"access_token": "a\\r\\nb"}'), UnusableAnswerError),
        (Reply(body=b"[]"), UnusableAnswerError),
    ],
    ids=lambda value: (
        f"{value.status} {value.body[:40]!r}" if isinstance(value, Reply) else value.__name__
    ),
)
def test_each_answer_of_the_token_endpoint_has_its_verdict(
    bench: Bench, scripted: Scripted, reply: Reply, verdict: type[PollerError]
) -> None:
    scripted.replies = [reply]
    with pytest.raises(verdict) as raised:
        bench.tokens.current()
    assert type(raised.value) is verdict
    assert SECRET not in str(raised.value)
    if isinstance(raised.value, FatalError):
        assert raised.value.hint


@pytest.mark.parametrize(
    ("lifetime", "lasts_s"),
    [
        (b"", 3540),
        (b', "expires_in": null', 3540),
        (b', "expires_in": "soon"', 3540),
        (b', "expires_in": 0', 3540),
        (b', "expires_in": "86400"', 86340),
        (b', "expires_in": 60', 30),
        (b', "expires_in": ' + b"9" * 500, 30 * 86400 - 60),
    ],
)
def test_a_token_serves_whatever_is_said_of_its_lifetime(
    bench: Bench, scripted: Scripted, lifetime: bytes, lasts_s: float
) -> None:
    scripted.replies = [Reply(body=b'{"access_token": "t"' + lifetime + b"}"), token("t2")]
    for bench.now, value in ((0.0, "t"), (lasts_s - 1, "t"), (lasts_s, "t2")):
        assert bench.tokens.current().value == value


def test_a_scope_that_is_not_stated_is_unknown_and_not_empty(
    bench: Bench, scripted: Scripted
) -> None:
    scripted.replies = [Reply(body=b'{"access_token": "t"}')]
    assert bench.tokens.current().scopes is None


@pytest.mark.parametrize(
    ("domain", "reply", "said", "hinted"),
    [
        (
            DOMAIN,
            refused(403, "unauthorized_client", "Grant type not allowed"),
            "not allowed",
            "Client Credentials",
        ),
        (
            DOMAIN,
            refused(403, "access_denied", "Client is not authorized"),
            "not authorized",
            "authorize the appl",
        ),
        (
            DOMAIN,
            refused(401, "access_denied", "Unauthorized"),
            "401, access_denied: Unauthorized",
            "client_secret",
        ),
        (
            "login.acme.com",
            refused(
                403,
                "access_denied",
                "Service not enabled within domain: https://login.acme.com/api/v2/",
            ),
            "Service not enabled within domain",
            "also if it has a custom domain",
        ),
        ("login.acme.com", refused(401, "access_denied"), "401", "client_secret"),
    ],
)
def test_the_tokens_refusal_quotes_auth0_and_the_hint_names_the_cause(
    scripted: Scripted, domain: str, reply: Reply, said: str, hinted: str
) -> None:
    bench = Bench(scripted, Credentials(domain=domain, client_id="client", client_secret=SECRET))
    scripted.replies = [reply]
    with pytest.raises(FatalError) as raised:
        bench.tokens.current()
    bench.http.close()
    assert said in str(raised.value)
    assert hinted in raised.value.hint


def test_a_quoted_description_holds_no_secret_and_no_control_characters(
    bench: Bench, scripted: Scripted
) -> None:
    scripted.replies = [refused(401, "access_denied", f"\x1b[2J\u202e{SECRET}" + "x" * 5000)]
    with pytest.raises(FatalError) as raised:
        bench.tokens.current()
    text = str(raised.value)
    assert text.isprintable()
    assert SECRET not in text
    assert len(text) < 500


def test_the_rate_limit_is_asked_before_and_told_after_each_request(
    bench: Bench, scripted: Scripted
) -> None:
    headers = {
        "x-ratelimit-limit": "50",
        "x-ratelimit-remaining": "49",
        "x-ratelimit-reset": "1630700193",
        "Date": "Fri, 03 Sep 2021 20:16:32 GMT",
    }
    scripted.replies = [token(), Reply(body=b"[]", headers=headers)]
    bench.api.get("logs", {}, endpoint="logs")
    assert bench.budget.asked == ["logs"]
    assert bench.budget.told == [("logs", 50, 49, timedelta(seconds=1))]


def test_a_wait_until_a_reset_is_bounded(bench: Bench, scripted: Scripted) -> None:
    headers = {"Date": "Fri, 03 Sep 2021 20:16:32 GMT", "x-ratelimit-reset": "99999999999"}
    scripted.replies = [token(), Reply(status=429, headers=headers)]
    with pytest.raises(TransientError) as raised:
        bench.api.get("logs", {}, endpoint="logs")
    assert raised.value.retry_after == LONGEST_RETRY_AFTER


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "9"}, 9), ({"x-ratelimit-reset": "1630700197"}, 5)],
    ids=str,
)
def test_a_429_says_how_long_to_wait_by_either_header(
    bench: Bench, scripted: Scripted, headers: dict[str, str], seconds: int
) -> None:
    scripted.replies = [
        token(),
        Reply(status=429, headers={"Date": "Fri, 03 Sep 2021 20:16:32 GMT", **headers}),
    ]
    with pytest.raises(TransientError) as raised:
        bench.api.get("logs", {}, endpoint="logs")
    assert raised.value.retry_after == timedelta(seconds=seconds)

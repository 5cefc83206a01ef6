"""The simulated tenant does what recordings and documentation say that Auth0 does."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from poller.sandbox.auth0.entries import ingest_time, log_id
from tests.sandbox.world import World

HOUR = timedelta(hours=1)
EARLIEST = "900" + "0" * 53


def grow(world: World, count: int = 250, **more: object) -> None:
    now = world.sandbox.clock.now()
    world.sandbox.traffic.grow(count, start=now - HOUR, end=now, **more)  # type: ignore[arg-type]


def test_a_checkpoint_is_exclusive_and_ascending_and_all_types_come(world: World) -> None:
    grow(world)
    everything = [entry.log_id for entry in world.sandbox.tenant.entries()]
    first = world.logs(**{"from": EARLIEST, "take": "100"}).json()
    assert [record["log_id"] for record in first] == everything[:100]
    second = world.logs(**{"from": first[-1]["log_id"], "take": "100"}).json()
    assert [record["log_id"] for record in second] == everything[100:200]
    assert len({record["type"] for record in first}) > 5


@pytest.mark.parametrize(("take", "given"), [(None, 50), ("7", 7), ("100", 100), ("1000", 100)])
def test_a_page_has_fifty_entries_unless_asked_otherwise_and_a_hundred_at_most(
    world: World, take: str | None, given: int
) -> None:
    grow(world)
    assert len(world.logs(**{"from": EARLIEST, **({"take": take} if take else {})}).json()) == given


def test_the_link_names_the_last_id_and_on_an_empty_page_the_same_position(world: World) -> None:
    grow(world, 5)
    answer = world.logs(**{"from": EARLIEST, "take": "3", "include_totals": "true"})
    assert isinstance(answer.json(), list)
    target = answer.links["next"]["url"]
    assert target.startswith("https://acme.us.auth0.com/api/v2/logs?")
    assert parse_qs(urlsplit(target).query) == {
        "from": [answer.json()[-1]["log_id"]],
        "take": ["3"],
    }
    end = log_id(world.sandbox.clock.now() + HOUR, 0)
    empty = world.logs(**{"from": end, "take": "3"})
    assert empty.json() == []
    assert parse_qs(urlsplit(empty.links["next"]["url"]).query)["from"] == [end]


def test_ids_hold_the_ingest_time_and_dates_run_up_to_six_seconds_before_it_in_no_order(
    world: World,
) -> None:
    now = world.sandbox.clock.now()
    world.sandbox.traffic.grow(250, start=now - timedelta(minutes=1), end=now)
    entries = world.sandbox.tenant.entries()
    lags = [(ingest_time(entry.log_id) - entry.date).total_seconds() for entry in entries]
    assert all(0 <= lag < 6 for lag in lags)
    assert [entry.date for entry in entries] != sorted(entry.date for entry in entries)
    assert {len(entry.log_id) for entry in entries} == {56}


def test_a_request_without_a_checkpoint_searches_newest_first_and_ignores_take(
    world: World,
) -> None:
    grow(world)
    world.sandbox.clock.advance(timedelta(minutes=1))
    everything = [entry.log_id for entry in world.sandbox.tenant.entries()]
    found = [record["log_id"] for record in world.logs(take="100").json()]
    assert found == everything[::-1][:50]
    logins = world.logs(q='type:("s" OR "ss")', per_page="100").json()
    assert {record["type"] for record in logins} == {"s", "ss"}


def test_a_search_ends_at_a_thousand_and_knows_its_fields(world: World) -> None:
    refused = world.logs(page="10", per_page="100")
    assert refused.status_code == 400
    assert "exceeds the allowed maximum of 1000 records" in refused.json()["message"]
    assert 'unknown field "user_email"' in world.logs(q="user_email:x").json()["message"]


def test_a_search_takes_ranges_of_dates_and_ids(world: World) -> None:
    grow(world)
    world.sandbox.clock.advance(timedelta(minutes=1))
    entries = world.sandbox.tenant.entries()
    low, high = entries[50], entries[90]
    found = world.logs(q=f"log_id:[{low.log_id} TO {high.log_id}}}", per_page="100").json()
    assert {record["log_id"] for record in found} == {entry.log_id for entry in entries[50:90]}
    day = f"{low.date:%Y-%m-%d}"
    assert world.logs(q=f"date:[{day} TO *]", per_page="1").json()


def test_the_index_lags_behind_the_log(world: World) -> None:
    world.sandbox.tenant.index_lag = timedelta(seconds=30)
    entry = world.sandbox.tenant.record_event("w")
    newest = world.logs().json()
    assert entry.log_id not in [record["log_id"] for record in newest]
    assert world.logs(**{"from": EARLIEST, "take": "100"}).json()[-1]["log_id"] == entry.log_id


def test_retention_moves_the_floor_in_silence(world: World) -> None:
    grow(world)
    world.sandbox.tenant.retention = timedelta(minutes=30)
    answer = world.logs(**{"from": EARLIEST, "take": "1"})
    assert answer.status_code == 200
    assert ingest_time(answer.json()[0]["log_id"]) >= world.sandbox.clock.now() - timedelta(
        minutes=31
    )


def test_a_late_event_lands_below_the_head(world: World) -> None:
    grow(world, 10)
    head = world.sandbox.tenant.entries()[-1]
    world.sandbox.traffic.happen("login", at=ingest_time(head.log_id) - timedelta(minutes=20))
    ids = [entry.log_id for entry in world.sandbox.tenant.entries()]
    assert ids == sorted(ids)
    assert ids[-1] == head.log_id


def test_absent_values_are_missing_or_null_by_era(world: World) -> None:
    grow(world, 100)
    shown = world.logs(**{"from": EARLIEST, "take": "100"}).json()
    assert {"null", "missing"} == {
        "null" if "organization_id" in record else "missing" for record in shown
    }
    assert any("$event_schema" in record for record in shown)


def test_a_login_on_an_existing_session_has_no_connection_and_moves_no_count(world: World) -> None:
    (login,) = world.sandbox.traffic.happen("login")
    assert login.user is not None
    before = login.user.logins_count
    sso = world.sandbox.tenant.record_event("sso_login", login.user)
    drawn = sso.draw("acme.us.auth0.com")
    assert not {"connection", "strategy", "strategy_type"} & set(drawn)
    assert drawn["connection_id"] == ""
    assert (drawn["details"]["prompts"], login.user.logins_count) == ([], before)


def test_a_signup_by_api_has_a_twin_and_a_signup_is_logged_once(world: World) -> None:
    made = world.sandbox.traffic.happen("api_signup")
    assert sorted(entry.type for entry in made) == ["sapi", "ss"]
    twin, signup = (
        entry.draw("acme.us.auth0.com") for entry in sorted(made, key=lambda entry: entry.type)
    )
    assert signup["details"]["body"]["is_signup"] is False
    assert twin["details"]["response"]["body"]["user_id"] == signup["user_id"]
    assert twin.get("user_id") is None


def test_profiles_move_with_each_login(world: World) -> None:
    (login,) = world.sandbox.traffic.happen("login")
    assert login.user is not None
    path = f"/api/v2/users/{login.user.user_id.replace('|', '%7C')}"
    first = world.auth0.get(path).json()
    again = world.sandbox.tenant.record_event(
        "login", login.user, ingested=world.sandbox.clock.now() + HOUR
    )
    second = world.auth0.get(path).json()
    assert second["logins_count"] == first["logins_count"] + 1
    assert datetime.fromisoformat(second["last_login"]) == again.date
    assert again.draw("")["details"]["prompts"][0]["stats"]["loginsCount"] in {
        second["logins_count"],
        None,
    }


def test_users_are_found_by_search_once_the_index_has_them(world: World) -> None:
    world.sandbox.tenant.index_lag = timedelta(seconds=30)
    user = world.sandbox.tenant.add_user()
    params = {
        "q": f'user_id:("{user.user_id}" OR "auth0|nobody")',
        "fields": "user_id,email",
        "search_engine": "v3",
    }
    assert world.auth0.get("/api/v2/users", params=params).json() == []
    world.sandbox.clock.advance(timedelta(minutes=1))
    found = world.auth0.get("/api/v2/users", params=params).json()
    assert found == [{"user_id": user.user_id, "email": user.email}]


def test_a_deleted_user_is_not_found(world: World) -> None:
    user = world.sandbox.tenant.add_user()
    user.deleted = True
    answer = world.auth0.get(f"/api/v2/users/{user.user_id.replace('|', '%7C')}")
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "inexistent_user")


def test_a_long_url_is_refused(world: World) -> None:
    assert world.auth0.get("/api/v2/users", params={"q": "x" * 5000}).status_code == 414


def test_daily_stats_count_by_day_of_the_event_and_leave_out_days_with_none(world: World) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    world.sandbox.tenant.retention = timedelta(days=10_000)
    world.sandbox.traffic.grow(6, start=noon, end=noon + HOUR, kinds=["login"])
    world.sandbox.traffic.grow(
        2, start=noon + timedelta(days=2), end=noon + timedelta(days=2, hours=1), kinds=["signup"]
    )
    days = world.auth0.get(
        "/api/v2/stats/daily", params={"from": "20260301", "to": "20260303"}
    ).json()
    assert [(day["date"][:10], day["logins"], day["signups"]) for day in days] == [
        ("2026-03-01", 6, 0),
        ("2026-03-03", 0, 2),
    ]


def test_daily_stats_count_every_new_user_as_a_signup_however_made(world: World) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for kind in ("signup", "api_signup", "first_social_login", "social_login", "sso_login"):
        world.sandbox.traffic.happen(kind, at=noon)
    (day,) = world.auth0.get(
        "/api/v2/stats/daily", params={"from": "20260301", "to": "20260301"}
    ).json()
    assert (day["logins"], day["signups"]) == (3, 3)
    assert day["updated_at"] == "2026-03-02T23:21:32.000Z"


def test_daily_stats_are_as_of_the_last_hourly_run(world: World) -> None:
    now = world.sandbox.clock.now()
    world.sandbox.clock.advance(datetime(2027, 1, 5, 12, 20, tzinfo=UTC) - now)
    world.sandbox.traffic.happen("login")
    assert world.sandbox.tenant.daily("20270105", "20270105") == []
    world.sandbox.clock.advance(timedelta(minutes=2))
    (day,) = world.sandbox.tenant.daily("20270105", "20270105")
    assert (day["logins"], day["updated_at"]) == (1, "2027-01-05T12:21:32.000Z")


# Tokens, scopes, limits


def test_each_token_is_logged(world: World) -> None:
    assert Counter(entry.type for entry in world.sandbox.tenant.entries()) == {"seccft": 1}


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "access_denied"),
        ({"client_id": "wrong"}, 401, "access_denied"),
        ({"audience": "https://other/api/v2/"}, 403, "access_denied"),
        ({"grant_type": "password"}, 403, "unsupported_grant_type"),
    ],
)
def test_wrong_credentials_are_refused(
    world: World, changes: dict[str, str], status: int, error: str
) -> None:
    answer = world.token(**changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_signed_assertion_is_as_good_as_a_secret(world: World) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tenant = world.sandbox.tenant
    tenant.public_key = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    claims = {
        "iss": tenant.client_id,
        "sub": tenant.client_id,
        "aud": f"https://{tenant.domain}/",
        "jti": "1",
    }
    for audience, status in ((claims["aud"], 200), ("https://elsewhere/", 401)):
        signed = jwt.encode(claims | {"aud": audience}, key, algorithm="RS256")
        assert world.token(client_secret=None, client_assertion=signed).status_code == status


@pytest.mark.parametrize(
    ("header", "status", "said"),
    [
        (None, 401, "Missing authentication"),
        ("Bearer opaque", 400, "Bad HTTP authentication header format"),
        ("Bearer a.b.c", 401, "Invalid token"),
    ],
)
def test_requests_without_a_good_token_are_refused(
    world: World, header: str | None, status: int, said: str
) -> None:
    del world.auth0.headers["Authorization"]
    answer = world.auth0.get("/api/v2/logs", headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.json()["message"]) == (status, said)


def test_tokens_end_are_revoked_and_keep_the_scopes_of_their_issue(world: World) -> None:
    world.sandbox.tenant.scopes = ("read:users",)
    assert world.logs().status_code == 200
    world.authorize()
    refused = world.logs()
    assert refused.status_code == 403
    assert (
        refused.json()["message"]
        == "Insufficient scope, expected any of: read:logs,read:logs_users"
    )
    world.sandbox.clock.advance(timedelta(days=1, minutes=1))
    assert world.logs().json()["message"].startswith("Expired token")
    world.authorize()
    world.sandbox.auth0.revoke_tokens()
    assert world.logs().json()["message"] == "Invalid token"


@pytest.mark.parametrize(("plan", "burst"), [("free", 2), ("essentials", 10), ("enterprise", 50)])
def test_the_plan_says_how_many_requests_pass_at_once(world: World, plan: str, burst: int) -> None:
    world.sandbox.limits.set_plan(plan)
    answers = [world.logs(per_page="1") for _ in range(burst)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].headers["x-ratelimit-limit"] == str(burst)
    assert answers[0].headers["x-ratelimit-remaining"] == str(burst - 1)
    for _ in range(1000):  # a slow machine gets some tokens back meanwhile
        world.sandbox.limits.take("logs", burst)
        over = world.logs(per_page="1")
        if over.status_code != 200:
            break
    assert (over.status_code, over.json()["errorCode"]) == (429, "too_many_requests")
    assert int(over.headers["x-ratelimit-reset"]) - world.sandbox.clock.now().timestamp() <= 2
    assert world.sandbox.tenant.entries()[-1].type == "api_limit"
    world.sandbox.clock.advance(timedelta(seconds=5))
    assert world.logs(per_page="1").status_code == 200


def test_answers_carry_the_sandboxs_time(world: World) -> None:
    world.sandbox.clock.advance(timedelta(days=-400))
    assert f"{world.sandbox.clock.now():%b %Y}" in world.logs().headers["Date"]

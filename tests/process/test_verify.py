"""`verify` as a process: it agrees with the tenant's own counts, and names each difference."""

import contextlib
import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest

from tests.paths import TESTS
from tests.process.bench import Bench, Ended, MakeBench, eventually

SCHEMA = json.loads((TESTS / "schemas/verify.json").read_text())
DAY = timedelta(days=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) + 2 * DAY
"""The tenant's time. The host's time may be close to midnight."""
TODAY = NOON.date()
FIRST = TODAY - 4 * DAY
"""The first whole day of the log. It and the day after are final."""


def tenant(make: MakeBench) -> Bench:
    """A bench with a log of the last five days."""
    bench = make(seed=7)
    bench.sandbox.ask("clock", advance=(NOON - datetime.now(UTC)).total_seconds())
    bench.sandbox.ask("grow", count=1500, seconds=5 * 86_400)
    return bench


def settled(make: MakeBench, *, start: str = str(FIRST)) -> Bench:
    """A bench whose log is settled from the beginning of its first whole day."""
    bench = tenant(make)
    bench.overrides |= {"poll__start": start, "poll__late_window": "0s"}
    bench.write_settings()
    assert bench.run("run", "--once").code == 0
    return bench


def verified(
    bench: Bench, *arguments: str, code: int = 0
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the report, and its days by date."""
    ended = bench.run("verify", "--json", *arguments)
    assert ended.code == code, ended.err + ended.out
    said = json.loads(ended.out)
    jsonschema.validate(said, SCHEMA)
    return said, {day["day"]: day for day in said["days"]}


def change(bench: Bench, sql: str, *values: object) -> int:
    with contextlib.closing(sqlite3.connect(bench.ledger)) as connection, connection:
        return connection.execute(sql, values).rowcount


def test_settled_days_agree_and_nothing_is_sent_or_stored(make: MakeBench) -> None:
    bench = settled(make)
    before, sent = bench.ledger.read_bytes(), bench.sandbox.ask("collector")
    said, days = verified(bench, "--exact")
    assert [day["verdict"] for day in days.values()] == [
        "agrees",
        "agrees",
        "agrees",
        "not_final",
        "not_final",
    ]
    assert list(days) == [str(FIRST + number * DAY) for number in range(5)]
    assert all(day["logins"]["auth0"] > 25 for day in days.values() if day["verdict"] == "agrees")
    # Signups of social connections are in the statistics without an `ss` in the log. They were
    # sent for logins.
    with contextlib.closing(sqlite3.connect(bench.ledger)) as connection:
        (logged,) = connection.execute(
            "SELECT SUM(events) FROM hourly_event_count WHERE type = 'ss'"
        ).fetchone()
    signups = [
        (day["signups"]["settled"], day["signups"]["auth0"], day["sent"]["Signed Up"])
        for day in days.values()
    ]
    assert all(settled == auth0 == sent for settled, auth0, sent in signups)
    assert sum(settled for settled, _, _ in signups) > logged
    text = bench.run("verify").out
    total = sum(auth0 for _, auth0, _ in signups)
    assert re.search(rf"total +\d+ +\d+ +{total} +{total} +0", text), text
    assert re.search(rf"Sent in these days: \d+ Logged In, {total} Signed Up", text), text
    assert said["exact"]["hours_judged"] == said["exact"]["hours_agreeing"] >= 4 * 24 - 1
    assert said["exact"]["not_kept"] == []
    assert said["settled_from"] == f"{FIRST}T00:00:00.000Z"
    assert (bench.ledger.read_bytes(), bench.sandbox.ask("collector")) == (before, sent)


@pytest.mark.parametrize("factor", [0, 3])
def test_a_tally_that_is_wrong_is_named_by_day_hour_and_type(make: MakeBench, factor: int) -> None:
    bench = settled(make)
    hour = f"{FIRST + DAY}T09:00:00"
    assert change(
        bench,
        "UPDATE hourly_event_count SET events = events * ? WHERE type = 's' AND hour LIKE ?",
        factor,
        hour[:11] + "%",
    )
    _, days = verified(bench, code=3)
    wrong = days[str(FIRST + DAY)]
    assert {day for day, found in days.items() if found["verdict"] == "differs"} == {wrong["day"]}
    assert wrong["logins"]["excess"] > 0 if factor == 0 else wrong["logins"]["excess"] < 0
    assert (
        f"{abs(wrong['logins']['excess'])} logins {'more' if factor == 0 else 'fewer'}"
        in wrong["explanation"]
    )
    said, _ = verified(bench, "--exact", code=3)
    named = said["exact"]["differences"]
    assert {found["type"] for found in named} == {"s"}
    assert {found["hour"][:10] for found in named} == {wrong["day"]}
    assert all(found["settled"] == factor * found["logged"] for found in named)


def test_one_event_too_few_is_within_the_band_and_found_by_exact(make: MakeBench) -> None:
    bench = settled(make)
    with contextlib.closing(sqlite3.connect(bench.ledger)) as connection:
        query = "SELECT min(hour) FROM hourly_event_count WHERE type = 's' AND hour > ?"
        (text,) = connection.execute(query, (f"{FIRST}T03",)).fetchone()
    assert (
        change(
            bench,
            "UPDATE hourly_event_count SET events = events - 1 WHERE type = 's' AND hour = ?",
            text,
        )
        == 1
    )
    hour = datetime.fromisoformat(text)
    verified(bench)
    said, days = verified(bench, "--exact", code=3)
    (found,) = said["exact"]["differences"]
    assert (datetime.fromisoformat(found["hour"]), found["type"]) == (hour, "s")
    assert found["logged"] - found["settled"] == 1
    assert days[str(FIRST)]["explanation"] == "differs from the log in 1 hour"
    since, until = (
        f"{hour + number * timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}" for number in (-1, 2)
    )
    ended = bench.run("verify", "--exact", "--since", since, "--until", until)
    assert ended.code == 3
    assert "3 whole hours read again: 2 agree to the event" in ended.out
    assert f"{found['hour']}  s" in ended.out


def test_the_log_overrules_statistics_that_count_otherwise(make: MakeBench) -> None:
    bench = settled(make)
    bench.sandbox.ask("tenant", stats_have_sso=False)
    _, days = verified(bench, code=3)
    day = days[str(FIRST)]
    assert (day["verdict"], day["explanation"]) == (
        "differs",
        f"differs: Auth0 has {-day['logins']['excess']} logins fewer",
    )
    said, days = verified(bench, "--exact")
    day = days[str(FIRST)]
    assert (day["verdict"], day["explanation"][:38]) == (
        "agrees",
        "agrees in every hour, though Auth0 has",
    )
    assert not said["differs"]


def test_a_day_that_is_settled_in_part_is_not_judged(make: MakeBench) -> None:
    bench = settled(make, start=f"{FIRST}T06:30:00Z")
    change(
        bench, "UPDATE hourly_event_count SET events = events + 100 WHERE hour LIKE ?", f"{FIRST}%"
    )
    _, days = verified(bench)
    assert days[str(FIRST)]["verdict"] == "partly_settled"
    assert days[str(FIRST + DAY)]["verdict"] == "agrees"
    said, _ = verified(bench, "--exact", "--since", str(FIRST), "--until", str(FIRST + DAY), code=3)
    assert said["exact"]["not_settled"] == [
        {"since": f"{FIRST}T00:00:00.000Z", "until": f"{FIRST}T07:00:00.000Z", "hours": 7}
    ]
    assert said["exact"]["hours_judged"] == 17


def test_hours_that_are_no_longer_kept_are_named_and_not_judged(make: MakeBench) -> None:
    bench = settled(make)
    assert change(
        bench,
        "UPDATE hourly_event_count SET events = events + 1 WHERE type = 'fp' AND hour LIKE ?",
        f"{FIRST}%",
    )
    bench.sandbox.ask("tenant", retention=2 * 86_400)
    said, days = verified(bench, "--exact")
    (gone,) = said["exact"]["not_kept"]
    assert gone["since"] == f"{FIRST}T00:00:00.000Z"
    assert 48 <= gone["hours"] <= 4 * 24
    assert said["exact"]["hours_judged"] == said["exact"]["hours_agreeing"] > 40
    assert days[str(FIRST + DAY)]["explanation"] == "agrees"
    text = bench.run("verify", "--exact").out
    assert f"no longer kept whole by Auth0, not judged: {FIRST}T00:00:00.000Z to " in text


def test_days_that_retention_took_before_the_first_start_are_not_settled(
    make: MakeBench,
) -> None:
    bench = tenant(make)
    bench.sandbox.ask("tenant", retention=2.5 * 86_400)
    assert bench.run("run", "--once").code == 0
    said, days = verified(bench, "--since", "30d")
    verdicts = [day["verdict"] for day in days.values()]
    assert min(days) == said["settled_from"][:10] > str(FIRST)
    assert verdicts[0] in {"partly_settled", "agrees"}
    assert "not_settled" not in verdicts


def test_a_missing_scope_is_named_with_what_to_do(make: MakeBench) -> None:
    bench = settled(make)
    bench.sandbox.ask("tenant", scopes=["read:logs", "read:users"])
    ended = bench.run("verify")
    assert ended.code == 78
    assert "lacks read:stats" in ended.err
    assert "grant read:stats to the application" in ended.err


def test_verify_runs_beside_the_daemon(make: MakeBench) -> None:
    bench = settled(make)
    with bench.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished") or daemon.says("cycle.idle"))
        verified(bench, "--exact")
        reached = bench.position()
        bench.sandbox.ask("grow", count=50, seconds=0)
        eventually("all of them", lambda: not bench.sandbox.ask("truth", above=reached)["lost"])
        assert daemon.stop().code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--since", "soon"), 2, "must be earliest"),
        (("--since", "1d", "--until", "2d"), 2, "--until must lie after --since"),
        (("--until", "earliest"), 2, "--until must lie after --since"),
        (("--since", "9999999d", "--until", "30d"), 0, "nothing to compare"),
    ],
)
def test_a_range_with_nothing_in_it_says_so(
    make: MakeBench, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = settled(make).run("verify", *arguments)
    assert (ended.code, said in ended.out + ended.err) == (code, True), ended


def test_verify_refuses_a_missing_or_foreign_ledger_and_creates_none(
    make: MakeBench,
) -> None:
    bench = make()
    assert bench.run("verify").code == 78
    assert not bench.ledger.exists()
    assert bench.run("run", "--once").code == 0
    bench.write_settings(segment__source_name="other")
    ended: Ended = bench.run("verify")
    assert ended.code == 78
    assert "holds nothing of acme.us.auth0.com to other" in ended.err


def test_verify_is_coloured_on_a_terminal_only(make: MakeBench) -> None:
    bench = settled(make)
    piped = bench.run("verify").out
    assert "\x1b" not in piped
    assert max(map(len, piped.splitlines())) <= 80
    code, seen = bench.on_a_terminal("verify", TERM="xterm-256color", COLUMNS="100")
    assert code == 0
    assert "\x1b[32magrees" in seen

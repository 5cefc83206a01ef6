"""`backfill` as a process: the past arrives once, whatever ends it, and beside the daemon."""

import itertools
import json
import signal
from datetime import datetime, timedelta
from typing import Any

from tests.process.bench import (
    LONG_GRACE,
    Bench,
    Ended,
    MakeBench,
    eventually,
    messages,
    tracks,
)
from tests.process.kills import set_faults, start_to_be_killed

EVERYTHING = ("backfill", "--since", "earliest", "--yes", "--json")


def backfilled(bench: Bench, *arguments: str) -> tuple[Ended, list[dict[str, Any]]]:
    ended = bench.run(*EVERYTHING, *arguments)
    return ended, [json.loads(line) for line in ended.out.splitlines() if line.startswith("{")]


def past(make: MakeBench, count: int = 3000) -> Bench:
    bench = make(seed=11)
    bench.overrides["poll__start"] = "now"
    bench.overrides["poll__late_window"] = "0s"
    bench.write_settings()
    bench.sandbox.ask("grow", count=count, seconds=86_400, ago=90_000)
    return bench


def test_the_past_is_sent_once_and_a_second_run_sends_nothing(make: MakeBench) -> None:
    bench = past(make)
    ended, (plan, summary) = backfilled(bench, "--new")
    assert ended.code == 0, ended.err
    assert plan["missing"]
    assert summary["read"] == 3000
    assert summary["slices"] >= 2
    assert summary["slices_left"] == 0
    assert bench.status()["streams"][0]["gaps"] == []
    sent = tracks(bench)
    truth = bench.sandbox.truth()
    assert truth["delivered"] == truth["expected"]
    assert len(sent) == len(set(sent)) >= truth["events"] > 0
    again, lines = backfilled(bench)
    assert again.code == 0, again.err
    assert lines[0]["unfinished"] == []
    # A token grant is an event of the log too, so there may be one that is new.
    assert all(
        line["forwarded"] == line["dead_lettered"] == line["identified"] == 0 and line["read"] < 5
        for line in lines[1:]
    )
    assert tracks(bench) == sent


def test_a_dry_run_sends_nothing_and_without_a_ledger_none_is_made(make: MakeBench) -> None:
    bench = past(make, 200)
    ended, _ = backfilled(bench)
    assert ended.code == 78
    assert not bench.ledger.exists()
    ended, lines = backfilled(bench, "--new", "--dry-run")
    assert ended.code == 0, ended.err
    assert lines[0]["missing"]
    assert tracks(bench) == []


def test_a_backfill_that_is_killed_at_any_moment_goes_on_and_loses_nothing(make: MakeBench) -> None:
    bench = past(make)
    for skip in (2, 5, 9):  # half of the pages at most
        fault = {"action": "kill_after", "service": "segment", "skip": skip}
        running = start_to_be_killed(bench, fault, *EVERYTHING, "--new")
        assert running.wait().code == -signal.SIGKILL
    set_faults(bench)
    ended, lines = backfilled(bench)
    assert ended.code == 0, ended.err
    assert lines[0]["unfinished"]
    truth = bench.sandbox.truth()
    assert truth["delivered"] == truth["expected"]


def test_daemon_and_backfill_send_no_event_of_each_other(make: MakeBench) -> None:
    bench = past(make)
    with bench.start("run") as running:
        eventually("a first drain", lambda: running.says("span.begun"))
        bench.sandbox.ask("grow", count=200, seconds=0)
        ended, (plan, summary) = backfilled(bench)
        assert ended.code == 0, ended.err
        assert plan["missing"]
        assert summary["slices_left"] == 0
        eventually(
            "all", lambda: bench.sandbox.truth()["delivered"] == bench.sandbox.truth()["expected"]
        )
        running.stop()
    messages = [arrival["message"]["messageId"] for arrival in bench.sandbox.ask("messages")]
    assert len(messages) == len(set(messages))


def test_ctrl_c_settles_what_is_in_hand(make: MakeBench) -> None:
    bench = past(make)
    bench.constants |= LONG_GRACE
    bench.sandbox.ask(
        "faults",
        clear=True,
        set=[{"action": "drip", "service": "segment", "seconds": 0.05, "times": None}],
    )
    running = bench.start(*EVERYTHING, "--new", "--parallel", "2")
    eventually("a request", lambda: len(bench.sandbox.ask("messages")) > 0)
    running.signal(signal.SIGINT)
    assert running.wait().code == 130
    bench.sandbox.ask("faults", clear=True)
    assert backfilled(bench)[0].code == 0
    sent = tracks(bench)
    assert len(sent) == len(set(sent))
    truth = bench.sandbox.truth()
    assert truth["delivered"] == truth["expected"]


def fates(bench: Bench) -> dict[str, int]:
    found: dict[str, int] = bench.sandbox.ask("collector")
    return found


def test_each_user_is_identified_once_after_every_track_as_they_are_then(make: MakeBench) -> None:
    bench = past(make)
    begun = datetime.fromisoformat(bench.sandbox.ask("clock"))
    ended, (_, summary) = backfilled(bench, "--new")
    assert ended.code == 0, ended.err
    kinds = [message["type"] for message in messages(bench)]
    first = kinds.index("identify")
    assert set(kinds[first:]) == {"identify"}
    tracked = {message["userId"] for message in messages(bench) if message["type"] == "track"}
    identified = [message["userId"] for message in messages(bench)[first:]]
    assert len(identified) == len(set(identified)) == summary["identified"] > 100
    assert set(identified) <= tracked
    dates = [
        datetime.fromisoformat(message["originalTimestamp"]) for message in messages(bench)[first:]
    ]
    assert min(dates) > begun - timedelta(minutes=1)  # and the events are a day older
    assert summary["rate_limited"] == 0


def test_killed_among_the_identifies_the_next_run_sends_those_that_are_left(
    make: MakeBench,
) -> None:
    bench = past(make)
    # The tracks go out without the profiles, and the identifies wait for them.
    set_faults(bench, {"action": "status", "path": "/api/v2/users", "times": None})
    running = bench.start(*EVERYTHING, "--new", "--parallel", "2")
    eventually("all tracks", lambda: not bench.sandbox.truth()["lost"])
    among = {"action": "kill_before", "service": "segment", "skip": 1, "pid": running.process.pid}
    set_faults(bench, among)
    assert running.wait().code == -signal.SIGKILL
    set_faults(bench)
    assert "identify" in {message["type"] for message in messages(bench)}
    tracked = [message["messageId"] for message in messages(bench) if message["type"] == "track"]
    ended, (plan, summary) = backfilled(bench)
    assert ended.code == 0, ended.err
    assert plan["pending_identifies"] >= summary["identified"] > 0
    identified = {message["userId"] for message in messages(bench) if message["type"] == "identify"}
    assert identified == {
        message["userId"] for message in messages(bench) if message["type"] == "track"
    }
    assert [
        message["messageId"] for message in messages(bench) if message["type"] == "track"
    ] == tracked


def test_no_user_is_identified_with_no_identify(make: MakeBench) -> None:
    bench = past(make, 500)
    ended, (_, summary) = backfilled(bench, "--new", "--no-identify")
    assert ended.code == 0, ended.err
    assert (summary["identified"], summary["pending_identifies"]) == (0, 0)
    assert {message["type"] for message in messages(bench)} <= {"track", "group"}


def test_again_sends_the_same_under_the_same_ids_and_counts_nothing_twice(make: MakeBench) -> None:
    bench = past(make, 1000)
    assert backfilled(bench, "--new", "--no-identify")[0].code == 0
    first = [(message["messageId"], message["properties"]) for message in messages(bench)]
    totals = bench.status()["streams"][0]["events"]
    ended, (plan, summary) = backfilled(bench, "--again", "--no-identify")
    assert ended.code == 0, ended.err
    assert plan["again"]
    assert summary["slices_left"] == 0
    after = [(message["messageId"], message["properties"]) for message in messages(bench)]
    assert len(after) == 2 * len(first)
    assert sorted(after[len(first) :], key=str) == sorted(first, key=str)
    counted = bench.status()["streams"][0]["events"]
    assert counted["forwarded"] == totals["forwarded"]
    assert fates(bench)["duplicate"] == len(first)


def test_again_tells_the_right_source_what_was_told_to_a_wrong_one(make: MakeBench) -> None:
    bench = past(make, 300)
    login = {
        "type": "s",
        "user_id": "auth0|member",
        "organization_id": "org_1",
        "date": "2026-11-20T10:00:00.000Z",
    }
    bench.sandbox.ask("append", records=[login, login])
    bench.sandbox.ask("clock", advance=60)
    bench.overrides["segment__source_name"] = "web"
    bench.write_settings(segment__write_key="w" * 32)
    ended, (_, first) = backfilled(bench, "--new")
    assert ended.code == 0, ended.err
    lost = told(bench, "dropped")
    assert {kind for kind, _ in lost} == {"identify", "track", "group"}
    bench.write_settings()
    ended, lines = backfilled(bench, "--again")
    assert ended.code == 0, ended.err
    second = lines[-1]
    assert (second["identified"], second["identify_left_out"]) == (
        first["identified"],
        first["identify_left_out"],
    )
    assert told(bench, "published") == lost


def test_again_sends_what_the_daemon_settled_a_moment_ago_too(make: MakeBench) -> None:
    bench = make()
    bench.write_settings()
    bench.sandbox.ask("grow", count=30, seconds=60, kinds=["login"])
    assert bench.run("run", "--once").code == 0
    first = tracks(bench)
    assert len(first) == 30
    assert bench.run("backfill", "--since", "1h", "--again", "--yes").code == 0
    assert tracks(bench) == first * 2
    assert bench.status()["streams"][0]["events"]["forwarded"] == 30


def told(bench: Bench, fate: str) -> set[tuple[str, str]]:
    """The tracks by id, and who was identified or put into which group."""
    arrivals = bench.sandbox.ask("messages", count=20_000)
    found = [arrival["message"] for arrival in arrivals if arrival["fate"] == fate]
    return {
        (message["type"], message["messageId"] if message["type"] == "track" else message["userId"])
        for message in found
    }


def test_a_recorded_gap_that_can_be_read_again_is_sent_and_is_no_gap_any_more(
    make: MakeBench,
) -> None:
    bench = past(make, 1)
    assert bench.run("run", "--once").code == 0
    bench.sandbox.ask("grow", count=400)
    bench.sandbox.ask("clock", advance=2 * 86_400)
    bench.sandbox.ask("grow", count=50, seconds=60)
    bench.sandbox.ask("tenant", retention=86_400)
    assert bench.run("run", "--once").code == 0
    assert len(bench.status()["streams"][0]["gaps"]) == 1
    bench.sandbox.ask("tenant", retention=30 * 86_400)
    ended, (plan, summary) = backfilled(bench)
    assert ended.code == 0, ended.err
    assert len(plan["gaps"]) == 1
    assert summary["forwarded"] > 0
    assert bench.status()["streams"][0]["gaps"] == []
    truth = bench.sandbox.truth()
    assert truth["delivered"] >= truth["expected"]
    assert truth["lost"] == []


def test_a_gap_that_retention_takes_before_it_is_read_again_stays_a_gap(make: MakeBench) -> None:
    bench = past(make, 1)
    assert bench.run("run", "--once").code == 0
    bench.sandbox.ask("grow", count=400)
    bench.sandbox.ask("clock", advance=2 * 86_400)
    bench.sandbox.ask("grow", count=50, seconds=60)
    bench.sandbox.ask("tenant", retention=86_400)
    assert bench.run("run", "--once").code == 0
    bench.sandbox.ask("tenant", retention=30 * 86_400)
    fault = {"action": "kill_after", "service": "segment"}
    running = start_to_be_killed(bench, fault, *EVERYTHING)
    assert running.wait().code == -signal.SIGKILL
    assert bench.run("status").code == 3
    bench.sandbox.ask("faults", clear=True)
    bench.sandbox.ask("tenant", retention=86_400)
    ended, (plan, summary) = backfilled(bench)
    assert plan["unfinished"]
    assert (ended.code, summary["slices_left"]) == (3, 0)
    assert summary["lost"] >= 1  # the gap, and what else the kill left below
    assert bench.status()["streams"][0]["gaps"]
    assert bench.run("status").code == 3


def test_a_slice_that_retention_takes_is_a_gap_within_its_bounds(make: MakeBench) -> None:
    bench = past(make)
    fault = {"action": "kill_after", "service": "segment", "skip": 3}
    running = start_to_be_killed(bench, fault, *EVERYTHING, "--new", "--parallel", "2")
    assert running.wait().code == -signal.SIGKILL
    bench.sandbox.ask("faults", clear=True)
    bench.sandbox.ask("clock", advance=86_400)
    bench.sandbox.ask("grow", count=50, seconds=60)
    bench.sandbox.ask("tenant", retention=3600)
    ended, (plan, summary) = backfilled(bench)
    assert plan["unfinished"]
    assert (ended.code, summary["slices_left"]) == (3, 0)
    gaps = bench.status()["streams"][0]["gaps"]
    assert len(gaps) == summary["lost"] >= 1
    ends = {span["until"] for span in bench.status()["streams"][0]["spans"] if span["until"]}
    for gap in gaps:
        assert any(
            int(gap["after"]) < int(end) and int(gap["before"]) <= int(end) + 1 for end in ends
        )
    for lower, upper in itertools.pairwise(gaps):
        assert int(lower["before"]) <= int(upper["after"]) + 1  # both bounds are outside


def test_the_daemon_begins_above_what_a_backfill_holds_whatever_its_start(make: MakeBench) -> None:
    bench = past(make, 300)
    assert backfilled(bench, "--new")[0].code == 0
    bench.write_settings(poll__start="earliest")
    ended = bench.run("run", "--once")
    assert ended.code == 0, ended.err
    bench.sandbox.ask("grow", count=30)
    assert bench.run("run", "--once").code == 0
    truth = bench.sandbox.truth()
    assert truth["delivered"] == truth["expected"]
    assert not truth["duplicated"]


def test_events_that_retention_took_between_two_backfills_are_a_gap(make: MakeBench) -> None:
    bench = past(make, 100)
    assert backfilled(bench, "--new")[0].code == 0
    bench.sandbox.ask("clock", advance=60)
    bench.sandbox.ask("grow", count=20, seconds=10, kinds=["login"])
    bench.sandbox.ask("clock", advance=40 * 86_400)
    bench.sandbox.ask("grow", count=20, seconds=10, kinds=["login"])
    bench.sandbox.ask("clock", advance=60)
    ended, lines = backfilled(bench)
    assert ended.code == 3, ended.err
    assert lines[-1]["lost"] == 1
    (stream,) = bench.status()["streams"]
    (gap,) = stream["gaps"]
    lost = bench.sandbox.truth()["lost"]
    assert len(lost) == 20
    assert all(gap["after"] < log_id < gap["before"] for log_id in lost)
    assert stream["holes"] == []


def test_a_first_start_goes_on_where_a_backfill_found_its_range_too_young(make: MakeBench) -> None:
    bench = make()
    bench.write_settings(poll__start="now")
    bench.sandbox.ask("grow", count=40, seconds=200, ago=30, kinds=["login"])
    ended = bench.run("backfill", "--new", "--since", "5m", "--yes")
    assert ended.code == 0, ended.err
    assert "is settled" not in ended.out
    assert bench.run("run", "--once").code == 0
    assert bench.assert_conserved()["events"] == 40


def test_a_range_with_nothing_kept_or_nothing_in_it_is_told_so(make: MakeBench) -> None:
    bench = past(make, 300)
    ended = bench.run(
        "backfill", "--since", "2001-01-01", "--until", "2001-02-01", "--new", "--yes"
    )
    assert ended.code == 3
    assert "Auth0 no longer keeps any event of the range" in ended.out
    for odd in (("--since", "2099-01-01"), ("--since", "1d", "--until", "2d")):
        assert bench.run("backfill", *odd, "--yes").code == 2


def test_history_goes_only_to_the_named_destinations(make: MakeBench) -> None:
    routes = {"All": False, "Warehouses": {"all": True}}
    bench = past(make, 300)
    ended, _ = backfilled(bench, "--new", "--integrations", json.dumps(routes))
    assert ended.code == 0, ended.err
    assert messages(bench)
    assert all(message["integrations"] == routes for message in messages(bench))
    ended = bench.run("backfill", "--since", "7d", "--integrations", '{"Warehouses": true}')
    assert ended.code == 2
    assert '{"all": true}' in ended.err


def test_a_plan_tells_about_how_much_it_is(make: MakeBench) -> None:
    bench = past(make, 3000)
    ended, (plan,) = backfilled(bench, "--new", "--dry-run")
    assert ended.code == 0, ended.err
    assert 2000 < plan["estimate"]["events"] < 4000
    assert 300 < plan["estimate"]["of_interest"] < 1200
    assert plan["estimate"]["seconds"] is not None
    shown = bench.run("backfill", "--since", "earliest", "--dry-run")
    assert "about" in shown.out
    assert "missing" in shown.out


def test_a_range_that_is_no_range_is_a_usage_error(make: MakeBench) -> None:
    bench = past(make, 1)
    for odd in ("soon", "7", "2026-13-01", "2026-01-01T00:00:00", ""):
        assert bench.run("backfill", "--since", odd).code == 2


def test_longer_ago_than_there_are_years_is_the_earliest(make: MakeBench) -> None:
    bench = past(make, 200)
    ended = bench.run("backfill", "--since", "9999999d", "--new", "--dry-run", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["missing"]

"""`backfill --from-file` sends each event of its files once, through kills and in every shape."""

import gzip
import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import page, shell_blocks
from tests.process.bench import (
    COMMAND,
    LONG_GRACE,
    Bench,
    MakeBench,
    eventually,
    messages,
    sent,
    tracks,
)
from tests.process.kills import set_faults, start_to_be_killed

EARLIEST = "900" + "0" * 53


def call(url: str, body: dict[str, str] | None = None, token: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {token}"} if token else {}
    )
    request = urllib.request.Request(
        url, data=json.dumps(body).encode() if body else None, headers=headers
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def exported(bench: Bench) -> list[dict[str, Any]]:
    """Return the whole log of the tenant, as its API shows it."""
    facts, origin = bench.sandbox.facts, bench.sandbox.facts["auth0_url"].rstrip("/")
    asked = {name: facts[name] for name in ("client_id", "client_secret")}
    audience = f"https://{facts['domain']}/api/v2/"
    token = call(
        f"{origin}/oauth/token", {"grant_type": "client_credentials", "audience": audience, **asked}
    )
    records: list[dict[str, Any]] = []
    while True:
        last = records[-1]["log_id"] if records else EARLIEST
        page = call(f"{origin}/api/v2/logs?from={last}&take=100", token=token["access_token"])
        if not page:
            return records
        records += page


def streamed(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as a log stream sends it.

    It has an envelope and a raw user agent, but no `_id` and no `isMobile`.
    """
    data = {key: value for key, value in record.items() if key not in {"_id", "isMobile"}}
    if "user_agent" in data:
        data["user_agent"] = (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:93.0) Gecko/20100101 Firefox/93.0"
        )
    return {"log_id": record["log_id"], "data": data}


def lines(records: list[Any]) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


def tenant(make: MakeBench, count: int = 1500) -> Bench:
    bench = make(seed=12)
    bench.sandbox.ask("tenant", plan="unlimited")
    bench.overrides["poll__start"] = "now"
    bench.write_settings()
    bench.sandbox.ask("grow", count=count, seconds=86_400, ago=90_000)
    return bench


def assert_conserved(bench: Bench, upto: str) -> None:
    """Assert that every event up to an id was delivered once."""
    truth = bench.sandbox.truth()
    assert truth["delivered"] == truth["expected"] > 0, upto
    assert not truth["duplicated"]
    assert not truth["unexpected"]


def test_the_guide_sends_a_month_again_as_new_events_and_leaves_the_ledger_of_the_service_alone(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make, 200)
    bench.write_settings(poll__start="earliest")
    assert bench.run("run", "--once").code == 0
    before, position = tracks(bench), bench.position()
    (tmp_path / "archive").mkdir()
    archive = tmp_path / "archive/2026-01-31.json.gz"
    archive.write_bytes(gzip.compress(lines(exported(bench)).encode()))
    section = page("guides/from-files.md").split("\n## Send a month again\n")[1]
    (block,) = shell_blocks(section)
    typed = block.replace("/var/lib/auth0-segment-poller", str(tmp_path))
    # Without a terminal nobody can say yes.
    type_into_a_shell(typed.replace("--new\n", "--new --yes\n"), bench)
    after = tracks(bench)
    assert len(after) == len(set(after)) == 2 * len(before) > 0
    assert bench.position() == position


def type_into_a_shell(commands: str, bench: Bench) -> None:
    environ = os.environ | {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    shell = ["/bin/bash", "-e", "-c", commands]
    subprocess.run(shell, check=True, cwd=bench.folder, env=environ, capture_output=True)


def test_files_of_every_shape_arrive_once_and_a_second_run_sends_nothing(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make)
    records = exported(bench)
    parts = [records[number::4] for number in range(4)]
    files = [tmp_path / name for name in ("api.ndjson", "stream.log", "array.json", "hook")]
    files[0].write_text(lines(parts[0]))
    files[1].write_bytes(gzip.compress(lines([streamed(record) for record in parts[1]]).encode()))
    files[2].write_text(json.dumps(parts[2]))
    files[3].write_text(json.dumps({"logs": [streamed(record) for record in parts[3]]}))
    ended, (plan, *each, total) = sent(bench, "--new", *files)
    assert ended.code == 0, ended.err
    assert [(file["kind"], file["gzip"], file["offset"]) for file in plan["files"]] == [
        ("lines", False, 0),
        ("lines", True, 0),
        ("array", False, 0),
        ("envelope", False, 0),
    ]
    assert [count["read"] for count in each] == [len(part) for part in parts]
    assert total["read"] == total["forwarded"] + total["filtered"] == len(records)
    assert_conserved(bench, records[-1]["log_id"])
    arrived = tracks(bench)
    again, (*_, total) = sent(bench, *files)
    assert again.code == 0, again.err
    assert total["read"] == 0
    assert tracks(bench) == arrived


def test_an_event_has_the_same_message_ids_from_a_file_of_either_kind_and_from_the_api(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make, 300)
    records = exported(bench)
    ids = []
    for number, shape in enumerate((lambda record: record, streamed)):
        file = tmp_path / f"{number}.ndjson"
        file.write_text(lines([shape(record) for record in records]))
        assert sent(bench, "--new", file)[0].code == 0
        ids.append(tracks(bench))
        bench.ledger.unlink()
        Path(f"{bench.ledger}.known").unlink()
    ended = bench.run("backfill", "--since", "earliest", "--yes", "--new")
    assert ended.code == 0, ended.err
    everything = tracks(bench)
    assert set(ids[0]) == set(ids[1]) == set(everything)
    assert len(everything) == 3 * len(set(everything))


def test_a_file_backfill_that_is_killed_at_any_moment_goes_on_and_loses_nothing(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make, 2000)
    records = exported(bench)
    file = tmp_path / "log.ndjson.gz"
    file.write_bytes(gzip.compress(lines(records).encode()))
    kills, at = 0, []
    for skip in (1, 3, 2, 4):
        fault = {"action": "kill_after", "service": "segment", "skip": skip}
        command = ("backfill", "--yes", "--json", "--new", "--from-file", str(file))
        running = start_to_be_killed(bench, fault, *command)
        kills += running.wait().code == -signal.SIGKILL
        set_faults(bench)
        planned = json.loads(
            bench.run("backfill", "--json", "--dry-run", "--from-file", str(file)).out
        )
        at.append(planned["files"][0]["line"])
    ended, (_, count, _) = sent(bench, file)
    assert ended.code == 0, ended.err
    assert kills == 4
    assert at == sorted(at)
    assert 0 < at[0] < at[-1]
    assert count["read"] == len(records) - at[-1]
    arrived = tracks(bench)
    assert (
        len(arrived) - len(set(arrived)) <= kills * 200
    )  # at most a page with each kill, two messages an event
    assert_conserved(bench, records[-1]["log_id"])


def test_ctrl_c_settles_what_is_in_hand_and_says_how_to_go_on(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make)
    bench.constants |= LONG_GRACE
    file = tmp_path / "log.ndjson"
    file.write_text(lines(exported(bench)))
    slow = {"action": "drip", "service": "segment", "seconds": 0.05, "times": None}
    bench.sandbox.ask("faults", clear=True, set=[slow])
    running = bench.start("backfill", "--yes", "--json", "--new", "--from-file", str(file))
    eventually("a request", lambda: len(bench.sandbox.ask("messages")) > 0)
    running.signal(signal.SIGINT)
    ended = running.wait()
    assert ended.code == 130
    assert "run the same command again" in ended.err
    bench.sandbox.ask("faults", clear=True)
    assert sent(bench, file)[0].code == 0
    arrived = tracks(bench)
    assert len(arrived) == len(set(arrived))
    assert_conserved(bench, "")


def test_events_that_the_daemon_settled_are_skipped_and_not_counted_again(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make, 400)
    bench.write_settings(poll__start="earliest")
    assert bench.run("run", "--once").code == 0
    arrived = len(bench.sandbox.ask("messages"))
    counted = bench.status()["streams"][0]["events"]
    records = exported(bench)
    old = [
        record | {"log_id": f"9002019{record['log_id'][7:]}", "date": "2019-03-01T00:00:00.000Z"}
        for record in records
    ]
    file = tmp_path / "log.ndjson"
    file.write_text(lines(records))
    ended, (_, count, _) = sent(bench, file)
    assert ended.code == 0, ended.err
    assert count["skipped"] >= 400
    assert count["forwarded"] == 0
    assert len(bench.sandbox.ask("messages")) == arrived
    assert bench.status()["streams"][0]["events"]["forwarded"] == counted["forwarded"]
    file.write_text(lines(old))
    ended, (_, count, _) = sent(bench, file)
    assert count["skipped"] == 0
    assert count["forwarded"] > 0


def test_bad_records_are_told_by_line_and_kept_and_the_rest_goes_on(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make, 100)
    good = lines(exported(bench)).splitlines(keepends=True)
    file = tmp_path / "log.ndjson"
    file.write_text(
        "".join([*good[:10], "{no json\n", '{"type": "s"}\n', *good[10:-1], good[-1][:50]])
    )
    ended, (_, count, _) = sent(bench, "--new", file)
    assert ended.code == 3
    assert count["bad_records"] == count["dead_lettered"] == 2
    assert [line["line"] for line in ended.events("record.unreadable")] == [11, 12]
    assert count["problem"].startswith(f"breaks off at line {len(good) + 2}")
    letters = json.loads(bench.run("dead-letters", "list", "--json").out)
    assert {letter["reason"] for letter in letters} == {"unreadable_record"}
    assert len({letter["log_id"] for letter in letters}) == 2
    file.write_text("".join([*good[:10], "{no json\n", '{"type": "s"}\n', *good[10:]]))
    ended, (_, count, _) = sent(bench, file)
    assert ended.code == 0, ended.err
    assert (count["read"], count["problem"]) == (1, None)
    assert_conserved(bench, "")


def test_a_range_narrows_what_is_taken_and_the_rest_can_still_be_sent(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make, 300)
    records = exported(bench)
    file = tmp_path / "log.ndjson"
    file.write_text(lines(records))
    middle = records[150]["log_id"][3:17]
    at = f"{middle[:4]}-{middle[4:6]}-{middle[6:8]}T{middle[8:10]}:{middle[10:12]}:{middle[12:14]}Z"
    ended, (_, late, _) = sent(bench, "--new", "--since", at, file)
    assert ended.code == 0, ended.err
    assert late["outside"] > 100
    assert sent(bench, "--since", at, file)[1][1]["read"] == 0
    ended, (_, early, _) = sent(bench, "--until", at, file)
    assert early["outside"] == late["read"] - late["outside"]
    assert_conserved(bench, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from-file",),
        ("some.json",),
        ("--from-file", "missing.json"),
        ("--from-file", "some.json", "--record", "a."),
        (),
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(
    make: MakeBench, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "some.json").write_text("[]")
    assert make().run("backfill", *arguments).code == 2


def test_an_expression_finds_the_events_in_an_envelope_of_any_form(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make, 60)
    file = tmp_path / "log.ndjson"
    file.write_text(lines([{"payload": {"auth0": record}} for record in exported(bench)]))
    ended, _ = sent(bench, "--new", file, "--record", "payload.auth0")
    assert ended.code == 0, ended.err
    assert_conserved(bench, "")


def test_each_user_of_a_file_is_identified_once_at_the_end_and_history_goes_where_it_is_told(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = tenant(make, 400)
    file = tmp_path / "log.ndjson"
    file.write_text(lines(exported(bench)))
    routes = {"All": False, "Warehouses": {"all": True}}
    ended, (*_, total) = sent(bench, "--new", "--integrations", json.dumps(routes), file)
    assert ended.code == 0, ended.err
    assert total["pending_identifies"] == 0
    arrived = messages(bench)
    kinds = [message["type"] for message in arrived]
    first = kinds.index("identify")
    assert set(kinds[first:]) == {"identify"}
    identified = [message["userId"] for message in arrived[first:]]
    assert sorted(identified) == sorted({message["userId"] for message in arrived[:first]})
    assert all(message["integrations"] == routes for message in arrived)


def test_no_user_of_a_file_is_identified_with_no_identify(make: MakeBench, tmp_path: Path) -> None:
    bench = tenant(make, 200)
    file = tmp_path / "log.ndjson"
    file.write_text(lines(exported(bench)))
    ended, _ = sent(bench, "--new", "--no-identify", file)
    assert ended.code == 0, ended.err
    assert {message["type"] for message in messages(bench)} == {"track"}

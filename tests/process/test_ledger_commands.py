"""The commands `dead-letters` and `ledger`, by which an operator works on the ledger."""

import json
import re
import sqlite3
from contextlib import closing

import pytest

from tests.process.bench import NEVER_LOGGED, Bench, eventually, messages

USERS = ["auth0|refused-1", "auth0|refused-2"]
LOGIN = {"type": "s", "user_name": "poison@example.com", "ip": "203.0.113.1", "client_name": "x"}


def poison(bench: Bench) -> list[str]:
    """Make two dead letters that Segment refuses and one that is no call, and return their ids."""
    bench.sandbox.ask("collector", refused_users=USERS)
    ids: list[str] = bench.sandbox.ask(
        "append", records=[LOGIN | {"user_id": user} for user in USERS] + [LOGIN]
    )
    bench.sandbox.ask("grow", count=60, seconds=0)
    assert bench.run("run", "--once").code == 0
    return ids


def without_secrets(bench: Bench) -> None:
    text = bench.settings.read_text()
    bench.settings.write_text(re.sub(r"(?m)^(client_secret|write_key) = .*$", "", text) + "\n")


def listed(bench: Bench) -> dict[str, str]:
    return {
        row["log_id"]: row["reason"]
        for row in json.loads(bench.run("dead-letters", "list", "--json").out)
    }


def test_dead_letters_are_listed_without_people_and_shown_with_them(plain: Bench) -> None:
    ids = poison(plain)
    plain.assert_conserved(dead_letters=2)
    without_secrets(plain)
    assert listed(plain) == dict(zip(ids, ["refused_by_segment"] * 2 + ["no_user_id"], strict=True))
    text = plain.run("dead-letters", "list").out
    assert "3 dead letters" in text
    assert NEVER_LOGGED.search(text) is None
    shown = json.loads(plain.run("dead-letters", "show", ids[0]).out)
    assert (shown["event"]["user_id"], shown["status"]) == (USERS[0], 400)
    unknown = "90020260131080003417000000000000000001223372036854778213"
    missing = plain.run("dead-letters", "show", unknown)
    assert missing.code == 78
    assert f"`dead-letters list` shows the ids. {unknown} is not among them" in missing.err


def test_a_replay_sends_under_the_same_ids_and_removes_what_was_acknowledged(plain: Bench) -> None:
    ids = poison(plain)
    before = plain.status()["streams"][0]["events"]
    ended = plain.run("dead-letters", "replay", "--all", "--yes")
    assert ended.code == 3, ended.err
    assert "0 replayed, 3 still dead" in ended.out
    plain.sandbox.ask("collector", refused_users=[])
    ended = plain.run("dead-letters", "replay", "--reason", "refused_by_segment", "--yes")
    assert (ended.code, ended.out.strip()) == (0, "2 replayed, 0 still dead"), ended.err
    assert set(listed(plain)) == {ids[2]}
    plain.assert_conserved()
    after = plain.status()["streams"][0]["events"]
    assert after["forwarded"] == before["forwarded"] + 2
    assert after["dead_lettered"] == before["dead_lettered"] - 2
    again = plain.run("dead-letters", "replay", "--reason", "refused_by_segment")
    assert (again.code, again.err) == (0, "")
    assert "no dead letter has the reason refused_by_segment: there is nothing to do" in again.out


def test_a_reason_that_does_not_exist_is_an_error_of_every_command(plain: Bench) -> None:
    poison(plain)
    for command in ("list", "replay", "discard"):
        typo = plain.run("dead-letters", command, "--reason", "no_user")
        assert (typo.code, typo.out) == (78, "")
        assert "no_user_id (1), refused_by_segment (2), too_large" in typo.err
    some = plain.run("dead-letters", "list", "--reason", "no_user_id")
    assert (some.code, "1 dead letter" in some.out) == (0, True)
    plain.run("dead-letters", "discard", "--all", "--yes")
    none = plain.run("dead-letters", "list", "--reason", "no_user_id")
    assert (none.code, none.out) == (0, "0 dead letters\n")
    for command in ("replay", "discard"):
        ended = plain.run("dead-letters", command, "--all")
        assert (ended.code, ended.out) == (0, "there are no dead letters: there is nothing to do\n")


def test_a_letter_is_kept_with_the_digits_that_came_and_can_be_replayed(plain: Bench) -> None:
    odd = (
        '"big": 123456789012345678901234567890, "huge": 1e400, '
        '"long": 0.10000000000000000000001, "z": -0.0'
    )
    known = f'"_id": "90020261101", "date": "2026-11-01T10:00:00Z", "details": {{{odd}}}'
    record = f'{{{known}, "type": "s", "user_id": "{USERS[0]}"}}'
    plain.folder.joinpath("log.ndjson").write_text(record + "\n")
    plain.sandbox.ask("collector", refused_users=USERS)
    plain.run("backfill", "--new", "--yes", "--from-file", "log.ndjson")
    assert listed(plain) == {"90020261101": "refused_by_segment"}
    with closing(sqlite3.connect(plain.ledger)) as connection:
        assert connection.execute("SELECT event FROM dead_letter").fetchall() == [(record,)]
    shown = plain.run("dead-letters", "show", "90020261101").out
    json.loads(shown, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert re.findall(r'"(?:big|huge|long|z)": ([^,\n]+)', shown) == re.findall(
        r'": ([^,}{]+)', odd
    )
    plain.sandbox.ask("collector", refused_users=[])
    ended = plain.run("dead-letters", "replay", "--all", "--yes")
    assert (ended.code, ended.out.strip()) == (0, "1 replayed, 0 still dead"), ended.err
    assert listed(plain) == {}


def test_a_replay_that_cannot_reach_segment_keeps_the_letters(plain: Bench) -> None:
    poison(plain)
    plain.sandbox.ask("collector", refused_users=[])
    plain.sandbox.ask(
        "faults",
        set=[
            {
                "action": "status",
                "service": "segment",
                "status": 401,
                "body": '{"success": false}',
                "times": None,
            }
        ],
    )
    assert plain.run("dead-letters", "replay", "--all", "--yes").code == 78
    assert len(listed(plain)) == 3


def test_letters_are_discarded_by_name_only(plain: Bench) -> None:
    ids = poison(plain)
    without_secrets(plain)
    assert plain.run("dead-letters", "discard").code == 2
    assert plain.run("dead-letters", "discard", ids[0], "--all").code == 2
    assert "1 discarded" in plain.run("dead-letters", "discard", ids[0], "--yes").out
    assert set(listed(plain)) == set(ids[1:])
    unanswered = plain.run("dead-letters", "discard", "--all")
    assert (unanswered.code, "add --yes" in unanswered.err) == (2, True)
    assert set(listed(plain)) == set(ids[1:])
    assert "2 discarded" in plain.run("dead-letters", "discard", "--all", "--yes").out


def test_old_letters_go_by_themselves(plain: Bench) -> None:
    poison(plain)
    plain.write_settings(state__dead_letter_retention="1s")
    discarded: list[int] = []

    def discard() -> bool:
        ended = plain.run("run", "--once")
        discarded.extend(line["count"] for line in ended.events("dead_letters.discarded"))
        return sum(discarded) == 3

    eventually("the end of all", discard)  # a run may take less time than the retention
    assert listed(plain) == {}
    assert plain.status()["streams"][0]["events"]["dead_lettered"] == 3
    assert not plain.run("run", "--once").events("dead_letters.discarded")


def test_a_position_is_moved_back_and_what_was_sent_is_sent_again_under_the_same_ids(
    plain: Bench,
) -> None:
    plain.run("run", "--once")
    truth = plain.assert_conserved()
    ended = plain.run("ledger", "set-position", "earliest", "--yes")
    assert ended.code == 0, ended.err
    plain.run("run", "--once")
    again = plain.assert_conserved()
    assert len(again["resent"]) == truth["expected"] + truth["events"]
    assert again["expected"] == truth["expected"]


def test_a_position_is_moved_forward_and_what_lies_between_belongs_to_no_span(plain: Bench) -> None:
    plain.run("run", "--once")
    before = plain.position()
    plain.sandbox.ask("clock", advance=10)
    plain.sandbox.ask("grow", count=50, seconds=1, ago=2)
    grown = plain.sandbox.ask("grow", count=50, seconds=0.1, ago=0)
    ended = plain.run("ledger", "set-position", grown["first"], "--yes")
    assert ended.code == 0, ended.err
    plain.run("run", "--once")
    lost = plain.sandbox.truth()["lost"]
    assert lost
    assert all(before < log_id <= grown["first"] for log_id in lost)
    (stream,) = json.loads(plain.run("ledger", "show", "--json").out)
    first, live = stream["spans"]
    assert (first["reached"], first["until"], live["after"], live["until"]) == (
        before,
        before,
        grown["first"],
        None,
    )
    assert "live" in plain.run("ledger", "show").out


def test_a_position_is_not_moved_while_the_daemon_runs_nor_unasked(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        ended = plain.run("ledger", "set-position", "earliest", "--yes")
        assert ended.code == 75
        assert f"process {daemon.process.pid}" in ended.err
        daemon.stop()
    before = plain.position()
    unanswered = plain.run("ledger", "set-position", "earliest")
    assert (unanswered.code, "add --yes" in unanswered.err) == (2, True)
    assert plain.run("ledger", "set-position", "soon", "--yes").code == 2
    assert plain.run("ledger", "set-position", "2999-01-01", "--yes").code == 2
    assert plain.position() == before


def test_a_person_is_shown_and_forgotten_beside_the_daemon(plain: Bench) -> None:
    poison(plain)
    without_secrets(plain)
    (held,) = json.loads(plain.run("ledger", "person", "show", USERS[0], "--json").out)
    assert len(held["dead_letters"]) == 1
    assert plain.run("ledger", "person", "forget", USERS[0]).code == 2  # nobody answers
    plain.write_settings()
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        ended = plain.run("ledger", "person", "forget", USERS[0], "--yes")
        assert (ended.code, "1 dead letter discarded on request" in ended.out) == (0, True), (
            ended.err
        )
        daemon.stop()
    assert "holds nothing of this person" in plain.run("ledger", "person", "show", USERS[0]).out
    assert plain.status()["streams"][0]["events"]["discarded"] == 1


def test_a_stream_moves_to_another_ledger_and_goes_on_there(plain: Bench) -> None:
    ids = poison(plain)
    moved = plain.folder / "stream.jsonl"
    with plain.start("run") as daemon:
        eventually("the daemon runs", lambda: daemon.says("cycle.finished"))
        refused = plain.run("ledger", "export", "stream.jsonl")
        assert (refused.code, moved.exists()) == (75, False)
    ended = plain.run("ledger", "export", "stream.jsonl")
    assert (ended.code, ended.out) == (0, ""), ended.err
    assert "personal data" in ended.err
    assert moved.stat().st_mode & 0o777 == 0o600
    assert plain.run("ledger", "export", "stream.jsonl").code == 2
    before = plain.status()["streams"][0]
    refused = plain.run("ledger", "import", "stream.jsonl")
    assert (refused.code, "stream-exists" in refused.err) == (78, True)
    plain.write_settings(state__url=f"sqlite:///{plain.folder / 'new/ledger.db'}")
    assert plain.run("ledger", "import", "stream.jsonl").code == 0
    after = plain.status()["streams"][0]
    assert [after[name] for name in ("events", "dead_letters")] == [
        before[name] for name in ("events", "dead_letters")
    ]
    assert set(listed(plain)) == {*ids}
    taken = len(messages(plain))
    assert plain.run("run", "--once").code == 0
    assert len(messages(plain)) == taken

"""The commands `ledger key`, from the changed key to the last event that arrived."""

import re
from typing import Any

from tests.process.bench import Bench, eventually

WRONG = "wrongWriteKey0123456789abcdef"
ROTATED = "rotatedWriteKey0123456789abcdef"


def use_key(bench: Bench, key: str, **changes: Any) -> None:
    facts = bench.sandbox.facts
    segment = {"api_token": facts["api_token"], "api_endpoint": facts["api_url"]}
    named = {f"segment__{name}": value for name, value in segment.items()}
    named["segment__source_id"] = "src_sandbox"
    bench.write_settings(segment__write_key=key, **named, **changes)


def verified(bench: Bench) -> int:
    """Return the exit code of a comparison with Segment's own counts, when they are final."""
    bench.sandbox.ask("clock", advance=7200)
    return bench.run("verify", "--segment", "--since", "2d").code


def arrived(bench: Bench, *kinds: str) -> list[dict[str, Any]]:
    """Return the messages of these kinds that the right source took, in order."""
    arrivals = bench.sandbox.ask("messages", count=20_000)
    return [each for each in arrivals if each["fate"] == "published" and each["type"] in kinds]


def identified(bench: Bench) -> set[str]:
    return {each["user_id"] for each in arrived(bench, "identify")}


def grow(bench: Bench, count: int) -> None:
    """Let events happen that are old enough to be read once and for all."""
    bench.sandbox.ask("clock", advance=3600)
    bench.sandbox.ask("grow", count=count, seconds=600, ago=1200)


def assert_nothing_is_lost_or_double(bench: Bench) -> None:
    truth = bench.sandbox.truth()
    assert (truth["lost"], truth["duplicated"], truth["unexpected"]) == ([], [], [])


def test_a_rotated_key_goes_on_under_the_same_ids(plain: Bench) -> None:
    key = plain.sandbox.facts["write_key"]
    assert plain.run("run", "--once").code == 0
    plain.sandbox.ask("source", write_keys=[key, ROTATED])
    use_key(plain, ROTATED)
    refused = plain.run("run", "--once")
    assert refused.code == 78
    assert "error[stream-mismatch]" in refused.err
    assert "ledger key rotated" in refused.err
    assert "ledger key was-wrong" in refused.err
    unanswered = plain.run("ledger", "key", "rotated")
    assert (unanswered.code, "add --yes" in unanswered.err) == (2, True)
    ended = plain.run("ledger", "key", "rotated", "--yes")
    assert ended.code == 0, ended.err
    assert "check" in ended.out
    before = len(arrived(plain, "identify", "track", "group"))
    plain.run("ledger", "set-position", "earliest", "--yes")
    assert plain.run("run", "--once").code == 0
    assert_nothing_is_lost_or_double(plain)
    assert len(arrived(plain, "identify", "track", "group")) == before
    assert "nothing to do" in plain.run("ledger", "key", "rotated", "--yes").out


def test_events_that_went_to_a_wrong_key_are_sent_again_and_no_others(plain: Bench) -> None:
    plain.sandbox.ask("collector", dedupes_wrong_keys=True)
    plain.run("run", "--once")
    known = {each["message_id"] for each in arrived(plain, "track", "identify", "group")}
    plain.sandbox.ask("clock", advance=3600)
    since = plain.sandbox.ask("clock", advance=1)
    use_key(plain, WRONG)
    plain.run("ledger", "key", "rotated", "--yes")  # a mistake
    grow(plain, 250)
    assert plain.run("run", "--once").code == 0
    assert {each["message_id"] for each in arrived(plain, "track", "identify", "group")} == known
    position = plain.position()

    use_key(plain, plain.sandbox.facts["write_key"])
    assert "ledger key was-wrong" in plain.run("run", "--once").err
    use_key(plain, WRONG)
    assert verified(plain) == 3
    use_key(plain, plain.sandbox.facts["write_key"])
    ended = plain.run("ledger", "key", "was-wrong", "--since", since, "--yes")
    assert ended.code == 0, ended.err
    assert plain.position() == position
    assert "sent to a wrong write key" in plain.run("status").out
    grow(plain, 60)
    assert plain.run("run", "--once").code == 0  # the service goes on from its position
    told = re.search(r"backfill --since (\S+)", ended.out)
    assert told is not None
    sent_again = plain.run("backfill", "--since", told[1], "--yes")
    assert sent_again.code == 0, sent_again.err
    assert_nothing_is_lost_or_double(plain)
    assert "wrong write key" not in plain.run("status").out
    assert identified(plain) >= {each["user_id"] for each in arrived(plain, "track")}
    events = plain.status()["streams"][0]["events"]
    assert events["forwarded"] == plain.sandbox.truth()["events"]
    assert "nothing to do" in plain.run("backfill", "--since", told[1], "--yes").out
    assert verified(plain) == 0
    before = len(arrived(plain, "track"))
    plain.run("backfill", "--since", "earliest", "--again", "--yes")  # the ids of all are known
    assert len(arrived(plain, "track")) == before


def test_a_wrong_key_at_the_first_start_loses_nothing(plain: Bench) -> None:
    use_key(plain, WRONG, segment__source_name="web")
    plain.run("run", "--once")
    plain.run("backfill", "--since", "earliest", "--yes")
    assert not arrived(plain, "track")
    use_key(plain, plain.sandbox.facts["write_key"], segment__source_name="web")
    ended = plain.run("ledger", "key", "was-wrong", "--since", "earliest", "--yes")
    assert ended.code == 0, ended.err
    assert plain.run("backfill", "--since", "earliest", "--yes").code == 0
    assert_nothing_is_lost_or_double(plain)
    assert identified(plain) >= {each["user_id"] for each in arrived(plain, "track")}


def test_a_key_is_not_explained_while_the_daemon_runs_nor_unasked(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        for word in (["rotated"], ["was-wrong", "--since", "1h"]):
            ended = plain.run("ledger", "key", *word, "--yes")
            assert (ended.code, f"process {daemon.process.pid}" in ended.err) == (75, True)
        daemon.stop()
    unanswered = plain.run("ledger", "key", "was-wrong", "--since", "earliest")
    assert (unanswered.code, "add --yes" in unanswered.err) == (2, True)
    assert "about" in unanswered.out or "at most" in unanswered.out
    for since in ("2999-01-01", "soon"):
        assert plain.run("ledger", "key", "was-wrong", "--since", since, "--yes").code == 2
    backwards = ["--since", "2026-01-02", "--until", "2026-01-01"]
    assert "after --since" in plain.run("ledger", "key", "was-wrong", *backwards, "--yes").err
    assert "wrong write key" not in plain.run("status").out

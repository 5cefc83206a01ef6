"""`verify --segment` as a process: it names what Segment dropped, and nothing else."""

import json
from typing import Any

import jsonschema
import pytest

from tests.paths import TESTS
from tests.process.bench import Bench, MakeBench

AGO_S = 7200
"""The services live in the past while the messages are sent, so that their hour is final later."""
SCHEMA = json.loads((TESTS / "schemas/verify.json").read_text())


@pytest.fixture
def bench(make: MakeBench) -> Bench:
    """A tenant that had an hour of events two hours ago."""
    made = make(seed=1)
    made.sandbox.ask("clock", advance=-AGO_S)
    made.sandbox.ask("grow", count=350, seconds=3600)
    return made


def settings(bench: Bench, **changes: Any) -> None:
    facts = bench.sandbox.facts
    bench.write_settings(
        **{
            "segment__api_endpoint": facts["api_url"],
            "segment__api_token": facts["api_token"],
            "segment__source_id": "src_sandbox",
            **changes,
        }
    )


def compared(bench: Bench, *, code: int) -> dict[str, Any]:
    """Return the comparison with Segment, two hours later."""
    bench.sandbox.ask("clock", advance=AGO_S)
    ended = bench.run("verify", "--segment", "--json")
    assert ended.code == code, ended.err + ended.out
    said = json.loads(ended.out)
    jsonschema.validate(said, SCHEMA)
    found: dict[str, Any] = said["source"]
    days = [day["source"] for day in said["days"]]
    rows = found["hours"]
    assert sum(day["acknowledged"] for day in days) == sum(row["acknowledged"] for row in rows)
    return found


def lost(found: dict[str, Any]) -> dict[str, int]:
    """Return what is lost by reason, with what left no trace."""
    sums: dict[str, int] = {}
    for row in found["hours"]:
        for reason, number in [*row["lost"].items(), ("", row["missing"])]:
            sums[reason] = sums.get(reason, 0) + number
    return {reason: number for reason, number in sums.items() if number}


def test_nothing_differs_where_segment_received_everything(bench: Bench) -> None:
    settings(bench, segment__generation="other")
    assert bench.run("run", "--once").code == 0
    found = compared(bench, code=0)
    assert lost(found) == {}
    assert {row["kind"] for row in found["hours"]} >= {"identify", "track"}
    assert sum(row["received"] for row in found["hours"]) == len(bench.sandbox.ask("messages"))
    said = bench.run("verify", "--segment").out
    assert "Segment received all of" in said
    assert "acknowledged" in said


def test_each_drop_is_named_with_its_reason_and_what_to_do(bench: Bench) -> None:
    settings(bench)
    bench.sandbox.ask("source", disabled_events=["Signed Up"])
    assert bench.run("run", "--once").code == 0
    fates = bench.sandbox.ask("collector")
    found = compared(bench, code=3)
    assert lost(found) == {"event_setting": fates["event_setting"]}
    said = bench.run("verify", "--segment").out
    assert "switched off in the source" in said
    assert "--again" in said


def test_messages_under_a_wrong_key_leave_no_trace_and_are_named(bench: Bench) -> None:
    settings(bench, segment__write_key="w" * 32, segment__source_name="web")
    assert bench.run("run", "--once").code == 0
    dropped = bench.sandbox.ask("collector")["dropped"]
    assert lost(compared(bench, code=3)) == {"": dropped}
    assert "ledger key was-wrong" in bench.run("verify", "--segment").out


def test_a_missing_token_or_role_is_named_with_what_to_do(bench: Bench) -> None:
    bench.write_settings()
    assert bench.run("run", "--once").code == 0
    ended = bench.run("verify", "--segment")
    assert (ended.code, "segment.api_token" in ended.err) == (78, True), ended.err
    settings(bench)
    bench.sandbox.ask("workspace", roles=[])
    ended = bench.run("verify", "--segment")
    assert (ended.code, "its roles" in ended.err) == (78, True), ended.err

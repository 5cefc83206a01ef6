"""The output of `--json` follows the schema of its command, in every state of the ledger."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.paths import TESTS
from tests.process.bench import Bench, MakeBench

SCHEMAS = json.loads((TESTS / "schemas/commands.json").read_text())


def check(name: str, value: Any) -> None:
    jsonschema.validate(value, {**SCHEMAS, "$ref": f"#/$defs/{name}"})


def shown(bench: Bench, name: str, *command: str) -> Any:
    """Return the JSON that a command prints, which is valid and has nothing beside it."""
    ended = bench.run(*command)
    value = json.loads(ended.out)
    check(name, value)
    return value


def test_every_command_keeps_to_its_schema_whatever_has_happened(make: MakeBench) -> None:
    bench = make(seed=3, events=300)
    bench.sandbox.ask(
        "append", records=[{"type": "s", "date": "soon", "user_id": "auth0|x"}, {"type": None}]
    )
    assert shown(bench, "check", "check", "--json")["code"] == 0
    assert shown(bench, "preview", "preview", "--json", "--last", "20")
    assert bench.run("run", "--once").code == 0
    assert shown(bench, "status", "status", "--json")["streams"][0]["dead_letters"] == 2
    letters = shown(bench, "dead_letters", "dead-letters", "list", "--json")
    shown(bench, "dead_letter", "dead-letters", "show", letters[0]["log_id"])
    shown(bench, "ledger", "ledger", "show", "--json")
    bench.sandbox.ask(
        "faults",
        set=[
            {
                "action": "status",
                "status": 401,
                "body": '{"success": false}',
                "service": "segment",
                "times": None,
            }
        ],
    )
    bench.sandbox.ask("grow", count=30)
    assert bench.run("run", "--once").code == 78
    shown(bench, "check", "check", "--json")
    shown(bench, "status", "status", "--json")


def test_a_backfill_prints_its_plan_and_its_summary(make: MakeBench) -> None:
    bench = make(seed=3)
    bench.sandbox.ask("grow", count=500, seconds=86_400, ago=90_000)
    ended = bench.run("backfill", "--since", "earliest", "--new", "--yes", "--json")
    plan, summary = map(json.loads, ended.out.splitlines())
    check("backfill_plan", plan)
    check("backfill_summary", summary)
    shown(bench, "status", "status", "--json")


def test_a_backfill_from_files_prints_its_plan_each_file_and_their_sum(
    make: MakeBench, tmp_path: Path
) -> None:
    bench = make(seed=3)
    good, bad = tmp_path / "good.ndjson", tmp_path / "bad.ndjson"
    good.write_text(
        '{"log_id": "90020240101000000000000000000000000000000000000000000001", "type": "fp"}\n'
    )
    bad.write_text("no log\n" * 20)
    ended = bench.run("backfill", "--from-file", str(good), str(bad), "--new", "--yes", "--json")
    plan, *files, total = map(json.loads, ended.out.splitlines())
    check("file_plan", plan)
    assert len(files) == 2
    for file in files:
        check("file", file)
    check("file_total", total)


def test_a_field_too_many_or_too_few_is_seen() -> None:
    good = {"code": 0, "findings": []}
    check("check", good)
    for bad in ({"code": 0}, {**good, "more": 1}, {**good, "code": 1}):
        with pytest.raises(jsonschema.ValidationError):
            check("check", bad)

"""A settings file with routes: one tenant, and a Segment source for each route."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.paths import TESTS
from tests.process.bench import Bench, Running, SandboxThread, eventually
from tests.process.template import Template

SCHEMAS = json.loads((TESTS / "schemas/commands.json").read_text())["$defs"]
SHOP, REST = "log.client_name == 'Web shop'", None


class RoutedBench(Bench):
    """A tenant with routes. Each route but the last has a sandbox of its own for its source."""

    routes: dict[str, tuple[str | None, str]]
    """The condition and the Segment endpoint of each route."""

    def write_settings(self, **changes: Any) -> None:
        super().write_settings(**changes)
        text = re.sub(r"write_key = .*\nendpoint = .*\n", "", self.settings.read_text())
        for name, (when, endpoint) in self.routes.items():
            values = {"name": name, "when": when, "source_name": name, "endpoint": endpoint}
            values["write_key"] = self.sandbox.facts["write_key"]
            text += "[[routes]]\n"
            text += "".join(f"{key} = {json.dumps(each)}\n" for key, each in values.items() if each)
        self.settings.write_text(text)


class Routed:
    """The tenant, and the sources of its two routes."""

    def __init__(self, path: Path, template: Template | None, stack: ExitStack) -> None:
        self.tenant = SandboxThread(seed=1, events=60, plan="essentials-tenfold")
        self.shop = SandboxThread(seed=2)
        stack.callback(self.tenant.close)
        stack.callback(self.shop.close)
        self.bench = RoutedBench(self.tenant, path, template=template)
        self.bench.routes = {
            "shop": (SHOP, self.shop.facts["segment_url"]),
            "rest": (REST, self.tenant.facts["segment_url"]),
        }
        self.bench.write_settings()

    def ids(self) -> tuple[set[str], set[str]]:
        """Return the events that arrived at the shop, and those that arrived elsewhere."""
        return tracks(self.shop), tracks(self.tenant)

    def delivered(self) -> int:
        return sum(map(len, self.ids()))

    def expected(self) -> int:
        return int(self.tenant.truth()["expected"])

    def requests(self, path: str) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = self.tenant.ask("requests", service="auth0", path=path)
        return seen


def tracks(sandbox: SandboxThread) -> set[str]:
    return {
        f"{each['user_id']} {each['event']} {each['timestamp']}"
        for each in sandbox.ask("messages", first=0, count=100_000)
        if each["type"] == "track" and each["fate"] == "published"
    }


@pytest.fixture
def routed(tmp_path: Path, template: Template) -> Iterator[Routed]:
    with ExitStack() as stack:
        yield Routed(tmp_path, template, stack)


def lines(running: Running, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in running.err.splitlines() if line.startswith("{"))
    return [line for line in found if line["event"] == event]


def test_a_blocked_route_stops_no_other_and_both_keep_to_one_rate_limit(routed: Routed) -> None:
    refusal = {"action": "status", "status": 401, "body": '{"success": false}', "times": None}
    routed.shop.ask("faults", set=[{**refusal, "service": "segment"}])
    with routed.bench.start("run") as running:
        eventually("the rest", lambda: routed.ids()[1])
        blocked = eventually("the shop", lambda: lines(running, "daemon.blocked"))
        assert {line["pipeline"] for line in blocked} == {"config.shop"}
        routed.tenant.ask("grow", count=300, seconds=0)
        before = len(routed.ids()[1])
        eventually("more of the rest", lambda: len(routed.ids()[1]) > before)
        assert not routed.ids()[0]
        report = json.loads(routed.bench.run("status", "--json").out)
        jsonschema.validate(report, {"$defs": SCHEMAS, "$ref": "#/$defs/pipelines"})
        states = [(each["pipeline"], each["state"]) for each in report["pipelines"]]
        assert states == [("config.shop", "blocked"), ("config.rest", "running")]
        routed.shop.ask("faults", clear=True)
        eventually("everything", lambda: routed.delivered() == routed.expected())
        assert running.stop().code == 0
    shop, rest = routed.ids()
    assert shop
    assert rest
    assert not shop & rest
    assert all(seen["status"] == 200 for seen in routed.requests("/api/v2/"))
    assert len(routed.requests("/oauth/token")) == 1

"""A settings file with routes: one tenant, and a Segment source for each route."""

import json
import re
import signal
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
        super().write_settings(auth0__rate_share=1, **changes)
        text = self.settings.read_text()
        if self.routes:
            text = re.sub(r"write_key = .*\nendpoint = .*\n", "", text)
        for name, (when, endpoint) in self.routes.items():
            values = {"name": name, "when": when, "source_name": name, "endpoint": endpoint}
            values["write_key"] = self.sandbox.facts["write_key"]
            text += "[[routes]]\n"
            text += "".join(f"{key} = {json.dumps(each)}\n" for key, each in values.items() if each)
        self.settings.write_text(text)


class Routed:
    """The tenant, and the sources of its two routes."""

    def __init__(self, path: Path, template: Template | None, stack: ExitStack) -> None:
        self.tenant = SandboxThread(seed=1, events=60, plan="essentials")
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

    def block_shop(self) -> None:
        refusal = {"action": "status", "status": 401, "body": '{"success": false}', "times": None}
        self.shop.ask("faults", set=[{**refusal, "service": "segment"}])

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
    routed.block_shop()
    with routed.bench.start("run") as running:
        eventually("the rest", lambda: routed.ids()[1])
        blocked = eventually("the shop", lambda: lines(running, "daemon.blocked"))
        assert {line["pipeline"] for line in blocked} == {"config.shop"}
        routed.tenant.ask("grow", count=100, seconds=0)
        before = len(routed.ids()[1])
        eventually("more of the rest", lambda: len(routed.ids()[1]) > before)
        assert not routed.ids()[0]
        report = json.loads(routed.bench.run("status", "--json").out)
        jsonschema.validate(report, {"$defs": SCHEMAS, "$ref": "#/$defs/pipelines"})
        states = [(each["pipeline"], each["state"]) for each in report["pipelines"]]
        assert states == [("config.shop", "blocked"), ("config.rest", "running")]
        routed.tenant.ask("grow", count=350, seconds=0)  # many pages for 100 requests a minute
        routed.shop.ask("faults", clear=True)
        eventually("everything", lambda: routed.delivered() == routed.expected())
        assert running.stop().code == 0
    shop, rest = routed.ids()
    assert shop
    assert rest
    assert not shop & rest
    assert {seen["status"] for seen in routed.requests("/api/v2/")} == {200}
    assert len(routed.requests("/oauth/token")) == 1
    routed.tenant.ask("tenant", plan="unlimited")
    checked = routed.bench.run("check").out
    assert re.search(
        r"config\.rest  good +takes \d+ of .*; shop takes \d+, no route takes 0", checked
    )
    assert len(routed.requests("/oauth/token")) == 2


def test_a_route_that_starts_late_misses_nothing_that_another_has_passed_over(
    routed: Routed,
) -> None:
    for name in ("rest", "shop"):
        assert routed.bench.run("run", "--once", "--pipeline", f"config.{name}").code == 0
    assert routed.delivered() == routed.expected()
    assert all(routed.ids())


@pytest.mark.parametrize("is_reload", [True, False])
def test_a_removed_route_leaves_the_events_ahead_of_it_to_the_others(
    routed: Routed, *, is_reload: bool
) -> None:
    bench = routed.bench
    routed.block_shop()
    with bench.start("run") as running:
        eventually("the rest", lambda: routed.ids()[1])
        eventually("the shop", lambda: lines(running, "daemon.blocked"))
        bench.routes = {"rest": bench.routes["rest"]}
        bench.write_settings()
        if is_reload:
            running.signal(signal.SIGHUP)
            eventually("everything", lambda: len(routed.ids()[1]) == routed.expected())
            (changed,) = lines(running, "routes.changed")
            assert changed["removed"] == ["shop"]
            assert not lines(running, "pipeline.failed")
        assert running.stop().code == 0
    with bench.start("run") as running:
        routed.tenant.ask("grow", count=20, seconds=0)
        eventually("everything", lambda: len(routed.ids()[1]) == routed.expected())
        assert running.stop().code == 0
    assert not routed.ids()[0]
    assert bench.run("status", "--json").code == 0


def test_a_new_condition_holds_for_the_events_that_no_route_had_passed(routed: Routed) -> None:
    bench = routed.bench
    routed.block_shop()
    with bench.start("run") as running:
        eventually("the rest", lambda: routed.ids()[1])
        eventually("the shop", lambda: lines(running, "daemon.blocked"))
        assert running.stop().code == 0
    _, endpoint = bench.routes["shop"]
    bench.routes = {"shop": ("log.client_name == 'nobody'", endpoint), "rest": bench.routes["rest"]}
    bench.write_settings()
    routed.shop.ask("faults", clear=True)
    with bench.start("run") as running:
        routed.tenant.ask("grow", count=20, seconds=0)
        eventually("everything", lambda: routed.delivered() == routed.expected())
        before = routed.ids()[0]
        assert before
        routed.tenant.ask("grow", count=40, seconds=0)
        eventually("the new ones", lambda: routed.delivered() == routed.expected())
        assert running.stop().code == 0
    shop, rest = routed.ids()
    assert shop == before
    assert not shop & rest


def test_routes_come_and_go_without_an_event_between_them(routed: Routed) -> None:
    bench, routes = routed.bench, routed.bench.routes
    bench.routes = {}
    bench.write_settings(segment__source_name="rest")
    with bench.start("run") as running:
        eventually("all events", lambda: len(routed.ids()[1]) == routed.expected())
        bench.routes = routes
        bench.write_settings()
        running.signal(signal.SIGHUP)
        (refused,) = eventually("a word", lambda: lines(running, "settings.refused"))
        assert "restart the service" in str(refused["problems"])
        assert running.stop().code == 0
    assert not routed.ids()[0]
    routed.tenant.ask("grow", count=40, seconds=0)
    with bench.start("run") as running:
        eventually("both", lambda: routed.delivered() == routed.expected())
        (begun,) = lines(running, "route.begun")
        assert begun["source_name"] == "shop"
        of_shop = routed.ids()[0]
        assert of_shop
        bench.routes = {"rest": routes["rest"]}
        bench.write_settings()
        running.signal(signal.SIGHUP)
        (read,) = eventually("the new settings", lambda: lines(running, "settings.read"))
        assert (read["changed"], read["removed"]) == (1, 1)
        eventually("the end of the shop", lambda: lines(running, "pipeline.removed"))
        routed.tenant.ask("grow", count=40, seconds=0)
        eventually("all of it", lambda: routed.delivered() == routed.expected())
        bench.routes = {}
        bench.write_settings(segment__source_name="rest")
        running.signal(signal.SIGHUP)
        eventually("one pipeline", lambda: len(lines(running, "settings.read")) == 2)
        routed.tenant.ask("grow", count=5, seconds=0)
        eventually("the last ones", lambda: routed.delivered() == routed.expected())
        assert running.stop().code == 0
    shop, rest = routed.ids()
    assert shop == of_shop
    assert not shop & rest

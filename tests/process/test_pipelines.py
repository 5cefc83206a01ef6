"""A folder of settings files, run by one process."""

import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from poller.adapters.sql_ledger.places import acquire_lock
from tests.paths import TESTS
from tests.process.bench import Running, eventually
from tests.process.many import Many, delivers, get, many_benches, port_of
from tests.process.template import Template

SCHEMAS = json.loads((TESTS / "schemas/commands.json").read_text())["$defs"]
METRICS = '[metrics]\nlisten = "127.0.0.1:0"\n'
PAGE = '[page]\nlisten = "127.0.0.1:0"\n'


@pytest.fixture
def many(tmp_path: Path, template: Template) -> Iterator[Many]:
    with many_benches(tmp_path, template) as made:
        yield made


def opened_page(link: str) -> str:
    """Return the page behind a link, as a browser gets it."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(link, timeout=60) as answer:
        return str(answer.read().decode())


def openings(running: Running) -> Iterator[str]:
    """Return the name of the pipeline at each opening."""
    return (str(line["pipeline"]) for line in lines(running, "pipeline.opened"))


def lines(running: Running, event: str) -> list[dict[str, object]]:
    found = (json.loads(line) for line in running.err.splitlines() if line.startswith("{"))
    return [line for line in found if line["event"] == event]


def test_pipelines_in_trouble_are_told_apart_and_never_stop_another(many: Many) -> None:
    many.write_defaults(METRICS + PAGE)
    acme = many.add("acme")
    many.add("secret", auth0__client_secret="wrong")
    dead = many.add("dead")
    many.add("held")
    many.add("typo", poll__intervall="5s")
    dead.sandbox.ask("faults", set=[{"action": "hang", "service": "auth0", "times": None}])
    held = f"sqlite:///{many.benches['held'].ledger}"
    with acquire_lock(held, "run"), many.start() as running:
        eventually("acme", lambda: delivers(acme))
        acme.sandbox.ask("grow", count=20, seconds=0)
        eventually("acme again", lambda: delivers(acme))
        failed = eventually(
            "both failures",
            lambda: len(found := lines(running, "pipeline.failed")) > 1 and found,
        )
        reasons = {line["pipeline"]: line["reason"] for line in failed}
        assert reasons.keys() == {"held", "typo"}
        assert "is held by process" in str(reasons["held"])
        assert "typo.toml" in str(reasons["typo"])
        assert "did you mean interval" in str(reasons["typo"])
        eventually("the wrong secret", lambda: lines(running, "daemon.blocked"))
        assert {line["pipeline"] for line in lines(running, "daemon.blocked")} == {"secret"}
        port = port_of(running)
        assert get(port, "/readyz?pipeline=acme") == (200, "ok\n")
        assert get(port, "/readyz?pipeline=nobody")[0] == 404
        status, said = get(port, "/readyz?pipeline=secret")
        assert (status, "blocked" in said) == (503, True)
        status, said = get(port, "/readyz")
        assert status == 503
        assert said.startswith("4 of 5 are not ready\ndead: nothing was read yet\nheld: failed")
        metrics = get(port, "/metrics")[1]
        failing = re.findall(r'poller_failed\{pipeline="(\w+)"\} 1\.0', metrics)
        assert sorted(failing) == ["held", "typo"]
        assert 'poller_blocked{pipeline="secret"} 1.0' in metrics
        assert re.search(r'messages_acknowledged_total\{kind="track",pipeline="acme"\} \d', metrics)
        assert metrics.count("build_info{") == 1
        text = opened_page(many.run("page", "url").out.strip())
        names = re.findall(r'href="/pipelines/(\w+)/"', text)
        assert ({*names[:3]}, names[-1]) == ({"secret", "held", "typo"}, "acme")
        own = many.run("page", "url", "--pipeline", "acme").out.strip()
        assert "/pipelines/acme/?token=" in own
        assert "<strong>acme</strong>" in opened_page(own)
        assert running.stop().code == 0
    acme.assert_conserved()


def test_a_hang_up_reads_the_folder_again_and_leaves_the_others_alone(many: Many) -> None:
    acme, globex, gone = many.add("acme"), many.add("globex"), many.add("gone")
    with many.start() as running:
        for bench in (acme, globex, gone):
            eventually(bench.name, lambda bench=bench: delivers(bench))
        new = many.add("new")
        gone.settings.unlink()
        globex.write_settings(segment__write_key="another")
        acme.settings.write_text(acme.settings.read_text() + "[poll")
        running.signal(signal.SIGHUP)
        (read,) = eventually("the new settings", lambda: lines(running, "settings.read"))
        assert (read["added"], read["changed"], read["removed"], read["refused"]) == (1, 1, 1, 1)
        (refused,) = lines(running, "settings.refused")
        assert refused["pipeline"] == "acme"
        assert "acme.toml" in str(refused["problems"])
        eventually("the new one", lambda: delivers(new))
        eventually("an end", lambda: lines(running, "pipeline.removed"))
        eventually("globex anew", lambda: [*openings(running)].count("globex") > 1)
        acme.sandbox.ask("grow", count=5, seconds=0)
        eventually("the old settings of acme", lambda: delivers(acme))
        assert sorted(openings(running)) == ["acme", "globex", "globex", "gone", "new"]
        assert running.stop().code == 0
    acme.assert_conserved()
    new.assert_conserved()
    gone.assert_conserved()


def test_pipelines_share_the_ledger_of_the_defaults(many: Many, tmp_path: Path) -> None:
    many.write_defaults(f'[state]\nurl = "{tmp_path}/shared.db"\n')
    acme, globex = many.add("acme", is_shared=True), many.add("globex", is_shared=True)
    for _ in range(2):
        with many.start() as running:
            for bench in (acme, globex):
                bench.sandbox.ask("grow", count=5, seconds=0)
                eventually(bench.name, lambda bench=bench: delivers(bench))
            assert running.stop().code == 0
            assert not lines(running, "pipeline.failed")
    acme.assert_conserved()
    globex.assert_conserved()


def test_two_files_of_one_tenant_and_source_never_run_at_once(many: Many) -> None:
    first = many.add("first")
    many.add("second", first.sandbox, segment__source_name="first")
    refusal = "the pipeline second (second.toml) names the tenant"
    checked = many.run("check", "--pipeline", "second")
    assert (checked.code, refusal in checked.err) == (78, True)
    with many.start() as running:
        (failed,) = eventually("a refusal", lambda: lines(running, "pipeline.failed")[:1])
        assert refusal in str(failed["reason"])
        eventually("the other one", lambda: delivers(first))
        assert running.stop().code == 0
    assert not first.sandbox.truth()["duplicated"]


def test_status_and_check_show_all_pipelines_the_worst_first(many: Many) -> None:
    acme = many.add("acme")
    many.add("new")
    many.add("typo", poll__intervall="5s")
    many.add("wrong", auth0__client_secret="wrong")
    assert acme.run("run", "--once").code == 0
    ended = many.run("status", "--strict", "--json")
    report = json.loads(ended.out)
    jsonschema.validate(report, {"$defs": SCHEMAS, "$ref": "#/$defs/pipelines"})
    assert ended.code == report["code"] == 78
    states = [(each["pipeline"], each["state"], each["code"]) for each in report["pipelines"]]
    assert states[0] == ("typo", "unusable", 78)
    assert sorted(states[1:]) == [("acme", "down", 69), ("new", "new", 69), ("wrong", "new", 69)]
    own = next(each["report"] for each in report["pipelines"] if each["pipeline"] == "acme")
    jsonschema.validate(own, {"$defs": SCHEMAS, "$ref": "#/$defs/status"})
    text = many.run("status").out
    assert text.startswith("typo   unusable\n")
    assert "did you mean interval" in text
    ended = many.run("check", "--json")
    report = json.loads(ended.out)
    jsonschema.validate(report, {"$defs": SCHEMAS, "$ref": "#/$defs/pipelines"})
    assert ended.code == 78
    first, second, *good = report["pipelines"]
    assert (first["pipeline"], second["pipeline"]) == ("typo", "wrong")
    assert "token" in second["text"]
    assert {each["code"] for each in good} <= {0, 3}
    jsonschema.validate(second["report"], {"$defs": SCHEMAS, "$ref": "#/$defs/check"})


def test_a_folder_without_a_pipeline_cannot_be_run(many: Many) -> None:
    ended = many.run("run")
    assert ended.code == 78
    assert "holds no pipeline" in ended.err


def test_a_command_for_one_pipeline_asks_for_its_name(many: Many) -> None:
    many.add("acme")
    many.add("globex")
    ended = many.run("ledger", "show")
    assert ended.code == 2
    assert "--pipeline (acme, globex)" in ended.err
    ended = many.run("ledger", "show", "--pipeline", "acne")
    assert ended.code == 78
    assert "did you mean acme" in ended.err


def test_two_sources_of_one_tenant_share_its_events_and_a_dead_one_stops_no_other(
    many: Many,
) -> None:
    condition = "log.client_name == 'Web shop'"
    shop = many.add("shop", events__when=condition)
    rest = many.add("rest", shop.sandbox, events__when=f"!({condition})")
    rest.write_settings(segment__endpoint="http://127.0.0.1:1")
    with many.start() as running:
        eventually("all that is for the shop", lambda: shop.sandbox.truth()["delivered"])
        before = shop.sandbox.truth()["delivered"]
        shop.sandbox.ask("grow", count=60, seconds=0)
        eventually("the other one", lambda: shop.sandbox.truth()["delivered"] > before)
        assert not delivers(shop)
        rest.write_settings()
        running.signal(signal.SIGHUP)
        eventually("both", lambda: delivers(shop))
        assert running.stop().code == 0
    shop.assert_conserved()

"""The live page of the installed daemon: from its link to the replay of a dead letter."""

import stat
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.process.bench import Bench, Running, eventually
from tests.service.page.browsers import Browser

ANYWHERE = "127.0.0.1:0"
PERSON = "poison@example.com"
LOGIN = {"type": "s", "user_id": "auth0|refused", "user_name": PERSON, "client_name": "Shop"}
FORM = "application/x-www-form-urlencoded"


def opened(bench: Bench, daemon: Running) -> Browser:
    """Open the link that `page url` prints."""
    eventually("the page", lambda: daemon.says("live_page.listening"))
    ended = bench.run("page", "url")
    assert ended.code == 0, ended.err
    link = urlsplit(ended.out.strip())
    assert link.port is not None
    return Browser(port=link.port).sign_in(parse_qs(link.query)["token"][0])


def rows_until_a_dead_letter(browser: Browser, plain: Bench) -> list[dict[str, Any]]:
    plain.sandbox.ask("collector", refused_users=[LOGIN["user_id"]])
    rows: list[dict[str, Any]] = []
    with browser.stream() as stream:
        plain.sandbox.ask("grow", count=20, seconds=0)
        plain.sandbox.ask("append", records=[LOGIN])
        while not any(row["outcome"] == "dead_lettered" for row in rows):
            name, data = next(stream)
            rows += data["rows"] if name == "events" else []
    return rows


def replay_of(browser: Browser) -> Any:
    (letter,) = browser.ask("/dead-letters").json["letters"]
    form = {"log_id": letter["log_id"], "token": letter["tokens"]["replay"], "confirmed": "yes"}
    return browser.ask("/dead-letters/replay", "POST", urlencode(form), Content_Type=FORM).json


def test_the_page_shows_the_daemon_replays_and_leaves_nothing_behind(plain: Bench) -> None:
    plain.write_settings(page__listen=ANYWHERE)
    with plain.start("run") as daemon:
        browser, link = opened(plain, daemon), plain.folder / "ledger.db.page"
        assert stat.S_IMODE(link.stat().st_mode) == 0o600
        token = parse_qs(urlsplit(link.read_text().strip()).query)["token"][0]
        rows = rows_until_a_dead_letter(browser, plain)
        assert any(row["outcome"] == "forwarded" and row["user"] for row in rows)
        assert PERSON not in str(rows)
        state = eventually("a cycle", lambda: ran(browser.ask("/state").json))
        assert state["status"]["dead_letters"] == 1
        assert "live" in {each["kind"] for each in state["ranges"]}
        assert replay_of(browser) == {"replayed": 0, "left": 1}
        plain.sandbox.ask("collector", refused_users=[])
        assert replay_of(browser) == {"replayed": 1, "left": 0}
        ended = daemon.stop()
    assert ended.code == 0
    assert '"event": "live_page.acted"' in ended.err
    assert not link.exists()
    holding = [each for each in plain.folder.iterdir() if token.encode() in each.read_bytes()]
    assert [each.suffix for each in holding] == [".out"]  # of `page url`
    plain.assert_conserved()
    refused = plain.run("page", "url")
    assert (refused.code, "no daemon serves the page" in refused.err) == (75, True)


def ran(state: dict[str, Any]) -> dict[str, Any] | None:
    return state if state["condition"]["kind"] == "running" else None


def test_without_the_setting_no_page_is_served(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a start", lambda: daemon.says("daemon.started"))
        assert not daemon.says("live_page.listening")
        refused = plain.run("page", "url")
        daemon.stop()
    assert (refused.code, "page.listen" in refused.err) == (78, True)

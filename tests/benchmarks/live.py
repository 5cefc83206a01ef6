"""The speed of the daemon: a drain of the live span, and a catch-up beside it."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from poller.service.upstream.read_ahead import PAGES_AHEAD
from tests.benchmarks.figure import Figure
from tests.benchmarks.reference import OF_INTEREST, Requests, reference, requests_of
from tests.process.bench import Bench, eventually

_RUN = """
import sys
from poller.__main__ import main
from poller.service.daemon import catch_up
from poller.service.upstream import read_ahead
read_ahead.PAGES_AHEAD = {pages_ahead}
catch_up.DRAIN_S = {drain_s}
sys.argv[1:] = {arguments}
main()
"""
_USERS_PER_SEARCH = 73
"""The users that a search for profiles holds, by the length of their ids."""
_INTERVAL_S = 2.0
_LIVE_EVENTS_PER_S = 20
_LONGEST_S = 600.0
_MANY_USERS: dict[str, Any] = {"users": 20_000, "kinds": OF_INTEREST}
"""A tenant whose pages hold so many users that their profiles take two searches a page."""


def drain(folder: Path) -> Iterator[Figure]:
    """Measure the gain of reading ahead, without a rate limit that slows either drain down."""
    yield _gain(folder / "usual", "a drain of the live span", pages=60)
    yield _gain(folder / "many", "a drain with two searches a page", pages=30, **_MANY_USERS)


def _gain(folder: Path, name: str, *, pages: int, **tenant: Any) -> Figure:
    plain, ahead = (
        _drain(folder / str(number), pages, number, **tenant) for number in (0, PAGES_AHEAD)
    )
    speed = 100 * pages / ahead.seconds
    return Figure(
        name=f"{name}, times as fast as without reading ahead",
        value=plain.seconds / ahead.seconds,
        bound=2.0,
        is_at="least",
        note=f"{ahead.seconds:.1f} s for {pages} pages, {speed:,.0f} events/s, "
        f"{ahead.to_auth0} requests, {plain.to_auth0} without reading ahead",
    )


def _drain(folder: Path, pages: int, pages_ahead: int, **tenant: Any) -> Requests:
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {"poll__start": "earliest", "poll__catch_up": "off"}
    with reference(folder, "unlimited", pages=pages, **settings, **tenant) as made:
        arguments = ["run", "--once", "--config", str(made.settings)]
        code = _RUN.format(pages_ahead=pages_ahead, drain_s=30, arguments=arguments)
        subprocess.run([sys.executable, "-c", code], check=True)
        return requests_of(made)


def catch_up(folder: Path) -> Iterator[Figure]:
    """Measure a catch-up with 16 requests a second and a burst of 50, beside live events.

    It begins with the first page, so that the time of the drain before it does not count. Live
    events come into the log at once. Otherwise their age would hold the time until then, which is
    up to 5 s.
    """
    pages, burst, per_second = 600, 50, 16.0
    interval = f"{_INTERVAL_S:.0f}s"
    settings: dict[str, Any] = {
        "poll__start": "earliest",
        "poll__interval": interval,
        "log__level": "info",
    }
    with reference(folder, "enterprise", pages=pages, **settings) as made:
        made.sandbox.ask("tenant", longest_lag=0.01)
        made.sandbox.ask("traffic", rate=_LIVE_EVENTS_PER_S)
        run = _catch_up(made)
    live = run.seconds * _LIVE_EVENTS_PER_S
    needed = pages + math.ceil(live / 100) + math.ceil(run.users / _USERS_PER_SEARCH)
    yield Figure(
        name="a catch-up beside live events: time over the least that the limit allows",
        value=run.seconds / ((needed - burst) / per_second),
        bound=1.15,
        note=f"{run.seconds:.1f} s for {pages} pages, {run.asked} requests, {needed} needed",
    )
    late_s = sorted(run.live_ages_s)
    yield Figure(
        name="age of 99 of 100 live events at the collector meanwhile, in intervals",
        value=late_s[math.ceil(0.99 * len(late_s)) - 1] / _INTERVAL_S,
        bound=2.0,
        note=f"{len(late_s)} events, the oldest of {late_s[-1]:.1f} s",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _CatchUp:
    """A catch-up from its first request to its end."""

    seconds: float
    users: int
    asked: int
    live_ages_s: list[float]


def _catch_up(made: Bench) -> _CatchUp:
    arguments = ["run", "--config", str(made.settings)]
    code = _RUN.format(pages_ahead=PAGES_AHEAD, drain_s=0, arguments=arguments)
    log = made.folder / "daemon.err"
    with log.open("w") as err:
        daemon = subprocess.Popen([sys.executable, "-c", code], stderr=err)
        try:
            (began,) = eventually("a catch-up", lambda: _lines(log, "catch_up.began"))
            eventually("its end", lambda: _lines(log, "catch_up.finished"), _LONGEST_S)
            made.sandbox.ask("traffic", rate=0)
            eventually("every event", lambda: _is_all_delivered(made))
        finally:
            daemon.terminate()
            daemon.wait()
    (finished,) = _lines(log, "catch_up.finished")
    return _measured(made, _moment(began["timestamp"]), _moment(finished["timestamp"]))


def _measured(made: Bench, began: datetime, finished: datetime) -> _CatchUp:
    truth = made.sandbox.truth()
    assert not truth["duplicated"]
    asked = [
        _moment(request["at"])
        for request in made.sandbox.ask("requests", service="auth0")
        if request["path"] != "/oauth/token"
    ]
    messages = [*_messages(made)]
    tracks = [message for message in messages if message["type"] == "track"]
    ages = [
        (_moment(each["at"]) - _moment(each["timestamp"])).total_seconds()
        for each in tracks
        if began < _moment(each["timestamp"]) < finished
    ]
    identified = {each["user_id"] for each in messages if each["type"] == "identify"}
    return _CatchUp(
        seconds=(finished - min(asked)).total_seconds(),
        users=len(identified),
        asked=sum(at <= finished for at in asked),
        live_ages_s=ages,
    )


def _messages(made: Bench) -> Iterator[dict[str, Any]]:
    first, count = 0, 5_000
    while some := made.sandbox.ask("messages", first=first, count=count):
        yield from some
        first += count


def _is_all_delivered(made: Bench) -> bool:
    truth = made.sandbox.truth()
    return bool(truth["delivered"] == truth["expected"])


def _lines(log: Path, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)

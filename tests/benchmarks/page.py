"""The price of the live page: one slice without latency, with viewers and without."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poller.config import load_settings
from poller.service.page.viewers import MOST_VIEWERS
from poller.service.watching.feed import Feed
from tests.benchmarks.cpu import events_per_s
from tests.benchmarks.figure import Figure
from tests.benchmarks.reference import reference
from tests.service.page.browsers import served

PAGES = 200
ROUNDS = 3
_LEAST = 0.95
_VIEWERS = """
import sys, threading, urllib.request
url, cookie, count = sys.argv[1:]
def view():
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Cookie": cookie})) as stream:
        sys.stdout.write("open\\n")
        sys.stdout.flush()
        while stream.read1(65536):
            pass
for _ in range(int(count)):
    threading.Thread(target=view, daemon=True).start()
sys.stdin.read()
"""


def with_viewers(folder: Path) -> Iterator[Figure]:
    """Compare the speed with as many viewers as there may be, and with a feed that nobody reads."""
    with reference(folder, "unlimited", pages=PAGES, latency=False) as made:
        settings = load_settings(made.settings, {})
        events_per_s(settings, folder / "first.db")  # so that the sandbox has drawn all there is
        runs = []
        for number in range(ROUNDS):
            plain = events_per_s(settings, folder / f"plain-{number}.db")
            fed = events_per_s(settings, folder / f"fed-{number}.db", Feed())
            feed = Feed()
            with _viewed(feed, MOST_VIEWERS):
                viewed = events_per_s(settings, folder / f"viewed-{number}.db", feed)
            runs.append((plain, fed, viewed))
    plain, fed, viewed = map(statistics.median, zip(*runs, strict=True))
    for name, speed in (("a feed that nobody reads", fed), (f"{MOST_VIEWERS} viewers", viewed)):
        yield Figure(
            name=f"one slice with {name}, events/s over those without",
            value=speed / plain,
            bound=_LEAST,
            is_at="least",
            note=f"{speed:,.0f} and {plain:,.0f} events/s",
        )


@contextmanager
def _viewed(feed: Feed, count: int) -> Iterator[None]:
    """Serve the page to this many viewers, which are in a process of their own."""
    with served(feed) as browser:
        browser.sign_in()
        url = f"http://127.0.0.1:{browser.port}/stream"
        command = [sys.executable, "-c", _VIEWERS, url, browser.cookie, str(count)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as viewers:
            assert viewers.stdout is not None
            for _ in range(count):
                assert viewers.stdout.readline() == "open\n"
            yield
            viewers.terminate()

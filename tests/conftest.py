"""What every test stands on."""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.scripted import Scripted, Serve

# The same examples in every run: what fails in one fails in the next. The soak looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

_CHANGES_THE_PROGRAM = re.compile(
    r"POLLER_.*|XDG_.*|CREDENTIALS_DIRECTORY|STATE_DIRECTORY|NOTIFY_SOCKET|WATCHDOG_.*|JOURNAL_STREAM|INVOCATION_ID|"
    r"(HTTP|ALL|NO)_PROXY|NO_COLOR|FORCE_COLOR|COLUMNS|LINES|TERM|TZ|LANG|LANGUAGE|LC_.*|PYTHON(WARNINGS|IOENCODING)",
    re.IGNORECASE,
)
"""What the host's shell may say to the program. HTTPS_PROXY stays: pip may need it, and the tests speak plain http."""


def pytest_configure() -> None:
    """Give each test process, and whatever it starts, the same surroundings on every host."""
    for name in [name for name in os.environ if _CHANGES_THE_PROGRAM.fullmatch(name)]:
        del os.environ[name]
    os.environ |= {"LC_ALL": "C.UTF-8", "TERM": "dumb"}
    os.umask(0o022)


_ONE_MACHINE = "tests/systemd/"


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist publishes no type of it
    """Each test to whatever process is free, but those of the units to one: they share a machine.

    xdist's own groups (`--dist loadgroup`) change the ids of tests after the fact, which pytest 9.2 does not notice.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _ONE_MACHINE if nodeid.startswith(_ONE_MACHINE) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a raw TCP server on loopback that hands each connection to a function; gives its origin."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(handle: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        handle(connection)
                    except OSError:
                        continue

        threads.append(threading.Thread(target=accept, daemon=True))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(5)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)

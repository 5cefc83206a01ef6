"""The surroundings of all tests, their markers, and the order in which they run."""

import importlib
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.paths import TESTS
from tests.scripted import Scripted, Serve

# Every run tries the same examples, so that a failure comes back. Search for new ones by
# `pytest --hypothesis-profile=thorough`.
settings.register_profile("repeatable", max_examples=40, derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("repeatable")

_CHANGES_THE_PROGRAM = re.compile(
    r"POLLER_.*|XDG_.*|CREDENTIALS_DIRECTORY|STATE_DIRECTORY|NOTIFY_SOCKET|WATCHDOG_.*"
    r"|JOURNAL_STREAM|INVOCATION_ID|(HTTP|ALL|NO)_PROXY|NO_COLOR|FORCE_COLOR|COLUMNS|LINES|TERM"
    r"|TZ|LANG|LANGUAGE|LC_.*|PYTHON(WARNINGS|IOENCODING)",
    re.IGNORECASE,
)
"""The variables of the host that would change the program.

HTTPS_PROXY stays, because pip may need it. The tests speak plain HTTP.
"""

_OF_PROCESSES = "process"
"""The folder whose tests start real processes. They take longest and run first."""

_OF_A_COMMAND = ("browser", "packages", "postgres", "systemd")
"""The folders whose tests have their own command, and a marker of the same name."""

_LONG = (
    "adapters/test_bodies.py",
    "cli/segment_proof/test_missed_messages.py",
    "cli/test_backlog_faults.py",
    "docs/test_monitoring.py",
    "service/alerts/test_week.py",
    "service/daemon/test_catch_up_speed.py",
    "service/daemon/test_late_arrivals.py",
    "service/test_conservation_model.py",
    "service/verify/test_segment_day.py",
)
"""The other files whose tests take many seconds. They come next, so that none runs on alone."""
_ONE_BY_ONE = ("tests/process/", *(f"tests/{path}" for path in _LONG))

pytest_plugins = ["tests.postgres.plugin"]


_MEMORY = Path("/dev/shm")  # noqa: S108 - in a folder of its own there
_ROOM_BYTES = 2**30
_temporary = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give each test process, and the processes that it starts, the same surroundings."""
    if not hasattr(config, "workerinput") and "TMPDIR" not in os.environ and _has_room():
        # The ledgers of the tests sync their files tens of thousands of times.
        config.stash[_temporary] = Path(tempfile.mkdtemp(prefix="poller-tests-", dir=_MEMORY))
        os.environ["TMPDIR"] = str(config.stash[_temporary])
        tempfile.tempdir = None  # it remembers the folder of before
    for name in [name for name in os.environ if _CHANGES_THE_PROGRAM.fullmatch(name)]:
        del os.environ[name]
    os.environ |= {"LC_ALL": "C.UTF-8", "TERM": "dumb"}
    os.umask(0o022)
    # Without bytecode, each worker and each process would compile the same files again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # A shell lets what it starts in the background ignore SIGINT, and processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # same, of what nohup starts
    socket.socket.connect = _connect_on_this_machine  # type: ignore[method-assign]


def _has_room() -> bool:
    """Tell if there is a file system in memory, with room, on which tests may start programs."""
    if not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return False
    found = os.statvfs(_MEMORY)
    is_executable = not found.f_flag & os.ST_NOEXEC
    return is_executable and found.f_bavail * found.f_frsize > _ROOM_BYTES


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the temporary files. pytest has kept only those of failed tests."""
    if (folder := config.stash.get(_temporary, None)) and not list(folder.glob("pytest-of-*/*/*")):
        shutil.rmtree(folder)


_connect = socket.socket.connect


def _connect_on_this_machine(self: socket.socket, address: Any) -> None:
    """Connect, but only to this machine: no test may reach for the network."""
    host = address[0] if isinstance(address, tuple) else "127.0.0.1"
    assert ip_address(host).is_loopback, f"a test reaches for {host}"
    _connect(self, address)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, and put the long tests first."""
    for item in items:
        if _room(item) == _OF_PROCESSES:
            item.add_marker("process")
        elif _room(item) in _OF_A_COMMAND:
            item.add_marker(_room(item))
        elif not any(item.get_closest_marker(name) for name in ("process", "soak", "postgres")):
            item.add_marker("long" if _is_long(item) else "fast")
    items.sort(key=_turn)


def _room(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _turn(item: pytest.Item) -> int:
    if _room(item) == _OF_PROCESSES:
        return 0
    is_of_all_modules = item.path.parent == TESTS
    return 1 if _is_long(item) else 2 if is_of_all_modules else 3


def _is_long(item: pytest.Item) -> bool:
    return item.path.relative_to(TESTS).as_posix() in _LONG


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Fail a test that is skipped on CI, where everything that a test needs must be there."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped on CI: {call.excinfo and call.excinfo.value}"
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start two workers more than there are cores, because the tests of processes often wait."""
    return len(os.sched_getaffinity(0)) + 2


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import the test modules in another order in each worker.

    To rewrite the assertions of all modules takes most of the collection. Each worker does a share
    of it first, writes the bytecode, and then finds the bytecode of the others.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args != session.config.getini("testpaths"):
        return
    modules = sorted(
        path.relative_to(TESTS.parent).with_suffix("").as_posix().replace("/", ".")
        for path in TESTS.rglob("test_*.py")
    )
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    begin = len(modules) * number // count
    for module in modules[begin : len(modules) * (number + 1) // count]:
        importlib.import_module(module)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist publishes no type of it
    """Give each long test to the next free worker, and quick tests file by file.

    xdist looks at all units of work after each test, so thousands of them take it many seconds.
    The tests of one file also share what they have cached. The groups of xdist (`--dist loadgroup`)
    would change the ids of tests after the collection, and pytest 9.2 does not notice that.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_ONE_BY_ONE):
            return nodeid
        path = nodeid.partition("::")[0]
        return path if path.count("/") > 1 else "tests/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    config.option.loadscopereorder = False  # the order is that of `_turn`
    return Scheduling(config, log)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a TCP server on loopback and returns its origin.

    The server hands each connection to the function that it is given.
    """
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

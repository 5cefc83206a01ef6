"""SIGHUP before the process can serve it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from poller.service.lifecycle import hang_up
from poller.service.lifecycle.process import Finished, Process, Signalled

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
    hang_up.take()


def hang_up_now() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def test_a_wish_for_a_reload_is_remembered_until_it_can_be_served_and_served_once() -> None:
    hang_up.remember()
    hang_up_now()
    process, served = Process(), list[str]()

    def reload() -> None:
        served.append("settings")
        process.end(Finished())

    process.on_reload = reload
    assert process.wait() == Finished()
    process.end(Finished())
    assert process.wait() == Finished()
    assert served == ["settings"]


def test_a_process_that_reads_no_settings_again_ends_by_a_hang_up_that_came_early() -> None:
    hang_up.remember()
    hang_up_now()
    assert Process().wait() == Signalled(signal.SIGHUP)


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    hang_up.remember()
    hang_up_now()
    assert not hang_up.take()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize(("command", "code"), [("run", 0), ("status", -signal.SIGHUP)])
def test_run_survives_a_hang_up_during_its_imports(command: str, code: int) -> None:
    program = f"""
import os, signal, sys, types
cli = types.ModuleType("poller.cli")
cli.run_command = lambda: os.kill(os.getpid(), signal.SIGHUP) or 0
sys.modules["poller.cli"] = cli
sys.argv = ["auth0-segment-poller", "{command}"]
from poller.__main__ import main
main()
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code


def test_a_terminal_that_hangs_up_early_ends_the_process() -> None:
    master, terminal = os.openpty()
    program = f"""
import fcntl, signal, termios
fcntl.ioctl({terminal}, termios.TIOCSCTTY)
from poller.service.lifecycle import hang_up
hang_up.remember()
print("ready", flush=True)
signal.pause()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        pass_fds=[terminal],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(terminal)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            os.close(master)
            assert process.wait(PATIENCE_S) == -signal.SIGHUP
        finally:
            process.kill()

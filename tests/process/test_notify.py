"""When the daemon says that it is ready, and when it does not."""

import signal
from pathlib import Path

import pytest

from tests.listener import heard, listening
from tests.process.bench import Bench, eventually


def test_the_daemon_is_ready_when_the_ledger_is_open_although_no_service_answers(
    plain: Bench, tmp_path: Path
) -> None:
    plain.sandbox.ask("faults", set=[{"action": "reset", "times": None}])
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    kept: dict[str, str] = {}
    with (
        listening(environ["NOTIFY_SOCKET"]) as listener,
        plain.start("run", environ=environ) as daemon,
    ):
        eventually("READY", lambda: "READY" in heard(listener, kept))
        assert daemon.says("ledger.opened")
        eventually("a sign of life", lambda: "WATCHDOG" in heard(listener, kept))
        eventually("why it waits", lambda: "trying again in" in heard(listener, kept)["STATUS"])
        assert "STOPPING" not in kept
        assert daemon.stop().code == 0
        assert heard(listener, kept)["STOPPING"] == "1"


@pytest.mark.parametrize("flaw", ["settings", "ledger"])
def test_the_daemon_is_never_ready_with_unusable_settings_or_an_unusable_ledger(
    plain: Bench, tmp_path: Path, flaw: str
) -> None:
    if flaw == "settings":
        plain.write_settings(poll__interval="often")
    else:
        plain.ledger.write_text("no database\n" * 100)
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with listening(environ["NOTIFY_SOCKET"]) as listener:
        assert plain.run("run", environ=environ).code == 78
        assert not [message for message in listener.heard() if "READY" in message]


def test_a_single_drain_sends_no_notification(plain: Bench, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with listening(environ["NOTIFY_SOCKET"]) as listener:
        assert plain.run("run", "--once", environ=environ).code == 0
        assert listener.heard() == []


def test_the_signal_of_the_watchdog_makes_the_daemon_print_the_stack_of_every_thread(
    plain: Bench,
) -> None:
    with plain.start("run", environ={"WATCHDOG_USEC": "60000000"}) as daemon:
        eventually("a cycle", lambda: daemon.says("cycle.finished"))
        daemon.signal(signal.SIGABRT)
        ended = daemon.wait()
    # The interpreter shows the threads while they run, and sometimes crashes at the end of it.
    assert ended.code in {-signal.SIGABRT, -signal.SIGSEGV}
    assert "Fatal Python error: Aborted" in ended.err
    assert "_nudge" in ended.err or "in wait" in ended.err

"""The ledgers of a process whose lock another process has taken over."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.lock import LedgerLock, Lost
from poller.adapters.sql_ledger.places import acquire_lock
from poller.cli.wiring import ledgers
from poller.cli.wiring.ledgers import Ledgers
from poller.config import Settings, load_settings
from poller.core.errors import TakenOverError
from poller.service.lifecycle.process import Failed, Reason, Work

ERROR = TakenOverError("another process has taken it over", code="taken-over", hint="look")


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> list[Lost]:
    """Return a list that gets, for each lock that is taken, what to call when the lock is lost."""
    taken: list[Lost] = []

    def acquire(url: str, role: Any, *, on_lost: Lost) -> LedgerLock:
        taken.append(on_lost)
        return acquire_lock(url, role)

    monkeypatch.setattr(ledgers, "acquire_lock", acquire)
    return taken


def settings(folder: Path, source: str) -> Settings:
    environ = {
        "POLLER_AUTH0__DOMAIN": "acme.eu.auth0.com",
        "POLLER_SEGMENT__SOURCE_NAME": source,
        "POLLER_STATE__URL": f"sqlite:///{folder / 'ledger.db'}",
        "HOME": str(folder),
    }
    return load_settings(None, environ, secrets=False)


def test_every_pipeline_of_the_ledger_is_told_that_its_lock_is_lost(
    tmp_path: Path, locks: list[Lost]
) -> None:
    opened, told = Ledgers(), list[tuple[str, Reason]]()
    one, two = (settings(tmp_path, name) for name in ("one", "two"))
    with (
        opened.opened(one, Work(lambda reason: told.append(("one", reason)))),
        opened.opened(two, Work(lambda reason: told.append(("two", reason))), adopt=True),
    ):
        (lose,) = locks
        lose(ERROR)
    assert told == [("one", Failed(ERROR)), ("two", Failed(ERROR))]


def test_no_pipeline_goes_on_by_a_lost_lock_that_another_one_has_not_given_back(
    tmp_path: Path, locks: list[Lost]
) -> None:
    opened = Ledgers()
    one, two = (settings(tmp_path, name) for name in ("one", "two"))
    with opened.opened(one, Work()):
        locks[0](ERROR)
        for each in (one, two):
            with pytest.raises(TakenOverError), opened.opened(each, Work(), adopt=True):
                pytest.fail("it was opened")
    with opened.opened(two, Work(), adopt=True), opened.opened(one, Work()):
        assert len(locks) == 2


def test_a_lock_that_is_lost_before_the_ledger_is_open_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = settings(tmp_path, "one")

    def acquire(url: str, role: Any, *, on_lost: Lost) -> LedgerLock:
        on_lost(ERROR)
        return acquire_lock(url, role)

    with monkeypatch.context() as patched:
        patched.setattr(ledgers, "acquire_lock", acquire)
        with pytest.raises(TakenOverError), ExitStack() as stack:
            stack.enter_context(Ledgers().opened(one, Work()))
    with Ledgers().opened(one, Work()):
        pass


def test_a_stream_that_goes_on_in_another_ledger_is_told(tmp_path: Path) -> None:
    structlog.reset_defaults()
    opened, other = Ledgers(), tmp_path / "other"
    other.mkdir()
    with capture_logs() as logs:
        for folder in (tmp_path, tmp_path, other):
            with opened.opened(settings(folder, "web"), Work()):
                pass
    (changed,) = [each for each in logs if each["event"] == "ledger.changed"]
    assert changed["before"] == str(tmp_path / "ledger.db")
    assert changed["now"] == str(other / "ledger.db")

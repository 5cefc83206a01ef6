"""The alerts of a daemon, from its settings to its end."""

import threading
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

from poller.cli.wiring import alerts
from poller.cli.wiring.alerts import alerting
from poller.config import Settings, load_settings
from poller.core.errors import FatalError
from poller.service.alerts.groups import AlertGroups
from poller.service.alerts.outbox import QueuedAlert
from poller.service.alerts.sender import Deliver, Target
from poller.service.observability.instrumented import NO_OBSERVER
from tests.service.alerts.bench import Bench, MemoryLedger, Receiver

ERROR = FatalError("it is missing", code="ca-certificates-unreadable", hint="look")


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> Receiver:
    receiver = Receiver()
    monkeypatch.setattr(alerts, "targets_of", lambda _: (receiver,))
    return receiver


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {
        "POLLER_AUTH0__DOMAIN": "acme.eu.auth0.com",
        "POLLER_SEGMENT__SOURCE_NAME": "web",
        "HOME": str(tmp_path),
    }
    return load_settings(None, environ, secrets=False)


@pytest.mark.parametrize("is_alone", [True, False])
def test_only_a_pipeline_that_is_alone_says_that_it_is_not_started_again(
    settings: Settings, phone: Receiver, *, is_alone: bool
) -> None:
    groups = None if is_alone else AlertGroups("")
    ledger: Any = MemoryLedger()
    with pytest.raises(FatalError), alerting(settings, ledger, NO_OBSERVER, groups=groups):
        raise ERROR
    is_told = "is not started again (acme" in str([phone.titles, ledger.state])
    assert is_told == is_alone


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_fatal_error_that_closes_a_pipeline_fails_its_switch_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_alone: bool
) -> None:
    heard = Queue[str]()
    switch = SimpleNamespace(ping=lambda kind, *_, **__: heard.put(kind))
    monkeypatch.setattr(alerts, "heartbeat_of", lambda _: switch)
    groups = None if is_alone else AlertGroups("")
    ledger: Any = MemoryLedger()
    with pytest.raises(FatalError), alerting(settings, ledger, NO_OBSERVER, groups=groups):
        raise ERROR
    assert [heard.get(timeout=120) for _ in range(2)] == ["start", "fail"]
    with alerting(settings, ledger, NO_OBSERVER, groups=groups) as stopped:
        stopped.end(None)
    assert [heard.get(timeout=120) for _ in range(2)] == ["start", "log"]


class NotedGroups(AlertGroups):
    """Groups that only note the first alert that they are given."""

    def __init__(self) -> None:
        super().__init__("")
        self.is_given = threading.Event()
        self.given: list[tuple[str, str]] = []

    def of(self, pipeline: str) -> Deliver:
        def deliver(target: Target, queued: QueuedAlert) -> bool:
            del target
            self.given.append((pipeline, queued.title))
            self.is_given.set()
            return False

        return deliver


def test_the_alerts_of_one_pipeline_of_several_go_to_the_groups_by_its_name(
    settings: Settings, phone: Receiver
) -> None:
    ledger: Any = MemoryLedger()
    Bench(ledger).run(minutes=1)  # it crashes now
    groups, own = NotedGroups(), settings.model_copy(update={"pipeline": "acme"})
    with alerting(own, ledger, NO_OBSERVER, groups=groups) as alerts_of_one:
        assert groups.is_given.wait(120)
        alerts_of_one.end(None)
    crash = "The daemon was started again after it ended without a word"
    assert groups.given[0] == ("acme", f"{crash} (acme.eu.auth0.com to web)")
    assert phone.titles == []

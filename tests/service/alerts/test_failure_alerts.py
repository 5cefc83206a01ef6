"""The alerts of a pipeline that cannot be opened, in virtual time."""

from datetime import datetime, timedelta

import pytest

from poller.core.errors import FatalError, PollerError, TransientError
from poller.service.alerts.failures import FailureAlerts, FailurePings
from poller.service.alerts.texts import Place
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.systemd import Notifier, Supervisor
from tests.service.alerts.bench import BEGIN, Receiver, Recorder

MISTAKE = FatalError("acme.toml:3: unknown key", code="settings-invalid", hint="correct it")
PLACE = Place(host="box1", options=" --config /etc/many --pipeline acme", pipeline="acme")
MINUTE = timedelta(minutes=1)


class Bench:
    def __init__(self) -> None:
        self.now = BEGIN
        self.supervisor = Supervisor(Notifier(None), Heartbeat(), now=self.time)
        self.alerts = FailureAlerts(self.supervisor, now=self.time)
        self.receiver, self.switch = Receiver(), Recorder()
        self.alerts.address([self.receiver], PLACE, FailurePings(self.switch))

    def time(self) -> datetime:
        return self.now

    def fail(self, error: PollerError = MISTAKE, *, minutes: int) -> None:
        """Fail once a minute, as a pipeline does that is opened in vain."""
        for _ in range(minutes):
            self.supervisor.failed(error, MINUTE)
            self.alerts.look()
            self.now += MINUTE

    def run_well(self, *, minutes: int) -> None:
        for _ in range(minutes):
            self.supervisor.finished(CycleCount())
            self.alerts.look()
            self.now += MINUTE

    @property
    def titles(self) -> list[str]:
        return [title.removesuffix(" (acme)") for title in self.receiver.titles]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_failure_is_told_after_five_minutes_and_its_end_too(bench: Bench) -> None:
    bench.fail(minutes=5)
    assert bench.titles == []
    bench.fail(minutes=10)
    assert bench.titles == ["A pipeline cannot be opened"]
    body = bench.receiver.bodies[0]
    assert "The error is settings-invalid." in body
    assert "Pipeline: acme" in body
    assert "Stream" not in body
    assert "To type: auth0-segment-poller status --config /etc/many --pipeline acme" in body
    assert body.endswith("runbook.md#settings-invalid")
    bench.run_well(minutes=1)
    assert bench.titles[1:] == ["The pipeline is open again"]


def test_a_switch_of_its_own_hears_of_a_failure_and_of_its_end(bench: Bench) -> None:
    bench.fail(minutes=10)
    assert bench.switch.kinds == ["fail"]
    bench.run_well(minutes=10)
    assert bench.switch.kinds == ["fail", "log"]


def test_a_failure_without_a_code_leads_to_the_section_of_the_alert(bench: Bench) -> None:
    bench.fail(TransientError("the ledger is held by process 4711"), minutes=10)
    (body,) = bench.receiver.bodies
    assert body.endswith("runbook.md#a-pipeline-cannot-be-opened")
    assert "4711" not in body


def test_a_failure_that_passes_soon_is_not_told(bench: Bench) -> None:
    bench.fail(minutes=4)
    bench.run_well(minutes=10)
    assert bench.titles == []


def test_new_targets_hear_only_what_the_old_ones_did_not(bench: Bench) -> None:
    bench.fail(minutes=10)
    new = Receiver("b")
    bench.alerts.address([new], PLACE)
    bench.fail(minutes=10)
    assert new.titles == []
    bench.run_well(minutes=1)
    assert new.titles == ["The pipeline is open again (acme)"]
    assert bench.titles == ["A pipeline cannot be opened"]


def test_a_pipeline_that_fails_again_and_again_is_told_once_an_hour(bench: Bench) -> None:
    for _ in range(6):
        bench.fail(minutes=8)
        bench.run_well(minutes=2)
    assert bench.titles.count("A pipeline cannot be opened") == 1

"""The alerts of many pipelines in one process, in virtual time."""

import re
from dataclasses import replace

import pytest

from poller.service.alerts.groups import AlertGroups
from tests.service.alerts.bench import PLACE, Bench, MemoryLedger, Receiver

STUCK = "No page was settled for half an hour"
WELL = "Pages are settled again"


class Many:
    """Pipelines of one process, and the phone of the operator that all of them tell."""

    def __init__(self, count: int) -> None:
        self.elapsed_s = 0.0
        self.phone = Receiver("phone")
        self.ledgers = {f"p{number:03}": MemoryLedger() for number in range(count)}
        self.pipelines: dict[str, Bench] = {}
        self.start()

    def start(self) -> None:
        """Begin a process. The ledgers stay."""
        self.groups = AlertGroups(" --config /etc/many", monotonic=lambda: self.elapsed_s)
        for name in self.ledgers:
            self.open(name)

    def open(self, name: str, *receivers: Receiver) -> Bench:
        before, place = self.pipelines.get(name), replace(PLACE, pipeline=name, source_name=name)
        receivers = receivers or (self.phone,)
        bench = Bench(self.ledgers[name], *receivers, deliver=self.groups.of(name), place=place)
        bench.now = before.now if before else bench.now
        self.pipelines[name] = bench
        return bench

    def run(self, *, minutes: float, step_s: float = 15.0) -> None:
        """Let time pass. The pipelines look at each step, one after the other."""
        for _ in range(round(minutes * 60 / step_s)):
            self.elapsed_s += step_s
            for bench in self.pipelines.values():
                bench.run(step_s=step_s)

    def fail(self, *names: str) -> None:
        for name in names or self.pipelines:
            self.pipelines[name].is_settling = False

    def mend(self) -> None:
        for bench in self.pipelines.values():
            bench.is_settling = True

    @property
    def told(self) -> list[str]:
        told, self.phone.titles = self.phone.titles, []
        return told

    @property
    def waiting(self) -> int:
        """The alerts that a ledger still holds."""
        return sum(len(ledger.state[1]) for ledger in self.ledgers.values())


def test_a_cause_that_all_pipelines_share_is_one_message_and_its_end_is_one() -> None:
    many = Many(100)
    many.fail()
    many.run(minutes=28, step_s=120)
    many.run(minutes=6)
    assert many.told == [f"{STUCK} (100 pipelines)"]
    assert many.phone.bodies[0].startswith(
        "100 pipelines tell the same: p000, p001, p002, p003, p004, and 95 others\n"
        "To see all of them: auth0-segment-poller status --config /etc/many\n"
        "\n"
        "The alert of p000:\n"
        f"{STUCK}."
    )
    assert many.phone.severities == ["critical"]
    assert many.waiting == 0
    many.mend()
    many.run(minutes=3)
    assert many.told == [f"{WELL} (100 pipelines)"]
    assert many.phone.severities[1:] == ["good"]
    assert many.waiting == 0


def test_pipelines_that_fail_one_after_the_other_are_one_message_in_five_minutes() -> None:
    many = Many(30)
    for name in many.ledgers:
        many.fail(name)
        many.run(minutes=0.5)
    many.run(minutes=34)
    told = many.told
    counts = [int(re.sub(r".*\((\d+) pipelines\)", r"\1", title)) for title in told]
    assert sum(counts) == 30
    assert len(told) == 4  # a minute to gather, and then every five minutes of a quarter hour
    assert many.waiting == 0


def test_the_alert_of_one_pipeline_is_told_in_its_own_words_within_two_minutes() -> None:
    many = Many(3)
    many.fail("p001")
    many.run(minutes=30.5)
    assert many.told == []
    many.run(minutes=1.5)
    assert many.told == [f"{STUCK} (acme.us.auth0.com to p001)"]
    assert many.phone.bodies[0].startswith(f"{STUCK}.\n")


def test_a_pipeline_with_urls_of_its_own_is_told_there_alone() -> None:
    many, owner = Many(4), Receiver("owner")
    many.pipelines["p002"].sender.end(None)
    many.open("p002", owner)
    many.fail()
    many.run(minutes=40)
    assert many.told == [f"{STUCK} (3 pipelines)"]
    assert owner.titles == [f"{STUCK} (acme.us.auth0.com to p002)"]


def test_kinds_are_told_apart() -> None:
    many = Many(4)
    many.fail("p000", "p001")
    many.run(minutes=26)
    for name in ("p002", "p003"):
        many.pipelines[name].watch.set_blocked(is_blocked=True, code="auth0-request-refused")
    many.run(minutes=10)
    assert sorted(many.told) == [
        f"{STUCK} (2 pipelines)",
        "The daemon is blocked until somebody acts (2 pipelines)",
    ]


def test_a_beginning_and_an_end_at_one_time_are_told_apart() -> None:
    many = Many(4)
    many.fail("p000", "p001")
    many.run(minutes=5)
    many.fail("p002", "p003")
    many.run(minutes=30.5)
    assert many.told == [f"{STUCK} (2 pipelines)"]
    many.pipelines["p000"].is_settling = many.pipelines["p001"].is_settling = True
    many.run(minutes=10)
    assert sorted(many.told) == [f"{STUCK} (2 pipelines)", f"{WELL} (2 pipelines)"]


def test_a_target_that_fails_gets_one_message_later_and_is_not_stormed() -> None:
    """The network that is down is also the way to the phone."""
    many = Many(20)
    many.phone.is_failing = True
    many.fail()
    many.run(minutes=90)
    assert many.told == []
    assert many.waiting == 20
    assert many.phone.attempts <= 7
    many.phone.is_failing = False
    many.mend()
    many.run(minutes=70)
    assert many.told == [f"{STUCK} (20 pipelines)", f"{WELL} (20 pipelines)"]
    assert many.waiting == 0


@pytest.mark.parametrize("minutes", [30.75, 40])
def test_a_restart_loses_no_alert_that_waits_and_repeats_none_that_arrived(minutes: float) -> None:
    many = Many(20)
    many.fail()
    many.run(minutes=minutes)
    told = many.told
    for bench in many.pipelines.values():
        bench.sender.end(None)
    many.start()
    many.fail()
    many.run(minutes=10)
    assert [*told, *many.told] == [f"{STUCK} (20 pipelines)"]
    assert many.waiting == 0


def test_a_pipeline_that_is_opened_anew_repeats_no_alert_that_others_sent_along() -> None:
    many = Many(3)
    many.fail()
    many.run(minutes=31)
    slow = many.pipelines.pop("p001")
    many.run(minutes=2)
    assert many.waiting == 1  # it does not know yet that its alert arrived
    slow.sender.end(None)
    many.open("p001").now = many.pipelines["p000"].now
    many.fail()
    many.run(minutes=20)
    assert many.told == [f"{STUCK} (3 pipelines)"]
    assert many.waiting == 0


def test_a_bug_of_a_target_holds_no_later_message_back(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Many(2)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(many.phone, "send", fail)
        many.fail()
        with pytest.raises(ZeroDivisionError):
            many.run(minutes=40)
    many.run(minutes=10)
    assert many.told == [f"{STUCK} (2 pipelines)"]

"""The state of the alerts in the ledger."""

from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

from poller.core.log_ids import EARLIEST
from poller.core.spans import Gap
from poller.service.alerts.kinds import Kind
from poller.service.alerts.outbox import QueuedAlert
from poller.service.alerts.rules import Memory
from tests.adapters.sql_ledger.ledgers import opened
from tests.builders import page, settlement
from tests.fakes import NOW, numbered

MEMORY = Memory(
    kind=Kind.GAP,
    since=NOW,
    number=3,
    detail="detail",
    section="section",
    is_told=True,
    told_at=NOW - timedelta(hours=1),
    held_back=2,
    mark="mark",
)
QUEUED = QueuedAlert(
    number=7,
    target="key",
    kind=Kind.GAP,
    title="title",
    body="body\nbody",
    severity="good",
    attempts=1,
    due_at=NOW,
)
QUEUED_ROW = asdict(QUEUED) | {"kind": "gap"}


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        ledger.write_alerts([asdict(MEMORY) | {"kind": "gap"}], [QUEUED_ROW])
    with opened(tmp_path / "ledger.db") as ledger:
        (memory,), (queued,) = ledger.read_alerts()
    assert Memory(**{**memory, "kind": Kind(memory["kind"])}) == MEMORY
    assert queued == QUEUED_ROW


def test_a_written_state_replaces_the_one_before_and_keeps_the_order(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        ledger.write_alerts([asdict(MEMORY) | {"kind": "gap"}], [QUEUED_ROW])
        several = [QUEUED_ROW | {"number": number} for number in (9, 8, 10)]
        ledger.write_alerts([], several)
        memories, queued = ledger.read_alerts()
        assert memories == []
        assert [row["number"] for row in queued] == [8, 9, 10]
        ledger.write_alerts([], [])
        assert ledger.read_alerts() == ([], [])


def test_the_facts_are_the_gaps_and_the_dead_letters(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        assert ledger.alert_facts() == {"gaps": (), "dead_letters": {}}
        span = ledger.begin(after=EARLIEST)
        lost = Gap(after=EARLIEST, before=numbered(1))
        span = ledger.settle(settlement(span, replace(page(1, 2), lost=lost)))
        ledger.settle(settlement(span, page(3, kind="no_user")))
        facts = ledger.alert_facts()
        assert facts["gaps"] == (NOW,)
        assert sum(facts["dead_letters"].values()) == 1

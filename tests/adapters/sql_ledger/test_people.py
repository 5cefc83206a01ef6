"""The data of a person can be shown and deleted, and every event keeps its outcome."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore
from poller.adapters.sql_ledger.people import PersonStore
from poller.core.events import LogEvent, parse_events
from poller.core.log_ids import EARLIEST
from poller.core.messages import Delivery
from poller.core.outcomes import Calls, DeadLetter, PendingIdentify
from poller.core.pages import Page
from poller.core.settlement import build_settlement
from poller.core.translation.change_detection import identify_key
from tests.adapters.sql_ledger.ledgers import opened, reading, url
from tests.fakes import NOW, STREAM, numbered

ADA, BOB = "auth0|ada", "auth0|ada2"
RECORDS = (
    {"type": "s", "user_id": ADA, "date": "2026-01-31T08:00:00.000Z"},
    {"type": "s", "user_id": BOB, "date": "2026-01-31T08:00:00.000Z"},
    {"type": "ss", "details": {"response": [f"of {ADA}, and of nobody else"]}},
    f'{{"user_id": "{ADA}", torn',
)


def events() -> tuple[LogEvent, ...]:
    found = parse_events([*RECORDS], after=EARLIEST)
    return tuple(replace(event, log_id=numbered(number)) for number, event in enumerate(found, 1))


@pytest.fixture
def ledger(path: Path) -> Path:
    """A ledger with a dead letter for each record, and with a pending identify of two people."""
    page = Page(events=events(), position=numbered(9), is_end=True, served_at=NOW)
    calls = Calls(
        dead_letters=tuple(DeadLetter(event=event, reason="no_user_id") for event in page.events)
    )
    pending = tuple(
        PendingIdentify(user_id=who, sent_as=sent_as, log_id=numbered(1))
        for who, sent_as in ((ADA, "c1"), (BOB, BOB))
    )
    said = {identify_key(who): "f" for who in (ADA, "c1", BOB)}
    with opened(path) as made:
        settled = build_settlement(made.begin(after=EARLIEST), page, calls, Delivery())
        made.settle(replace(settled, pending_identifies=pending, fingerprints=said))
    return path


@contextlib.contextmanager
def people(ledger: Path, *, to_change: bool = False) -> Iterator[PersonStore]:
    found = PersonStore.open(url(ledger), to_change=to_change)
    try:
        yield found
    finally:
        found.close()


def letters(ledger: Path) -> list[str]:
    graveyard = DeadLetterStore.open(url(ledger))
    try:
        return [letter.log_id for page in graveyard.pages() for letter in page]
    finally:
        graveyard.close()


def test_a_search_for_a_person_finds_every_row_about_them_and_no_other(ledger: Path) -> None:
    with people(ledger) as found:
        (held,) = found.find(ADA)
        assert [letter.log_id for letter in held.letters] == [numbered(1), numbered(3), numbered(4)]
        assert (held.stream, held.pending_identifies, held.is_remembered) == (STREAM, 1, True)
        (sent,) = found.find("c1")
        assert (sent.letters, sent.pending_identifies, sent.is_remembered) == ((), 1, True)
        assert found.find("auth0|nobody") == ()


@pytest.mark.sqlite
def test_a_person_who_is_forgotten_is_in_no_row_and_no_byte_of_the_file(ledger: Path) -> None:
    with people(ledger, to_change=True) as found:
        assert len(found.forget(ADA)) == 1
        assert found.find(ADA) == found.find("c1") == ()
        assert len(found.find(BOB)) == 1
    assert letters(ledger) == [numbered(2)]
    content = b"".join(file.read_bytes() for file in ledger.parent.iterdir())
    assert BOB.encode() in content
    assert content.count(ADA.encode()) == content.count(BOB.encode())


def test_each_event_of_a_forgotten_person_is_counted_as_discarded_in_its_hour(ledger: Path) -> None:
    with people(ledger, to_change=True) as found:
        found.forget(ADA)
        assert found.forget(ADA) == ()
    with reading(ledger) as reader:
        totals = reader.totals(STREAM)
    assert (totals["dead_lettered"], totals["discarded"]) == (1, 3)


def test_a_letter_that_is_discarded_by_hand_has_the_same_end(ledger: Path) -> None:
    graveyard = DeadLetterStore.open(url(ledger), to_change=True)
    try:
        (chosen,) = graveyard.pages(log_ids=[numbered(2)])
        assert (graveyard.discard(chosen), graveyard.discard(chosen)) == (1, 0)
    finally:
        graveyard.close()
    with reading(ledger) as reader:
        assert reader.totals(STREAM)["discarded"] == 1
        assert sum(reader.totals(STREAM).values()) == len(RECORDS)

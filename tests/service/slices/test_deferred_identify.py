"""The identify that each user gets at the end of a backfill, unless the daemon was faster."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.delivery import BatchSender
from poller.core.errors import TransientError
from poller.core.events import parse_events
from poller.core.forward import forward
from poller.core.log_ids import floor_id
from poller.core.messages import Batch, Identify, Receipt
from poller.core.pages import Page
from poller.core.settlement import UnaccountedError
from poller.core.spans import Span
from poller.core.translation.change_detection import PARTIAL, identify_fingerprint
from poller.core.translation.rules import Rules
from poller.core.translation.translator import (
    HistoryTranslator,
    LiveTranslator,
    TrackTranslator,
)
from poller.service.slices.deferred_identify import Identified, IdentifySender
from tests.builders import calls_of_page, record
from tests.fakes import NOW, STREAM, FakeDirectory, FakeLog, FakeSink, numbered

LATER = NOW + timedelta(hours=1)
PROFILE = {
    "email": "a@x.org",
    "created_at": "2020-01-01T00:00:00.000Z",
    "logins_count": 7,
    "last_login": "2026-11-20T11:00:00.000Z",
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = SqlLedger.open(f"sqlite:///{tmp_path / 'ledger.db'}", STREAM, create=True)
    yield made
    made.close()


def backfilled(ledger: SqlLedger, *users: str, served_at: datetime = NOW) -> None:
    """Walk a stretch of the past in which these users logged in, in this order."""
    log = FakeLog([(record(number) | {"user_id": user}) for number, user in enumerate(users, 1)])
    log.now = served_at
    span = ledger.begin(after=numbered(0), until=numbered(len(users)))
    translator = HistoryTranslator(STREAM)
    for _ in forward(log, FakeDirectory({}), translator, BatchSender(FakeSink()), ledger, span):
        pass


def record_sent(ledger: SqlLedger, fingerprints: dict[str, str], at: datetime) -> None:
    ledger.record_identified([], fingerprints, at)


def identifier(
    ledger: SqlLedger,
    sink: FakeSink,
    directory: FakeDirectory | None = None,
    *,
    begun_at: datetime = NOW,
    rules: Rules | None = None,
) -> IdentifySender:
    rules = rules or Rules()
    return IdentifySender(
        ledger,
        directory or FakeDirectory({"auth0|1": PROFILE}, read_at=LATER),
        HistoryTranslator(STREAM, rules),
        BatchSender(sink),
        begun_at=begun_at,
        only_news=rules.identify == "changes",
    )


def test_each_user_is_identified_once_with_the_profile_of_that_moment(ledger: SqlLedger) -> None:
    backfilled(ledger, "auth0|1", "auth0|1", "auth0|1")
    (waiting,) = ledger.claim_identifies("backfill", ("", ""), 10)
    assert (waiting.who.log_id, waiting.queued_at) == (numbered(3), NOW)
    sink = FakeSink()
    assert identifier(ledger, sink).send([waiting]) == Identified(sent=1)
    (message,) = sink.taken
    assert isinstance(message, Identify)
    assert message.timestamp == LATER
    assert message.traits == {
        "email": "a@x.org",
        "signed_up": "2020-01-01T00:00:00.000Z",
        "login_count": 7,
        "last_login": "2026-11-20T11:00:00.000Z",
    }
    assert ledger.count_pending_identifies() == 0
    ever = (NOW - timedelta(days=900), NOW + timedelta(days=900))
    counted = {key.kind: number for key, number in ledger.acknowledged(*ever).messages.items()}
    assert counted == {"track": 3, "identify": 1}


@pytest.mark.parametrize(
    ("after_s", "fingerprint", "sent"),
    [
        (-1, "other", 1),  # before: old news
        (1, PARTIAL, 1),  # of someone whose profile could not be had then
        (1, "other", 0),
    ],
)
def test_a_user_who_was_identified_meanwhile_is_left_out(
    ledger: SqlLedger, after_s: int, fingerprint: str, sent: int
) -> None:
    backfilled(ledger, "auth0|1")
    key = identify_fingerprint("auth0|1", {}, is_partial=False, always_send=False).key
    record_sent(ledger, {key: fingerprint}, NOW + timedelta(seconds=after_s))
    assert (
        identifier(ledger, FakeSink()).send(ledger.claim_identifies("backfill", ("", ""), 10)).sent
        == sent
    )
    assert ledger.count_pending_identifies() == 0


def test_a_user_who_was_identified_between_two_runs_is_left_out_of_the_second(
    ledger: SqlLedger,
) -> None:
    backfilled(ledger, "auth0|1")
    key = identify_fingerprint("auth0|1", {}, is_partial=False, always_send=False).key
    record_sent(ledger, {key: "other"}, NOW + timedelta(seconds=1))
    second = identifier(ledger, FakeSink(), begun_at=NOW + timedelta(hours=1))
    assert second.send(ledger.claim_identifies("backfill", ("", ""), 10)) == Identified(left_out=1)


def test_an_identify_is_dated_by_the_time_at_which_its_profile_was_read(ledger: SqlLedger) -> None:
    backfilled(ledger, "auth0|1")
    identifier(ledger, FakeSink()).send(ledger.claim_identifies("backfill", ("", ""), 10))
    key = identify_fingerprint("auth0|1", {}, is_partial=False, always_send=False).key
    assert ledger.last_sent([key])[key].at == LATER


def backfilled_again(ledger: SqlLedger) -> None:
    walked(ledger, ledger.begin_resends([(numbered(0), numbered(1))])[0], 1)


def backfilled_more(ledger: SqlLedger, number: int) -> None:
    """Walk another stretch of the past, in which auth0|1 logged in."""
    walked(ledger, ledger.begin(after=numbered(number - 1), until=numbered(number)), number)


def walked(ledger: SqlLedger, span: Span, number: int) -> None:
    log = FakeLog([record(number) | {"user_id": "auth0|1"}])
    for _ in forward(
        log,
        FakeDirectory({}),
        HistoryTranslator(STREAM),
        BatchSender(FakeSink()),
        ledger,
        span,
    ):
        pass


def test_the_daemons_identifies_are_remembered_whatever_the_mode(ledger: SqlLedger) -> None:
    """Send an identify of the live span, then walk a slice that shows the same user."""
    live = ledger.begin(after=numbered(5))
    log = FakeLog([record(6) | {"user_id": "auth0|1"}])
    log.now = NOW + timedelta(minutes=1)
    directory = FakeDirectory({"auth0|1": PROFILE})
    next(forward(log, directory, LiveTranslator(STREAM), BatchSender(FakeSink()), ledger, live))
    backfilled(ledger, "auth0|1", served_at=NOW + timedelta(minutes=2))
    sink = FakeSink()
    done = identifier(ledger, sink, begun_at=NOW).send(
        ledger.claim_identifies("backfill", ("", ""), 10)
    )
    assert (done, sink.taken) == (Identified(left_out=1), [])
    assert ledger.count_pending_identifies() == 0


def test_an_unchanged_identify_is_not_sent_again_if_only_changes_are_sent(
    ledger: SqlLedger,
) -> None:
    rules = Rules(identify="changes")
    backfilled(ledger, "auth0|1")
    assert (
        identifier(ledger, FakeSink(), rules=rules)
        .send(ledger.claim_identifies("backfill", ("", ""), 10))
        .sent
        == 1
    )
    backfilled_more(ledger, 2)
    later = NOW + timedelta(days=2)
    assert (
        identifier(ledger, FakeSink(), rules=rules, begun_at=later)
        .send(ledger.claim_identifies("backfill", ("", ""), 10))
        .sent
        == 0
    )
    backfilled_more(ledger, 3)
    changed = FakeDirectory({"auth0|1": PROFILE | {"email": "b@x.org"}}, read_at=later)
    waiting = [
        replace(each, queued_at=later) for each in ledger.claim_identifies("backfill", ("", ""), 10)
    ]
    assert (
        identifier(ledger, FakeSink(), changed, rules=rules, begun_at=later).send(waiting).sent == 1
    )


def test_an_unchanged_identify_is_sent_again_if_every_identify_is_sent(ledger: SqlLedger) -> None:
    backfilled(ledger, "auth0|1")
    assert (
        identifier(ledger, FakeSink()).send(ledger.claim_identifies("backfill", ("", ""), 10)).sent
        == 1
    )
    backfilled_more(ledger, 2)
    later = NOW + timedelta(days=2)
    waiting = [
        replace(each, queued_at=later) for each in ledger.claim_identifies("backfill", ("", ""), 10)
    ]
    assert identifier(ledger, FakeSink(), begun_at=later).send(waiting).sent == 1


def test_a_resend_identifies_its_users_again(ledger: SqlLedger) -> None:
    """At the first time, the write key may have been wrong."""
    rules = Rules(identify="changes")
    backfilled(ledger, "auth0|1")
    assert (
        identifier(ledger, FakeSink(), rules=rules)
        .send(ledger.claim_identifies("backfill", ("", ""), 10))
        .sent
        == 1
    )
    backfilled_again(ledger)
    assert (
        identifier(ledger, FakeSink(), rules=rules)
        .send(ledger.claim_identifies("backfill", ("", ""), 10))
        .sent
        == 1
    )


def test_a_ledger_taken_afresh_knows_only_what_was_said_since(ledger: SqlLedger) -> None:
    record_sent(ledger, {"old": "x"}, NOW - timedelta(seconds=1))
    record_sent(ledger, {"new": "x"}, NOW)
    assert ledger.ignoring_sent_before(NOW).last_fingerprints(["old", "new"]) == {"new": "x"}
    assert ledger.last_fingerprints(["old", "new"]) == {"old": "x", "new": "x"}


def test_a_run_that_ignores_earlier_identifies_sends_those_that_were_pending_before(
    ledger: SqlLedger,
) -> None:
    backfilled(ledger, "auth0|1")
    key = identify_fingerprint("auth0|1", {}, is_partial=False, always_send=False).key
    record_sent(ledger, {key: "other"}, NOW + timedelta(seconds=1))
    waiting = ledger.claim_identifies("backfill", ("", ""), 10)
    begun_at = NOW + timedelta(minutes=1)
    assert (
        identifier(ledger.ignoring_sent_before(begun_at), FakeSink(), begun_at=begun_at)
        .send(waiting)
        .sent
        == 1
    )


def test_a_deleted_or_refused_user_is_no_longer_pending_and_the_others_are_sent(
    ledger: SqlLedger,
) -> None:
    backfilled(ledger, "auth0|1", "auth0|2", "auth0|3")
    directory = FakeDirectory({"auth0|1": PROFILE, "auth0|3": PROFILE}, read_at=LATER)
    sink = FakeSink(lambda message: message.user_id == "auth0|3")
    assert identifier(ledger, sink, directory).send(
        ledger.claim_identifies("backfill", ("", ""), 10)
    ) == Identified(sent=1, left_out=2)
    assert ledger.count_pending_identifies() == 0


def test_every_identify_stays_pending_after_a_failure(ledger: SqlLedger) -> None:
    backfilled(ledger, "auth0|1")
    waiting = ledger.claim_identifies("backfill", ("", ""), 10)
    sink = FakeSink()
    sink.failures = [TransientError("later")]
    with pytest.raises(TransientError):
        identifier(ledger, sink).send(waiting)
    assert ledger.claim_identifies("backfill", ("", ""), 10) == waiting
    failing = FakeDirectory({})
    failing.failure = TransientError("later")
    with pytest.raises(TransientError):
        identifier(ledger, FakeSink(), failing).send(waiting)
    assert ledger.claim_identifies("backfill", ("", ""), 10) == waiting


def test_a_newer_event_of_a_user_keeps_them_waiting(ledger: SqlLedger) -> None:
    backfilled(ledger, "auth0|1")
    (old,) = ledger.claim_identifies("backfill", ("", ""), 10)
    newer = ledger.begin(after=numbered(1), until=numbered(2))
    translator = HistoryTranslator(STREAM)
    log = FakeLog([record(2) | {"user_id": "auth0|1"}])
    for _ in forward(log, FakeDirectory({}), translator, BatchSender(FakeSink()), ledger, newer):
        pass
    identifier(ledger, FakeSink()).send([old])
    assert [each.who.log_id for each in ledger.claim_identifies("backfill", ("", ""), 10)] == [
        numbered(2)
    ]


def test_a_user_whose_events_segment_refused_is_not_pending(ledger: SqlLedger) -> None:
    log = FakeLog([record(1), record(2)])
    span = ledger.begin(after=numbered(0), until=numbered(2))
    sink = FakeSink(lambda message: message.user_id == "auth0|2")
    for _ in forward(
        log,
        FakeDirectory({}),
        HistoryTranslator(STREAM),
        BatchSender(sink),
        ledger,
        span,
    ):
        pass
    assert [each.who.user_id for each in ledger.claim_identifies("backfill", ("", ""), 10)] == [
        "auth0|1"
    ]


def test_pending_identifies_are_read_in_order_piece_by_piece(ledger: SqlLedger) -> None:
    users = [f"auth0|{number}" for number in range(9)]
    backfilled(ledger, *users)
    first = ledger.claim_identifies("backfill", ("", ""), 4)
    rest = ledger.claim_identifies("backfill", (first[-1].who.user_id, first[-1].who.sent_as), 100)
    assert [each.who.user_id for each in (*first, *rest)] == users
    assert ledger.count_pending_identifies() == 9


def test_only_a_forwarded_event_makes_its_user_pending() -> None:
    translator = HistoryTranslator(STREAM)
    page = Page(
        events=parse_events(
            [record(1), record(2, "w"), (record(3) | {"user_id": ""})], after=floor_id(NOW)
        ),
        position=numbered(3),
        is_end=True,
        served_at=NOW,
    )
    calls = calls_of_page(translator, page, {})
    assert [
        entry.pending_identify.user_id for entry in calls.forwardable if entry.pending_identify
    ] == ["auth0|1"]
    never = calls_of_page(TrackTranslator(STREAM), page, {})
    live = calls_of_page(LiveTranslator(STREAM), page, {})
    assert not any(entry.pending_identify for found in (never, live) for entry in found.forwardable)


def test_tracks_alone_ask_for_no_profile_but_where_one_decides() -> None:
    events = parse_events(
        [
            record(1),
            (record(2) | {"user_id": "google|2"})
            | {"strategy": "google", "details": {"stats": {"loginsCount": 1}}},
            (record(3) | {"user_id": "google|3"})
            | {"strategy": "google", "details": {"stats": {"loginsCount": 9}}},
        ],
        after=floor_id(NOW),
    )
    assert HistoryTranslator(STREAM).select(events).users == ("google|2",)
    assert HistoryTranslator(STREAM, Rules(derive_signups=False)).select(events).users == ()
    assert len(HistoryTranslator(STREAM, Rules(preset="spec")).select(events).users) == 3
    assert len(LiveTranslator(STREAM).select(events).users) == 3


def test_a_later_identify_has_another_message_id_if_its_content_differs(ledger: SqlLedger) -> None:
    ids = []
    for email in ("a@x.org", "a@x.org", "b@x.org"):
        backfilled_again(ledger) if ids else backfilled(ledger, "auth0|1")
        sink = FakeSink()
        directory = FakeDirectory({"auth0|1": PROFILE | {"email": email}}, read_at=LATER)
        waiting = ledger.claim_identifies("backfill", ("", ""), 9)
        after = LATER + timedelta(hours=len(ids))
        later = [replace(each, queued_at=after) for each in waiting]
        identifier(ledger, sink, directory, begun_at=after).send(later)
        ids += [message.message_id for message in sink.taken]
    assert ids[0] == ids[1] != ids[2]


def test_each_id_under_which_a_user_was_sent_is_identified(ledger: SqlLedger) -> None:
    translator = HistoryTranslator(STREAM, Rules(user_id=PerApp()))
    records = [record(1), record(2) | {"user_id": "auth0|1"}]
    span = ledger.begin(after=numbered(0), until=numbered(2))
    directory = FakeDirectory({"auth0|1": PROFILE}, read_at=LATER)
    for _ in forward(
        FakeLog(records), directory, translator, BatchSender(FakeSink()), ledger, span
    ):
        pass
    waiting = ledger.claim_identifies("backfill", ("", ""), 9)
    assert len(waiting) == 2
    sink = FakeSink()
    assert identifier(ledger, sink, directory).send(waiting).sent == 2
    assert {message.user_id for message in sink.taken} == {f"{number}@app" for number in (1, 2)}
    assert ledger.count_pending_identifies() == 0


class PerApp:
    """The id comes from the event."""

    user_fields: frozenset[str] | None = frozenset()
    names_user = False
    names_log = True

    def of(self, user: object, log: dict[str, str]) -> str:
        del user
        return f"{int(log['log_id'][-33:])}@app"


class Word:
    """The trait comes from the event."""

    user_fields: frozenset[str] | None = frozenset()
    names_user = False
    names_log = True

    def of(self, user: object, log: dict[str, str]) -> str:
        del user
        return log.get("client_name", "unknown")


def test_a_trait_of_the_event_is_left_as_it_is(ledger: SqlLedger) -> None:
    backfilled(ledger, "auth0|1")
    sink = FakeSink()
    identifier(ledger, sink, rules=Rules(traits={"app": Word(), "email": Word()})).send(
        ledger.claim_identifies("backfill", ("", ""), 9)
    )
    (message,) = sink.taken
    assert isinstance(message, Identify)
    assert "app" not in message.traits
    assert "email" not in message.traits


def test_the_sender_waits_for_its_turn_before_it_reads_the_profile(ledger: SqlLedger) -> None:
    backfilled(ledger, "auth0|1")
    directory = FakeDirectory({"auth0|1": PROFILE}, read_at=LATER)
    asked: list[int] = []

    def turn(count: int) -> None:
        assert directory.asked == []
        asked.append(count)

    IdentifySender(
        ledger,
        directory,
        HistoryTranslator(STREAM),
        BatchSender(FakeSink()),
        begun_at=NOW,
        only_news=False,
        wait_turn=turn,
    ).send(ledger.claim_identifies("backfill", ("", ""), 9))
    assert (asked, len(directory.asked)) == ([1], 1)


def test_an_older_fingerprint_does_not_replace_a_newer_one(ledger: SqlLedger) -> None:
    record_sent(ledger, {"k": "new"}, LATER)
    record_sent(ledger, {"k": "old"}, NOW)
    assert ledger.last_fingerprints(["k"]) == {"k": "new"}


class Forgetful(FakeSink):
    """A sink whose receipts leave a message out."""

    def send(self, batch: Batch) -> Receipt:
        return Receipt(message_ids=super().send(batch).message_ids[1:])


def test_a_user_without_receipt_or_refusal_stays_pending(ledger: SqlLedger) -> None:
    backfilled(ledger, "auth0|1")
    waiting = ledger.claim_identifies("backfill", ("", ""), 9)
    with pytest.raises(UnaccountedError):
        identifier(ledger, Forgetful()).send(waiting)
    assert ledger.claim_identifies("backfill", ("", ""), 9) == waiting


def test_a_user_of_a_catch_up_is_left_out_if_identified_after_the_newest_event(
    ledger: SqlLedger,
) -> None:
    """The daemon may have been started again since, so that `begun_at` is later still."""
    live = ledger.begin(after=numbered(0))
    ledger.begin_catch_up(live, present=numbered(1), ends=())
    key = identify_fingerprint("auth0|1", {}, is_partial=False, always_send=False).key
    record_sent(ledger, {key: "other"}, NOW + timedelta(minutes=1))
    log = FakeLog([record(1)])
    log.now = LATER
    ports = (log, FakeDirectory({}), HistoryTranslator(STREAM), BatchSender(FakeSink()), ledger)
    for _ in forward(*ports, ledger.backlog()[0]):
        pass
    sender = identifier(ledger, FakeSink(), begun_at=LATER)
    waiting = ledger.claim_identifies("run", ("", ""), 9)
    assert sender.send(waiting) == Identified(left_out=1)

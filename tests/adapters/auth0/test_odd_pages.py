"""Pages of the log in the wrong order, without ids, or with odd records."""

from dataclasses import replace

import pytest

from poller.adapters.auth0 import Auth0Log
from poller.core.delivery import BatchSender
from poller.core.errors import UnusableAnswerError
from poller.core.events import canonical
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST
from poller.core.text.json_text import MAX_DEPTH
from poller.core.translation.translator import LiveTranslator
from tests.adapters.auth0.log_pages import STREAM, log_id, page, record, span
from tests.fakes import FakeDirectory, FakeLedger, FakeSink
from tests.samples import login
from tests.scripted import Reply, Scripted


@pytest.mark.parametrize(
    "reply",
    [
        page(record(log_id(1))),
        page(record(log_id(0)), record(log_id(1)), record(log_id(2))),
        page(record(log_id(4)), record(log_id(3))),
        Reply(body=b'{"logs": []}'),
        Reply(body=b'"text"'),
    ],
    ids=["same again", "from below", "descending", "object", "text"],
)
def test_a_page_that_does_not_lie_above_the_position_is_noticed_and_not_settled(
    log: Auth0Log, scripted: Scripted, reply: Reply
) -> None:
    scripted.replies = [reply]
    with pytest.raises(UnusableAnswerError) as raised:
        log.fetch(span(log_id(2)))
    assert raised.value.service == "Auth0"  # the back-off counts the failures of each service


@pytest.mark.parametrize("named", [log_id(9), "~", "soon", None])
def test_records_at_the_end_that_have_no_id_are_left_whatever_the_link_names(
    log: Auth0Log, scripted: Scripted, named: str | None
) -> None:
    scripted.replies = [page(record(log_id(3)), None, {"type": "s"}, next_from=named)]
    found = log.fetch(span(log_id(2)))
    assert [event.log_id for event in found.events] == [log_id(3)]
    assert found.position == log_id(3)


def test_a_page_of_records_without_ids_moves_nothing_and_ends_the_poll(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(None, None, next_from="~")]
    found = log.fetch(span(log_id(2)))
    assert (found.events, found.position, found.is_end, found.drained_to) == (
        (),
        log_id(2),
        True,
        None,
    )


def test_a_whole_page_of_records_without_ids_cannot_be_passed(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(*[None] * 100)]
    with pytest.raises(UnusableAnswerError, match="without any log id") as raised:
        log.fetch(span(log_id(2)))
    assert raised.value.service == "Auth0"


def test_an_unreadable_record_right_after_the_position_is_no_reason_to_stop(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(None, record(log_id(3)))]
    found = log.fetch(span(log_id(2)))
    assert [event.defect for event in found.events] == ["unreadable_record", None]
    assert found.position == log_id(3)


@pytest.mark.parametrize("levels", [MAX_DEPTH, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"]\\"}":', "}")])
def test_a_record_that_is_nested_too_deep_is_one_dead_letter_and_holds_up_nothing(
    log: Auth0Log, scripted: Scripted, levels: int, opening: str, closing: str
) -> None:
    deep = opening * levels + "0" + closing * levels
    hostile = login(log_id=log_id(2), auth0_client="DEEP", user_agent="x" * 5_000, connection='["{')
    harmless = record(log_id(3)) | {"auth0_client": "DEEP"}
    reply = page(hostile, harmless, login(log_id=log_id(4)), [["DEEP"]], login(log_id=log_id(5)))
    scripted.replies = [replace(reply, body=reply.body.replace(b'"DEEP"', deep.encode()))]
    ledger = FakeLedger(STREAM)
    after = ledger.begin(after=log_id(1), until=log_id(5))
    sink = FakeSink()
    (done,) = forward(
        log, FakeDirectory({}), LiveTranslator(STREAM), BatchSender(sink), ledger, after
    )
    assert {message.log_id for message in sink.taken} == {log_id(4), log_id(5)}
    assert ledger.dead_letters == {
        log_id(2): "nested_too_deep",
        f"{log_id(4)}+001": "unreadable_record",
    }
    assert [event.log_id for event in done.settlement.filtered] == [log_id(3)]
    for letter in done.settlement.dead_letters:
        assert len(canonical(letter.event.record)) < 10_000
    kept = done.settlement.dead_letters[0].event.record
    assert (kept["user_id"], kept["connection"]) == ("auth0|1", '["{')


def test_a_number_without_end_in_one_record_spoils_no_page(
    log: Auth0Log, scripted: Scripted
) -> None:
    reply = page(record(log_id(1)), record(log_id(2)) | {"details": "@"})
    scripted.replies = [replace(reply, body=reply.body.replace(b'"@"', b"9" * 5000))]
    assert [event.log_id for event in log.fetch(span(EARLIEST)).events] == [log_id(1), log_id(2)]


def test_numbers_keep_the_digits_that_came(log: Auth0Log, scripted: Scripted) -> None:
    numbers = '"big": 12345678901234567890123, "huge": 1e400'
    raw = f'{{{numbers}, "log_id": "{log_id(2)}", "type": "w", "z": -0.0}}'
    scripted.replies = [replace(page(), body=f"[{raw}]".encode())]
    (event,) = log.fetch(span(log_id(1))).events
    assert canonical(event.record) == raw

"""Positions, proofs against retention and odd pages of the log by checkpoint."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from poller.adapters.auth0 import Auth0Log, Credentials, ManagementApi, TokenSource
from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.core.delivery import BatchSender
from poller.core.errors import UnusableAnswerError
from poller.core.events import SHORTEST_RETENTION, Stream, canonical
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST, LogId, floor_id, predecessor
from poller.core.spans import Gap, Span
from poller.core.text.json_text import MAX_DEPTH
from poller.core.translation.translator import LiveTranslator
from tests.adapters.auth0.answers import Budget, token
from tests.fakes import FakeDirectory, FakeLedger, FakeSink
from tests.samples import login
from tests.scripted import Reply, Scripted

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
OLD = NOW - timedelta(days=3)
STREAM = Stream(domain="acme.us.auth0.com", source_name="s")


def log_id(number: int, moment: datetime = NOW) -> LogId:
    return LogId(f"900{moment:%Y%m%d%H%M%S}{number:039d}")


def span(reached: LogId, **changes: Any) -> Span:
    return replace(Span(id=1, stream=STREAM, after=EARLIEST, reached=reached), **changes)


def page(*records: object, next_from: str | None = None, at: datetime = NOW) -> Reply:
    headers = {"Date": format_datetime(at, usegmt=True)}
    if next_from:
        headers["Link"] = f'<https://acme/api/v2/logs?from={next_from}&take=100>; rel="next"'
    return Reply(body=json.dumps(records).encode(), headers=headers)


def record(found: LogId, kind: str = "w") -> dict[str, str]:
    return {"log_id": found, "type": kind, "date": "2026-11-23T09:59:00.000Z"}


@pytest.fixture
def host() -> datetime:
    """Return the time of this machine's clock."""
    return NOW


@pytest.fixture
def others() -> list[LogId]:
    """Return the last ids of the pages whose links name another position."""
    return []


@pytest.fixture
def log(scripted: Scripted, host: datetime, others: list[LogId]) -> Iterator[Auth0Log]:
    http = Http(scripted.origin, ServerClock(host=lambda: host))
    tokens = TokenSource(Credentials(domain=STREAM.domain, client_id="c", client_secret="s"), http)
    scripted.replies = [token()]
    tokens.current()
    scripted.asked.clear()
    api = ManagementApi(http, tokens, Budget())
    yield Auth0Log(api, now=lambda: NOW, on_other_link=others.append)
    http.close()


def froms(scripted: Scripted) -> list[str]:
    return [asked.query["from"] for asked in scripted.asked]


def test_a_link_that_names_the_last_id_is_nothing_to_tell(
    log: Auth0Log, scripted: Scripted, others: list[LogId]
) -> None:
    scripted.replies = [page(record(log_id(2)), next_from=log_id(2)), page(next_from=log_id(2))]
    log.fetch(span(log_id(1)))
    log.fetch(span(log_id(2)))
    assert (others, log.has_other_link) == ([], False)


@pytest.mark.parametrize("link", ["Cg1HRUY3", log_id(9)])
def test_a_link_that_names_another_position_is_told_once_and_not_followed(
    log: Auth0Log, scripted: Scripted, others: list[LogId], link: str
) -> None:
    scripted.replies = [page(record(log_id(2)), next_from=link)]
    assert log.fetch(span(log_id(1))).position == log_id(2)
    log.fetch(span(log_id(1)))
    assert (others, log.has_other_link) == ([log_id(2)], True)


@pytest.mark.parametrize("link", ["<http://[>; rel=next", "odd", '<https://a/?page=2>; rel="next"'])
def test_a_link_without_a_position_is_nothing_to_tell(
    log: Auth0Log, scripted: Scripted, others: list[LogId], link: str
) -> None:
    odd = page(record(log_id(2)))
    scripted.replies = [replace(odd, headers=odd.headers | {"Link": link})]
    log.fetch(span(log_id(1)))
    assert others == []


def test_a_young_position_is_asked_from_itself(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(2)), record(log_id(3)))]
    found = log.fetch(span(log_id(1)))
    assert froms(scripted) == [log_id(1)]
    assert (found.position, found.is_end, found.served_at, found.lost) == (
        log_id(3),
        True,
        NOW,
        None,
    )


def test_an_old_position_is_asked_from_one_below(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(*(record(log_id(number, OLD)) for number in range(1, 4)))]
    found = log.fetch(span(log_id(1, OLD)))
    assert froms(scripted) == [predecessor(log_id(1, OLD))]
    assert [event.log_id for event in found.events] == [log_id(2, OLD), log_id(3, OLD)]
    assert (found.position, found.is_end, found.lost) == (log_id(3, OLD), False, None)


def test_an_answer_that_holds_only_the_record_asked_from_shows_nothing_of_what_is_above(
    log: Auth0Log, scripted: Scripted
) -> None:
    here = record(log_id(1, OLD))
    scripted.replies = [page(here), page(record(log_id(2))), page(here)]
    found = log.fetch(span(log_id(1, OLD)))
    assert froms(scripted) == [predecessor(log_id(1, OLD)), log_id(1, OLD), EARLIEST]
    assert ([event.log_id for event in found.events], found.lost) == ([log_id(2)], None)


def test_an_idle_poll_is_one_request(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page()]
    found = log.fetch(span(log_id(1, OLD), drained_at=NOW - timedelta(minutes=1)))
    assert froms(scripted) == [log_id(1, OLD)]
    assert (found.is_end, found.drained_to) == (True, NOW)


@pytest.mark.parametrize(("age_s", "is_end"), [(0, True), (10, True), (11, False), (3600, False)])
def test_a_short_page_ends_a_poll_only_if_its_newest_event_is_young(
    log: Auth0Log, scripted: Scripted, age_s: int, is_end: bool
) -> None:
    newest = log_id(2, NOW - timedelta(seconds=age_s))
    scripted.replies = [page(record(newest))]
    found = log.fetch(span(log_id(1, NOW - timedelta(hours=2))))
    assert (found.is_end, found.position) == (is_end, newest)
    assert found.drained_to == (NOW - timedelta(seconds=age_s) if is_end else None)


def test_a_short_page_without_a_believed_time_is_no_end(log: Auth0Log, scripted: Scripted) -> None:
    yesterday = NOW - timedelta(days=1)
    scripted.replies = [page(record(log_id(2)), at=yesterday), page(record(log_id(1)))]
    found = log.fetch(span(log_id(1)))
    assert (found.is_end, found.drained_to) == (False, None)


def test_an_id_without_a_time_needs_the_empty_page(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [
        page(record(LogId("Cg2"))),
        page(record(LogId("Cg1"))),
        page(),
        page(record(LogId("Cg1"))),
    ]
    found = log.fetch(span(LogId("Cg1")))
    assert (found.is_end, found.position) == (False, LogId("Cg2"))
    assert log.fetch(span(LogId("Cg2"))).is_end


def test_a_date_that_the_host_agrees_with_is_believed(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page()]
    found = log.fetch(span(floor_id(NOW)))
    assert (found.served_at, found.believed_at) == (NOW, NOW)


@pytest.mark.parametrize("host", [NOW + timedelta(days=40)])
class TestAHostClockThatIsWrong:
    """The newest log ids can confirm the `Date`. A page from the middle of the log cannot."""

    def test_an_event_at_the_end_of_the_log_bears_the_date_out(
        self, log: Auth0Log, scripted: Scripted
    ) -> None:
        scripted.replies = [page(record(log_id(3, NOW - timedelta(minutes=2))))]
        found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
        assert (found.served_at, found.believed_at) == (NOW, NOW)

    def test_a_full_page_proves_nothing(
        self, log: Auth0Log, scripted: Scripted, host: datetime
    ) -> None:
        scripted.replies = [page(*(record(log_id(number)) for number in range(1, 101)))]
        found = log.fetch(span(floor_id(NOW)))
        assert (found.served_at, found.believed_at) == (host, None)

    @pytest.mark.parametrize(
        "records", [[], [record(log_id(1, NOW - timedelta(hours=1)))]], ids=["empty", "old"]
    )
    def test_a_quiet_log_proves_nothing(
        self, log: Auth0Log, scripted: Scripted, host: datetime, records: list[Any]
    ) -> None:
        scripted.replies = [page(*records)]
        found = log.fetch(span(floor_id(NOW - timedelta(hours=2))))
        assert (found.served_at, found.believed_at) == (host, None)

    def test_the_event_that_was_asked_from_proves_nothing(
        self, log: Auth0Log, scripted: Scripted
    ) -> None:
        here = record(log_id(1, OLD))
        scripted.replies = [page(here), page(), page(here)]
        assert log.fetch(span(log_id(1, OLD))).believed_at is None

    def test_a_first_start_goes_by_the_lower_of_two_clocks_that_disagree(
        self, log: Auth0Log, scripted: Scripted, host: datetime
    ) -> None:
        oldest, newest = record(log_id(1, OLD)), record(log_id(1, NOW - timedelta(hours=1)))
        scripted.replies = [
            page(oldest),
            page(newest),
            page(oldest, at=NOW + timedelta(days=400)),
            page(newest),
        ]
        assert [log.oldest_kept() for _ in range(2)] == [
            (log_id(1, OLD), NOW),
            (log_id(1, OLD), host),
        ]


@pytest.mark.parametrize("host", [OLD + timedelta(hours=1)])
def test_a_time_that_is_not_believed_proves_nothing_against_retention(
    log: Auth0Log, scripted: Scripted
) -> None:
    later = OLD + timedelta(minutes=30)
    kept = [record(log_id(number, later)) for number in range(100)]
    scripted.replies = [page(*kept), page(kept[0]), page(kept[-1])]
    found = log.fetch(span(log_id(1, OLD)))
    assert found.believed_at is None
    assert found.lost == Gap(after=log_id(1, OLD), before=log_id(0, later))


@pytest.mark.parametrize("host", [OLD - timedelta(days=40)])
def test_the_time_of_a_page_never_lies_below_its_events(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(*(record(log_id(number, OLD)) for number in range(1, 101)))]
    found = log.fetch(span(floor_id(OLD)))
    assert (found.served_at, found.believed_at) == (OLD, None)


@pytest.mark.parametrize(
    "date", [datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(days=1)], ids=["1970", "cached"]
)
def test_a_wrong_date_neither_dates_a_page_nor_begins_a_span(
    log: Auth0Log, scripted: Scripted, date: datetime
) -> None:
    scripted.replies = [page(record(log_id(3)), at=date), page(record(log_id(3)), at=date)]
    found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
    assert (found.served_at, found.believed_at) == (NOW, None)
    scripted.replies.append(page(record(log_id(3))))
    assert log.oldest_kept() == (log_id(3), NOW)


@pytest.mark.parametrize(
    "host", [NOW - timedelta(days=2), NOW + timedelta(days=2)], ids=["behind", "ahead"]
)
def test_the_newest_event_bears_the_date_out_where_the_host_does_not(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [
        page(record(log_id(1, OLD))),
        page(record(log_id(9, NOW - timedelta(minutes=1)))),
    ]
    assert log.oldest_kept() == (log_id(1, OLD), NOW)


def test_a_full_page_of_the_live_span_is_not_the_end(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(*(record(log_id(number)) for number in range(1, 101)))]
    found = log.fetch(span(floor_id(NOW)))
    assert not found.is_end
    assert froms(scripted) == [floor_id(NOW)]
    assert len(found.events) == 100


def test_an_empty_page_is_the_end_and_does_not_move(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page()]
    found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
    assert (found.events, found.position, found.is_end) == (
        (),
        floor_id(NOW - timedelta(hours=1)),
        True,
    )
    assert found.lost is None


def test_the_event_at_the_position_proves_that_nothing_after_it_was_cut(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(record(log_id(1, OLD)), record(log_id(2)))]
    assert log.fetch(span(log_id(1, OLD))).lost is None
    assert len(scripted.asked) == 1


def test_a_page_that_is_full_with_the_record_asked_from_is_not_the_end(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [
        page(record(log_id(1, OLD)), *(record(log_id(number)) for number in range(2, 101)))
    ]
    found = log.fetch(span(log_id(1, OLD)))
    assert (len(found.events), found.is_end, found.drained_to) == (99, False, None)


def test_an_oldest_event_at_or_below_the_position_is_proof_too(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(record(log_id(2)), record(log_id(3))), page(record(log_id(0, OLD)))]
    assert log.fetch(span(log_id(1, OLD))).lost is None
    assert froms(scripted)[1] == EARLIEST


@pytest.mark.parametrize("reached", [log_id(1, OLD), floor_id(OLD)], ids=["an event", "a bound"])
def test_without_proof_the_stretch_up_to_the_page_is_lost(
    log: Auth0Log, scripted: Scripted, reached: LogId
) -> None:
    scripted.replies = [page(record(log_id(5)), record(log_id(6))), page(record(log_id(5)))]
    found = log.fetch(span(reached))
    assert found.lost == Gap(after=reached, before=floor_id(NOW - SHORTEST_RETENTION))
    assert [event.log_id for event in found.events] == [log_id(5), log_id(6)]


def test_a_gap_ends_at_the_first_event_of_the_page(log: Auth0Log, scripted: Scripted) -> None:
    first = log_id(5, NOW - timedelta(days=2))
    scripted.replies = [page(record(first), record(log_id(6))), page(record(first))]
    assert log.fetch(span(log_id(1, OLD))).lost == Gap(after=log_id(1, OLD), before=first)


def test_an_empty_log_without_a_believed_time_says_nothing(
    log: Auth0Log, scripted: Scripted
) -> None:
    yesterday = NOW - timedelta(days=1)
    scripted.replies = [page(at=yesterday), page(at=yesterday)]
    found = log.fetch(span(log_id(1, OLD)))
    assert (found.lost, found.drained_to, found.is_end) == (None, None, True)


def test_an_emptied_log_is_lost_up_to_what_retention_can_have_taken(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(), page()]
    gap = Gap(after=log_id(1, OLD), before=floor_id(NOW - SHORTEST_RETENTION))
    assert log.fetch(span(log_id(1, OLD))).lost == gap


def test_a_quiet_tenant_that_was_drained_lately_lost_nothing(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(record(log_id(5)))]
    assert log.fetch(span(log_id(1, OLD), drained_at=NOW - timedelta(minutes=1))).lost is None
    assert len(scripted.asked) == 1


def test_nothing_is_lost_where_the_page_begins_right_above_the_position(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(record(log_id(5, OLD)), record(log_id(6, OLD)))]
    assert log.fetch(span(log_id(4, OLD))).lost is None
    assert len(scripted.asked) == 1


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


class TestBounded:
    """A cursor ends at an event at or beyond `until`, or at a younger answer without events."""

    def test_events_beyond_the_bound_end_it_there(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(2)), record(log_id(7)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert [event.log_id for event in found.events] == [log_id(2)]
        assert (found.position, found.is_end) == (log_id(5), True)

    def test_the_event_at_the_bound_ends_it(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(2)), record(log_id(5)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert (len(found.events), found.position, found.is_end) == (2, log_id(5), True)

    def test_a_short_page_below_the_bound_is_not_the_end(
        self, log: Auth0Log, scripted: Scripted
    ) -> None:
        scripted.replies = [page(record(log_id(2)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert (found.position, found.is_end) == (log_id(2), False)

    @pytest.mark.parametrize(
        ("until", "reaches"),
        [
            (log_id(5, NOW - timedelta(seconds=1)), True),
            (floor_id(NOW), True),
            (log_id(5), False),
            (floor_id(NOW + timedelta(seconds=1)), False),
            (LogId("Cg9"), False),
        ],
    )
    def test_an_empty_page_reaches_a_bound_that_is_past(
        self, log: Auth0Log, scripted: Scripted, until: LogId, reaches: bool
    ) -> None:
        scripted.replies = [page()]
        reached = log_id(1, NOW - timedelta(hours=1))
        found = log.fetch(span(reached, until=until))
        assert (found.position, found.is_end) == (until if reaches else reached, True)

    def test_an_empty_page_without_a_believed_time_reaches_no_bound(
        self, log: Auth0Log, scripted: Scripted
    ) -> None:
        yesterday = NOW - timedelta(days=1)
        scripted.replies = [page(at=yesterday), page(record(log_id(0, OLD)), at=yesterday)]
        found = log.fetch(span(log_id(1, OLD), until=log_id(2, OLD), drained_at=NOW))
        assert (found.position, found.is_end) == (log_id(1, OLD), True)


def test_the_newest_events_are_searched_by_type_over_as_many_pages_as_it_takes(
    log: Auth0Log, scripted: Scripted
) -> None:
    newest = [record(log_id(number), "s") for number in range(150, 0, -1)]
    scripted.replies = [page(*newest[:100]), page(*newest[100:])]
    found = log.newest_in_search(("s", "ss"), 120)
    assert [event.log_id for event in found] == [log_id(number) for number in range(150, 30, -1)]
    assert [asked.query["q"] for asked in scripted.asked] == ['type:("s" OR "ss")'] * 2
    assert [asked.query["page"] for asked in scripted.asked] == ["0", "1"]
    assert not any("from" in asked.query for asked in scripted.asked)


def test_a_drain_dated_by_a_clock_that_was_wrong_proves_nothing(
    log: Auth0Log, scripted: Scripted
) -> None:
    oldest = log_id(9, NOW - timedelta(days=1))
    scripted.replies = [page(record(log_id(10)), record(log_id(11))), page(record(oldest))]
    found = log.fetch(span(log_id(1, OLD), drained_at=NOW + timedelta(days=3650)))
    assert found.lost is not None
    assert found.lost.after == log_id(1, OLD)


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

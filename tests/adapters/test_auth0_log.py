"""The log by checkpoint against scripted answers: positions, proofs against retention, and odd pages."""

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
from poller.core.errors import TransientError
from poller.core.events import EARLIEST, Gap, LogId, Span, Stream, canonical, floor_id, predecessor
from tests.adapters.test_auth0_api import Budget, token
from tests.conftest import Reply, Scripted

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
def log(scripted: Scripted, host: datetime) -> Iterator[Auth0Log]:
    http = Http(scripted.origin, ServerClock(host=lambda: host))
    tokens = TokenSource(Credentials(domain=STREAM.domain, client_id="c", client_secret="s"), http)
    scripted.replies = [token()]
    tokens.current()
    scripted.asked.clear()
    yield Auth0Log(ManagementApi(http, tokens, Budget()))
    http.close()


def froms(scripted: Scripted) -> list[str]:
    return [asked.query["from"] for asked in scripted.asked]


def test_a_page_is_read_from_one_below_the_last_event_and_begins_after_it(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(1)), record(log_id(2)), record(log_id(3)))]
    found = log.fetch(span(log_id(1)))
    assert froms(scripted) == [predecessor(log_id(1))]
    assert [event.log_id for event in found.events] == [log_id(2), log_id(3)]
    assert (found.position, found.is_end, found.served_at, found.lost) == (log_id(3), True, NOW, None)


def test_a_date_that_the_host_agrees_with_is_believed(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page()]
    found = log.fetch(span(floor_id(NOW)))
    assert (found.served_at, found.believed_at) == (NOW, NOW)


@pytest.mark.parametrize("host", [NOW + timedelta(days=40)])
class TestAHostClockThatIsWrong:
    """The newest log ids can bear out the `Date`; a page from the middle of the log cannot."""

    def test_an_event_at_the_end_of_the_log_bears_the_date_out(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(3, NOW - timedelta(minutes=2))))]
        found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
        assert (found.served_at, found.believed_at) == (NOW, NOW)

    def test_a_full_page_proves_nothing(self, log: Auth0Log, scripted: Scripted, host: datetime) -> None:
        scripted.replies = [page(*(record(log_id(number)) for number in range(1, 101)))]
        found = log.fetch(span(floor_id(NOW)))
        assert (found.served_at, found.believed_at) == (host, None)

    @pytest.mark.parametrize("records", [[], [record(log_id(1, NOW - timedelta(hours=1)))]], ids=["empty", "old"])
    def test_a_quiet_log_proves_nothing(
        self, log: Auth0Log, scripted: Scripted, host: datetime, records: list[Any]
    ) -> None:
        scripted.replies = [page(*records)]
        found = log.fetch(span(floor_id(NOW - timedelta(hours=2))))
        assert (found.served_at, found.believed_at) == (host, None)

    def test_the_event_that_was_asked_from_proves_nothing(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(1)))]
        assert log.fetch(span(log_id(1))).believed_at is None

    def test_a_first_start_goes_by_the_lower_of_two_clocks_that_disagree(
        self, log: Auth0Log, scripted: Scripted, host: datetime
    ) -> None:
        oldest, newest = record(log_id(1, OLD)), record(log_id(1, NOW - timedelta(hours=1)))
        scripted.replies = [page(oldest), page(newest), page(oldest, at=NOW + timedelta(days=400)), page(newest)]
        assert [log.oldest() for _ in range(2)] == [(log_id(1, OLD), NOW), (log_id(1, OLD), host)]


@pytest.mark.parametrize("host", [OLD - timedelta(days=40)])
def test_the_time_of_a_page_never_lies_below_its_events(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(*(record(log_id(number, OLD)) for number in range(1, 101)))]
    found = log.fetch(span(floor_id(OLD)))
    assert (found.served_at, found.believed_at) == (OLD, None)


@pytest.mark.parametrize("date", [datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(days=1)], ids=["1970", "cached"])
def test_a_wrong_date_neither_dates_a_page_nor_begins_a_span(log: Auth0Log, scripted: Scripted, date: datetime) -> None:
    scripted.replies = [page(record(log_id(3)), at=date), page(record(log_id(3)), at=date)]
    found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
    assert (found.served_at, found.believed_at) == (NOW, None)
    scripted.replies.append(page(record(log_id(3))))
    assert log.oldest() == (log_id(3), NOW)


@pytest.mark.parametrize("host", [NOW - timedelta(days=2), NOW + timedelta(days=2)], ids=["behind", "ahead"])
def test_the_newest_event_bears_the_date_out_where_the_host_does_not(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(1, OLD))), page(record(log_id(9, NOW - timedelta(minutes=1))))]
    assert log.oldest() == (log_id(1, OLD), NOW)


def test_a_full_page_of_the_live_span_is_not_the_end(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(*(record(log_id(number)) for number in range(1, 101)))]
    found = log.fetch(span(floor_id(NOW)))
    assert not found.is_end
    assert froms(scripted) == [floor_id(NOW)]
    assert len(found.events) == 100


def test_an_empty_page_is_the_end_and_does_not_move(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page()]
    found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
    assert (found.events, found.position, found.is_end) == ((), floor_id(NOW - timedelta(hours=1)), True)
    assert found.lost is None


def test_the_event_at_the_position_proves_that_nothing_after_it_was_cut(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(1, OLD)), record(log_id(2)))]
    assert log.fetch(span(log_id(1, OLD))).lost is None
    assert len(scripted.asked) == 1


def test_an_oldest_event_at_or_below_the_position_is_proof_too(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(2))), page(record(log_id(0, OLD)))]
    assert log.fetch(span(log_id(1, OLD))).lost is None
    assert froms(scripted)[1] == EARLIEST


@pytest.mark.parametrize("reached", [log_id(1, OLD), floor_id(OLD)], ids=["an event", "a bound"])
def test_without_proof_the_stretch_up_to_the_page_is_lost(log: Auth0Log, scripted: Scripted, reached: LogId) -> None:
    scripted.replies = [page(record(log_id(5)), record(log_id(6))), page(record(log_id(5)))]
    found = log.fetch(span(reached))
    assert found.lost == Gap(after=reached, before=log_id(5))
    assert [event.log_id for event in found.events] == [log_id(5), log_id(6)]


def test_an_emptied_log_after_a_long_absence_is_lost_up_to_now(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(), page()]
    assert log.fetch(span(log_id(1, OLD))).lost == Gap(after=log_id(1, OLD), before=floor_id(NOW))


def test_a_quiet_tenant_that_was_drained_lately_lost_nothing(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(5)))]
    assert log.fetch(span(log_id(1, OLD), drained_at=NOW - timedelta(minutes=1))).lost is None
    assert len(scripted.asked) == 1


def test_a_start_at_the_earliest_asks_for_no_more_than_is_kept(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(5, OLD)))]
    assert log.fetch(span(EARLIEST)).lost is None


@pytest.mark.parametrize(
    "reply",
    [
        page(record(log_id(1))),
        page(record(log_id(0)), record(log_id(1)), record(log_id(2))),
        page(record(log_id(4)), record(log_id(3))),
        page(None, None),
        page(None, next_from=log_id(2)),
        Reply(body=b'{"logs": []}'),
        Reply(body=b'"text"'),
    ],
    ids=["same again", "from below", "descending", "nothing readable", "link does not advance", "object", "text"],
)
def test_a_page_that_does_not_lie_above_the_position_is_noticed_and_not_settled(
    log: Auth0Log, scripted: Scripted, reply: Reply
) -> None:
    scripted.replies = [reply]
    with pytest.raises(TransientError):
        log.fetch(span(log_id(2)))


def test_a_page_that_ends_unreadable_goes_on_from_where_the_server_says(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(3)), None, {"type": "s"}, next_from=log_id(9))]
    found = log.fetch(span(log_id(2), drained_at=NOW))
    assert found.position == log_id(9)
    assert [event.defect for event in found.events] == [None, "unreadable_record", "unreadable_record"]
    assert [event.log_id for event in found.events] == sorted(event.log_id for event in found.events)


def test_an_unreadable_record_right_after_the_position_is_no_reason_to_stop(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(2)), None, record(log_id(3)))]
    found = log.fetch(span(log_id(2)))
    assert [event.defect for event in found.events] == ["unreadable_record", None]
    assert found.position == log_id(3)


class TestBounded:
    """A span with `until` ends only by seeing an event beyond it, or nothing at all."""

    def test_events_beyond_the_bound_end_it_there(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(1)), record(log_id(2)), record(log_id(7)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert [event.log_id for event in found.events] == [log_id(2)]
        assert (found.position, found.is_end) == (log_id(5), True)

    def test_a_short_page_below_the_bound_is_not_the_end(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(1)), record(log_id(2)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert (found.position, found.is_end) == (log_id(2), False)

    def test_an_empty_page_is_the_end_and_does_not_claim_the_bound(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(1)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert (found.position, found.is_end) == (log_id(1), True)


def test_the_newest_events_are_searched_by_type_over_as_many_pages_as_it_takes(
    log: Auth0Log, scripted: Scripted
) -> None:
    newest = [record(log_id(number), "s") for number in range(150, 0, -1)]
    scripted.replies = [page(*newest[:100]), page(*newest[100:])]
    found = log.newest(("s", "ss"), 120)
    assert [event.log_id for event in found] == [log_id(number) for number in range(150, 30, -1)]
    assert [asked.query["q"] for asked in scripted.asked] == ['type:("s" OR "ss")'] * 2
    assert [asked.query["page"] for asked in scripted.asked] == ["0", "1"]
    assert not any("from" in asked.query for asked in scripted.asked)


def test_a_drain_dated_by_a_clock_that_was_wrong_proves_nothing(log: Auth0Log, scripted: Scripted) -> None:
    oldest = log_id(9, NOW - timedelta(days=1))
    scripted.replies = [page(record(log_id(10))), page(record(oldest))]
    found = log.fetch(span(log_id(1, OLD), drained_at=NOW + timedelta(days=3650)))
    assert found.lost == Gap(after=log_id(1, OLD), before=log_id(10))


def test_a_tenant_that_was_empty_once_is_not_trusted_to_have_stayed_so(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(10))), page(record(log_id(9, NOW - timedelta(days=1))))]
    found = log.fetch(span(EARLIEST, drained_at=OLD))
    assert found.lost == Gap(after=floor_id(OLD), before=log_id(10))


def test_a_number_without_end_in_one_record_spoils_no_page(log: Auth0Log, scripted: Scripted) -> None:
    reply = page(record(log_id(1)), record(log_id(2)) | {"details": "@"})
    scripted.replies = [replace(reply, body=reply.body.replace(b'"@"', b"9" * 5000))]
    assert [event.log_id for event in log.fetch(span(EARLIEST)).events] == [log_id(1), log_id(2)]


def test_numbers_keep_the_digits_that_came(log: Auth0Log, scripted: Scripted) -> None:
    raw = f'{{"big": 12345678901234567890123, "huge": 1e400, "log_id": "{log_id(2)}", "type": "w", "z": -0.0}}'
    scripted.replies = [replace(page(), body=f"[{raw}]".encode())]
    (event,) = log.fetch(span(log_id(1))).events
    assert canonical(event.record) == raw

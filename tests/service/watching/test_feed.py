"""The feed keeps the last events with their outcomes, and shows of them what the settings allow."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from poller.adapters.segment.encoding import MessageEncoder
from poller.core.log_ids import EARLIEST
from poller.core.spans import LogCursor, Redelivery, ReopenedGap, SecondReading, Span, UnreadStretch
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import Rules
from poller.service.watching.feed import MOST_EVENTS, Feed, events_of_each, worker_of
from poller.service.watching.rows import detail_of, row_of
from tests.fakes import NOW, STREAM, numbered
from tests.service.page.browsers import login, settled

PERSON = ("ada", "example.com", "203.0.113")


@pytest.fixture
def feed() -> Feed:
    return Feed(now=lambda: NOW)


def test_each_event_has_its_outcome_reason_calls_and_age(feed: Feed) -> None:
    feed.count_settled(settled(login(), {"type": "seacft"}, login(user=None)))
    forwarded, filtered, dead = feed.after(0)
    assert (forwarded.number, filtered.number, dead.number) == (1, 2, 3)
    assert [row_of(forwarded, "sent")[key] for key in ("outcome", "calls", "age_s")] == [
        "forwarded",
        ["identify", "track Logged In"],
        2.0,
    ]
    assert (filtered.outcome, filtered.reason, filtered.messages) == ("filtered", "type", ())
    assert (dead.outcome, dead.reason) == ("dead_lettered", "no_user_id")


def test_a_refused_event_shows_the_status_of_segment(feed: Feed) -> None:
    feed.count_settled(settled(login(), is_refused=True))
    (dead,) = feed.after(0)
    assert (dead.outcome, dead.reason, dead.status) == ("dead_lettered", "refused_by_segment", 400)


def test_the_feeds_of_many_pipelines_share_the_memory() -> None:
    assert [events_of_each(number) for number in (0, 1, 20, 40, 200, 1000)] == [
        *(1000, 1000, 1000, 500, 100, 100),
    ]
    feed = Feed(now=lambda: NOW, most=100)
    for _ in range(15):
        feed.count_settled(settled(*[login()] * 10))
    assert [each.number for each in feed.after(0)] == [*range(51, 151)]
    assert feed.event(50) is None
    assert feed.event(51) is not None


def test_the_feed_forgets_the_oldest_pages_and_keeps_a_thousand_events(feed: Feed) -> None:
    for _ in range(MOST_EVENTS // 10 + 5):
        feed.count_settled(settled(*[login()] * 10))
    kept = feed.after(0)
    assert (len(kept), kept[0].number, kept[-1].number) == (MOST_EVENTS, 51, MOST_EVENTS + 50)
    assert len(feed._pages) == MOST_EVENTS // 10
    assert feed.event(50) is None
    assert feed.event(51) is not None
    assert feed.event(MOST_EVENTS + 51) is None
    assert [each.number for each in feed.after(MOST_EVENTS + 40, most=3)] == [
        MOST_EVENTS + 48,
        MOST_EVENTS + 49,
        MOST_EVENTS + 50,
    ]


def test_an_empty_page_leaves_no_trace(feed: Feed) -> None:
    feed.count_settled(settled())
    assert (feed.last, feed.after(0)) == (0, [])


SPAN = replace(Span.unsettled(STREAM, after=EARLIEST, until=None), id=1)
PLACE = {"id": 1, "stream": STREAM, "after": EARLIEST, "reached": EARLIEST, "until": numbered(9)}


@pytest.mark.parametrize(
    ("cursor", "worker"),
    [
        (SPAN, "live"),
        (SPAN.second_reading(numbered(3)), "late"),
        (SecondReading(**PLACE), "late"),
        (UnreadStretch(**PLACE), "late"),
        (Span(**PLACE, is_catch_up=True), "catch_up"),
        (Span(**PLACE), "backfill"),
        (ReopenedGap(**PLACE), "gap"),
        (Redelivery(**PLACE), "resend"),
    ],
)
def test_an_event_shows_the_work_that_settled_it(cursor: LogCursor, worker: str) -> None:
    assert worker_of(cursor) == worker


def test_a_row_shows_only_the_values_that_left(feed: Feed) -> None:
    privacy = Privacy(email="omit", fields={"properties.connection": "omit"})
    feed.count_settled(settled(login(), rules=Rules(privacy=privacy)))
    (event,) = feed.after(0)
    row = row_of(event, "sent")
    assert (row["user"], row["application"], row["connection"]) == ("auth0|ada", "Shop", None)
    detail = detail_of(event, "sent", MessageEncoder().encode)
    assert detail["record"] is None
    assert "ada@example.com" not in str(detail)


@pytest.mark.parametrize("record", [login(type="fp"), login(date="soon")], ids=["filtered", "dead"])
def test_an_event_that_did_not_leave_shows_no_person(feed: Feed, record: dict[str, object]) -> None:
    feed.count_settled(settled(record))
    (event,) = feed.after(0)
    shown = detail_of(event, "sent", MessageEncoder().encode)
    assert not [part for part in PERSON if part in str(shown)]
    assert (shown["application"], shown["type"]) == ("Shop", record["type"])


def test_a_refused_event_shows_no_person_either(feed: Feed) -> None:
    feed.count_settled(settled(login(), is_refused=True))
    (event,) = feed.after(0)
    shown = detail_of(event, "sent", MessageEncoder().encode)
    assert not [part for part in PERSON if part in str(shown)]
    assert shown["calls"] == ["identify", "track Logged In"]


def test_with_all_the_record_stands_beside_the_calls(feed: Feed) -> None:
    feed.count_settled(settled(login(type="fp")))
    (event,) = feed.after(0)
    detail = detail_of(event, "all", MessageEncoder().encode)
    assert detail["user"] == "ada@example.com"
    assert '"ip": "203.0.113.9"' in detail["record"]["pretty"]


def test_hostile_characters_are_shown_as_escapes(feed: Feed) -> None:
    feed.count_settled(settled(login(user="auth0|\u202eada\x1b[2J", client_name="a\u2066b")))
    (event,) = feed.after(0)
    detail = detail_of(event, "all", MessageEncoder().encode)
    shown = json.dumps(detail, ensure_ascii=False)
    assert not [sign for sign in ("\u202e", "\x1b", "\u2066") if sign in shown]
    assert "\\u2066" in detail["application"]


def test_a_clock_behind_the_event_makes_no_negative_age(feed: Feed) -> None:
    feed.now = lambda: NOW - timedelta(days=1)
    feed.count_settled(settled(login()))
    assert feed.after(0)[0].age == timedelta()

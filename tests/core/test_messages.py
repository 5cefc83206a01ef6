"""Segment's words: ids, sizes, batches."""

import json
from collections import Counter
from datetime import UTC, datetime
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st
from segment.analytics import Client

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.encoding import MessageEncoder
from poller.adapters.segment.tracking import SegmentSink
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.messages import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    Group,
    Identify,
    Message,
    Track,
    message_id,
    pack,
)
from poller.core.text.dates import iso
from poller.core.translation.size_limit import size
from tests.builders import batch_of
from tests.samples import wire

DATE = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
TEXT = st.text(max_size=200) | st.text(alphabet='日本\U0001f600"\\\x00', max_size=2000)
VALUES = st.dictionaries(
    TEXT, TEXT | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    common = {
        "message_id": draw(st.text(min_size=1, max_size=60)),
        "log_id": LogId("9001"),
        "user_id": draw(st.text(min_size=1, max_size=60)),
        "timestamp": DATE,
        "context": draw(VALUES),
    }
    kind = draw(st.sampled_from(["identify", "track", "group"]))
    if kind == "identify":
        return Identify(traits=draw(VALUES), **common)
    if kind == "track":
        return Track(
            event=draw(st.text(min_size=1, max_size=30)), properties=draw(VALUES), **common
        )
    return Group(group_id=draw(st.text(min_size=1, max_size=30)), traits=draw(VALUES), **common)


SINK = SegmentSink("k" * 32, Http("http://127.0.0.1:1", ServerClock()), ServerClock())
ENCODER = MessageEncoder()


@given(messages())
def test_a_message_is_never_larger_than_its_size_says(message: Message) -> None:
    # Segment's library refuses a message by its size in ASCII, which is the largest form of JSON.
    in_ascii = len(json.dumps(ENCODER.build(message)))
    assert len(ENCODER.encode(message)) <= in_ascii <= size(message) <= in_ascii + 100


@given(messages())
def test_segments_library_builds_what_the_wire_form_says(message: Message) -> None:
    built = ENCODER.build(message)
    assert built.pop("integrations") == {}
    library = built["context"].pop("library")
    assert library["name"] == "analytics-python"
    said = wire(message)
    assert said["context"] == {
        **built["context"],
        **{k: v for k, v in said["context"].items() if k == "library"},
    }
    assert datetime.fromisoformat(built.pop("timestamp")) == datetime.fromisoformat(
        said.pop("timestamp")
    )
    del built["context"], said["context"]
    assert built == said


@given(messages())
def test_the_posted_bytes_say_what_segments_library_built(message: Message) -> None:
    assert json.loads(ENCODER.encode(message)) == ENCODER.build(message)


@given(st.lists(messages(), max_size=30), st.integers(1, 40))
def test_batches_hold_every_message_once_in_order_within_the_limits(
    some: list[Message], times: int
) -> None:
    given_messages = some * times
    batches = list(pack(given_messages, ENCODER.encode))
    assert list(chain.from_iterable(batch.messages for batch in batches)) == given_messages
    for batch in batches:
        assert 0 < len(batch.messages) <= MAX_BATCH_MESSAGES
        body = SINK._body(batch.bodies)
        assert len(body) <= MAX_BATCH_BYTES or len(batch.messages) == 1


def test_a_full_batch_of_large_messages_is_as_large_as_segment_takes_and_no_larger() -> None:
    common = {
        "log_id": LogId("1"),
        "user_id": "u",
        "timestamp": DATE,
        "context": {},
        "event": "Logged In",
    }
    large = [
        Track(message_id=f"m{n}", properties={"text": "x" * 20_000}, **common) for n in range(60)
    ]
    full, *_ = pack(large, ENCODER.encode)
    # Segment's 500 KB, read as the lower of its two readings (facts: HTTP API).
    assert 450_000 < len(SINK._body(full.bodies)) <= 500_000


def test_a_batch_ends_at_five_hundred_messages() -> None:
    one = Track(
        message_id="m",
        log_id=LogId("1"),
        user_id="u",
        timestamp=DATE,
        context={},
        event="Logged In",
        properties={},
    )
    assert [len(batch.messages) for batch in pack([one] * 1201, ENCODER.encode)] == [500, 500, 201]


@given(st.lists(messages(), min_size=2, max_size=9))
def test_both_halves_together_are_the_batch(some: list[Message]) -> None:
    first, second = batch_of(SINK, some).halves()
    assert first.messages + second.messages == tuple(some)
    assert first.messages
    assert second.messages


@given(
    st.lists(
        st.tuples(
            st.text(),
            st.text(),
            st.text(),
            st.sampled_from(["track", "identify", "signup"]),
            st.text(),
        ),
        unique=True,
        max_size=30,
    )
)
def test_message_ids_differ_wherever_anything_differs_and_stay_short(
    parts: list[tuple[str, ...]],
) -> None:
    ids = [
        message_id(
            Stream(domain=domain, source_name=source, generation=generation),
            kind,
            key,
            LogId("9001"),
        )
        for domain, source, generation, kind, key in parts
    ]
    assert max(Counter(ids).values(), default=1) == 1
    assert all(len(found) <= 99 and found.isascii() for found in ids)


def test_message_ids_never_change() -> None:
    # What an upgrade sends again must meet what was sent before it.
    stream = Stream(domain="acme.us.auth0.com", source_name="web")
    assert (
        message_id(stream, "track", "9001", LogId("9001"))
        == "track-a1aa68960dd46b4c68bcc051473b2371d0832bd3"
    )


def test_times_are_utc_to_the_millisecond() -> None:
    assert iso(DATE) == "2026-11-20T10:00:00.123Z"


def test_the_library_that_builds_is_segments() -> None:
    assert isinstance(ENCODER._client, Client)

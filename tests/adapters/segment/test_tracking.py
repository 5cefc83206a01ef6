import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.encoding import MessageEncoder
from poller.adapters.segment.tracking import SegmentSink
from poller.core.errors import (
    FatalError,
    PollerError,
    RejectedError,
    TransientError,
    UnusableAnswerError,
)
from poller.core.log_ids import LogId
from poller.core.messages import Group, Identify, Message, Track
from poller.core.translation.size_limit import size
from tests.builders import batch_of
from tests.scripted import Reply, Scripted

KEY = "k" * 32
AT = datetime(2026, 11, 23, 9, 30, 0, 123000, tzinfo=UTC)


def track(number: int = 1) -> Track:
    return Track(
        message_id=f"track-{number}",
        log_id=LogId(str(number)),
        user_id="auth0|1",
        timestamp=AT,
        context={"ip": "203.0.113.1"},
        event="Logged In",
        properties={"clientName": "App"},
    )


IDENTIFY = Identify(
    message_id="identify-1",
    log_id=LogId("1"),
    user_id="auth0|1",
    timestamp=AT,
    context={},
    traits={"login_count": 2},
)
GROUP = Group(
    message_id="group-1",
    log_id=LogId("1"),
    user_id="auth0|1",
    timestamp=AT,
    context={},
    group_id="org_1",
    traits={},
)
BATCH = batch_of(MessageEncoder(), (IDENTIFY, track()))


@pytest.fixture
def sink(scripted: Scripted) -> Iterator[SegmentSink]:
    clock = ServerClock(host=lambda: datetime(2026, 11, 23, 10, 3, tzinfo=UTC))
    http = Http(scripted.origin, clock)
    yield SegmentSink(KEY, http, clock)
    http.close()


@pytest.mark.parametrize("date", ["Mon, 23 Nov 2026 10:09:00 GMT", "soon"])
def test_a_receipt_has_no_time_where_no_two_clocks_agree(
    sink: SegmentSink, scripted: Scripted, date: str
) -> None:
    scripted.replies = [Reply(headers={"Date": date})]
    assert sink.send(BATCH).acknowledged_at is None


def test_a_batch_goes_out_in_order_gzipped_with_the_key_and_the_time_of_this_attempt(
    sink: SegmentSink, scripted: Scripted
) -> None:
    scripted.replies = [Reply(headers={"Date": "Mon, 23 Nov 2026 10:00:00 GMT"})]
    sink.send(BATCH)
    receipt = sink.send(BATCH)
    assert receipt.message_ids == ("identify-1", "track-1")
    assert receipt.acknowledged_at == datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    asked = scripted.asked[-1]
    assert (asked.method, asked.path) == ("POST", "/v1/batch")
    assert (
        asked.headers["Authorization"] == "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    )
    body = json.loads(gzip.decompress(asked.body))
    assert body["writeKey"] == KEY
    sent_at = datetime.fromisoformat(body["sentAt"])
    assert timedelta() <= sent_at - datetime(2026, 11, 23, 10, tzinfo=UTC) < timedelta(minutes=1)
    assert [message["type"] for message in body["batch"]] == ["identify", "track"]
    sent = body["batch"][1]
    assert sent["timestamp"] == "2026-11-23T09:30:00.123+00:00"
    assert sent["messageId"] == "track-1"
    assert sent["properties"] == {"clientName": "App"}
    assert sent["context"]["ip"] == "203.0.113.1"
    assert "anonymousId" not in sent


@pytest.mark.parametrize(
    "message", [IDENTIFY, track(), GROUP], ids=lambda message: type(message).__name__
)
def test_no_message_is_larger_on_the_wire_than_core_reckons(
    sink: SegmentSink, message: Message
) -> None:
    assert len(sink.encode(message)) <= size(message)


HTML = {"Content-Type": "text/html"}
NAMES_KEY = b'{"success": false, "message": "An invalid write key was provided"}'


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(status=200, body=b'{"success": false}'), UnusableAnswerError),
        (Reply(status=200, body=b"<html>"), UnusableAnswerError),
        (Reply(status=200, body=b"[]"), UnusableAnswerError),
        (Reply(status=200, body=b""), UnusableAnswerError),
        (Reply(status=204, body=b""), UnusableAnswerError),
        (Reply(status=400, body=b"Bad Request"), RejectedError),
        (
            Reply(status=400, body=b"Bad Request", headers={"Content-Type": "text/plain"}),
            RejectedError,
        ),
        (Reply(status=400, body=b'{"success": false, "message": "invalid json"}'), RejectedError),
        (Reply(status=400, body=b"<html>", headers=HTML), TransientError),
        (Reply(status=400, body=b"<html>the write key of the proxy", headers=HTML), TransientError),
        (Reply(status=413, body=b""), RejectedError),
        (Reply(status=413, body=b"<html>", headers=HTML), RejectedError),
        (Reply(status=400, body=NAMES_KEY), FatalError),
        *(
            (Reply(status=status), TransientError)
            for status in (408, 410, 429, 460, 500, 501, 503, 529)
        ),
        *((Reply(status=status), FatalError) for status in (401, 402, 403, 404, 405, 422)),
        *((Reply(status=status), TransientError) for status in (301, 302, 307)),
        *(
            (Reply(status=status, body=b"<html>", headers=HTML), TransientError)
            for status in (401, 403, 404, 407, 451)
        ),
    ],
    ids=lambda value: (
        f"{value.status} {value.body!r}" if isinstance(value, Reply) else value.__name__
    ),
)
def test_each_answer_has_its_verdict(
    sink: SegmentSink, scripted: Scripted, reply: Reply, verdict: type[PollerError]
) -> None:
    scripted.replies = [reply]
    with pytest.raises(verdict) as raised:
        sink.send(BATCH)
    assert type(raised.value) is verdict
    assert KEY not in str(raised.value)
    assert "auth0|1" not in str(raised.value)
    if isinstance(raised.value, TransientError):
        assert raised.value.service == "Segment"


@pytest.mark.parametrize("status", [200, 302, 400, 403])
def test_the_error_names_the_status_and_type_of_an_answer_that_is_not_segments(
    sink: SegmentSink, scripted: Scripted, status: int
) -> None:
    scripted.replies = [Reply(status=status, body=b"<html>", headers=HTML)]
    with pytest.raises(
        TransientError, match=f"^something between here and Segment answered: {status} text/html"
    ):
        sink.send(BATCH)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"success": null}',
        b'{"success": "true"}',
        b'{"success": 1}',
        b'{"error": "blocked by policy"}',
        b"[" * 200000,
        b"true",
        b'[{"success": true}]',
        b"",
    ],
)
def test_a_200_from_a_proxy_is_not_a_receipt(
    sink: SegmentSink, scripted: Scripted, body: bytes
) -> None:
    scripted.replies = [Reply(body=body)]
    with pytest.raises(
        UnusableAnswerError, match=r"without acknowledging|without Segment's receipt"
    ):
        sink.send(BATCH)


@pytest.mark.parametrize("body", [b'{\n  "success": true\n}', b'{"success": true}'])
def test_segments_own_answer_is_a_receipt(
    sink: SegmentSink, scripted: Scripted, body: bytes
) -> None:
    scripted.replies = [Reply(body=body)]
    assert sink.send(BATCH).message_ids == ("identify-1", "track-1")


def test_the_error_carries_the_wait_that_the_server_asks_for(
    sink: SegmentSink, scripted: Scripted
) -> None:
    scripted.replies = [Reply(status=429, headers={"Retry-After": "17"})]
    with pytest.raises(TransientError) as raised:
        sink.send(BATCH)
    assert raised.value.retry_after == timedelta(seconds=17)

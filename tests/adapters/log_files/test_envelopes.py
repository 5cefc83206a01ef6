"""Log events in the envelopes of log streams, event buses and log stores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.adapters.log_files import LogFile
from poller.adapters.log_files.envelopes import by_expression, is_event, unwrapped
from tests.builders import JSON
from tests.fakes import NOW, numbered

EVENT: dict[str, Any] = {
    "date": "2026-11-20T11:00:00.000Z",
    "type": "s",
    "log_id": numbered(1),
    "user_id": "auth0|1",
    "client_id": "c1",
    "description": "",
    "details": {"stats": {"loginsCount": 7}, "body": {"type": "s", "data": {"type": "x"}}},
}
STREAM = {"log_id": EVENT["log_id"], "data": EVENT}
TEXT = json.dumps(EVENT)
ENVELOPES: dict[str, Any] = {
    "api": EVENT,
    "stream": STREAM,
    "eventbridge": {"version": "0", "detail-type": "Auth0 log", "detail": STREAM},
    "splunk hec": {"time": 1.5, "host": "acme", "sourcetype": "auth0", "event": STREAM},
    "splunk hec, event alone": {"time": 1.5, "event": EVENT},
    "splunk hec, text": {"event": json.dumps(STREAM), "fields": {}},
    "splunk export": {"preview": False, "offset": 0, "result": {"_raw": TEXT, "_time": "x"}},
    "splunk, raw": {"_raw": json.dumps(STREAM), "_time": "2026-11-20"},
    "datadog archive": {
        "_id": "AgAAAYxDatadog",
        "date": "2026-11-20T11:00:01.000Z",
        "service": "auth0",
        "source": "auth0",
        "attributes": STREAM,
        "message": "Success Login",
    },
    "datadog api": {
        "id": "AgAAAYxDatadog",
        "type": "log",
        "attributes": {"attributes": STREAM, "message": "x", "timestamp": "2026-11-20"},
    },
    "elasticsearch": {"_index": "auth0", "_id": "WmTkQ4wB", "_source": EVENT},
    "elastic integration": {
        "_id": "WmTkQ4wB",
        "_source": {
            "@timestamp": "2026-11-20",
            "auth0": {"logs": {"data": {"type": "Success Login"}}},
            "event": {"original": json.dumps(STREAM), "type": ["info"], "kind": "event"},
        },
    },
    "elastic integration, flat": {"event.original": TEXT, "event.type": "info"},
    "elastic integration, without the original": {
        "_source": {"auth0": {"logs": STREAM}, "event": {"type": ["info"], "kind": "event"}}
    },
    "sns": {"Type": "Notification", "MessageId": "7", "Message": json.dumps(STREAM)},
    "sns in sqs": {
        "MessageId": "8",
        "Body": json.dumps({"Type": "Notification", "Message": json.dumps(STREAM)}),
    },
    "google cloud": {"insertId": "1a2b", "logName": "projects/x", "jsonPayload": STREAM},
    "cloudwatch": {"id": "3" * 56, "timestamp": 1, "message": TEXT, "ingestionTime": 2},
    "logstash": {"@timestamp": "2026-11-20", "@version": "1", "message": json.dumps(STREAM)},
}
LISTS: dict[str, Callable[[list[Any]], Any]] = {
    "cloudwatch's API": lambda records: {
        "events": [{"logStreamName": "x", "message": json.dumps(each)} for each in records],
        "searchedLogStreams": [],
    },
    "a cloudwatch subscription": lambda records: {
        "messageType": "DATA_MESSAGE",
        "logEvents": [{"id": "3" * 56, "message": json.dumps(each)} for each in records],
    },
    "an answer of elasticsearch": lambda records: {
        "took": 3,
        "_shards": {"total": 1, "failed": 0},
        "hits": {
            "total": {"value": 2, "relation": "eq"},
            "hits": [{"_id": "WmTkQ4wB", "_source": each} for each in records],
        },
    },
    "SQS records": lambda records: {
        "Records": [{"messageId": "7", "body": json.dumps(each)} for each in records]
    },
}


def read(path: Path, **options: Any) -> list[Any]:
    with LogFile(path, now=lambda: NOW, **options).read(()) as reading:
        return [event.record for page in reading.pages() for event in page.events]


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_event_is_taken_out_of_its_envelope(name: str, tmp_path: Path) -> None:
    assert unwrapped(ENVELOPES[name]) == EVENT
    (tmp_path / "log").write_text(json.dumps(ENVELOPES[name]) + "\n")
    assert read(tmp_path / "log") == [EVENT]


@pytest.mark.parametrize("name", LISTS)
def test_events_are_taken_out_of_a_list_in_an_object(name: str, tmp_path: Path) -> None:
    records = [EVENT, EVENT | {"log_id": numbered(2)}]
    (tmp_path / "log").write_text(json.dumps(LISTS[name](records), indent=1))
    assert read(tmp_path / "log") == records


def test_a_row_of_azure_monitor_becomes_an_event(tmp_path: Path) -> None:
    row = {
        "TenantId": "0f0e",
        "TimeGenerated": "2026-11-20T11:00:04Z",
        "Type": "Auth0AM_CL",
        "log_id_s": numbered(1),
        "data_date_t": "2026-11-20T11:00:00.000Z",
        "data_type_s": "s",
        "data_user_id_s": "auth0|1",
        "data_client_name_s": "Web shop",
        "data_connection_s": "",
        "data_isMobile_b": False,
        "data_details_stats_loginsCount_d": 7.0,
        "data_details_prompts_s": '[{"name": "login"}]',
        "data_details_session_id_s": "s1",
        "data_details_body_email_s": "ada@example.com",
    }
    (tmp_path / "log").write_text(json.dumps(row))
    assert read(tmp_path / "log") == [
        {
            "log_id": numbered(1),
            "date": "2026-11-20T11:00:00.000Z",
            "type": "s",
            "user_id": "auth0|1",
            "client_name": "Web shop",
            "isMobile": False,
            "details": {
                "stats": {"loginsCount": 7.0},
                "prompts": [{"name": "login"}],
                "session_id": "s1",
                "body": {"email": "ada@example.com"},
            },
        }
    ]


def test_the_id_of_a_log_store_is_never_taken_for_the_log_id() -> None:
    inner = {key: value for key, value in EVENT.items() if key != "log_id"}
    for envelope in (
        {"id": "3" * 56, "message": json.dumps(inner)},
        {"_id": "3" * 56, "_source": inner},
        {"_id": "3" * 56, "date": "2026-11-20", "attributes": {"data": inner}},
    ):
        assert "3" * 56 not in json.dumps(unwrapped(envelope))


@pytest.mark.parametrize(
    "record",
    [
        EVENT | {"data": {"type": "x"}},
        EVENT | {"details": {"event": EVENT}},
        {"type": "s", "_id": "9001", "message": TEXT},
        {"type_code": "s", "type": "Success Login", "date": "x", "event": EVENT},
    ],
)
def test_an_event_is_no_envelope_whatever_it_holds(record: dict[str, Any]) -> None:
    assert is_event(record)
    assert unwrapped(record) is record


@given(JSON)
def test_any_value_can_be_unwrapped(value: Any) -> None:
    unwrapped(value)
    by_expression("a.b")(value)


@given(st.sampled_from(sorted(ENVELOPES)), st.integers(1, 3))
def test_envelopes_may_stand_inside_each_other(name: str, times: int) -> None:
    wrapped = ENVELOPES[name]
    for _ in range(times):
        wrapped = {"insertId": "1", "jsonPayload": wrapped}
    assert unwrapped(wrapped) == EVENT


def test_an_expression_finds_the_event_in_any_other_envelope(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "".join(
            json.dumps(each) + "\n"
            for each in ({"a": {"b": EVENT}}, {"a": {"b": TEXT}}, EVENT, {"a": 7})
        )
    )
    records = read(tmp_path / "log", unwrap=by_expression("a.b"))
    assert records[:3] == [EVENT, EVENT, EVENT]


@pytest.mark.parametrize("text", ["a.", "nofunction(a", ""])
def test_a_text_that_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        by_expression(text)

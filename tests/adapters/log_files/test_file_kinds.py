"""Kinds of files and envelopes, and the tenant that an event names."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from poller.adapters.log_files import LogFile, Refusals
from poller.adapters.log_files.shapes import kind_of
from poller.adapters.log_files.tenant import foreign_tenant
from poller.core.file_pages import UnreadableFileError
from tests.adapters.log_files.log_texts import SHAPES, api, bus, read, records_of
from tests.fakes import NOW, numbered


@pytest.mark.parametrize(
    "data", ["{}\n".encode("utf-16"), b"PK\x03\x04....", b"\x28\xb5\x2f\xfd....", b"ELF\0\0\1"]
)
def test_a_file_that_is_not_text_is_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(UnreadableFileError):
        read(file)


@pytest.mark.parametrize("shape", ["lines", "array", "array, written out", "envelope"])
def test_a_summary_shows_the_size_the_compression_and_the_first_and_last_time_of_a_file(
    file: Path, shape: str
) -> None:
    records = [
        api(number, date=f"2026-11-20T{number // 60:02d}:{number % 60:02d}:00.000Z")
        for number in range(900)
    ]
    data = SHAPES[shape](records).encode()
    file.write_bytes(data)
    summary = LogFile(file, now=lambda: NOW).summarize(())
    assert (summary.size, summary.is_compressed, summary.settled.offset) == (len(data), False, 0)
    assert (summary.first, summary.last) == (records_time(records[0]), records_time(records[-1]))
    file.write_bytes(gzip.compress(data))
    summary = LogFile(file, now=lambda: NOW).summarize(())
    assert (summary.is_compressed, summary.first, summary.last) == (
        True,
        records_time(records[0]),
        None,
    )


def records_time(record: dict[str, Any]) -> Any:
    return NOW.fromisoformat(record["date"])


@pytest.mark.parametrize("spaces", [None, 1])
@pytest.mark.parametrize("size", [1, 3, 60])
@pytest.mark.parametrize(
    "order",
    [
        ("start", "limit", "total", "logs"),
        ("logs", "total", "start"),
        ("start", "logs", "meta", "total"),
        ("logs",),
    ],
)
def test_an_object_that_holds_the_list_is_read_whatever_its_keys(
    file: Path, order: tuple[str, ...], size: int, spaces: int | None
) -> None:
    records = [api(number, details={"prompts": [{"a": 1}]}) for number in range(size)]
    members = {
        "start": 0,
        "limit": 50,
        "total": size,
        "meta": {"a": [1, {"b": None}], "c": "]}"},
        "logs": records,
    }
    file.write_text(json.dumps({key: members[key] for key in order}, indent=spaces))
    pages, truncation = read(file)
    assert (records_of(pages), truncation) == (records, None)
    assert not any(page.bad or page.texts for page in pages)
    assert read(file, (pages[-1].end,)) == ([], None)


def test_the_key_of_the_list_may_be_another_and_the_list_empty(file: Path) -> None:
    file.write_text(
        json.dumps({"total": 1, "Records": [api(1)]})
        + "\n"
        + json.dumps({"logs": [], "total": 0})
        + "\n"
    )
    (page,), truncation = read(file)
    assert ([event.record for event in page.events], page.bad, truncation) == ([api(1)], (), None)


def test_a_cloud_event_has_a_type_of_its_own_beside_the_data(file: Path) -> None:
    inner = api(1)
    cloud = {
        "specversion": "1.0",
        "type": "com.auth0.log",
        "source": "urn:x",
        "id": numbered(2),
        "data": inner,
    }
    without = {**cloud, "data": {key: value for key, value in inner.items() if key != "log_id"}}
    nested = {**cloud, "data": {"log_id": numbered(3), "data": without["data"]}}
    file.write_text("".join(f"{json.dumps(record)}\n" for record in (cloud, without, nested)))
    (page,), _ = read(file)
    assert [(event.type, event.log_id) for event in page.events] == [
        ("s", numbered(n)) for n in (1, 2, 3)
    ]


def test_text_before_an_object_is_passed_and_lines_of_text_are_counted(file: Path) -> None:
    stamped = [
        f"2024-03-11T10:20:30.040Z [info] {json.dumps(bus(api(number)))}\n" for number in range(3)
    ]
    file.write_text("".join(["START RequestId: 7\n", *stamped, "END {}\n", "17\n", "null\n"]))
    pages, truncation = read(file)
    assert (records_of(pages), truncation) == ([api(number) for number in range(3)], None)
    assert [(page.texts, page.text_lines, page.bad) for page in pages] == [(4, (1, 5, 6, 7), ())]
    file.write_text("[" + file.read_text())
    assert kind_of(file.read_text()) == "lines"


def test_the_code_in_type_code_is_the_type_and_what_is_no_code_ends_the_reading(file: Path) -> None:
    file.write_text(
        SHAPES["lines"](
            [api(1, type="Success Login", type_code="s"), api(2, type="Success\x1bLogin"), api(3)]
        )
    )
    (page,), truncation = read(file)
    assert [event.type for event in page.events] == ["s"]
    assert truncation is not None
    assert (truncation.line, "'Success\\x1bLogin'" in truncation.why) == (2, True)
    with LogFile(file, now=lambda: NOW, refusals=Refusals(only_codes=False)).read(()) as reading:
        (page,) = reading.pages()
    assert (len(page.events), reading.truncation) == (3, None)


@pytest.mark.parametrize(
    ("record", "source", "foreign"),
    [
        ({"tenant_name": "acme"}, None, None),
        ({"tenant_name": "Other"}, None, "Other"),
        ({"hostname": "acme.us.auth0.com"}, None, None),
        ({"hostname": "acme.eu.auth0.com"}, None, "acme.eu.auth0.com"),
        ({"hostname": "login.example.com"}, None, None),
        ({"tenant_name": 7, "hostname": None}, None, None),
        ({}, "aws.partner/auth0.com/acme-0000/auth0.logs", None),
        ({}, "aws.partner/auth0.com/other-0000/auth0.logs", "other-0000"),
        ({}, "urn:something", None),
    ],
)
def test_an_event_names_its_tenant(
    record: dict[str, Any], source: str | None, foreign: str | None
) -> None:
    assert foreign_tenant(record, source, "acme.us.auth0.com") == foreign
    assert foreign_tenant(record, source, "login.example.com") is None


def test_an_event_of_another_tenant_ends_the_reading(file: Path) -> None:
    source = "aws.partner/auth0.com/other-0000/auth0.logs"
    file.write_text(SHAPES["lines"]([bus(api(1)), {**bus(api(2)), "source": source}, bus(api(3))]))
    refusals = Refusals(domain="acme.us.auth0.com")
    with LogFile(file, now=lambda: NOW, refusals=refusals).read(()) as reading:
        (page,) = reading.pages()
    assert records_of([page]) == [api(1)]
    assert reading.truncation is not None
    assert (reading.truncation.line, "other-0000" in reading.truncation.why) == (2, True)

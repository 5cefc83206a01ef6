"""Files of log events in all shapes, also damaged ones and ones that are cut off."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.adapters.log_files import LogFile, MarkIndex, Refusals
from poller.adapters.log_files import records as records_module
from poller.adapters.log_files.content import Content, ContentHash
from poller.adapters.log_files.records import Records
from poller.adapters.log_files.shapes import kind_of
from poller.adapters.log_files.tenant import foreign_tenant
from poller.core.file_pages import FileMark, FilePage, Truncation, UnreadableFileError
from tests.fakes import NOW, numbered

Shape = Callable[[list[Any]], str]


def api(number: int, **more: Any) -> dict[str, Any]:
    return {
        "date": "2026-11-20T11:00:00.000Z",
        "type": "s",
        "log_id": numbered(number),
        "user_id": "auth0|1",
        **more,
    }


def stream(record: dict[str, Any]) -> dict[str, Any]:
    return {"log_id": record["log_id"], "data": record}


def bus(record: dict[str, Any]) -> dict[str, Any]:
    return {"version": "0", "detail-type": "Auth0 log", "detail": stream(record)}


SHAPES: dict[str, Shape] = {
    "lines": lambda records: "".join(f"{json.dumps(record)}\n" for record in records),
    "lines, utf-8": lambda records: "".join(
        f"{json.dumps(record, ensure_ascii=False)}\n" for record in records
    ),
    "lines, no end": lambda records: "\n".join(map(json.dumps, records)),
    "lines, windows": lambda records: (
        "\ufeff" + "".join(f"{json.dumps(record)}\r\n\r\n" for record in records)
    ),
    "one line": lambda records: "".join(map(json.dumps, records)),
    "array": json.dumps,
    "array, written out": lambda records: json.dumps(records, indent=2, ensure_ascii=False),
    "array, no space": lambda records: json.dumps(records, separators=(",", ":")),
    "arrays by the line": lambda records: "".join(
        f"{json.dumps(records[n : n + 3])}\n" for n in range(0, len(records), 3)
    ),
    "envelope": lambda records: json.dumps({"logs": records}),
    "envelopes by the line": lambda records: "".join(
        f"{json.dumps({'logs': [record]})}\n" for record in records
    ),
    "objects, written out": lambda records: "\n".join(
        json.dumps(record, indent=1) for record in records
    ),
}
WRAPS: dict[str, Callable[[dict[str, Any]], Any]] = {"api": dict, "stream": stream, "bus": bus}
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reader look at few bytes together, so that a record is longer, as in a large file."""
    monkeypatch.setattr(records_module, "LONGEST", 2000)
    monkeypatch.setattr(records_module, "EXCERPT", 500)


def read(
    path: Path, marks: tuple[FileMark, ...] = (), scope: str = ""
) -> tuple[list[FilePage], Truncation | None]:
    with LogFile(path, now=lambda: NOW, scope=scope).read(marks) as reading:
        return list(reading.pages()), reading.truncation


def records_of(pages: list[FilePage]) -> list[Any]:
    return [event.record for page in pages for event in page.events]


def pieces(data: bytes, size: int = 7) -> list[Any]:
    chunks = iter([data[begin : begin + size] for begin in range(0, len(data), size)])
    kind = kind_of(data[:200].decode("utf-8", "replace"))
    return list(Records(lambda: next(chunks, b""), ContentHash(), kind))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@given(
    st.lists(VALUES, min_size=1, max_size=12),
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from(sorted(WRAPS)),
    st.booleans(),
    st.integers(1, 700),
)
def test_records_are_read_in_the_order_in_which_they_were_written(
    details: list[Any], shape: str, wrap: str, compressed: bool, size: int
) -> None:
    records = [api(number, details=detail) for number, detail in enumerate(details)]
    data = SHAPES[shape]([WRAPS[wrap](record) for record in records]).encode()
    found = pieces(data, size)
    assert [record.value for record in found] == records
    assert not any(record.why for record in found)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(gzip.compress(data) if compressed else data)
        pages, truncation = read(path)
    assert (records_of(pages), truncation) == (records, None)
    assert pages[-1].end.offset == len(data)


@pytest.mark.parametrize("wrap", sorted(WRAPS))
@pytest.mark.parametrize(
    "shape", ["lines", "lines, utf-8", "one line", "array", "array, written out", "array, no space"]
)
def test_a_file_that_is_cut_anywhere_gives_what_is_before_the_cut_and_says_where(
    shape: str, wrap: str
) -> None:
    records = [
        api(number, details={"prompts": [{"name": "é"}, {"log_id": 1}]}, x=[1])
        for number in range(3)
    ]
    wrapped = [WRAPS[wrap](record) for record in records]
    data = SHAPES[shape](wrapped).encode()
    ends = {len(SHAPES[shape](wrapped[:count]).rstrip("\n").encode()) for count in range(4)}
    for cut in range(len(data)):
        found = pieces(data[:cut], 1000)
        good = [record.value for record in found if not record.why]
        assert good == records[: len(good)]
        assert [record.is_truncated for record in found if record.why] == [True] * (
            len(found) - len(good)
        )
        is_cut = (
            cut > 0
            if "array" in shape
            else cut not in ends and cut - data[:cut].endswith(b"\n") not in ends
        )
        assert any(record.is_truncated for record in found) == is_cut
        if is_cut:  # what was cut off comes whole once the file is
            rest = pieces(data[found[-1].before.offset :], 1000)
            assert good + [record.value for record in rest if not record.why] == records


@pytest.mark.parametrize(
    "bad",
    ["no json", '{"a": }', "{'a': 1}", '{"log_id": "9", "x', '"text"', "17", "null", '{"a":1}}x'],
)
def test_a_bad_line_is_told_and_the_next_ones_are_read(file: Path, bad: str) -> None:
    good = [json.dumps(api(number)) for number in range(4)]
    file.write_text("\n".join([*good[:2], bad, *good[2:]]) + "\n")
    pages, truncation = read(file)
    (page,) = pages
    assert truncation is None
    assert {record.line for record in page.bad} | set(page.text_lines) == {3}
    assert all(line.startswith("{") for line in [bad] if page.bad)
    assert [event.record for event in page.events if not event.defect] == [
        api(number) for number in range(4)
    ]


def test_a_record_glued_to_a_torn_one_is_found(file: Path) -> None:
    file.write_text(json.dumps(api(1)) + "\n" + json.dumps(api(2))[:40] + json.dumps(api(3)) + "\n")
    (page,), _ = read(file)
    assert [event.log_id for event in page.events if not event.defect] == [numbered(1), numbered(3)]
    assert [record.line for record in page.bad] == [2]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(
    "bad",
    [
        '{"log_id":"1","details":{"prompts":[{"a":1},{"b":2}],"x":}}',
        "nonsense",
        '{"a":"',
        "[[",
        "{",
    ],
)
def test_in_an_array_on_one_line_the_next_record_is_found_after_a_bad_one(
    file: Path, bad: str, separators: tuple[str, str]
) -> None:
    parts = [
        json.dumps(api(number, details=[{"x": 1}, {"y": 2}]), separators=separators)
        for number in range(20)
    ]
    file.write_text("[" + ",".join([*parts[:10], bad, *parts[10:]]) + "]")
    pages, truncation = read(file)
    good = [event.log_id for page in pages for event in page.events if not event.defect]
    assert good == [numbered(number) for number in range(20)]
    assert truncation is None


@pytest.mark.parametrize("size", [1, 700, 1999, 3001])
def test_the_next_record_is_found_wherever_what_is_none_ends(size: int) -> None:
    tail = json.dumps([api(1), api(2)], separators=(",", ":"))[1:]
    for length in range(5600, 6100, 11):
        found = pieces(b"[{" + b"y" * length + b"," + tail.encode(), size)
        assert [record.value["log_id"] for record in found if not record.why] == [
            numbered(1),
            numbered(2),
        ]
        assert [(record.why is None, record.is_truncated) for record in found] == [
            (False, False),
            (True, False),
            (True, False),
        ]


def test_a_last_line_that_is_no_json_at_all_is_not_settled_before_it_ends(file: Path) -> None:
    text = SHAPES["lines"]([api(1)])
    file.write_text(text + "x" * 5000)
    (page,), truncation = read(file)
    assert (page.end.offset, truncation is not None) == (len(text), True)
    file.write_text(text + "x" * 5000 + "\n")
    (page,), truncation = read(file, (page.end,))
    assert (len(page.events), page.text_lines, truncation) == (0, (2,), None)


def test_a_record_that_is_too_long_is_passed_over_unseen(file: Path) -> None:
    long = json.dumps(api(2, details="x" * 50_000))
    for parts, form in (("\n", "{}\n"), (",", "[{}]")):
        file.write_text(form.format(parts.join([json.dumps(api(1)), long, json.dumps(api(3))])))
        (page,), truncation = read(file)
        assert [event.log_id for event in page.events if not event.defect] == [
            numbered(1),
            numbered(3),
        ]
        (bad,) = page.bad
        assert "longer than 2000" in bad.why
        (kept,) = [event.record for event in page.events if event.defect]
        assert len(kept) == 500
        assert truncation is None


def test_a_record_that_is_not_utf_8_is_a_bad_record(file: Path) -> None:
    file.write_bytes(
        b'{"log_id":"91","type":"s","x":"\xff"}\n' + json.dumps(api(2)).encode() + b"\n"
    )
    (page,), _ = read(file)
    assert [(record.line, record.why) for record in page.bad] == [(1, "not UTF-8")]
    assert page.events[1].log_id == numbered(2)
    assert page.end.offset == file.stat().st_size
    assert read(file, (page.end,)) == ([], None)


def test_a_record_without_an_id_gets_one_that_is_the_same_at_every_reading(tmp_path: Path) -> None:
    text = "".join(
        f"{json.dumps(record)}\n" for record in [api(1), {"type": "s"}, api(2), {"type": "s"}, {}]
    )
    plain, compressed, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    plain.write_text(text)
    compressed.write_bytes(gzip.compress((text + text).encode()))
    other.write_text("\n" + text)
    ids = [
        [event.log_id for event in read(path)[0][0].events[:5]]
        for path in (plain, compressed, other)
    ]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 2 + 3 + 3
    (page,) = read(plain)[0]
    assert [(record.line, record.why) for record in page.bad] == [
        (2, "no log id"),
        (4, "no log id"),
        (5, "no log id"),
    ]


@pytest.mark.parametrize(
    "shape", ["lines", "lines, windows", "array", "array, written out", "envelope"]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_reading_goes_on_at_any_mark(file: Path, shape: str, compressed: bool) -> None:
    records = [api(number) for number in range(450)]
    data = SHAPES[shape](records).encode()
    file.write_bytes(gzip.compress(data) if compressed else data)
    pages, _ = read(file)
    assert [len(page.events) for page in pages[:4]] == [100] * 4
    assert [page.moves for page in pages] == [None, *(page.end for page in pages[:-1])]
    for number, page in enumerate(pages):
        rest, truncation = read(file, (page.end,))
        assert records_of(rest) == records[100 * (number + 1) :]
        assert [again.end for again in rest] == [later.end for later in pages[number + 1 :]]
        assert truncation is None


def test_a_file_is_known_again_when_it_grew_was_moved_or_compressed_and_another_is_not(
    tmp_path: Path,
) -> None:
    text = SHAPES["lines"]([api(number) for number in range(150)])
    more = SHAPES["lines"]([api(number) for number in range(150, 160)])
    path = tmp_path / "log"
    path.write_text(text)
    (*_, last), _ = read(path)
    marks = (last.end, FileMark(fingerprint="0-0", offset=10, line=1))
    assert read(path, marks) == ([], None)
    for name, data in (("moved", text.encode()), ("packed", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name, marks) == ([], None)
    path.write_text(text + more)
    assert len(records_of(read(path, marks)[0])) == 10
    for changed in (text[:-100] + "x" + text[-99:] + more, text[: len(text) // 2], "\n" + text):
        path.write_text(changed)
        assert read(path, marks)[0][0].moves is None
        assert read(path, marks)[0][0].events[0].log_id == numbered(0)


def test_two_files_with_the_same_beginning_part_where_they_do(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    same = [api(number, details="x" * 900) for number in range(100)]
    first.write_text(SHAPES["lines"]([*same, *(api(number) for number in range(100, 350))]))
    second.write_text(SHAPES["lines"]([*same, *(api(number) for number in range(700, 950))]))
    pages, _ = read(first)
    assert len(records_of(read(second, tuple(page.end for page in pages))[0])) == 250
    assert len(records_of(read(second, (pages[-1].end,))[0])) == 350


def test_a_mark_of_a_part_does_not_cover_the_whole_file_and_a_mark_of_the_whole_covers_every_part(
    file: Path,
) -> None:
    file.write_text(SHAPES["lines"]([api(1), api(2)]))
    (part,), _ = read(file, scope="abc")
    (whole,), _ = read(file)
    assert len(read(file, (part.end,))[0]) == 1
    assert len(read(file, (part.end,), scope="other")[0]) == 1
    assert read(file, (part.end,), scope="abc")[0] == []
    assert read(file, (whole.end,), scope="abc")[0] == []


def test_a_torn_end_is_not_settled_and_is_read_when_it_is_whole(file: Path) -> None:
    text = SHAPES["lines"]([api(1), api(2)])
    file.write_text(text[:-30])
    (page,), truncation = read(file)
    assert truncation is not None
    assert (truncation.line, len(page.events)) == (2, 1)
    assert read(file, (page.end,)) == ([], truncation)
    file.write_text(text)
    assert records_of(read(file, (page.end,))[0]) == [api(2)]


def test_compressed_data_that_is_cut_off_gives_what_there_is(file: Path) -> None:
    records = [api(number, details=f"{number * 7919 % 1009}") for number in range(5000)]
    data = gzip.compress(SHAPES["lines"](records).encode())
    file.write_bytes(data[: len(data) // 2])
    pages, truncation = read(file)
    assert truncation is not None
    assert "cut off" in truncation.why
    found = records_of(pages)
    assert found == records[: len(found)]
    assert len(found) > 2000
    file.write_bytes(data[: len(data) // 2] + b"\0" * 500)
    assert "damaged" in str(read(file)[1])


@pytest.mark.parametrize(
    "data", ["{}\n".encode("utf-16"), b"PK\x03\x04....", b"\x28\xb5\x2f\xfd....", b"ELF\0\0\1"]
)
def test_a_file_that_is_not_text_is_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(UnreadableFileError):
        read(file)


def test_a_missing_file_is_an_error_and_an_empty_file_has_no_pages(file: Path) -> None:
    with pytest.raises(UnreadableFileError, match="No such file"):
        read(file)
    file.write_bytes(b"")
    assert read(file) == ([], None)


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


def test_no_more_is_held_than_a_record_and_what_is_read_with_it() -> None:
    def endless() -> Iterator[bytes]:
        yield b'[{"log_id": "1", "x": "'
        for _ in range(2000):
            yield b"y" * 1000
        yield b'"},'
        yield json.dumps(api(7)).encode() + b"]"

    parts = endless()
    records = Records(lambda: next(parts, b""), ContentHash(), "array")
    longest = 0
    for record in records:
        longest = max(longest, len(records._text))
        assert (record.why is None) == (record.value == api(7))
    assert longest < 3 * 2000 + 1000


def test_the_end_of_the_with_block_closes_the_content(file: Path) -> None:
    file.write_bytes(gzip.compress(b"{}"))
    with Content(file) as content:
        assert content.read() == b"{}"
    assert content._file.closed


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


def test_many_bad_records_are_only_counted_unless_they_have_an_id(file: Path) -> None:
    named = [f'{{"log_id": "{numbered(number)}", "x": }}\n' for number in range(150)]
    file.write_text(
        "".join([json.dumps(api(1)) + "\n", *['{"x": }\n'] * 130, *named, *["text\n"] * 230])
    )
    pages, truncation = read(file)
    assert truncation is None
    assert sum(len(page.bad) for page in pages) == 100 + 150
    assert sum(page.bad_not_kept for page in pages) == 30
    assert (sum(page.texts for page in pages), sum(len(page.text_lines) for page in pages)) == (
        230,
        100,
    )


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


def test_a_file_that_is_read_again_starts_at_its_beginning(file: Path) -> None:
    file.write_text(SHAPES["lines"]([api(1)]))
    (page,), _ = read(file)
    with LogFile(file, now=lambda: NOW, is_again=True).read((page.end,)) as reading:
        (again,) = reading.pages()
    assert (again.is_again, again.end, records_of([again])) == (True, page.end, [api(1)])


def test_marks_of_many_small_files_are_found_without_hashing_for_each(tmp_path: Path) -> None:
    paths, ends = [tmp_path / f"{number:03d}" for number in range(200)], []
    for number, path in enumerate(paths):
        path.write_text(SHAPES["lines"]([api(number, x="y" * number)]))
        ends.append(read(path)[0][-1].end)
    index = MarkIndex(ends)
    for path, end in zip(paths, ends, strict=True):
        assert index.candidates(path.read_bytes(), "") == [end]
        assert read(path, index) == ([], None)  # type: ignore[arg-type]
    grown = paths[7]
    grown.write_text(grown.read_text() + SHAPES["lines"]([api(900)]))
    (page,), _ = read(grown, index)  # type: ignore[arg-type]
    assert records_of([page]) == [api(900)]
    index.move(ends[7], page.end)
    assert ends[7] not in set(index)
    assert read(grown, index) == ([], None)  # type: ignore[arg-type]


def test_a_line_without_an_end_is_read_in_flat_memory_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records_module, "LONGEST", 1 << 16)
    for chunk in (
        b'{"log_id":"1","x":"' + b"y" * 8000,
        b'{"a":' * 2000,
        b"text " * 2000,
        b'{"log_id":{' * 1000,
    ):
        parts = iter([*[chunk] * 200, b"\n", json.dumps(api(7)).encode() + b"\n"])
        records = Records(lambda parts=parts: next(parts, b""), ContentHash(), "lines")
        longest, found = 0, []
        for record in records:
            longest = max(longest, len(records._text))
            found.append(record)
        assert longest < 4 * (1 << 16)
        assert found[-1].value == api(7)
        assert found[-1].line == 2
        assert all(record.is_text or record.why for record in found[:-1])

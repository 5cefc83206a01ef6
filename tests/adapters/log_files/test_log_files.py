"""Files of log events in all shapes, also damaged ones and ones that are cut off."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.adapters.log_files import records as records_module
from poller.adapters.log_files.content import Content, ContentHash
from poller.adapters.log_files.records import Records
from poller.core.file_pages import UnreadableFileError
from tests.adapters.log_files.log_texts import SHAPES, WRAPS, api, pieces, read, records_of
from tests.fakes import numbered

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


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


def test_a_missing_file_is_an_error_and_an_empty_file_has_no_pages(file: Path) -> None:
    with pytest.raises(UnreadableFileError, match="No such file"):
        read(file)
    file.write_bytes(b"")
    assert read(file) == ([], None)


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

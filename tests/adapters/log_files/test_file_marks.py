"""The marks of files: where a reading goes on, and which file a mark belongs to."""

import gzip
from pathlib import Path

import pytest

from poller.adapters.log_files import LogFile, MarkIndex
from poller.core.file_pages import FileMark
from tests.adapters.log_files.log_texts import SHAPES, api, read, records_of
from tests.fakes import NOW, numbered


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

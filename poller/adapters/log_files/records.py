"""The records in a text that may be endless, torn or spoilt: one at a time, in flat memory.

JSON values one after another; white space, commas, closing brackets and `[` count for nothing between them, nor do the
other members of an object that holds the list of records, nor text that is no JSON object. So NDJSON, arrays, arrays by
the line and lines with a time before each object are read alike, and reading goes on at any record.
"""

import codecs
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from poller.adapters.log_files.content import ContentHash
from poller.adapters.log_files.shapes import Kind, end_of_member, list_in, unwrapped
from poller.core.events import last_id
from poller.core.file_pages import FileMark, UnreadableFileError
from poller.core.text.json_text import DECODER, is_too_deep

LONGEST = 1 << 20
"""Characters of one record; Auth0's have a few thousand, and Segment takes messages of 32 KB."""
EXCERPT = 4096
"""Characters that are kept of what is no record."""
_MOST_KEYS = 16
_LONGEST_TOKEN = 10
"""Characters of a literal or an escape; one that is cut off is told at its beginning."""
_MOST_TRIES = 1000
"""Places of a text at which a record is tried: a hostile one holds millions, each as slow as the other."""

_BETWEEN = re.compile(r"[\s,\[\]}\ufeff]*")
_REST_OF_LINE = re.compile(r"[ \t,]*\r?\n?")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.){0,100}")\s*:')
_LONGEST_KEY = 200
"""Characters of the first key of an object with what is around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRecord:
    """A record, or an excerpt of what is none and `why`; `seed` names its place in the file, `line` counts from 1.

    One that `is_truncated` may be whole some day: it is the last, and the file can be settled up to `before` only.
    One that `is_text` is no JSON object at all, and no record either. `source` is what an event bus says of its origin.
    """

    value: Any = field(repr=False)
    source: str | None = None
    is_text: bool = False
    line: int
    seed: str
    before: FileMark
    why: str | None = None
    is_truncated: bool = False


class Records:
    """The pieces of a content, once; `content_hash` has advanced by all that was given.

    Where `read` raises UnreadableFileError, the content ends, torn.
    """

    def __init__(self, read: Callable[[], bytes], content_hash: ContentHash, kind: Kind) -> None:
        self._read = read
        self._content_hash = content_hash
        self._kind = kind
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._is_read = False
        self._damage: str | None = None
        self._keys = {f'"{key}"' for key in ("log_id", "_id", "date", "data")}
        self._starts = _starts(self._keys)

    def __iter__(self) -> Iterator[RawRecord]:
        begun_at = self._content_hash.offset
        while self._at < len(self._text) or not self._is_read:
            self._fill(LONGEST)
            between = _BETWEEN.match(self._text, self._at)
            self._pass(between.end() if between else self._at)
            record = self._next_record() if self._at < len(self._text) else None
            if record is not None:
                yield record
                if record.is_truncated:
                    return
        if self._damage is not None:
            yield self._made("", self._damage, is_truncated=True)
        elif (
            self._kind == "array"
            and self._content_hash.offset > begun_at
            and self._content_hash.last != b"]"
        ):
            yield self._made("", "the array has no end", is_truncated=True)

    def _fill(self, ahead: int) -> None:
        """Lets so many characters lie ahead, or all there are."""
        while not self._is_read and len(self._text) - self._at < ahead:
            data = b""
            try:
                data = self._read()
            except UnreadableFileError as error:
                self._damage = str(error)
            self._is_read = not data
            self._text = self._text[self._at :] + self._decode.decode(data, final=not data)
            self._at = 0

    def _pass(self, to: int) -> None:
        self._content_hash.advance(self._text[self._at : to].encode("utf-8", "surrogateescape"))
        self._at = to

    def _pass_line(self, to: int) -> None:
        """Where a line ends with the record, it is done with it."""
        rest = _REST_OF_LINE.match(self._text, to)
        self._pass(rest.end() if rest else to)

    def _next_record(self) -> RawRecord | None:
        """The record at hand; None where what is there belongs to no record, and was passed."""
        if self._text[self._at] == "{":
            return self._object()
        end = end_of_member(self._text, self._at) if self._text[self._at] == '"' else None
        if end is None:
            return self._no_object()
        self._pass(end)
        return None

    def _object(self) -> RawRecord | None:
        try:
            value, end = DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            if self._pass_to_list():
                return None
            return (
                self._truncated(error)
                if self._is_cut(error)
                else self._bad(f"no JSON ({error.msg})")
            )
        except RecursionError:
            return self._bad("nested too deep")
        if last_id([unwrapped(value)]) is None and self._pass_to_list():
            return None
        return self._record(value, end)

    def _record(self, value: Any, end: int) -> RawRecord:
        why = _why_not(value, self._text[self._at : end])
        if why is not None:
            return self._bad(why)
        self._learn()
        source = value.get("source")
        made = replace(
            self._made(unwrapped(value)), source=source if isinstance(source, str) else None
        )
        self._pass_line(end)
        return made

    def _pass_to_list(self) -> bool:
        """Passes the beginning of an object that holds the list of records, if it is one."""
        place = list_in(self._text, self._at)
        if place is not None:
            self._pass(place)
        return place is not None

    def _no_object(self) -> RawRecord | None:
        """Passes text up to an object on the same line, or to the end of the line; that is a record."""
        record = replace(self._made("", "no JSON object"), is_text=True)
        while True:
            newline = self._text.find("\n", self._at)
            found = _FIRST_KEY.search(
                self._text, self._at, len(self._text) if newline < 0 else newline
            )
            if found or newline >= 0 or self._is_read:
                break
            self._pass(max(self._at, len(self._text) - _LONGEST_KEY))
            self._fill(LONGEST)
        if found:
            self._pass(found.start())
            return None
        is_whole = newline >= 0 or (self._damage is None and self._ends_a_list())
        self._pass(newline + 1 if newline >= 0 else len(self._text))
        return (
            record
            if is_whole
            else replace(record, why=self._damage or record.why, is_truncated=True)
        )

    def _ends_a_list(self) -> bool:
        return self._kind != "lines" and self._text.rstrip().endswith(("]", "]}"))

    def _learn(self) -> None:
        """The first keys of records are how the next one is found after what is none."""
        key = _FIRST_KEY.match(self._text, self._at)
        if key and key[1] not in self._keys and len(self._keys) < _MOST_KEYS:
            self._keys.add(key[1])
            self._starts = _starts(self._keys)

    def _bad(self, why: str) -> RawRecord:
        """What is no record, up to the end of its line or to where one begins again; torn if that is nowhere."""
        if len(self._text) - self._at >= LONGEST and why.startswith("no JSON ("):
            why = f"a record longer than {LONGEST} characters, or no JSON"
        end = self._next_start(self._at + 1)
        record = self._made(self._text[self._at : end][:EXCERPT], why)
        while end is None and not self._is_read:
            # All but the last stretch was searched with a whole record ahead.
            self._pass(max(self._at, len(self._text) - LONGEST))
            self._fill(2 * LONGEST)
            end = self._next_start(self._at)
        self._pass_line(len(self._text) if end is None else end)
        if end is not None or (self._damage is None and self._ends_a_list()):
            return record
        return replace(record, why=self._damage or record.why, is_truncated=True)

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the content ends within a record, which so far is none the worse for it."""
        if not self._is_read or (self._kind == "lines" and "\n" in self._text[self._at :]):
            return False
        end = len(self._text.rstrip())
        if error.pos >= end or error.msg.startswith("Unterminated string"):
            return True
        return error.pos >= end - _LONGEST_TOKEN and self._text[end - 1] != "]"

    def _truncated(self, error: json.JSONDecodeError) -> RawRecord:
        return self._made("", self._damage or f"no JSON ({error.msg})", is_truncated=True)

    def _next_start(self, begin: int) -> int | None:
        """Where the next record begins, or the line ends; None where neither is in the text."""
        newline = self._text.find("\n", begin) if self._kind == "lines" else -1
        starts = self._starts.finditer(
            self._text, begin, len(self._text) if newline < 0 else newline
        )
        for start in itertools.islice(starts, _MOST_TRIES):
            try:
                value, _ = DECODER.raw_decode(self._text, start.start())
            except (ValueError, RecursionError):
                continue
            if last_id([unwrapped(value)]) is not None:
                return start.start()
        return None if newline < 0 else newline

    def _made(self, value: Any, why: str | None = None, *, is_truncated: bool = False) -> RawRecord:
        content_hash = self._content_hash
        seed = f"file-{content_hash.whole[:16]}:{content_hash.line + 1}"
        return RawRecord(
            value=value,
            line=content_hash.line + 1,
            seed=seed,
            before=content_hash.mark,
            why=why,
            is_truncated=is_truncated,
        )


def _starts(keys: set[str]) -> re.Pattern[str]:
    return re.compile(rf"\{{\s*(?:{'|'.join(map(re.escape, keys))})\s*:")


def _why_not(value: Any, text: str) -> str | None:
    """Return why the value cannot be a record; None where it can."""
    if is_too_deep(value):
        return "nested too deep"
    if len(text) > LONGEST:
        return f"a record longer than {LONGEST} characters"
    return None if _is_utf8(text) else "not UTF-8"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Parse the records of a file one at a time, in constant memory.

The text may be of any length, cut off, or damaged in places. The parser reads JSON objects one
after another. Between two objects it skips white space, commas, `[` and closing brackets, the other
members of an object that holds the list of records, and text that is not a JSON object. So one
parser reads NDJSON, arrays, arrays with a record per line, and lines with a time before each
object. It can begin at any record.

A damaged record costs only itself: the parser finds the next place where a record begins. A
record at the end of the file may be cut off because the file is still being written. Such a
record is marked `is_truncated`, and the file is settled up to the place before it.
"""

import codecs
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from poller.adapters.log_files.content import ContentHash
from poller.adapters.log_files.envelopes import Unwrap, unwrapped
from poller.adapters.log_files.raw_record import RawRecord
from poller.adapters.log_files.shapes import Kind, end_of_member, list_in
from poller.core.events import last_id
from poller.core.file_pages import UnreadableFileError
from poller.core.text.json_text import DECODER, is_too_deep

LONGEST = 1 << 20
"""The most characters of one record. Auth0's have a few thousand. Segment takes 32 KB a message."""
EXCERPT = 4096
"""The number of characters that are kept of a text that is not a record."""
_MOST_KEYS = 16
_LONGEST_TOKEN = 10
"""The most characters of a literal or an escape. A cut one is reported at its beginning."""
_WHITE_SPACE = " \t\r\n"
_BEFORE_STRING = ("{", "[", ",", ":")
"""The signs of JSON after which a string may stand."""
_MOST_TRIES = 1000
"""The most places of a text at which a record is tried. A hostile text holds millions of them."""

_BETWEEN = re.compile(r"[\s,\[\]}\ufeff]*")
_REST_OF_LINE = re.compile(r"[ \t,]*\r?\n?")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.){0,100}")\s*:')
_LONGEST_KEY = 200
"""The most characters from the brace of an object to the colon after its first key."""


class Records:
    """The records of a content. Iterate once.

    `content_hash` has advanced past every record that was yielded. If `read` raises
    UnreadableFileError, the content ends there with a truncated record. `unwrap` takes the event
    out of its envelopes.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        content_hash: ContentHash,
        kind: Kind,
        unwrap: Unwrap = unwrapped,
    ) -> None:
        self._read = read
        self._unwrap = unwrap
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
            yield self._raw_record("", self._damage, is_truncated=True)
        elif (
            self._kind == "array"
            and self._content_hash.offset > begun_at
            and self._content_hash.last != b"]"
        ):
            yield self._raw_record("", "the array has no end", is_truncated=True)

    def _fill(self, ahead: int) -> None:
        """Read until so many characters lie ahead, or all that there are."""
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
        """Pass a record, and the end of its line if nothing else follows on the line."""
        rest = _REST_OF_LINE.match(self._text, to)
        self._pass(rest.end() if rest else to)

    def _next_record(self) -> RawRecord | None:
        """Return the next record, or None after passing a text that belongs to no record."""
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
            if self._is_cut(error):
                return self._truncated(error)
            return self._bad(f"no JSON ({error.msg})")
        except RecursionError:
            return self._bad("nested too deep")
        if last_id([self._unwrap(value)]) is None and self._pass_to_list():
            return None
        return self._record(value, end)

    def _record(self, value: Any, end: int) -> RawRecord:
        why = _defect_of(value, self._text[self._at : end])
        if why is not None:
            return self._bad(why)
        self._learn()
        source = value.get("source")
        source = source if isinstance(source, str) else None
        record = replace(self._raw_record(self._unwrap(value)), source=source)
        self._pass_line(end)
        return record

    def _pass_to_list(self) -> bool:
        """Pass the beginning of an object that holds a list of records. Return whether it did."""
        place = list_in(self._text, self._at)
        if place is not None:
            self._pass(place)
        return place is not None

    def _no_object(self) -> RawRecord | None:
        """Pass text that is not an object, up to an object on the same line.

        Return None if the line holds an object. Else return the text up to the end of the line.
        """
        record = replace(self._raw_record("", "no JSON object"), is_text=True)
        while True:
            newline = self._text.find("\n", self._at)
            key = _FIRST_KEY.search(
                self._text, self._at, len(self._text) if newline < 0 else newline
            )
            if key or newline >= 0 or self._is_read:
                break
            self._pass(max(self._at, len(self._text) - _LONGEST_KEY))
            self._fill(LONGEST)
        if key:
            self._pass(key.start())
            return None
        is_whole = newline >= 0 or (self._damage is None and self._ends_a_list())
        self._pass(newline + 1 if newline >= 0 else len(self._text))
        if is_whole:
            return record
        return replace(record, why=self._damage or record.why, is_truncated=True)

    def _ends_a_list(self) -> bool:
        return self._kind != "lines" and self._text.rstrip().endswith(("]", "]}"))

    def _learn(self) -> None:
        """Remember the first key of this record. It marks the next record after a damaged one."""
        key = _FIRST_KEY.match(self._text, self._at)
        if key and key[1] not in self._keys and len(self._keys) < _MOST_KEYS:
            self._keys.add(key[1])
            self._starts = _starts(self._keys)

    def _bad(self, why: str) -> RawRecord:
        """Pass a damaged record, up to the end of its line or to the next record.

        The returned record is truncated if the text holds neither.
        """
        if len(self._text) - self._at >= LONGEST and why.startswith("no JSON ("):
            why = f"a record longer than {LONGEST} characters, or no JSON"
        end = self._next_start(self._at + 1)
        record = self._raw_record(self._text[self._at : end][:EXCERPT], why)
        while end is None and not self._is_read:
            # The text up to here was searched with the length of a whole record ahead of it.
            self._pass(max(self._at, len(self._text) - LONGEST))
            self._fill(2 * LONGEST)
            end = self._next_start(self._at)
        self._pass_line(len(self._text) if end is None else end)
        if end is not None or (self._damage is None and self._ends_a_list()):
            return record
        return replace(record, why=self._damage or record.why, is_truncated=True)

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Tell whether the content ends within a record that is valid so far."""
        if not self._is_read or (self._kind == "lines" and "\n" in self._text[self._at :]):
            return False
        end = len(self._text.rstrip())
        if error.pos >= end or self._may_begin_string(error.pos):
            return True
        return error.pos >= end - _LONGEST_TOKEN and self._text[end - 1] != "]"

    def _may_begin_string(self, at: int) -> bool:
        """Tell whether a string may begin here. An error here then says that it has no end."""
        before = self._text[self._at : at].rstrip(_WHITE_SPACE)
        return self._text[at] == '"' and before.endswith(_BEFORE_STRING)

    def _truncated(self, error: json.JSONDecodeError) -> RawRecord:
        return self._raw_record("", self._damage or f"no JSON ({error.msg})", is_truncated=True)

    def _next_start(self, begin: int) -> int | None:
        """Return the place where the next record begins or the line ends, or None."""
        newline = self._text.find("\n", begin) if self._kind == "lines" else -1
        starts = self._starts.finditer(
            self._text, begin, len(self._text) if newline < 0 else newline
        )
        for start in itertools.islice(starts, _MOST_TRIES):
            try:
                value, _ = DECODER.raw_decode(self._text, start.start())
            except (ValueError, RecursionError):
                continue
            if last_id([self._unwrap(value)]) is not None:
                return start.start()
        return None if newline < 0 else newline

    def _raw_record(
        self, value: Any, why: str | None = None, *, is_truncated: bool = False
    ) -> RawRecord:
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


def _defect_of(value: Any, text: str) -> str | None:
    """Return the reason for which the value cannot be a record, or None."""
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

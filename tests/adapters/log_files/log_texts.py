"""Texts of files of log events, and their reading."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poller.adapters.log_files import LogFile
from poller.adapters.log_files.content import ContentHash
from poller.adapters.log_files.records import Records
from poller.adapters.log_files.shapes import kind_of
from poller.core.file_pages import FileMark, FilePage, Truncation
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

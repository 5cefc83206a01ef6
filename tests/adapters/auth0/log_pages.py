"""Pages of the log, and the span that asks for them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from poller.core.events import Stream
from poller.core.log_ids import EARLIEST, LogId
from poller.core.spans import Span
from tests.scripted import Reply, Scripted

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
OLD = NOW - timedelta(days=3)
STREAM = Stream(domain="acme.us.auth0.com", source_name="s")


def log_id(number: int, moment: datetime = NOW) -> LogId:
    return LogId(f"900{moment:%Y%m%d%H%M%S}{number:039d}")


def span(reached: LogId, **changes: Any) -> Span:
    return replace(Span(id=1, stream=STREAM, after=EARLIEST, reached=reached), **changes)


def page(*records: object, next_from: str | None = None, at: datetime = NOW) -> Reply:
    headers = {"Date": format_datetime(at, usegmt=True)}
    if next_from:
        headers["Link"] = f'<https://acme/api/v2/logs?from={next_from}&take=100>; rel="next"'
    return Reply(body=json.dumps(records).encode(), headers=headers)


def record(found: LogId, kind: str = "w") -> dict[str, str]:
    return {"log_id": found, "type": kind, "date": "2026-11-23T09:59:00.000Z"}


def froms(scripted: Scripted) -> list[str]:
    return [asked.query["from"] for asked in scripted.asked]

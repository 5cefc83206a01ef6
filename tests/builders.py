"""Log records, pages and settlements for tests."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from poller.core.events import LogEvent, parse_events
from poller.core.file_pages import FileMark, FilePage
from poller.core.log_ids import EARLIEST
from poller.core.messages import Batch, Delivery, Message, Receipt, pack
from poller.core.outcomes import Calls, Outcome, Profiles
from poller.core.pages import Page
from poller.core.ports import AnyCursor, Ledger, MessageSink
from poller.core.settlement import (
    FileSettlement,
    Settlement,
    build_file_settlement,
    build_settlement,
)
from poller.core.spans import Span
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator, Translator
from tests.fakes import NOW, STREAM, numbered


def calls_of(
    translator: Translator,
    events: Iterable[LogEvent],
    profiles: Profiles,
    *,
    now: datetime | None = None,
) -> Calls:
    return translator(translator.select(events, now), profiles)


def calls_of_page(translator: Translator, page: Page, profiles: Profiles) -> Calls:
    return calls_of(translator, page.events, profiles, now=page.believed_at)


def outcome_of(
    translator: Translator, event: LogEvent, profiles: Profiles, *, now: datetime | None = None
) -> Outcome:
    (outcome,) = translator.outcomes(translator.select([event], now), profiles)
    return outcome


def batch_of(encoder: MessageSink, messages: Iterable[Message]) -> Batch:
    """Return the one batch of these messages."""
    (batch,) = pack(messages, encoder.encode)
    return batch


KINDS = st.sampled_from(["s", "ss", "w", "ssa", "no_user", "bad_date", "no_type"])


def record(number: int, kind: str = "s") -> dict[str, Any]:
    made: dict[str, Any] = {
        "log_id": numbered(number),
        "type": kind if kind in {"s", "ss", "w", "ssa"} else "s",
        "date": f"2026-11-20T11:{number // 60 % 60:02d}:{number % 60:02d}.000Z",
        "user_id": f"auth0|{number}",
    }
    odd = {"no_user": {"user_id": None}, "bad_date": {"date": "soon"}, "no_type": {"type": None}}
    return made | odd.get(kind, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def page(*numbers: int, kind: str = "s", position: int | None = None, is_end: bool = False) -> Page:
    events = parse_events([record(number, kind) for number in numbers], after=EARLIEST)
    at = numbered(position if position is not None else numbers[-1])
    drained_to = NOW if is_end else None
    return Page(
        events=events,
        position=at,
        is_end=is_end,
        served_at=NOW,
        believed_at=NOW,
        drained_to=drained_to,
    )


def taken(ledger: Ledger, cursor: AnyCursor) -> AnyCursor:
    """Begin to work on the cursor, and return it as it is recorded."""
    own = ledger.begin_work(cursor)
    assert own is not None
    return own


def live_of(ledger: Ledger) -> Span | None:
    """Begin to work on the live span, if there is one, and return it."""
    live = ledger.live_span()
    return live and taken(ledger, live)


def settlement(span: Span, read: Page) -> Settlement:
    calls = calls_of_page(LiveTranslator(span.stream), read, {})
    receipt = Receipt(message_ids=tuple(message.message_id for message in calls.messages))
    return build_settlement(span, read, calls, Delivery(receipts=(receipt,)))


def file_mark(offset: int, name: str = "a") -> FileMark:
    return FileMark(fingerprint=f"{name}-{offset}", offset=offset, line=offset // 10)


def file_page(
    end: FileMark, *numbers: int, moves: FileMark | None = None, kind: str = "s"
) -> FilePage:
    events = parse_events([record(number, kind) for number in numbers], after=EARLIEST)
    return FilePage(events=events, bad=(), moves=moves, end=end, served_at=NOW)


def file_settlement(
    read: FilePage, taken: tuple[LogEvent, ...] | None = None, rules: Rules | None = None
) -> FileSettlement:
    taken = read.events if taken is None else taken
    calls = calls_of(LiveTranslator(STREAM, rules or Rules()), taken, {})
    receipt = Receipt(message_ids=tuple(message.message_id for message in calls.messages))
    return build_file_settlement(read, taken, calls, Delivery(receipts=(receipt,)))

"""The heart: one page at a time from the log to Segment to the ledger, in that order and no other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from poller.core.delivery import BatchSender
from poller.core.events import judge_dates
from poller.core.ports import Ledger, LogSource, ProfileDirectory
from poller.core.settlement import Settlement, build_settlement
from poller.core.spans import LogCursor
from poller.core.translation.change_detection import drop_unchanged, keys_to_check
from poller.core.translation.translator import Translator


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """A page that is durable: what was settled, and where the span is now."""

    span: LogCursor
    settlement: Settlement


def forward(
    source: LogSource,
    profiles: ProfileDirectory,
    translator: Translator,
    sender: BatchSender,
    ledger: Ledger,
    span: LogCursor,
) -> Iterator[Forwarded]:
    """Forwards the span page by page; a yield means durable.

    To stop is not to ask for the next page. The live span is never done: its caller stops at a page that was the end.

    Raises:
        TransientError: later will do; the span stands where the last yield left it, and the same call goes on.
        FatalError: nothing goes on until someone acts; nothing of the page at hand was settled.
    """
    while not span.is_done:
        page = source.fetch(span)
        page = replace(page, events=judge_dates(page.events, page.believed_at))
        selection = translator.select(page.events, page.believed_at)
        calls = translator(selection, profiles.of(selection.users))
        calls = drop_unchanged(calls, ledger.last_fingerprints(keys_to_check(calls)))
        delivery = sender.deliver(calls.messages)
        settlement = build_settlement(span, page, calls, delivery)
        span = ledger.settle(settlement)
        yield Forwarded(span=span, settlement=settlement)

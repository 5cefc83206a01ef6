"""The heart: one page at a time goes from the log to Segment and then into the ledger."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from poller.core.delivery import BatchSender
from poller.core.events import judge_dates
from poller.core.outcomes import Calls
from poller.core.ports import Ledger, LogSource, ProfileDirectory
from poller.core.settlement import Settlement, build_settlement
from poller.core.spans import LogCursor
from poller.core.translation.change_detection import drop_unchanged, keys_to_check
from poller.core.translation.translator import Translator


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """A page that is durable, the cursor as it is now, and the calls of the page."""

    cursor: LogCursor
    settlement: Settlement
    calls: Calls = field(default_factory=Calls)


def forward(
    source: LogSource,
    profiles: ProfileDirectory,
    translator: Translator,
    sender: BatchSender,
    ledger: Ledger,
    cursor: LogCursor,
) -> Iterator[Forwarded]:
    """Forward what lies above the cursor, page by page. A yield means that the page is durable.

    The order decides the guarantee. A page is settled only after Segment has acknowledged or
    refused each of its messages. A crash before the settlement leaves the cursor unmoved. The page
    is then read and sent again, under the same message ids.

    To stop, do not ask for the next page. The live span is never done. Its caller stops at the page
    that ends the log.

    Raises:
        TransientError: a later attempt may succeed. The cursor stands where the last yield left it,
            and the same call goes on from there.
        FatalError: nothing goes on until someone acts. Nothing of the page at hand was settled.
    """
    while not cursor.is_done:
        page = source.fetch(cursor)
        page = replace(page, events=judge_dates(page.events, page.believed_at))
        selection = translator.select(page.events, page.believed_at)
        calls = translator(selection, profiles.of(selection.users))
        calls = drop_unchanged(calls, ledger.last_fingerprints(keys_to_check(calls)))
        delivery = sender.deliver(calls.messages)
        settlement = build_settlement(cursor, page, calls, delivery)
        cursor = ledger.settle(settlement)
        yield Forwarded(cursor=cursor, settlement=settlement, calls=calls)

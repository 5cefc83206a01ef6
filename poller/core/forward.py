"""The heart: one page at a time from the log to Segment to the ledger, in that order and no other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from poller.core.errors import FatalError, RejectedError
from poller.core.events import judge_dates
from poller.core.messages import Batch, Delivery, Message, Receipt, Refusal, pack
from poller.core.ports import Ledger, LogSource, MessageSink, ProfileDirectory
from poller.core.settlement import Settlement, build_settlement
from poller.core.spans import LogCursor
from poller.core.translation.change_detection import drop_unchanged, facts_in
from poller.core.translation.translator import Translator

REFUSAL_LIMIT = 20
"""Events refused in a row, none accepted between, that show that the trouble is ours and not the data's."""
_TELLING_BATCH = 5
"""A batch of so many messages or more, all refused, shows the same at once; if they are of one user, it may be them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """A page that is durable: what was settled, and where the span is now."""

    span: LogCursor
    settlement: Settlement


class BatchSender:
    """Delivers messages in order, and finds the culprits where Segment refuses; knows how long the refusals run."""

    def __init__(self, sink: MessageSink, *, refusal_limit: int = REFUSAL_LIMIT) -> None:
        self._sink = sink
        self._refusal_limit = refusal_limit
        self._refused: dict[
            str, str
        ] = {}  # the user of each event refused since the last acceptance

    def deliver(self, messages: tuple[Message, ...]) -> Delivery:
        """Receipts and refusals that cover every message.

        Raises:
            TransientError, FatalError: from the sink; or fatal since everything is being refused.
        """
        receipts: list[Receipt] = []
        refusals: list[Refusal] = []
        for batch in pack(messages):
            refused_before = len(refusals)
            self._send(batch, receipts, refusals)
            users = {message.user_id for message in batch.messages}
            is_telling = len(batch.messages) >= _TELLING_BATCH and len(users) > 1
            if is_telling and len(refusals) - refused_before == len(batch.messages):
                raise _everything_refused(refusals[-1].status)
        return Delivery(receipts=tuple(receipts), refusals=tuple(refusals))

    def _send(self, batch: Batch, receipts: list[Receipt], refusals: list[Refusal]) -> None:
        try:
            receipts.append(self._sink.send(batch))
            self._refused.clear()
        except RejectedError as refusal:
            if len(batch.messages) > 1:
                for half in batch.halves():
                    self._send(half, receipts, refusals)
                return
            refusals.append(Refusal(message=batch.messages[0], status=refusal.status))
            self._refused[batch.messages[0].log_id] = batch.messages[0].user_id
            if len(self._refused) >= self._refusal_limit and len(set(self._refused.values())) > 1:
                raise _everything_refused(refusal.status) from refusal


def forward(
    source: LogSource,
    profiles: ProfileDirectory,
    translator: Translator,
    courier: BatchSender,
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
        calls = translator.page(page, profiles.of(translator.users_in(page.events)))
        calls = drop_unchanged(calls, ledger.said(facts_in(calls)))
        delivery = courier.deliver(calls.messages)
        settlement = build_settlement(span, page, calls, delivery)
        span = ledger.settle(settlement)
        yield Forwarded(span=span, settlement=settlement)


def _everything_refused(status: int) -> FatalError:
    return FatalError(
        f"Segment refuses every message (status {status}); nothing was settled",
        hint="the last change of settings, or Segment's status page, should say why; nothing is lost meanwhile",
    )

"""Delivery of a page's messages: batches, the halving of a refused batch, and the refusal limit."""

from poller.core.errors import FatalError, RejectedError
from poller.core.messages import Batch, Delivery, Message, Receipt, Refusal, pack
from poller.core.ports import MessageSink

REFUSAL_LIMIT = 20
"""Events refused in a row, with none accepted between them, that show that the fault is ours."""
_TELLING_BATCH = 5
"""The size of a batch, in messages, whose complete refusal shows that the fault is ours too."""


class BatchSender:
    """Delivers messages in order, and finds the messages that Segment refuses.

    Segment refuses a batch as a whole, for one bad message in it, and does not say which one. So a
    refused batch is sent again as two halves, and each refused half as two halves again, until a
    batch of one message is refused. That message is the culprit. Everything else is delivered.

    The refusal limit protects good events from this rule. If Segment refuses everything (a
    setting is wrong, or Segment itself fails), the halving would turn every event into a dead
    letter. So a long run of refusals without any acceptance is a fatal error, and nothing of the
    page is settled. The run is counted over all pages that this object delivers. One user's events
    alone never reach the limit, since one user's data may well be at fault for all of them.

    One object serves one span at a time. It is not thread-safe.
    """

    def __init__(self, sink: MessageSink, *, refusal_limit: int = REFUSAL_LIMIT) -> None:
        self._sink = sink
        self._refusal_limit = refusal_limit
        self._refused_since_acceptance: dict[str, str] = {}
        """The user of each refused event, by log id."""

    def deliver(self, messages: tuple[Message, ...]) -> Delivery:
        """Send the messages, and return receipts and refusals that cover every one of them.

        Raises:
            TransientError: the sink cannot take a batch for now.
            FatalError: the sink takes nothing until someone acts, or everything is being refused.
        """
        receipts: list[Receipt] = []
        refusals: list[Refusal] = []
        for batch in pack(messages, self._sink.encode):
            refused_before = len(refusals)
            self._send(batch, receipts, refusals)
            if len(refusals) - refused_before == len(batch.messages) and _is_telling(batch):
                raise _everything_refused(refusals[-1].status)
        return Delivery(receipts=tuple(receipts), refusals=tuple(refusals))

    def _send(self, batch: Batch, receipts: list[Receipt], refusals: list[Refusal]) -> None:
        try:
            receipts.append(self._sink.send(batch))
        except RejectedError as error:
            if len(batch.messages) > 1:
                for half in batch.halves():
                    self._send(half, receipts, refusals)
                return
            (message,) = batch.messages
            refusals.append(Refusal(message=message, status=error.status))
            self._check_limit(message, error)
        else:
            self._refused_since_acceptance.clear()

    def _check_limit(self, message: Message, error: RejectedError) -> None:
        refused = self._refused_since_acceptance
        refused[message.log_id] = message.user_id or message.anonymous_id or ""
        if len(refused) >= self._refusal_limit and len(set(refused.values())) > 1:
            raise _everything_refused(error.status) from error


def _is_telling(batch: Batch) -> bool:
    """Return whether the refusal of every message in this batch shows that the fault is ours."""
    users = {message.user_id or message.anonymous_id for message in batch.messages}
    return len(batch.messages) >= _TELLING_BATCH and len(users) > 1


def _everything_refused(status: int) -> FatalError:
    return FatalError(
        f"Segment refuses every message (status {status}); nothing was settled",
        code="all-messages-refused",
        hint="look at the last change of the settings, and at Segment's status page. "
        "Nothing is lost meanwhile",
    )

"""What core needs from the outside; the contracts are these docstrings, and one test suite a port holds them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from poller.core.file_pages import FileMark
from poller.core.log_ids import LogId
from poller.core.messages import Batch, Message, Receipt
from poller.core.outcomes import Profiles
from poller.core.pages import Page
from poller.core.settlement import FileSettlement, Settlement
from poller.core.spans import Gap, LogCursor, Span


class LogSource(Protocol):
    """The tenant log. One attempt a call; raises TransientError or FatalError."""

    def fetch(self, cursor: LogCursor) -> Page:
        """Return the next page above `cursor.reached`, in log-id order, every record of it, up to 100.

        `position` is an id of the log, or `until`. It is above `cursor.reached` unless the page is
        empty, and never above `until`. Records without an id are left for later until an id
        follows them. What retention removed from the stretch is in `lost`.

        `is_end` without an `until` means that no request now would bring more than the next poll:
        nothing came, or a short page whose newest event is at most 10 s older than the answer. Any
        other short page proves nothing. `is_end` with an `until` means that an event at or beyond
        it was seen, or that nothing came. The bound is reached then if the answer is younger.
        """
        ...


class ProfileDirectory(Protocol):
    """The tenant's users."""

    def of(self, user_ids: Sequence[str]) -> Profiles:
        """The profiles of these users, in as few requests as the API allows; who does not exist is missing.

        Raises:
            TransientError, FatalError: the directory cannot answer. A failing directory costs traits, never events:
                what is given to `forward` raises neither, and leaves out whom it cannot have, unless the rules need
                the profile to know who someone is.
        """
        ...


class MessageSink(Protocol):
    """Segment. One attempt a call."""

    def encode(self, message: Message) -> bytes:
        """Return the message as it is posted, in JSON. The same message gives the same bytes."""
        ...

    def send(self, batch: Batch) -> Receipt:
        """Sends the batch in order and returns only when Segment has acknowledged all of it.

        Raises:
            TransientError: it may or may not have arrived; the same batch may be sent again.
            RejectedError: this batch, as it is, never will be taken.
            FatalError: nothing will be taken until someone acts.
        """
        ...


class Ledger(Protocol):
    """The durable record, of one stream; the only state there is. Thread-safe."""

    def live_span(self) -> Span | None:
        """The one span without `until`."""
        ...

    def spans(self) -> tuple[Span, ...]:
        """Every span, by `after`."""
        ...

    def begin(self, *, after: LogId, until: LogId | None = None) -> Span:
        """Begin a span that has settled nothing; without `until` the live one.

        A finished span that ends at `after` is joined to it, so that its `after` may be lower.

        Raises:
            ConflictError: a live span exists, or the stretch overlaps another span.
        """
        ...

    def last_fingerprints(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Of what Segment was told before, the fingerprints by key; what is not here is news."""
        ...

    def settle(self, settlement: Settlement) -> LogCursor:
        """Record, in one transaction, that a page is done. Return the cursor as it is then.

        Dead letters, gaps, recent ids, counts and what was said land with the move or not at all.
        Settling what is settled already conflicts, so that nothing counts twice. A bounded span
        that reaches its end above its `confirmed` leaves an unread stretch, and a finished span is
        joined to the one that begins where it ends.

        Raises:
            ConflictError: the span is no longer where the page was read from, or the page overlaps another span.
            TransientError: the database cannot take it for now (locked, disk full).
            FatalError: it cannot until someone acts (read-only, corrupt).
        """
        ...


class FileLedger(Protocol):
    """What the same record knows of files; a file makes no span. Thread-safe."""

    def spans(self) -> tuple[Span, ...]:
        """Every span, by `after`."""
        ...

    def gaps(self) -> tuple[Gap, ...]:
        """The stretches that were lost; what a span holds of them is not settled."""
        ...

    def last_fingerprints(self, keys: Sequence[str]) -> Mapping[str, str]:
        """As the ledger's."""
        ...

    def file_marks(self) -> tuple[FileMark, ...]:
        """Every mark, of every file that was ever read."""
        ...

    def settle_file(self, settlement: FileSettlement) -> None:
        """Records, in one transaction, that a page of a file is done: the mark moves, and all that came of it lands.

        Raises:
            ConflictError: the mark that it moves is not there any more, or the one that it makes is there already.
            TransientError, FatalError: as `settle`.
        """
        ...

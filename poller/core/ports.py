"""The ports: what core needs from the outside.

The docstrings are the contracts. For each port, one test suite
holds both the fake and the real adapter to its contract.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from poller.core.file_pages import FileMark
from poller.core.log_ids import LogId
from poller.core.messages import Batch, Message, Receipt
from poller.core.outcomes import Profiles
from poller.core.pages import Page
from poller.core.settlement import FileSettlement, Settlement
from poller.core.spans import Gap, LogCursor, Span

AnyCursor = TypeVar("AnyCursor", bound=LogCursor)


class LogSource(Protocol):
    """The tenant log. Each call makes one attempt.

    Each call raises TransientError or FatalError.
    """

    def fetch(self, cursor: LogCursor) -> Page:
        """Return the next page above `cursor.reached`, in log-id order.

        A page holds every record of its part of the log, up to 100 of them.

        `position` is an id of the log, or `until`. It is above `cursor.reached` unless the page is
        empty, and never above `until`. Records without an id are left for later until an id
        follows them. What retention removed from the stretch is in `lost`.

        `is_end` without an `until` means that no request now would bring more than the next poll:
        nothing came, or a short page whose newest event is at most 10 s older than the answer. Any
        other short page proves nothing. `is_end` with an `until` means that an event at or beyond
        it was seen, or that nothing came. If nothing came, the bound is reached if the answer is
        younger.
        """
        ...


class ProfileDirectory(Protocol):
    """The tenant's users."""

    def of(self, user_ids: Sequence[str]) -> Profiles:
        """Return the profiles of these users, in as few requests as the API allows.

        A user who does not exist is missing. A failing directory costs traits and never events. So
        the directory that `forward` is given raises no error, and leaves out the users that it
        cannot read, unless the rules need the profile to know who a user is.

        Raises:
            TransientError, FatalError: the directory cannot answer.
        """
        ...


class MessageSink(Protocol):
    """Segment. Each call makes one attempt."""

    def encode(self, message: Message) -> bytes:
        """Return the message as it is posted, in JSON. The same message gives the same bytes."""
        ...

    def send(self, batch: Batch) -> Receipt:
        """Send the batch in order. Return only when Segment has acknowledged all of it.

        Raises:
            TransientError: the batch may or may not have arrived. It may be sent again.
            RejectedError: Segment will never take this batch as it is.
            FatalError: Segment takes nothing until someone acts.
        """
        ...


class Ledger(Protocol):
    """The durable record of one stream, and the only state there is. Thread-safe.

    Each ledger that is opened is an owner, and has a fence number above all earlier ones. A span
    bears the number of the owner that began to work on it last. No other owner can settle a page
    of it. So an owner that stalls and wakes up later changes nothing.
    """

    def live_span(self) -> Span | None:
        """The one span without `until`."""
        ...

    def spans(self) -> tuple[Span, ...]:
        """Every span, by `after`."""
        ...

    def begin(self, *, after: LogId, until: LogId | None = None) -> Span:
        """Begin a span that has settled nothing, and begin to work on it.

        Without `until` it is the live span.

        A finished span that ends at `after` is joined to it, so its `after` may be lower.

        Raises:
            ConflictError: a live span exists, or the stretch overlaps another span.
        """
        ...

    def begin_work(self, cursor: AnyCursor) -> AnyCursor | None:
        """Take over a span, or another cursor with a row of its own, from all earlier owners.

        Return it as it is recorded now, under the fence number of this owner, or None if its row
        is deleted. The row of a span that is finished may be deleted by a join. It is no harm to
        begin again.

        Raises:
            TakenOverError: a later owner has taken it over.
        """
        ...

    def last_fingerprints(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return the fingerprints of what was sent last, by key.

        Nothing was ever sent under a key that is missing.
        """
        ...

    def settle(self, settlement: Settlement) -> LogCursor:
        """Record, in one transaction, that a page is done. Return the cursor as it is then.

        Dead letters, gaps, recent ids, counts and fingerprints land with the move or not at all.
        To settle a page twice is a conflict, so nothing counts twice. A bounded span
        that reaches its end above its `confirmed` leaves an unread stretch, and a finished span is
        joined to the span that begins where it ends.

        Raises:
            TakenOverError: a later owner has taken the span over.
            ConflictError: the span is no longer where the page was read from, nobody began to work
                on it, or the page overlaps another span.
            TransientError: the database cannot take the page for now (locked, disk full).
            FatalError: the database cannot take it until someone acts (read-only, corrupt).
        """
        ...


class FileLedger(Protocol):
    """The part of the record that knows files. A file makes no span. Thread-safe."""

    def spans(self) -> tuple[Span, ...]:
        """Every span, by `after`."""
        ...

    def gaps(self) -> tuple[Gap, ...]:
        """Every gap. A span claims its part of the log without the gaps in it."""
        ...

    def last_fingerprints(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return the fingerprints of what was sent last, as the ledger does."""
        ...

    def file_marks(self) -> tuple[FileMark, ...]:
        """Every mark of every file that was ever read."""
        ...

    def settle_file(self, settlement: FileSettlement) -> None:
        """Record, in one transaction, that a page of a file is done.

        The mark moves, and all outcomes of the page land with it.

        Raises:
            ConflictError: the mark that the page moves is gone, or the mark that the page makes
                exists already.
            TransientError, FatalError: for the same reasons as in `settle`.
        """
        ...

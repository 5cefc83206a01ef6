"""The walk through a file of log events: each page goes to Segment and is settled."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from poller.core.delivery import BatchSender
from poller.core.events import judge_dates
from poller.core.file_pages import BadRecord, FileMark, FilePage, UnreadableFileError
from poller.core.ports import FileLedger, ProfileDirectory
from poller.core.settlement import FileSettlement, build_file_settlement
from poller.core.translation.change_detection import drop_unchanged, keys_to_check
from poller.core.translation.log_types import KNOWN_TYPES
from poller.core.translation.translator import Translator
from poller.service.backfill.file_selection import ChosenEvents, EventChooser
from poller.service.upstream.retry import LONG_PATIENCE, retrying

TYPE_NAME_LIMIT = 60
"""Characters of an unknown type that are shown."""
_BAD_PAGE_EVENTS = 10
"""The number of records from which on a first page that is all bad shows that it is not a log."""
_OPENING_PAGES = 20
"""In the log of a tenant, a type that Auth0 has published stands within so many pages."""
_NAMED_TYPES = 5


class PageReader(Protocol):
    """One reading of a file. The next page is asked for after the last one is settled."""

    @property
    def begun_at(self) -> FileMark: ...

    def pages(self) -> Iterator[FilePage]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileForwarded:
    """A page of a file that is durable.

    `bad` are the bad records among the chosen events.
    """

    settlement: FileSettlement
    choice: ChosenEvents
    bad: tuple[BadRecord, ...]


class FileWalk:
    """Forwards one file at a time. Each thread has its own walk."""

    def __init__(  # noqa: PLR0913 - the ports, and how far to go
        self,
        *,
        profiles: ProfileDirectory,
        translator: Translator,
        sender: BatchSender,
        ledger: FileLedger,
        chooser: EventChooser,
        stopping: threading.Event | None = None,
        patience: timedelta = LONG_PATIENCE,
        settles_empty: bool = False,
    ) -> None:
        self._settles_empty = settles_empty
        self._profiles = profiles
        self._translator = translator
        self._sender = sender
        self._ledger = ledger
        self._chooser = chooser
        self._stopping = stopping or threading.Event()
        self._patience = patience

    def pages(self, reading: PageReader) -> Iterator[FileForwarded]:
        """Forward the file page by page. A yield means that the page is durable.

        A page that meets a transient error is tried again for `patience`.

        Nothing is settled before one record has a known type. Otherwise a wrong file would be
        marked as settled for good. `settles_empty` leaves this check out.

        Raises:
            UnreadableFileError: the file begins with a page of bad records, or no type in it is
                known. Nothing of it was settled.
            TransientError, FatalError: for the same reasons as `forward`. The file is settled up to
                the last yield.
        """
        pages: Iterator[FilePage] = map(_judged, reading.pages())
        if reading.begun_at.offset == 0 and not self._settles_empty:
            pages = _with_known_type(pages)
        for page in pages:
            for attempt in retrying(self._patience, self._stopping):
                with attempt:
                    forwarded = self._forward(page)
            yield forwarded

    def _forward(self, page: FilePage) -> FileForwarded:
        choice = self._chooser.choose(page.events)
        events = list(choice.chosen.values())
        selection = self._translator.select(events, page.believed_at)
        calls = self._translator(selection, self._profiles.of(selection.users))
        calls = drop_unchanged(calls, self._ledger.last_fingerprints(keys_to_check(calls)))
        settlement = build_file_settlement(
            page, events, calls, self._sender.deliver(calls.messages)
        )
        self._ledger.settle_file(settlement)
        self._chooser.remember(choice.chosen)
        bad = tuple(record for record in page.bad if record.log_id in choice.chosen)
        return FileForwarded(settlement=settlement, choice=choice, bad=bad)


def _judged(page: FilePage) -> FilePage:
    return replace(page, events=judge_dates(page.events, page.believed_at))


def _with_known_type(pages: Iterator[FilePage]) -> Iterator[FilePage]:
    """Yield the pages, after one of the first ones has a type that Auth0 has published.

    Raises:
        UnreadableFileError: no type is known, and there are readable records or lines of text.
    """
    opening: list[FilePage] = []
    for page in pages:
        if not opening and len(page.bad) == len(page.events) >= _BAD_PAGE_EVENTS:
            first = page.bad[0]
            raise UnreadableFileError(
                f"not a log of Auth0: line {first.line} is {first.why}, and none of the "
                f"{len(page.bad) - 1:,} records after it can be read either"
            )
        opening.append(page)
        if any(event.type in KNOWN_TYPES for event in page.events):
            break
        if len(opening) == _OPENING_PAGES:
            _refuse_unknown_types(opening)
            break
    else:
        _refuse_unknown_types(opening)
    yield from opening
    yield from pages


def _refuse_unknown_types(pages: Iterable[FilePage]) -> None:
    """Refuse pages without a known type, unless they hold nothing but bad records."""
    events = [event for page in pages for event in page.events]
    types = Counter(ascii(event.type[:TYPE_NAME_LIMIT]) for event in events if not event.defect)
    if types:
        named = ", ".join(
            f"{name} {count} times" for name, count in types.most_common(_NAMED_TYPES)
        )
        raise UnreadableFileError(
            f"not a log of Auth0: it has only types that Auth0 has not published: {named} "
            "(--settle-empty settles the file all the same)"
        )
    lines = [line for page in pages for line in page.text_lines]
    if lines and not events:
        raise UnreadableFileError(
            f"not a log of Auth0: it is text from line {lines[0]} on, without any JSON object"
        )

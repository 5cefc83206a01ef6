"""Pages of the log that are fetched while a page below them is delivered.

The forwarding of a page waits three times: for the page, for the profiles of its users, and for
Segment. Reading ahead lets these waits run side by side. While a page is delivered and settled, the
next two pages are fetched, and the profiles of each one are read as soon as it is there.

No promise depends on this module:

- Pages are given in the order of the log, one at a time, to the thread that delivers and settles
  them. A page that was read ahead is only known to this process. A crash forgets it.
- The profiles of two pages are read in no certain order. The cache of profiles never replaces a
  profile by one that was asked for earlier.
- A page keeps the times of its own answer. The ledger decides by these times how far the log is
  confirmed, and the proof against retention was made with the answer. So a page that waited proves
  less than a page that is fetched now, and never more.
- An error is raised when the page is due at which it happened. The pages below are settled first.
- A walk ends with an error, a stop, or its last page. Then its pages are thrown away, and the next
  walk begins at the position in the ledger.
- Nothing is fetched above the last page of a walk, so that an idle poll is one request.
"""

import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Protocol

from poller.core.errors import TransientError
from poller.core.pages import Page
from poller.core.ports import LogSource
from poller.core.spans import LogCursor
from poller.service.upstream.threads import start_thread

PAGES_AHEAD = 2
"""The most pages above the page at hand that are fetched. Both may be thrown away.

One would not be enough: its fetch and its profiles take two answers of Auth0, one after the other.
Profiles of more than 73 users take two searches, so the profiles of both pages are read at once.
"""

_PLACE = ("id", "stream", "reached", "until", "drained_at")
"""The fields of a cursor that decide what is fetched from it."""

IDLE_S = 1.0
"""The time after which a thread that has nothing to do ends."""

Call = Callable[[], None]


class Runner(Protocol):
    """Runs calls one after the other."""

    def submit(self, call: Call) -> None:
        """Run the call after all calls that were submitted before. The call raises no error.

        Raises:
            TransientError: this machine has no room for one more thread.
        """
        ...


class Worker:
    """A Runner with one thread, which starts when a call comes and ends when none came for a while.

    A process of many pipelines has few threads this way, because most of its tenants are quiet. A
    call under way does not keep the process from ending.
    """

    def __init__(self, name: str, *, idle_s: float = IDLE_S) -> None:
        self._name = name
        self._idle_s = idle_s
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        # The lock guards the field below it, and keeps a call from coming as the thread ends.
        self._lock = threading.Lock()
        self._has_thread = False

    def submit(self, call: Call) -> None:
        with self._lock:
            if not self._has_thread:
                start_thread(self._run, self._name)
                self._has_thread = True
            self._calls.put(call)

    def _run(self) -> None:
        while (call := self._next()) is not None:
            call()
            del call  # it holds a page, which need not stay in memory

    def _next(self) -> Call | None:
        """Return the next call, or None at the end of the thread."""
        with contextlib.suppress(queue.Empty):
            return self._calls.get(timeout=self._idle_s)
        with self._lock:
            self._has_thread = not self._calls.empty()
            return self._calls.get_nowait() if self._has_thread else None


class ReadAhead:
    """Reads the pages of a log ahead, in threads of its own.

    `prepare` is called with each page that was read ahead, before the page is given. Threads call
    it for two pages at once. What it raises is raised when the page is due.
    """

    def __init__(
        self,
        source: LogSource,
        prepare: Callable[[Page], None],
        *,
        runner: Callable[[str], Runner] = Worker,
    ) -> None:
        self._source = source
        self._prepare = prepare
        self._fetching = runner("read-ahead-log")
        self._preparing = [runner(f"read-ahead-users-{number}") for number in range(PAGES_AHEAD)]

    @contextlib.contextmanager
    def walk(self, is_last: Callable[[Page], bool]) -> Iterator["Walk"]:
        """Open a walk over the log. At its end, the pages that were not given are thrown away.

        `is_last` is called with each page once, in the order of the log. It returns whether the
        walk ends with this page.
        """
        walk = Walk(self._source, self._prepare, is_last, self._fetching, self._preparing)
        try:
            yield walk
        finally:
            walk.end()


@dataclass(slots=True, kw_only=True)
class _AheadPage:
    """A page that is fetched from the cursor. It is ready once its future is done."""

    cursor: LogCursor
    future: Future[Page] = field(default_factory=Future)
    is_dropped: bool = False


class Walk:
    """A LogSource that gives the pages of one walk. Used by one thread."""

    def __init__(
        self,
        source: LogSource,
        prepare: Callable[[Page], None],
        is_last: Callable[[Page], bool],
        fetching: Runner,
        preparing: Sequence[Runner],
    ) -> None:
        self._source = source
        self._prepare = prepare
        self._is_last = is_last
        self._fetching = fetching
        self._preparing = itertools.cycle(preparing)  # used in the thread that fetches
        # The lock guards both fields below it. A runner may call back at once, under the lock.
        self._lock = threading.RLock()
        self._ahead: deque[_AheadPage] = deque()
        self._next: LogCursor | None = None

    def fetch(self, cursor: LogCursor) -> Page:
        """Return the next page above the cursor, and go on with the pages above that page.

        Raises:
            TransientError, FatalError: as the source.
        """
        ahead = self._take(cursor)
        if ahead is not None:
            return ahead.future.result()
        page = self._source.fetch(cursor)
        above = self._above(cursor, page)
        with self._lock:
            self._begin(above)
        return page

    def end(self) -> None:
        """Throw away the pages that were read ahead. A fetch under way has no effect."""
        with self._lock:
            for ahead in self._ahead:
                ahead.is_dropped = True
            self._ahead.clear()
            self._next = None

    def _take(self, cursor: LogCursor) -> _AheadPage | None:
        """Return the page that was read ahead from this cursor, if there is one."""
        with self._lock:
            if not self._ahead or not _is_same_place(self._ahead[0].cursor, cursor):
                self.end()
                return None
            ahead = self._ahead.popleft()
            self._begin(self._next)
            return ahead

    def _begin(self, cursor: LogCursor | None) -> None:
        """Begin to fetch the page above this cursor, or note the cursor until there is room."""
        self._next = cursor
        if cursor is None or len(self._ahead) == PAGES_AHEAD:
            return
        self._next = None
        ahead = _AheadPage(cursor=cursor)
        self._ahead.append(ahead)
        try:
            self._fetching.submit(lambda: self._fetch(ahead))
        except TransientError as error:
            ahead.future.set_exception(error)

    def _fetch(self, ahead: _AheadPage) -> None:
        if ahead.is_dropped:
            return
        try:
            page = self._source.fetch(ahead.cursor)
            above = self._above(ahead.cursor, page)
            next(self._preparing).submit(lambda: self._make_ready(ahead, page))
        except BaseException as error:  # noqa: BLE001 - raised when the page is due
            ahead.future.set_exception(error)
            return
        with self._lock:
            if not ahead.is_dropped:
                self._begin(above)

    def _make_ready(self, ahead: _AheadPage, page: Page) -> None:
        if ahead.is_dropped:
            return
        try:
            self._prepare(page)
        except BaseException as error:  # noqa: BLE001 - raised when the page is due
            ahead.future.set_exception(error)
        else:
            ahead.future.set_result(page)

    def _above(self, cursor: LogCursor, page: Page) -> LogCursor | None:
        """Return the cursor as it is once the page is settled, or None after the last page."""
        if self._is_last(page):
            return None
        return replace(cursor, reached=page.position)


def _is_same_place(one: LogCursor, other: LogCursor) -> bool:
    """Return whether the next page above one cursor is also the next page above the other."""
    return all(getattr(one, name) == getattr(other, name) for name in _PLACE)

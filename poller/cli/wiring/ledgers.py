"""The ledgers that a process has open. Pipelines may share one."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field

import structlog

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.fatal_exit import FatalExit, record_fatal_exit
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.lock import Lost, ignore_loss
from poller.adapters.sql_ledger.places import LedgerPlace, acquire_lock, place_of
from poller.adapters.sql_ledger.route_files import Others
from poller.cli.wiring.routes import file_of, keep_routes_of, others_of, routes_of
from poller.cli.wiring.services import stream_of, streams_of_routes
from poller.config import Settings
from poller.core.errors import FatalError, NotYetError, PollerError, TakenOverError
from poller.core.events import Stream
from poller.service.lifecycle.process import Failed, Work

_OTHER_LEDGER = (
    "the position of the stream is in the ledger before. A new ledger begins at `poll.start`: send "
    "what is in between by `backfill`, or stop the process and move the ledger"
)

log = structlog.get_logger()


Owning = Callable[[str, Stream, Lost], AbstractContextManager[None]]


@dataclass(slots=True)
class _Shared:
    """A place, which is locked and open as long as a pipeline uses it.

    `users` are told when the lock is lost. Until the last of them has left, nobody may enter: a
    pipeline that went on without the lock would take its span back from the process that has it.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: list[Lost] = field(default_factory=list)
    lost: TakenOverError | None = None
    database: Database | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    def lose(self, error: TakenOverError) -> None:
        """Tell all users that the lock is lost. Waits for nobody, and raises nothing."""
        self.lost = error
        for tell in [*self.users]:
            tell(error)


class Ledgers:
    """The ledgers of a process. Thread-safe.

    A place is locked and opened once, because a lock keeps out a second one of the same process
    too, and because a second connection to SQLite would only wait.

    With `owning`, other processes may use the place too: the context that `owning` makes of a URL
    and a stream keeps them away from that stream, and tells when they have taken it over.
    """

    def __init__(self, owning: Owning | None = None) -> None:
        self._owning = owning
        self._lock = threading.Lock()
        self._places: dict[LedgerPlace, _Shared] = {}
        self._place_of: dict[Stream, LedgerPlace] = {}
        """The ledger that each stream was in last."""
        self._routes: dict[tuple[LedgerPlace, str], dict[Stream, object]] = {}
        """The routes by which the open pipelines of each settings file work."""

    @contextmanager
    def opened(
        self,
        settings: Settings,
        work: Work,
        *,
        adopt: bool = False,
        neighbours: Collection[Stream] | None = None,
    ) -> Iterator[SqlLedger]:
        """Open the ledger, and hold the lock that keeps a second `run` away.

        The ledger is created if there is none. With `adopt`, a new stream may begin in a ledger
        that holds other streams. The streams of other pipelines may be there in any case.
        The work ends once another process has taken the lock over.

        Raises:
            NotYetError: another pipeline still works by other routes, or has not begun without one.
            LedgerHeldError: another process runs on this ledger.
            TakenOverError: the lock is lost, and other pipelines have not closed the ledger yet.
            FatalError, TransientError: the ledger cannot be used.
        """
        stream = stream_of(settings)
        url = settings.state.url
        on_lost = _ending(work)
        owned = self._owning(url, stream, on_lost) if self._owning else nullcontext()
        with owned, self._database(url, on_lost) as database, self._by_same_routes(settings):
            self._refuse_routes_at_work(settings, others_of(settings, database))
            keep_routes_of(settings, database, neighbours=neighbours or ())
            ledger = SqlLedger.open(
                url,
                stream,
                create=True,
                adopt=adopt,
                neighbours={*(neighbours or ()), *streams_of_routes(settings)} - {stream},
                database=database,
                late_window=settings.poll.late_window,
            )
            facts = {"domain": stream.domain, "source_name": stream.source_name}
            log.info("ledger.opened", ledger=place_of(url).shown, **facts)
            self._warn_of_move(stream, place_of(url))
            yield ledger

    @contextmanager
    def recording(self, settings: Settings) -> Iterator[None]:
        """Record a fatal error that ends the pipeline inside for `status`, and raise it again.

        A ledger that is missing is not made, and one that another process holds is left alone.
        """
        try:
            yield
        except FatalError as error:
            with suppress(PollerError, OSError):
                self._record(settings, error)
            raise

    def _record(self, settings: Settings, error: FatalError) -> None:
        url = settings.state.url
        if place_of(url).exists():
            with self._database(url, ignore_loss) as database:
                record_fatal_exit(database, stream_of(settings), FatalExit.of(error))

    def _warn_of_move(self, stream: Stream, place: LedgerPlace) -> None:
        """Warn of a stream that goes on in another ledger: its file has another name, for one."""
        before, self._place_of[stream] = self._place_of.get(stream, place), place
        if before != place:
            log.warning("ledger.changed", before=before.shown, now=place.shown, note=_OTHER_LEDGER)

    @contextmanager
    def _by_same_routes(self, settings: Settings) -> Iterator[None]:
        """Let the pipelines of a file begin to work by new routes after all have left the old ones.

        Raises:
            NotYetError: a pipeline of the file still works by other routes.
        """
        if settings.path is None:
            yield  # settings of the environment alone are one pipeline
            return
        key, stream = (place_of(settings.state.url), file_of(settings)), stream_of(settings)
        routes = routes_of(settings)
        with self._lock:
            at_work = self._routes.setdefault(key, {})
            if any(each != routes for each in at_work.values()):
                raise NotYetError("another route of the file still works by the old settings")
            at_work[stream] = routes
        try:
            yield
        finally:
            with self._lock:
                del at_work[stream]

    def _refuse_routes_at_work(self, settings: Settings, others: Others) -> None:
        """Let a route leave the file from which it moves before this file begins with it.

        Raises:
            NotYetError: a pipeline of that file still works on a route of this one.
        """
        place, streams = place_of(settings.state.url), {each.stream for each in routes_of(settings)}
        with self._lock:
            for other, named in others.items():
                at_work = {*self._routes.get((place, other), {})}
                if streams & at_work - {*(named or ())}:
                    raise NotYetError(f"a route of {other}.toml still works by the old settings")

    @contextmanager
    def _database(self, url: str, on_lost: Lost) -> Iterator[Database]:
        place = place_of(url)
        with self._lock:
            shared = self._places.setdefault(place, _Shared())
        with shared.lock:
            if shared.database is None:
                with ExitStack() as stack:
                    if self._owning is None:
                        stack.enter_context(acquire_lock(url, "run", on_lost=shared.lose))
                    shared.database = stack.enter_context(closing(place.open(create=True)))
                    shared.stack = stack.pop_all()
            shared.users.append(on_lost)
        try:
            if shared.lost is not None:  # a loss after this look is told to `on_lost`
                raise shared.lost
            yield shared.database
        finally:
            with shared.lock:
                shared.users.remove(on_lost)
                if not shared.users:
                    shared.database = shared.lost = None
                    shared.stack.close()


def _ending(work: Work) -> Lost:
    """Return the function that ends the work when the lock is lost."""

    def end(error: TakenOverError) -> None:
        work.end(Failed(error))

    return end

"""The slices that a worker walks, of any pipeline of its folder, and those that it gives away."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import structlog
from structlog.contextvars import bound_contextvars

from poller.adapters.shift_queue import MOST_SLICES, SliceOrder, SliceOrders, Walked
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.tables.streams import label
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.catch_up import CatchUpParts
from poller.cli.wiring.services import background_share, connect, stream_of
from poller.cli.wiring.tenants import Tenants
from poller.config import Settings, SettingsError, load_settings, read_pipeline
from poller.core.errors import FatalError, PollerError, TakenOverError
from poller.core.forward import Forwarded
from poller.core.spans import Span
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Work
from poller.service.observability.logging_setup import describe_bug
from poller.service.slices.queue import SliceQueue
from poller.service.slices.slice import Slice
from poller.service.upstream.retry import LONG_PATIENCE

_AGAIN_AFTER = timedelta(seconds=30)
"""The time after which a slice that failed is tried again, by this worker or another one."""
_LOOK_S = 1.0
_TAKEN_WITHIN_S = 20.0
"""The time after which a slice that no worker takes goes back to the owner of the pipeline."""
_TURN_S = 10.0
"""The time after which a worker hands a slice of a catch-up back to the owner of the pipeline.

The owner alone can cut it, so that nobody waits long for the last slice.
"""
_COUNTED = ("pages", "read", "filtered", "forwarded", "dead_lettered", "redated")

log = structlog.get_logger()


class SliceWalks:
    """Walks slices. Used by several threads at once, each with a slice of its own."""

    def __init__(self, path: Path, process: Work, tenants: Tenants) -> None:
        self._path = path
        self._process = process
        self._tenants = tenants

    def walk(self, order: SliceOrder) -> Walked:
        """Walk a slice to its end, or until the process stops.

        The slice is over too if its span is gone, or if somebody else works on it.
        """
        with self._process.working(), bound_contextvars(pipeline=order.pipeline):
            try:
                file = read_pipeline(self._path, order.pipeline)
                return self._walk(order, load_settings(file, os.environ))
            except TakenOverError as error:
                log.warning("slice.taken_over", code=error.code, reason=str(error))
                return Walked(is_over=True)
            except (PollerError, SettingsError) as error:
                code = error.code if isinstance(error, FatalError | SettingsError) else None
                log.error("slice.failed", code=code, reason=str(error))  # noqa: TRY400 - expected
            except Exception as error:  # noqa: BLE001 - a bug in one slice
                log.error("slice.failed", **describe_bug(error))  # noqa: TRY400 - no text of it
            return Walked(is_over=False, again_after=_AGAIN_AFTER)

    def _walk(self, order: SliceOrder, settings: Settings) -> Walked:
        ledger = SqlLedger.open(
            settings.state.url,
            stream_of(settings),
            create=False,
            late_window=settings.poll.late_window,
        )
        try:
            span = next((each for each in ledger.spans() if each.id == order.span), None)
            if span is None or span.is_done:
                return Walked(is_over=True)
            with connect(
                settings,
                self._process.stopping,
                share=background_share(settings),
                integrations=order.integrations,
                tenants=self._tenants,
            ) as services:
                parts = CatchUpParts(
                    settings=settings,
                    services=services,
                    ledger=ledger,
                    no_identify=order.no_identify,
                )
                return self._walk_span(parts, span, order.fence)
        finally:
            ledger.close()

    def _walk_span(self, parts: BackfillParts, span: Span, fence: int | None) -> Walked:
        stopping = self._process.stopping
        queue = SliceQueue(parts.ledger, stopping)
        queue.add([span])
        own = queue.take()
        if own is None:  # the process stops
            return Walked(is_over=False)
        walk = parts.walker()
        back_at = time.monotonic() + (math.inf if fence is None else _TURN_S)
        try:
            drain(lambda: _until(back_at, queue.pages(walk, own)), LONG_PATIENCE, stopping=stopping)
        except PollerError:
            if not stopping.is_set():
                raise
        if not own.is_finished and fence is not None:
            parts.ledger.hand_back(own.cursor, fence)
        counts = queue.count.facts()
        log.info("slice.walked", after=own.after, is_finished=own.is_finished, **counts)
        facts = {name: counts[name] for name in _COUNTED} | {"lost": queue.lost}
        return Walked(is_over=own.is_finished or fence is not None, counts=facts)


def _until(at: float, pages: Iterator[Forwarded]) -> Iterator[Forwarded]:
    """Yield pages until this time, and at least one."""
    for page in pages:
        yield page
        if time.monotonic() >= at:
            return


class SliceHelpers:
    """Other workers that walk slices of a pipeline's catch-up. Implements `Helpers`.

    `workers` returns how many workers are alive, with this one. While a slice is given away, its
    key is in `given`, which the pipelines of the worker share.
    """

    def __init__(
        self,
        conninfo: str,
        pipeline: str,
        settings: Settings,
        ledger: SqlLedger,
        *,
        workers: Callable[[], int],
        given: set[str],
        threads: BacklogThreads,
    ) -> None:
        self._conninfo = conninfo
        self._pipeline = pipeline
        self._integrations = settings.catch_up.integrations
        self._ledger = ledger
        self._workers = workers
        self._given = given
        self.threads = threads

    def count(self) -> int:
        return MOST_SLICES * (self._workers() - 1)

    def walk(self, own: Slice, stopping: threading.Event) -> None:
        if not isinstance(own.cursor, Span):
            return  # an order names a span
        order, given = self._order(own.cursor), own.cursor
        give_up_at = time.monotonic() + _TAKEN_WITHIN_S
        with self._giving(order), SliceOrders.open(self._conninfo) as orders:
            while (span := self._unfinished(own)) is not None:
                own.cursor = span
                # The fence of a worker that has begun is higher, so that only workers may go on.
                is_free = span.fence == given.fence
                if is_free and span.reached > given.reached:  # a worker has handed it back
                    orders.withdraw([order])
                    return
                if is_free and time.monotonic() > give_up_at and orders.withdraw([order]):
                    return
                orders.place([order])
                if stopping.wait(_LOOK_S):
                    orders.withdraw([order])
                    return
        own.is_finished = True

    @contextmanager
    def _giving(self, order: SliceOrder) -> Iterator[None]:
        self._given.add(order.key)
        try:
            yield
        finally:
            self._given.discard(order.key)

    def _unfinished(self, own: Slice) -> Span | None:
        backlog = self._ledger.backlog()
        spans = (each for each in backlog if isinstance(each, Span))
        return next((each for each in spans if each.id == own.cursor.id), None)

    def _order(self, span: Span) -> SliceOrder:
        return SliceOrder(
            run="",
            pipeline=self._pipeline,
            stream=label(self._ledger.stream),
            span=span.id,
            fence=span.fence,
            integrations=self._integrations,
        )

"""Slices of a catch-up that other processes walk, as helpers of the one that has the pipeline.

A thread takes a slice from the queue, as the threads of the backlog do, and waits while a helper
walks it. So a slice is cut for an idle helper as for an idle thread, and not while the rate limit
of the tenant holds the work up. A helper hands a slice back after a while, because the owner alone
can cut it, and may have idle threads by then.
"""

import contextvars
import threading
from typing import Protocol

import structlog

from poller.core.errors import PollerError
from poller.service.daemon.backlog_threads import BacklogThreads, Claim, Place
from poller.service.lifecycle.process import Failed, Work
from poller.service.slices.queue import SliceQueue
from poller.service.slices.slice import Slice
from poller.service.upstream.threads import start_thread

_AGAIN_AFTER_S = 30.0
"""The delay of a slice that cannot be given to a helper, or whose helper cannot be watched."""

WORTH_S = 5.0
"""The work that must be left for each worker, in seconds, so that a slice is given to a helper.

A helper needs some seconds to begin. The threads of the owner finish a short rest without it.
"""
_LOOK_S = 0.5
"""The time between two looks whether a helper is of use."""

log = structlog.get_logger()


class Helpers(Protocol):
    """The processes that may walk slices of a pipeline. Thread-safe.

    The pipelines of a process share `threads`, which wait for the helpers.
    """

    threads: BacklogThreads

    def count(self) -> int:
        """Return how many slices of this pipeline may be given to helpers at a time."""
        ...

    def walk(self, own: Slice, stopping: threading.Event) -> None:
        """Wait while a helper walks the slice, until its end or a stop.

        Return early if no helper takes it, or if one hands it back. At the end of the slice,
        `own.is_finished` is set.

        Raises:
            TransientError: the helpers cannot be reached.
        """
        ...


class HelpedSlices:
    """Gives slices of a queue to helpers. Thread-safe."""

    def __init__(self, queue: SliceQueue, process: Work, helpers: Helpers) -> None:
        self._queue = queue
        self._process = process
        self._helpers = helpers
        self._claim = Claim(self._start)
        self._context = contextvars.Context()

    def ask(self) -> None:
        """Give slices to as many helpers as there are.

        Raises:
            TransientError: no thread can be started.
        """
        if wanted := self._helpers.count():
            self._context = contextvars.copy_context()
            self._helpers.threads.ask(self._claim, wanted)

    def _start(self) -> None:
        self._context.copy().run(start_thread, self._work, "helped")

    def _work(self) -> None:
        with self._process.working(), self._helpers.threads.place(self._claim) as place:
            try:
                while (own := self._take(place)) is not None and self._is_walked(own):
                    pass
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                self._process.end(Failed(error))

    def _take(self, place: Place) -> Slice | None:
        """Take a slice once that is of use. Until then, no slice is cut for this thread."""

        def gives_way() -> bool:
            return place.gives_way() or self._queue.share_s < WORTH_S

        own = None
        while not (own or self._queue.is_empty or place.gives_way()):
            if self._process.stopping.wait(_LOOK_S):
                return None
            own = self._queue.take(gives_way, for_helper=True)
        return own

    def _is_walked(self, own: Slice) -> bool:
        """Return whether a helper has walked the slice. Otherwise it goes back into the queue."""
        delay_s = 0.0
        try:
            self._helpers.walk(own, self._process.stopping)
        except PollerError as error:
            log.warning("slice.not_shared", reason=str(error), retry_in_s=_AGAIN_AFTER_S)
            delay_s = _AGAIN_AFTER_S
        if own.is_finished:
            self._queue.leave(own)
        else:
            self._queue.put_back(own, after_s=delay_s)
        return own.is_finished

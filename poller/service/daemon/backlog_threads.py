"""The threads that work on backlogs, divided among the pipelines of a process.

After an outage, all pipelines of a process may have a backlog at once. Each of them could use up to
eight threads, but all of them share the memory and one interpreter. So the number of threads is
bounded over all pipelines, and each pipeline gets its share:

- A place that is free goes to the pipeline that has the fewest threads.
- A thread gives its place up after a page if another pipeline has fewer threads by two or more.
- If there are more pipelines than places, a pipeline that has one gives it up after its turn.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from poller.core.errors import TransientError

MOST_THREADS = 16
"""The most threads of all backlogs. Eight keep the rate limit of one tenant busy."""
TURN_S = 10.0
"""The time after which a pipeline lets another one go on that has no thread at all."""


@dataclass(slots=True, eq=False)
class Claim:
    """The threads of one pipeline. `start` starts one of them, or raises a TransientError."""

    start: Callable[[], None]
    wanted: int = 0
    threads: int = 0
    got_at: float = 0.0
    """The time at which the pipeline got a thread last."""
    number: int = 0
    """Rises from pipeline to pipeline in the order in which they begin to wait."""


class Place:
    """The place of one thread. Used by this thread alone."""

    def __init__(self, threads: "BacklogThreads", claim: Claim) -> None:
        self._threads = threads
        self._claim = claim
        self.is_given_up = False

    def gives_way(self) -> bool:
        """Return whether another pipeline gets the place. This thread has to end then."""
        self.is_given_up = self.is_given_up or self._threads.takes_back(self._claim)
        return self.is_given_up


class BacklogThreads:
    """The places of threads that work on backlogs. Thread-safe."""

    def __init__(
        self, most: int = MOST_THREADS, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards the fields below it, and all claims
        self._claims: list[Claim] = []
        self._numbers = itertools.count()
        self._leaving = 0
        """The threads that have given up their place, and have not ended yet."""

    def ask(self, claim: Claim, wanted: int) -> None:
        """Start threads until the pipeline has as many as it wants, or as it may have.

        If it may have more later, they are started then.

        Raises:
            TransientError: the pipeline has no thread, and none can be started.
        """
        with self._lock:
            if claim not in self._claims:
                claim.number = next(self._numbers)
                self._claims.append(claim)
            claim.wanted = wanted
        error = self._fill().get(claim)
        if error is not None and not claim.threads:
            raise error

    @contextmanager
    def place(self, claim: Claim) -> Iterator[Place]:
        """Hold the place of a thread that was started, until the thread ends."""
        place = Place(self, claim)
        try:
            yield place
        finally:
            self._end(claim, is_given_up=place.is_given_up)
            self._fill()

    def _fill(self) -> Mapping[Claim, TransientError]:
        """Give the free places away. Return why the threads of some claims cannot be started."""
        failed: dict[Claim, TransientError] = {}
        while (claim := self._next()) is not None:
            try:
                claim.start()
            except TransientError as error:
                failed[claim] = error
                self._end(claim)
        return failed

    def _end(self, claim: Claim, *, is_given_up: bool = False) -> None:
        """Take a thread off that has ended. The pipeline asks again if it wants another one."""
        with self._lock:
            if is_given_up:
                self._leaving -= 1
            else:
                claim.threads -= 1
                claim.wanted = 0
            if not claim.threads and not claim.wanted:
                self._claims = [each for each in self._claims if each is not claim]

    def _next(self) -> Claim | None:
        """Give a place to the pipeline whose turn it is, if there is a place and a pipeline."""
        with self._lock:
            waiting = self._waiting()
            if not waiting or self._is_full():
                return None
            claim = min(waiting, key=lambda each: (each.threads, each.number))
            claim.threads += 1
            claim.got_at = self._monotonic()
            return claim

    def takes_back(self, claim: Claim) -> bool:
        """Take a place from a pipeline, if another one is to have it."""
        with self._lock:
            threads = [each.threads for each in self._waiting() if each is not claim]
            if not threads:
                return False
            for _ in range(self._leaving):  # their places are promised already
                threads[threads.index(min(threads))] += 1
            fewest = min(threads)
            is_turn_over = fewest == 0 and self._monotonic() - claim.got_at >= TURN_S
            if fewest >= claim.threads - 1 and not is_turn_over:
                return False
            claim.threads -= 1
            claim.number = next(self._numbers)
            self._leaving += 1
            return True

    def _waiting(self) -> list[Claim]:
        return [each for each in self._claims if each.threads < each.wanted]

    def _is_full(self) -> bool:
        return sum(each.threads for each in self._claims) + self._leaving >= self._most

"""The streams of the pipelines of a process, each of which one pipeline works on at a time.

Two settings files may name one stream by mistake. Then the first of them by name has the stream,
whichever starts first and whichever fails. So the files alone decide, and no restart changes it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from poller.core.errors import FatalError, NotYetError
from poller.core.events import Stream


class StreamClaims:
    """The claims of the pipelines to their streams. Thread-safe.

    `refuse` makes the error of a pipeline whose stream another one has, of both names. `wake` lets
    a pipeline try again at once.
    """

    def __init__(
        self, refuse: Callable[[str, str], FatalError], wake: Callable[[str], None]
    ) -> None:
        self._refuse = refuse
        self._wake = wake
        self._lock = threading.RLock()
        self._first: Mapping[Stream, str] = {}
        self._refused: set[str] = set()
        self._holders: dict[Stream, tuple[str, Callable[[], None]]] = {}

    @contextmanager
    def changing(self, streams: Callable[[], Mapping[str, Stream]]) -> Iterator[None]:
        """Change the pipelines within this context, during which none of them opens.

        `streams` returns afterwards which stream each pipeline names.
        """
        with self._lock:
            try:
                yield
            finally:
                self._decide(streams())

    @contextmanager
    def held(self, stream: Stream, name: str, reopen: Callable[[], None]) -> Iterator[None]:
        """Hold the stream of a pipeline. `reopen` is called when the stream becomes another's.

        Raises:
            FatalError: another pipeline names the stream, and comes first.
            NotYetError: another pipeline still has the stream open, and is about to close it.
        """
        with self._lock:
            self._take(stream, name, reopen)
        try:
            yield
        finally:
            with self._lock:
                del self._holders[stream]
                heir = self._first.get(stream, name)
            if heir != name:
                self._wake(heir)

    def _take(self, stream: Stream, name: str, reopen: Callable[[], None]) -> None:
        first = self._first.get(stream, name)
        if first != name:
            self._refused.add(name)
            raise self._refuse(name, first)
        self._refused.discard(name)
        if stream in self._holders:
            holder, _ = self._holders[stream]
            raise NotYetError(f"the pipeline {holder} still has the stream open")
        self._holders[stream] = (name, reopen)

    def _decide(self, streams: Mapping[str, Stream]) -> None:
        """Give each stream to the first pipeline that names it, and tell those whom it concerns."""
        self._first = {streams[name]: name for name in sorted(streams, reverse=True)}
        for stream, (name, reopen) in self._holders.items():
            if self._first.get(stream, name) != name:
                reopen()
        for name in self._refused & {*self._first.values()}:
            self._refused.discard(name)
            self._wake(name)

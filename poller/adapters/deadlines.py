"""Total deadlines of calls.

The timeouts of httpcore are for one read each, so a server that sends single bytes outlives them.
One thread watches over all calls of a process. A timer for each call would cost a thread each.
"""

import contextlib
import errno
import math
import threading
import time
from collections.abc import Callable, Iterator


class Deadlines:
    """The deadlines of calls. One thread watches them. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._wakes_at = math.inf
        """The time at which the thread looks next. A later deadline need not wake the thread."""
        self._watch: threading.Thread | None = None
        self._is_closed = False

    @contextlib.contextmanager
    def within(self, seconds: float, expire: Callable[[], None]) -> Iterator[None]:
        """Call `expire` if the block under `with` lasts longer.

        Raises:
            OSError: the system has no room for one more thread.
        """
        call, at = object(), time.monotonic() + seconds
        with self._changed:
            self._start()
            self._due[call] = (at, expire)
            if at < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._due[call]

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _start(self) -> None:
        if self._watch is not None:
            return
        watch = threading.Thread(target=self._run, name="deadlines", daemon=True)
        try:
            watch.start()
        except RuntimeError as error:  # Python raises it for EAGAIN here
            raise OSError(errno.EAGAIN, "no thread can be started") from error
        self._watch = watch

    def _run(self) -> None:
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                for call, (at, expire) in list(self._due.items()):
                    if at <= now:
                        expire()
                        self._due[call] = (math.inf, expire)  # so that it is called once
                self._wakes_at = min((at for at, _ in self._due.values()), default=math.inf)
                is_endless = self._wakes_at == math.inf
                self._changed.wait(None if is_endless else max(self._wakes_at - now, 0.0))

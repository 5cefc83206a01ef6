"""The deadlines of a client's calls, which one thread watches."""

import threading

from poller.adapters.deadlines import Deadlines

SOON_S, LATE_S = 0.001, 3600.0
PATIENCE_S = 60.0


def test_a_nearer_deadline_expires_although_the_thread_waits_for_a_later_one() -> None:
    deadlines = Deadlines()
    first, second = threading.Event(), threading.Event()
    try:
        with deadlines.within(SOON_S, first.set):
            assert first.wait(PATIENCE_S)  # the thread runs, and waits for nothing more
        with deadlines.within(LATE_S, lambda: None):
            pass
        with deadlines.within(SOON_S, second.set):
            assert second.wait(PATIENCE_S)
    finally:
        deadlines.close()

"""The live span's two walks over fakes and a real ledger, bound together as the program binds them."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from poller.adapters.sql_ledger import SqlLedger
from poller.core.events import LogId
from poller.core.forward import Courier
from poller.core.rules import DEFAULT, Rules
from poller.core.translate import Translator
from poller.service.drain import Drain
from poller.service.late import SecondWalk
from tests.fakes import STREAM, FakeDirectory, FakeLog, FakeSink


class Server:
    """The clock of a fake log."""

    def __init__(self, log: FakeLog) -> None:
        self._log = log

    def oldest(self) -> tuple[LogId | None, datetime]:
        return None, self._log.now


def live_walks(  # noqa: PLR0913 - all that a process binds together
    log: FakeLog,
    sink: FakeSink,
    ledger: SqlLedger,
    *,
    start: LogId,
    window: timedelta,
    monotonic: Callable[[], float],
    has_room: Callable[[], bool] = lambda: True,
    rules: Rules = DEFAULT,
) -> Drain:
    """A drain as a process that has just begun has it."""
    profiles, translator, courier = FakeDirectory({}), Translator(STREAM, rules), Courier(sink)
    walk = SecondWalk(
        source=log,
        profiles=profiles,
        translator=translator,
        courier=courier,
        memory=ledger,
        window=window,
        has_room=has_room,
        monotonic=monotonic,
    )
    return Drain(
        source=log,
        profiles=profiles,
        translator=translator,
        courier=courier,
        ledger=ledger,
        server=Server(log),
        second_walk=walk,
        start=start,
        stopping=threading.Event(),
    )

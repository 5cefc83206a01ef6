"""Both readings of the live span over fakes and a real ledger, bound as the program binds them."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.delivery import BatchSender
from poller.core.log_ids import LogId
from poller.core.translation.rules import DEFAULT, Rules
from poller.core.translation.translator import LiveTranslator
from poller.service.daemon.catch_up import CatchUpRule
from poller.service.daemon.drain import Drain
from poller.service.daemon.first_start import FirstStart
from poller.service.daemon.late_arrivals import SecondReader
from poller.service.observability.instrumented import NO_OBSERVER, Observer
from tests.fakes import STREAM, FakeDirectory, FakeLog, FakeSink


class AtOnce:
    """A Runner that runs each call at once, in the thread that submits it.

    So every page is read as far ahead as it can be, in every run alike.
    """

    def __init__(self, name: str = "") -> None:
        del name

    def submit(self, call: Callable[[], None]) -> None:
        call()


class Bounds:
    """The ends and the clock of a fake log."""

    def __init__(self, log: FakeLog) -> None:
        self._log = log

    def oldest_kept(self) -> tuple[LogId | None, datetime]:
        return self.oldest_in_search(), self._log.now

    def newest_id_in_search(self) -> LogId | None:
        return max(self._kept(), default=None)

    def oldest_in_search(self) -> LogId | None:
        return min(self._kept(), default=None)

    def _kept(self) -> list[LogId]:
        ids = [LogId(str(record["log_id"])) for record in self._log.records]
        return [log_id for log_id in ids if log_id >= self._log.floor]


def live_walks(  # noqa: PLR0913 - all that a process binds together
    log: FakeLog,
    sink: FakeSink,
    ledger: SqlLedger,
    *,
    start: LogId | Literal["earliest"] | None,
    window: timedelta,
    monotonic: Callable[[], float],
    has_room: Callable[[], bool] = lambda: True,
    rules: Rules = DEFAULT,
    report_confirmed: Callable[[datetime | None], None] = lambda confirmed_at: None,
    behind: timedelta | None = None,
    pieces: int = 3,
    begun: Callable[[datetime], None] = lambda now: None,
    observer: Observer = NO_OBSERVER,
) -> Drain:
    """Return the drain of a process that has just started."""
    profiles, translator, sender = (
        FakeDirectory({}),
        LiveTranslator(STREAM, rules),
        BatchSender(sink),
    )
    second_reader = SecondReader(
        source=log,
        profiles=profiles,
        translator=translator,
        sender=sender,
        ledger=ledger,
        window=window,
        has_room=has_room,
        monotonic=monotonic,
        report_confirmed=report_confirmed,
    )
    return Drain(
        source=log,
        profiles=profiles,
        translator=translator,
        sender=sender,
        ledger=ledger,
        first_start=FirstStart(ledger, Bounds(log), start),
        second_reader=second_reader,
        catch_up=CatchUpRule(
            ledger, behind=behind, pieces=lambda: pieces, begun=begun, monotonic=monotonic
        ),
        stopping=threading.Event(),
        observer=observer,
        runner=AtOnce,
    )

"""A backfill whose slices the workers of a folder walk, while the command waits for them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import click

from poller.adapters.shift_queue import SliceOrder, SliceOrders
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.postgres.place import PostgresPlace
from poller.adapters.sql_ledger.tables.streams import label
from poller.cli.backfill_plan import BackfillOptions
from poller.cli.settings_file import SettingsFile
from poller.cli.wiring.backfill import BackfillParts
from poller.core.errors import TransientError
from poller.core.spans import LogCursor, Span
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.process import Failed, Reason
from poller.service.slices.queue import SliceProgress
from poller.service.slices.slice import Slice
from poller.service.slices.workers import SliceWorkers

_LOOK_S = 2.0
_COUNTED_WITHIN_S = 10.0
"""The longest wait for counts. A worker that died tells none."""


def shared_by_workers(
    file: SettingsFile, history: BackfillParts, options: BackfillOptions
) -> Callable[..., SliceWorkers]:
    """Return what makes the workers of a backfill that other machines help with.

    Raises:
        UsageError: the pipeline belongs to no folder, or its ledger is not in PostgreSQL.
        TransientError: no worker has a pipeline of the ledger.
    """
    place, name = place_of(history.settings.state.url), file.name
    if name is None or not isinstance(place, PostgresPlace):
        raise click.UsageError("--share needs a folder of pipelines, and a ledger in PostgreSQL")
    holder = place.holder_of("run")
    if holder is None or holder.role != "worker":
        hint = "start one, or leave --share out"
        raise TransientError("no worker runs on this ledger", hint=hint)
    run, ledger = uuid4().hex, history.ledger

    def order(span_id: int) -> SliceOrder:
        return SliceOrder(
            run=run,
            pipeline=name,
            stream=label(ledger.stream),
            span=span_id,
            no_identify=options.no_identify,
            integrations=options.integrations or history.settings.backfill.integrations,
        )

    return partial(
        SharedSliceWorkers,
        orders=lambda: SliceOrders.open(place.address.conninfo),
        order=order,
        spans=ledger.spans,
        run_name=run,
    )


class SharedSliceWorkers(SliceWorkers):
    """Lets workers on other machines walk the spans. The rest of the work is done here.

    Gaps that are read after all, parts that are sent again, and the identifies are the rest.
    `order` makes the order of a span by its id. Each order names the run by `run_name`.
    """

    def __init__(
        self,
        *arguments: Any,
        orders: Callable[[], AbstractContextManager[SliceOrders]],
        order: Callable[[int], SliceOrder],
        spans: Callable[[], Sequence[Span]],
        run_name: str,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self._open_orders = orders
        self._order = order
        self._spans = spans
        self._run_name = run_name
        self._shared: dict[int, Slice] = {}
        self._finished = 0
        self._counts: Counter[str] = Counter()

    @property
    def count(self) -> CycleCount:
        """The count of the workers, which is told when a worker leaves a slice, and of the rest."""
        own = super().count
        names = ("pages", "read", "filtered", "forwarded", "dead_lettered", "redated")
        return replace(own, **{name: getattr(own, name) + self._counts[name] for name in names})

    @property
    def lost(self) -> int:
        return super().lost + self._counts["lost"]

    @property
    def progress(self) -> SliceProgress:
        own, shared = super().progress, tuple(self._shared.values())
        left = sum((each.time_left for each in shared), timedelta())
        return replace(
            own,
            slices=(*shared, *own.slices),
            done=own.done + self._finished,
            time_left=own.time_left + left,
        )

    def begin(self, cursors: Sequence[LogCursor], end: Callable[[Reason], None]) -> None:
        spans = [each for each in cursors if isinstance(each, Span)]
        rest = [each for each in cursors if not isinstance(each, Span)]
        self._shared = {each.id: Slice(cursor=each, after=each.after) for each in spans}
        threading.Thread(target=self._share, args=(rest, end), name="shared", daemon=True).start()

    def _share(self, rest: Sequence[LogCursor], end: Callable[[Reason], None]) -> None:
        try:
            with self._process.working(), self._open_orders() as orders:
                is_stopped = self._wait_for_workers(orders)
            if not is_stopped:
                super().begin(rest, end)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it again
            end(Failed(error))

    def _wait_for_workers(self, orders: SliceOrders) -> bool:
        """Return once the workers have finished the spans, or return True at a stop.

        A slice whose job is gone, such as one that nobody could walk, is ordered again.
        """
        wanted: list[SliceOrder] = []
        while self._look():
            wanted = [self._order(id_) for id_ in self._shared]
            orders.place(wanted)
            self._counts = orders.counts(self._run_name)
            if self._process.stopping.wait(_LOOK_S):
                orders.withdraw(wanted)
                return True
        # The ledger says that a slice is done before its worker has told its counts.
        told_at = time.monotonic() + _COUNTED_WITHIN_S
        while orders.left(wanted) and time.monotonic() < told_at:
            if self._process.stopping.wait(_LOOK_S / 10):
                return True
        self._counts = orders.counts(self._run_name)
        return False

    def _look(self) -> bool:
        """Read how far the spans are, and return whether any is left."""
        spans = {each.id: each for each in self._spans() if not each.is_done}
        for id_, each in [*self._shared.items()]:
            if id_ in spans:
                each.cursor = spans[id_]
            else:
                self._shared = {k: v for k, v in self._shared.items() if k != id_}
                self._finished += 1
        return bool(self._shared)

"""The second act of the demonstration: an outage that retention does not wait for, and the backfill after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from poller.adapters.sql_ledger import SqlLedger
from poller.cli.backfill_plan import BackfillOptions, begin, survey
from poller.cli.commands.run import drain_of
from poller.cli.views.wording import counted
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.services import Services
from poller.config import Settings
from poller.core.log_ids import EARLIEST
from poller.sandbox import Sandbox
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Process
from poller.service.slices.workers import Backfill
from poller.service.upstream.retry import PATIENCE

_OUTAGE = timedelta(days=2)
_SHORT, _LONG = timedelta(days=1), timedelta(days=30)
_ALL = BackfillOptions(
    since=EARLIEST,
    until=None,
    parallel=None,
    again=False,
    no_identify=False,
    integrations=None,
    dry_run=False,
    yes=True,
    new=False,
    as_json=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """The parts of the demonstration that the second act goes on with."""

    sandbox: Sandbox
    settings: Settings
    services: Services
    ledger: SqlLedger

    def play(self) -> Iterator[str]:
        """Yield a line for each thing that was done, once it is done."""
        self._go_down_for_too_long()
        yield "Then the host is down for two days, while the tenant keeps its log for one."
        self._drain()
        lost = len(self.sandbox.reconcile().lost)
        yield (
            f"  The daemon is back and records a gap: {lost} logins and signups were gone. "
            "`status` shows the gap and exits with 3."
        )
        self.sandbox.tenant.retention = _LONG
        sent = self._backfill()
        yield (
            f"  The tenant's plan is raised, and its log goes back further. `backfill --since earliest` sends "
            f"{counted(sent, 'event')} of it: {len(self.sandbox.reconcile().lost)} are lost now."
        )

    def _go_down_for_too_long(self) -> None:
        clock, traffic = self.sandbox.clock, self.sandbox.traffic
        clock.advance(timedelta(minutes=2))
        traffic.grow(60, start=clock.now() - timedelta(minutes=1), end=clock.now())
        clock.advance(_OUTAGE)
        traffic.grow(20, start=clock.now() - timedelta(minutes=1), end=clock.now())
        self.sandbox.tenant.retention = _SHORT

    def _drain(self) -> None:
        drain(drain_of(self.settings, self.services, self.ledger, Process()).pages, PATIENCE)

    def _backfill(self) -> int:
        history = BackfillParts(
            settings=self.settings, services=self.services, ledger=self.ledger, no_identify=False
        )
        found = survey(self.settings, self.ledger, self.services, _ALL)
        process = Process()
        work = Backfill(
            history.walker,
            self.ledger,
            process,
            parallel=found.parallel,
            identifying=history.identifying(process, begun_at=found.begun_at),
        )
        work.run(begin(self.ledger, found.plan, found.parallel, is_open=True), None)
        return work.count.forwarded

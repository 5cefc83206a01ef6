"""What all history is sent with, wherever it is read from: tracks, and an identify for each user at the end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from poller.adapters.sql_ledger import SqlLedger
from poller.cli.wiring.services import Services, profiles_of, rules_of, stream_of
from poller.config import Settings
from poller.core.delivery import BatchSender
from poller.core.forward import Forwarded, forward
from poller.core.spans import LogCursor, Resend
from poller.core.translation.translator import HistoryTranslator, TrackTranslator
from poller.service.lifecycle.process import Process
from poller.service.slices.deferred_identify import IdentifyRunner, IdentifySender


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillParts:
    """The parts, bound together; with `no_identify` nobody is identified, nor awaits it.

    With `again` everything is news: what Segment was told before may have gone to a wrong source.
    """

    settings: Settings
    services: Services
    ledger: SqlLedger
    no_identify: bool
    again: bool = False

    def translator(self) -> TrackTranslator:
        kind = TrackTranslator if self.no_identify else HistoryTranslator
        return kind(stream_of(self.settings), rules_of(self.settings))

    def sender(self) -> BatchSender:
        return BatchSender(self.services.sink, refusal_limit=self.settings.segment.refusal_limit)

    def walker(self) -> Callable[[LogCursor], Iterator[Forwarded]]:
        """What one worker walks with: a memory of profiles and a count of refusals of its own."""
        profiles = profiles_of(self.settings, self.services)
        translator, sender = self.translator(), self.sender()
        afresh = self.ledger.ignoring_sent_before(self.services.clock.now())

        def walk(span: LogCursor) -> Iterator[Forwarded]:
            ledger = afresh if self.again or isinstance(span, Resend) else self.ledger
            return forward(self.services.log, profiles, translator, sender, ledger, span)

        return walk

    def identifying(self, process: Process, *, begun_at: datetime) -> IdentifyRunner:
        return IdentifyRunner(
            self.ledger, process, None if self.no_identify else lambda: self._identifier(begun_at)
        )

    def awaiting(self) -> int:
        """How many still wait for their identify."""
        return 0 if self.no_identify else self.ledger.count_pending_identifies()

    def _identifier(self, begun_at: datetime) -> IdentifySender:
        return IdentifySender(
            self.ledger.ignoring_sent_before(begun_at) if self.again else self.ledger,
            self.services.users,
            HistoryTranslator(stream_of(self.settings), rules_of(self.settings)),
            BatchSender(self.services.segment, refusal_limit=self.settings.segment.refusal_limit),
            wait_turn=self.services.sink.wait,
            begun_at=begun_at,
            only_news=self.settings.events.identify == "changes",
        )

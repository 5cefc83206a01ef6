"""The parts of a backfill, from the log or from files.

History is sent as track calls. Each user gets one identify at the end, because the profile is the
same for all events of the user.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.wiring.routes import rules_for_unsettled, rules_since_changes
from poller.cli.wiring.services import Services, profiles_of, rules_of
from poller.config import Settings
from poller.core.delivery import BatchSender
from poller.core.forward import Forwarded, forward
from poller.core.ports import MessageSink
from poller.core.spans import LogCursor, Redelivery, Resend, is_of_catch_up
from poller.core.translation.rules import Rules
from poller.core.translation.translator import HistoryTranslator, TrackTranslator
from poller.service.lifecycle.process import Work
from poller.service.slices.deferred_identify import IdentifyRunner, IdentifySender, Role
from poller.service.upstream.retry import LONG_PATIENCE

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillParts:
    """The settings, services and ledger of a backfill, and the parts that are built from them.

    With `no_identify` no user is identified, and none waits for it. With `again` every message
    counts as new: Segment may have got the earlier ones with wrong settings.
    """

    settings: Settings
    services: Services
    ledger: SqlLedger
    no_identify: bool = False
    again: bool = False

    def translator(self, rules: Rules | None = None) -> TrackTranslator:
        """Build a translator for history, by these rules or by those of the settings."""
        kind = TrackTranslator if self.no_identify else HistoryTranslator
        return kind(self.ledger.stream, rules or rules_of(self.settings))

    def sender(self) -> BatchSender:
        """Build a sender, which counts refusals on its own."""
        return BatchSender(self.services.sink, refusal_limit=self.settings.segment.refusal_limit)

    def walker(self) -> Callable[[LogCursor], Iterator[Forwarded]]:
        """Build the function that one worker walks slices with.

        Each worker has its own cache of profiles and its own count of refusals.
        """
        profiles = profiles_of(self.settings, self.services)
        translator, sender = self.translator(), self.sender()
        rules = rules_since_changes(self.settings, self.ledger.whole)
        of_backlog = self.translator(rules)
        of_redelivery = self.translator(rules_for_unsettled(rules))
        afresh = self.ledger.ignoring_sent_before(self.services.clock.now())

        def walk(span: LogCursor) -> Iterator[Forwarded]:
            ledger = afresh if self.again or isinstance(span, Resend) else self.ledger
            # What a person asks for goes by the routes of now. All else goes by those of its time.
            own = translator
            if is_of_catch_up(span):
                own = of_backlog
            elif isinstance(span, Redelivery):
                own = of_redelivery
            pages = forward(self.services.log, profiles, own, sender, ledger, span)
            return self.until_daemon_takes_over(span, pages)

        return walk

    def until_daemon_takes_over(
        self, span: LogCursor, pages: Iterator[Forwarded]
    ) -> Iterator[Forwarded]:
        """Yield the pages of a slice. Stop as soon as the slice belongs to a daemon that runs.

        A daemon may start at any time and walk the slices of its catch-up. By then at most the
        page at work is sent by both.
        """
        while not (is_of_catch_up(span) and self.ledger.is_daemon_running()):
            forwarded = next(pages, None)
            if forwarded is None:
                return
            yield forwarded
        log.info("slice.left_to_daemon", after=span.after, until=span.until)

    def identify_runner(
        self,
        process: Work,
        *,
        begun_at: datetime,
        role: Role = "backfill",
        patience: timedelta = LONG_PATIENCE,
    ) -> IdentifyRunner:
        """Build the runner that identifies users at the end."""
        make = None if self.no_identify else lambda: self._identify_sender(begun_at)
        return IdentifyRunner(self.ledger, process, make, role=role, patience=patience)

    def identify_sink(self) -> MessageSink:
        """Return the sink of the identifies, which wait for their turn before their profiles."""
        return self.services.segment

    def pending_identifies(self) -> int:
        """Return how many users still wait for their identify."""
        if self.no_identify:
            return 0
        return self.ledger.count_pending_identifies("backfill")

    def _identify_sender(self, begun_at: datetime) -> IdentifySender:
        return IdentifySender(
            self.ledger.ignoring_sent_before(begun_at) if self.again else self.ledger,
            self.services.users,
            HistoryTranslator(self.ledger.stream, rules_of(self.settings)),
            BatchSender(self.identify_sink(), refusal_limit=self.settings.segment.refusal_limit),
            wait_turn=self.services.sink.wait,
            begun_at=begun_at,
            only_news=self.settings.events.identify == "changes",
        )

"""`backfill`: a range of the past that was not sent yet."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger import LedgerLock, SqlLedger
from poller.cli.bounds import Bound, BoundType
from poller.cli.given import config_option, read_settings
from poller.cli.progress import shown
from poller.cli.run import finish
from poller.cli.survey import Asked, Survey, begin, survey
from poller.cli.wiring import Services, connect, profiles_of, rules_of, stream_of
from poller.config import Settings, integrations
from poller.core.errors import FatalError
from poller.core.events import Span
from poller.core.forward import Courier, Forwarded, forward
from poller.core.translate import Translator
from poller.service.backfill import Backfill
from poller.service.identify import Identifier
from poller.service.process import Exit, Process
from poller.service.retry import patiently
from poller.service.telemetry import configure_logging


class _RoutesType(click.ParamType[Any]):
    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return integrations(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Send a range of the past that was not sent yet.")
@config_option
@click.option("--since", required=True, type=BoundType(), help="Where to begin: earliest, a date, a time, or as 7d.")
@click.option("--until", type=BoundType(), help="Where to end; at the latest where the daemon's own part begins.")
@click.option("--parallel", type=click.IntRange(1, 32), help="Slices walked at once; by default as the tenant allows.")
@click.option("--again", is_flag=True, help="Send what is settled of the range again too, under the same message ids.")
@click.option("--no-identify", is_flag=True, help="Leave out the identify that each user gets at the end.")
@click.option("--integrations", type=_RoutesType(), help="As [backfill] integrations, for this run.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--new", is_flag=True, help="Make a ledger if there is none.")
@click.option("--json", "as_json", is_flag=True, help="The plan and the summary as JSON, a line each.")
def backfill(config: Path | None, *, since: Bound, until: Bound | None, **given: Any) -> int:
    """Sends what of the range is in no span of the ledger; may be interrupted, repeated, and run beside the daemon."""
    settings = read_settings(config)
    asked = Asked(since=since, until=until, **given)
    configure_logging(settings.log.level)
    process = Process()
    share = max(2 * settings.auth0.rate_share - 1, 0.01)  # leaves twice as much as the daemon, which so goes first
    routes = settings.backfill.integrations if asked.integrations is None else asked.integrations
    with (
        _opened(settings, create=asked.new) as ledger,
        connect(settings, process.stopping, share=share, integrations=routes) as services,
    ):
        for attempt in patiently():
            with attempt:
                found = survey(settings, ledger, services, asked)
        click.echo(json.dumps(found.facts()) if asked.as_json else found.text())
        if asked.dry_run or found.is_empty:
            return Exit.DONE
        if not asked.yes and sys.stdin.isatty():
            click.confirm("Send it?", abort=True)
        return _Run(settings, asked, ledger, services, process, found).run()


@dataclass(frozen=True, slots=True)
class _Run:
    """All that a run takes, bound together."""

    settings: Settings
    asked: Asked
    ledger: SqlLedger
    services: Services
    process: Process
    found: Survey

    def run(self) -> int:
        began = time.monotonic()
        # Every slice is in the ledger before the first is walked, so that a later run finds what a kill left.
        spans = begin(self.ledger, self.found.plan, self.found.parallel)
        work = Backfill(
            self._walker,
            self.ledger,
            self.process,
            parallel=self.found.parallel,
            identifier=None if self.asked.no_identify else self._identifier,
        )
        is_seen = sys.stdout.isatty() and not self.asked.as_json
        with shown(work, self.services.budget, self.settings.log.level, is_wanted=is_seen) as on_tick:
            code: int = finish(work.run(spans, on_tick), self.process, interrupted=Exit.INTERRUPTED)
        facts = self._facts(work, time.monotonic() - began)
        click.echo(json.dumps(facts) if self.asked.as_json else _summary(facts))
        is_left = facts["slices_left"] or facts["awaiting_identify"]
        return Exit.ATTENTION if code == Exit.DONE and is_left else code

    def _walker(self) -> Callable[[Span], Iterator[Forwarded]]:
        """What one worker walks with: a memory of profiles and a count of refusals of its own."""
        profiles = profiles_of(self.settings, self.services)
        translator = self._translator()
        courier = self._courier()
        return lambda span: forward(self.services.log, profiles, translator, courier, self.ledger, span)

    def _identifier(self) -> Identifier:
        return Identifier(
            self.ledger,
            self.services.users,
            self._translator(),
            self._courier(),
            begun_at=self.found.begun_at,
            only_news=self.settings.events.identify == "changes",
        )

    def _translator(self) -> Translator:
        return Translator(
            stream_of(self.settings),
            rules_of(self.settings),
            tracks_only=True,
            identifies_later=not self.asked.no_identify,
        )

    def _courier(self) -> Courier:
        return Courier(self.services.sink, refusal_limit=self.settings.segment.refusal_limit)

    def _facts(self, work: Backfill, seconds: float) -> dict[str, Any]:
        plan, done = self.found.plan, work.progress
        spans = [span for span in self.ledger.spans() if not span.is_live] + [*self.ledger.revisits()]
        left = [span for span in spans if not span.is_done and span.until and span.until > plan.since]
        return {
            **work.count.facts(),
            "identified": done.identified.sent,
            "identify_left_out": done.identified.left_out,
            "awaiting_identify": 0 if self.asked.no_identify else self.ledger.count_awaiting(),
            "slices": done.done,
            "slices_left": sum(span.reached < plan.until for span in left),
            "rate_limited": self.services.budget.refused,
            "seconds": round(seconds, 1),
        }


@contextmanager
def _opened(settings: Settings, *, create: bool) -> Iterator[SqlLedger]:
    with LedgerLock.acquire(settings.state.url, "backfill"):
        try:
            ledger = SqlLedger.open(settings.state.url, stream_of(settings), create=create)
        except FatalError as error:
            if create or not error.hint.startswith("`run`"):
                raise
            raise FatalError(str(error), hint=f"{error.hint}; or `backfill --new` begins it here") from None
        try:
            yield ledger
        finally:
            ledger.close()


def _summary(facts: dict[str, Any]) -> str:
    """The end of a run, for people."""
    counts = ", ".join(f"{facts[name]} {name.replace('_', '-')}" for name in ("read", "filtered", "forwarded"))
    speed = f"{facts['read'] / facts['seconds']:.0f} events/s" if facts["seconds"] else "at once"
    lines = {
        "events": f"{counts}, {facts['dead_lettered']} dead-lettered",
        "identified": f"{facts['identified']} users; {facts['identify_left_out']} left out, known or gone",
        "slices": f"{facts['slices']} walked, {facts['slices_left']} not finished",
        "time": f"{facts['seconds']:.0f} s, {speed}, {facts['rate_limited']} answers of 429",
    }
    text = "\n".join(f"{name:<12}{said}" for name, said in lines.items())
    if facts["slices_left"] or facts["awaiting_identify"]:
        waiting = facts["awaiting_identify"]
        rest = f", {waiting} users await their identify" if waiting else ""
        text += f"\nnot finished{rest}: run the same command again to go on where it stands"
    return text

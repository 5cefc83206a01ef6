"""`backfill`: a range of the past that was not sent yet."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger import LedgerLock, SqlLedger
from poller.cli.backfill_plan import BackfillOptions, BackfillPreview, begin, leave_end_open, survey
from poller.cli.commands.backfill_files import check_files, send_files
from poller.cli.groups import examples
from poller.cli.options import BoundType, config_option, read_settings
from poller.cli.views.output import is_terminal, say, say_json
from poller.cli.views.progress import shown
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.services import connect, stream_of
from poller.config import Settings, integrations
from poller.core.errors import FatalError
from poller.service.lifecycle.ending import finish
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.process import Process
from poller.service.observability.logging_setup import configure_logging
from poller.service.slices.workers import SliceWorkers
from poller.service.upstream.retry import PATIENCE, retrying


class _RoutesType(click.ParamType[Any]):
    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return integrations(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_NOT_BEGUN = {"ledger-missing", "stream-unknown"}
_PATH = click.Path(path_type=Path, allow_dash=True)


@click.command(
    short_help="Send a range of the past that was not sent yet.",
    epilog=examples(
        "backfill --since 7d --dry-run",
        "backfill --since 2026-01-01 --until 2026-02-01",
        "backfill --from-file archive/2024-01.json.gz archive/2024-02.json.gz",
    ),
)
@config_option
@click.option(
    "--since", type=BoundType(), help="Where to begin: earliest, a date, a time, or as 7d."
)
@click.option(
    "--until",
    type=BoundType(),
    help="Where to end; at the latest where the daemon's own part begins.",
)
@click.option(
    "--from-file",
    "from_file",
    is_flag=True,
    help="Read the log from the files named, not from Auth0.",
)
@click.option(
    "--files-from",
    type=_PATH,
    help="With --from-file: a file that names the files, a line each; or -.",
)
@click.option(
    "--any-tenant", is_flag=True, help="Send events of a file that name another tenant, too."
)
@click.option(
    "--read-again",
    is_flag=True,
    help="Read the files from their beginning, as after a change of rules.",
)
@click.option(
    "--settle-empty", is_flag=True, help="Settle files in which no type of event is known, too."
)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=_PATH)
@click.option(
    "--parallel",
    type=click.IntRange(1, 32),
    help="Slices walked at once; by default as the tenant allows.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Send what is settled of the range again too, under the same message ids.",
)
@click.option(
    "--no-identify", is_flag=True, help="Leave out the identify that each user gets at the end."
)
@click.option(
    "--integrations", type=_RoutesType(), help="As [backfill] integrations, for this run."
)
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--new", is_flag=True, help="Make a ledger if there is none.")
@click.option(
    "--json", "as_json", is_flag=True, help="The plan and the summary as JSON, a line each."
)
def backfill(config: Path | None, paths: tuple[Path, ...], *, from_file: bool, **given: Any) -> int:
    """Sends what of the range is in no span of the ledger; may be interrupted, repeated, and run beside the daemon."""
    check_files(paths, given["files_from"], from_file=from_file)
    if given["since"] is None and not from_file:
        raise click.UsageError("Missing option '--since'.")
    if from_file and given["again"]:
        raise click.UsageError(
            "--again is for the tenant's log: what was sent of a file is sent again under a new segment.generation"
        )
    settings = read_settings(config)
    asked = BackfillOptions(**given)
    configure_logging(settings.log.level, settings.log.format)
    process = Process()
    share = max(
        2 * settings.auth0.rate_share - 1, 0.01
    )  # leaves twice as much as the daemon, which so goes first
    routes = settings.backfill.integrations if asked.integrations is None else asked.integrations
    with (
        _opened(settings, create=asked.new) as ledger,
        connect(settings, process.stopping, share=share, integrations=routes) as services,
    ):
        history = BackfillParts(
            settings=settings,
            services=services,
            ledger=ledger,
            no_identify=asked.no_identify,
            again=asked.again,
        )
        if from_file:
            return send_files(history, process, asked, paths)
        for attempt in retrying(PATIENCE, process.stopping):
            with attempt:
                found = survey(settings, ledger, services, asked)
        say_json(found.facts(), indent=0) if asked.as_json else say(*found.text().split("\n"))
        if asked.dry_run or found.is_empty:
            if not asked.dry_run and asked.until is None:
                leave_end_open(ledger, found.plan)
            return ExitCode.ATTENTION if found.is_gone else ExitCode.DONE
        if not asked.yes and is_terminal(sys.stdin):
            click.confirm("Send it?", abort=True, err=True)
        return _Run(history, asked, process, found).run()


@dataclass(frozen=True, slots=True)
class _Run:
    """All that a run takes, bound together."""

    history: BackfillParts
    asked: BackfillOptions
    process: Process
    found: BackfillPreview

    def run(self) -> int:
        began, ledger, services = time.monotonic(), self.history.ledger, self.history.services
        # Every slice is in the ledger before the first is walked, so that a later run finds what a kill left.
        is_open = self.asked.until is None
        spans = begin(ledger, self.found.plan, self.found.parallel, is_open=is_open)
        work = SliceWorkers(
            self.history.walker,
            ledger,
            self.process,
            parallel=self.found.parallel,
            identifies=self.history.identifying(self.process, begun_at=self.found.begun_at),
        )
        is_seen = is_terminal(sys.stdout) and not self.asked.as_json
        log = self.history.settings.log
        with shown(
            work, services.rate_limiter, (log.level, log.format), is_wanted=is_seen
        ) as on_tick:
            reason = work.run(spans, on_tick)
        # Below the bars, which its log lines would tear.
        code = finish(reason, self.process, interrupted=ExitCode.INTERRUPTED)
        facts = self._facts(work, time.monotonic() - began)
        say_json(facts, indent=0) if self.asked.as_json else say(*_summary(facts).split("\n"))
        needs_attention = facts["slices_left"] or facts["awaiting_identify"] or facts["lost"]
        return ExitCode.ATTENTION if code == ExitCode.DONE and needs_attention else code

    def _facts(self, work: SliceWorkers, seconds: float) -> dict[str, Any]:
        plan, done = self.found.plan, work.progress
        ledger = self.history.ledger
        spans = [span for span in ledger.spans() if not span.is_live] + [*ledger.revisits()]
        left = [
            span for span in spans if not span.is_done and span.until and span.until > plan.since
        ]
        return {
            **work.count.facts(),
            "identified": done.identified.sent,
            "identify_left_out": done.identified.left_out,
            "awaiting_identify": self.history.awaiting(),
            "lost": work.lost,
            "slices": done.done,
            "slices_left": sum(span.reached < plan.until for span in left),
            "rate_limited": self.history.services.rate_limiter.refused,
            "seconds": round(seconds, 1),
        }


@contextmanager
def _opened(settings: Settings, *, create: bool) -> Iterator[SqlLedger]:
    with LedgerLock.acquire(settings.state.url, "backfill"):
        try:
            ledger = SqlLedger.open(
                settings.state.url,
                stream_of(settings),
                create=create,
                late_window=settings.poll.late_window,
            )
        except FatalError as error:
            if create or error.code not in _NOT_BEGUN:
                raise
            raise FatalError(
                str(error),
                code=error.code,
                hint=f"{error.hint}; or `backfill --new` begins it here",
            ) from None
        try:
            yield ledger
        finally:
            ledger.close()


def _summary(facts: dict[str, Any]) -> str:
    """The end of a run, for people."""
    counts = ", ".join(
        f"{facts[name]} {name.replace('_', '-')}" for name in ("read", "filtered", "forwarded")
    )
    speed = f"{facts['read'] / facts['seconds']:.0f} events/s" if facts["seconds"] else "at once"
    lines = {
        "events": f"{counts}, {facts['dead_lettered']} dead-lettered",
        "identified": f"{facts['identified']} users; {facts['identify_left_out']} left out, known or gone",
        "slices": f"{facts['slices']} walked, {facts['slices_left']} not finished",
        "time": f"{facts['seconds']:.0f} s, {speed}, {facts['rate_limited']} answers of 429",
    }
    if facts["redated"]:
        lines["dates"] = (
            f"{facts['redated']} cannot be true: the time in the log id was sent instead"
        )
    if facts["lost"]:
        lines["lost"] = (
            f"{facts['lost']} stretches that retention took before they were read: `status` shows the gaps"
        )
    text = "\n".join(f"{name:<12}{said}" for name, said in lines.items())
    if facts["slices_left"] or facts["awaiting_identify"]:
        waiting = facts["awaiting_identify"]
        rest = f", {waiting} users await their identify" if waiting else ""
        text += f"\nnot finished{rest}: run the same command again to go on where it stands"
    return text

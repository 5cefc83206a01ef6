"""`backfill`: a range of the past that was not sent yet."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger import LedgerLock, SqlLedger
from poller.cli.from_file import FileRequest, check_files, send_files
from poller.cli.run import finish
from poller.cli.wiring import Services, config_option, connect, profiles_of, read_settings, rules_of, stream_of
from poller.config import Settings, duration, moment
from poller.core.events import EARLIEST, LogId, Span, floor_id, moment_of
from poller.core.forward import Courier, Forwarded, forward
from poller.core.messages import iso
from poller.core.translate import Translator
from poller.service.backfill import SLICES_A_WORKER, Backfill, Plan, cut, plan
from poller.service.process import Exit, Process
from poller.service.retry import patiently
from poller.service.telemetry import configure_logging

Bound = timedelta | LogId
"""So long before the server's now, or a position."""


class _BoundType(click.ParamType[Any]):
    name = "DATE|TIME|7d"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "earliest":
            return EARLIEST
        try:
            return duration(value) if value[-1:] in "dhms" and value[:1].isdigit() else floor_id(moment(value))
        except ValueError:
            self.fail("must be earliest, a date as 2026-01-31, a time as 2026-01-31T08:00:00Z, or as 7d", param, ctx)


@click.command(short_help="Send a range of the past that was not sent yet.")
@config_option
@click.option("--since", type=_BoundType(), help="Where to begin: earliest, a date, a time, or as 7d.")
@click.option("--until", type=_BoundType(), help="Where to end; at the latest where the daemon's own part begins.")
@click.option("--from-file", "from_file", is_flag=True, help="Read the log from the files named, not from Auth0.")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--parallel", default=4, type=click.IntRange(1, 32), show_default=True, help="Slices walked at once.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--new", is_flag=True, help="Make a ledger if there is none.")
@click.option("--json", "as_json", is_flag=True, help="The plan and the summary as JSON, a line each.")
def backfill(  # noqa: PLR0913 - each is an option
    config: Path | None,
    paths: tuple[Path, ...],
    *,
    from_file: bool,
    since: Bound | None,
    until: Bound | None,
    parallel: int,
    dry_run: bool,
    yes: bool,
    new: bool,
    as_json: bool,
) -> int:
    """Sends what of the range is in no span of the ledger; may be interrupted, repeated, and run beside the daemon."""
    check_files(paths, from_file=from_file)
    if since is None and not from_file:
        raise click.UsageError("Missing option '--since'.")
    settings = read_settings(config)
    configure_logging(settings.log.level)
    process = Process()
    share = max(2 * settings.auth0.rate_share - 1, 0.01)  # leaves twice as much as the daemon, which so goes first
    with _opened(settings, create=new) as ledger, connect(settings, process.stopping, share=share) as services:
        if since is None or from_file:
            request = FileRequest(
                paths=paths,
                since=since,
                until=until,
                parallel=parallel,
                dry_run=dry_run,
                yes=yes,
                as_json=as_json,
            )
            return send_files(settings, ledger, services, process, request)
        for attempt in patiently():
            with attempt:
                found = _plan(settings, ledger, services, since, until)
        click.echo(json.dumps(_facts(found)) if as_json else _said(found))
        if dry_run or found.is_empty:
            return Exit.DONE
        if not yes and sys.stdin.isatty():
            click.confirm("Send it?", abort=True)
        # Every slice is in the ledger before the first is walked, so that a later run finds what a kill left.
        stretches = cut(found.missing, parallel * SLICES_A_WORKER)
        begun = [ledger.begin(after=stretch.after, until=stretch.until) for stretch in stretches]
        slices = [*found.unfinished, *begun]
        work = Backfill(
            lambda: _walker(settings, services, ledger),
            lambda number: _span(ledger, number),
            process,
            parallel=parallel,
        )
        code: int = finish(work.run(slices), process, interrupted=Exit.INTERRUPTED)
        left = sum(not span.is_done for span in ledger.spans() if span.id in {each.id for each in slices})
        facts: dict[str, Any] = {**work.count.facts(), "slices": len(slices), "slices_left": left}
    click.echo(json.dumps(facts) if as_json else _summary(facts))
    return Exit.ATTENTION if code == Exit.DONE and left else code


@contextmanager
def _opened(settings: Settings, *, create: bool) -> Iterator[SqlLedger]:
    with LedgerLock.acquire(settings.state.url, "backfill"):
        ledger = SqlLedger.open(settings.state.url, stream_of(settings), create=create)
        try:
            yield ledger
        finally:
            ledger.close()


def _plan(settings: Settings, ledger: SqlLedger, services: Services, since: Bound, until: Bound | None) -> Plan:
    oldest, now = services.log.oldest()
    newest = floor_id(now - settings.poll.late_window)
    begin = floor_id(now - since) if isinstance(since, timedelta) else since
    end = floor_id(now - until) if isinstance(until, timedelta) else until or newest
    return plan(ledger.spans(), begin, min(end, newest), oldest=oldest, latest=services.log.latest())


def _walker(settings: Settings, services: Services, ledger: SqlLedger) -> Callable[[Span], Iterator[Forwarded]]:
    """What one worker walks with: a memory of profiles and a count of refusals of its own."""
    profiles = profiles_of(settings, services)
    translator = Translator(stream_of(settings), rules_of(settings), tracks_only=True)
    courier = Courier(services.sink, refusal_limit=settings.segment.refusal_limit)
    return lambda span: forward(services.log, profiles, translator, courier, ledger, span)


def _span(ledger: SqlLedger, number: int) -> Span:
    return next(span for span in ledger.spans() if span.id == number)


def _facts(found: Plan) -> dict[str, Any]:
    return {
        "since": found.since,
        "until": found.until,
        "missing": [{"after": stretch.after, "until": stretch.until} for stretch in found.missing],
        "unfinished": [{"reached": span.reached, "until": span.until} for span in found.unfinished],
        "kept_from": found.kept_from,
    }


def _said(found: Plan) -> str:
    lines = [f"range       {_when(found.since)} to {_when(found.until)}"]
    if found.kept_from:
        lines.append(f"retention   nothing older than {_when(found.kept_from)} is kept: that is gone")
    lines += [f"missing     {_when(stretch.after)} to {_when(stretch.until)}" for stretch in found.missing]
    lines += [f"unfinished  {_when(span.reached)} to {_when(span.until or span.reached)}" for span in found.unfinished]
    if found.is_empty:
        lines.append("nothing to do: every event of the range is settled")
    return "\n".join(lines)


def _summary(facts: dict[str, Any]) -> str:
    names = ("read", "filtered", "forwarded", "dead_lettered")
    counts = ", ".join(f"{facts[name]} {name.replace('_', '-')}" for name in names)
    left = facts["slices_left"]
    rest = f"{left} not finished: run it again to go on" if left else "all done"
    return f"{counts}; {facts['slices']} slices, {rest}"


def _when(log_id: LogId) -> str:
    found = moment_of(log_id)
    return iso(found) if found else log_id

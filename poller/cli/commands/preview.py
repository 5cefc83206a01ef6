"""The command `preview`: events of interest, beside the calls that they become."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from poller.adapters.segment.tracking_plan import TrackingPlan
from poller.cli.commands.preview_files import (
    compare,
    expectation_of,
    outcomes_of_files,
    write_expectation,
)
from poller.cli.groups import examples
from poller.cli.options import WholeNumber, config_option, json_option, read_settings
from poller.cli.segment_proof.access import read_plan
from poller.cli.segment_proof.calls import JudgedCall, calls_of, judge, newest_calls
from poller.cli.views.events.calls import (
    PlanVerdictReport,
    calls_text,
    table_of_calls,
    used_parts,
)
from poller.cli.views.output import say, say_json
from poller.cli.views.terminal import Terminal
from poller.cli.views.wording import counted
from poller.cli.wiring.services import connect
from poller.config import Settings
from poller.core.errors import PollerError
from poller.core.events import LogEvent
from poller.core.log_ids import LogId
from poller.core.outcomes import DeadLetter, Filtered, FilterReason, Outcome
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.observability.logging_setup import configure_logging


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRow:
    """An event as Auth0 has it, and the calls as Segment gets them."""

    log_id: LogId
    event: Any = field(repr=False)
    calls: list[dict[str, Any]] = field(repr=False)
    plan: tuple[PlanVerdictReport, ...]
    dead_letter: str | None
    filtered: FilterReason | None


_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    epilog=examples(
        "preview --last 5",
        "preview records.ndjson --users users.json",
        "preview records.ndjson --expect calls.json",
    )
)
@config_option
@click.option(
    "--last",
    default=10,
    type=WholeNumber(1, 1000),
    show_default=True,
    help="The number of events.",
)
@click.option("--users", type=_FILE, help="With files: a file of user profiles, as Auth0 has them.")
@click.option(
    "--record",
    metavar="EXPRESSION",
    help="With files: a JMESPath expression that finds the log event in each object.",
)
@click.option(
    "--expect", type=_FILE, help="With files: compare with this file, and exit 3 on a difference."
)
@click.option("--write-expect", type=_FILE, help="With files: write the file for --expect.")
@json_option
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
def preview(  # noqa: PLR0913 - each option is an argument
    config: Path | None,
    paths: tuple[Path, ...],
    *,
    last: int,
    users: Path | None,
    record: str | None,
    expect: Path | None,
    write_expect: Path | None,
    as_json: bool,
) -> int:
    """Show logins and signups beside the calls that they become.

    Without files, they are the newest of the tenant. With files, or - for standard input, they are
    the records in the files, and no service is asked. The preview sends nothing to Segment and
    stores nothing.
    """
    if not paths:
        _refuse_without_files(users=users, record=record, expect=expect, write_expect=write_expect)
        rows = _newest_rows(read_settings(config), last)
    elif expect is not None and write_expect is not None:
        raise click.UsageError("give --expect or --write-expect, but only one of them")
    else:
        settings = read_settings(config, secrets=False)
        configure_logging(settings.log.level, settings.log.format)
        if settings.makes_hashes and settings.privacy.hmac_key is None:
            say("There is no privacy.hmac_key here, so each hash has an empty key.", is_error=True)
        found = outcomes_of_files(settings, paths, record=record, users=users)
        if write_expect is not None:
            write_expectation(write_expect, expectation_of(found))
            return ExitCode.DONE
        if expect is not None:
            return compare(expect, expectation_of(found))
        rows = [_row(event, outcome, None, settings) for event, outcome in found]
    if as_json:
        say_json(rows)
    else:
        _show(rows)
    return ExitCode.DONE


def _refuse_without_files(**options: object) -> None:
    name = next((name for name, value in options.items() if value is not None), None)
    if name is not None:
        given = f"--{name.replace('_', '-')}"
        raise click.UsageError(f"{given} needs files to read: preview PATH {given} FILE")


def _newest_rows(settings: Settings, last: int) -> list[PreviewRow]:
    configure_logging(settings.log.level, settings.log.format)
    with connect(settings, threading.Event()) as services:
        newest = newest_calls(settings, services, last)
    plan = _plan_of(settings)
    return [_row(event, outcome, plan, settings) for event, outcome in newest]


def _plan_of(settings: Settings) -> TrackingPlan | None:
    """Return the tracking plan, or None if it cannot be read. The preview then goes on."""
    try:
        return read_plan(settings)
    except PollerError as error:
        say(f"The tracking plan could not be read: {error}", is_error=True)
        return None


def _row(
    event: LogEvent, outcome: Outcome, plan: TrackingPlan | None, settings: Settings
) -> PreviewRow:
    calls = calls_of(outcome)
    judged = [] if plan is None else judge(calls, plan, settings)
    return PreviewRow(
        log_id=event.log_id,
        event=event.record,
        calls=calls,
        plan=tuple(map(_verdict, judged)),
        dead_letter=outcome.reason if isinstance(outcome, DeadLetter) else None,
        filtered=outcome.reason if isinstance(outcome, Filtered) else None,
    )


def _verdict(judged: JudgedCall) -> PlanVerdictReport:
    return PlanVerdictReport(
        message_id=judged.message_id,
        call=judged.call,
        effect=judged.effect,
        field=judged.field,
        reason=judged.reason,
        hint=judged.hint,
        text=str(judged),
    )


def _show(rows: list[PreviewRow]) -> None:
    console = Terminal()
    table = table_of_calls(
        console, "Auth0 log event (the parts in use)", "Segment calls, each with its messageId"
    )
    for row in rows:
        made = calls_text(
            row.calls, dead_letter=row.dead_letter, filtered=row.filtered, verdicts=row.plan
        )
        table.add_row(used_parts(row.event), made)
    if rows:
        console.print(table)
    console.print(
        f"{counted(len(rows), 'event')}. Nothing was sent or stored. --json shows everything."
    )

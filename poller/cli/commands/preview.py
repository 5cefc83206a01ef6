"""The command `preview`: events of interest, beside the calls that they become."""

import os
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from poller.adapters.segment.tracking_plan import TrackingPlan
from poller.cli.commands.preview_files import (
    compare,
    deciding_route,
    expectation_of,
    outcomes_of_files,
    write_expectation,
)
from poller.cli.groups import examples
from poller.cli.options import (
    WholeNumber,
    act_as_ledger_owner,
    config_option,
    json_option,
    read_settings,
)
from poller.cli.segment_proof.access import read_plan
from poller.cli.segment_proof.calls import JudgedCall, calls_of, judge, newest_events, outcomes_of
from poller.cli.settings_file import SettingsFile
from poller.cli.views.events.calls import (
    PlanVerdictReport,
    calls_text,
    lines_of,
    table_of_calls,
    used_parts,
)
from poller.cli.views.output import say, say_json
from poller.cli.views.terminal import Terminal
from poller.cli.views.wording import counted
from poller.cli.wiring.services import connect
from poller.config import Settings, load_settings, read_pipeline
from poller.core.errors import PollerError
from poller.core.events import LogEvent
from poller.core.log_ids import LogId
from poller.core.outcomes import DeadLetter, Filtered, FilterReason, Outcome
from poller.core.translation.routing import Routing
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
    route: str | None
    """The route that takes the event, or None if no route takes it, and without routes."""


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
        settings = _settings_of_all(SettingsFile(config))
        rows = _newest_rows(settings, last)
    elif expect is not None and write_expect is not None:
        raise click.UsageError("give --expect or --write-expect, but only one of them")
    else:
        settings = _settings_of_all(SettingsFile(config), secrets=False)
        found = _outcomes_of_files(settings, paths, record=record, users=users)
        if write_expect is not None:
            write_expectation(write_expect, expectation_of(found))
            return ExitCode.DONE
        if expect is not None:
            return compare(expect, expectation_of(found))
        rows = [_row(event, outcome, None, settings[0]) for event, outcome in found]
    if as_json:
        say_json(rows)
    else:
        _show(rows, settings[0].routing)
    return ExitCode.DONE


def _refuse_without_files(**options: object) -> None:
    name = next((name for name, value in options.items() if value is not None), None)
    if name is not None:
        given = f"--{name.replace('_', '-')}"
        raise click.UsageError(f"{given} needs files to read: preview PATH {given} FILE")


def _settings_of_all(file: SettingsFile, *, secrets: bool = True) -> Sequence[Settings]:
    """Return the settings, or those of each route if the file has routes and none was named.

    Raises:
        SettingsError: the settings cannot be used.
        UsageError: there is a folder, and no pipeline of it was named.
    """
    names = file.pipelines
    if file.folder is None or names is None or file.folder.is_dir():
        return [read_settings(file, secrets=secrets)]
    files = [read_pipeline(file.folder, name) for name in names]
    found = [load_settings(each, os.environ, secrets=secrets) for each in files]
    act_as_ledger_owner(found[0])
    routing = found[0].routing
    order = [each.name for each in routing.routes] if routing else []
    return sorted(found, key=lambda each: order.index(each.routing.own) if each.routing else 0)


def _outcomes_of_files(
    settings: Sequence[Settings], paths: tuple[Path, ...], *, record: str | None, users: Path | None
) -> list[tuple[LogEvent, Outcome]]:
    configure_logging(settings[0].log.level, settings[0].log.format)
    if settings[0].makes_hashes and settings[0].privacy.hmac_key is None:
        say("There is no privacy.hmac_key here, so each hash has an empty key.", is_error=True)
    return outcomes_of_files(settings[0], paths, record=record, users=users, routes=settings)


def _newest_rows(settings: Sequence[Settings], last: int) -> list[PreviewRow]:
    first, plans = settings[0], [*map(_plan_of, settings)]
    configure_logging(first.log.level, first.log.format)
    with connect(first, threading.Event()) as services:
        events = newest_events(first, services, last)
        found = [outcomes_of(each, services, events) for each in settings]
    rows = []
    for number, event in enumerate(events):
        own = deciding_route(settings, event)
        rows.append(_row(event, found[own][number][1], plans[own], settings[own]))
    return rows


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
        route=settings.routing.taker(event) if settings.routing else None,
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


def _show(rows: list[PreviewRow], routing: Routing | None) -> None:
    console = Terminal()
    table = table_of_calls(
        console, "Auth0 log event (the parts in use)", "Segment calls, each with its messageId"
    )
    for row in rows:
        made = calls_text(
            row.calls, dead_letter=row.dead_letter, filtered=row.filtered, verdicts=row.plan
        )
        shown = used_parts(row.event)
        if routing is not None:
            shown.append("\n").append_text(lines_of({"route": row.route or "none"}))
        table.add_row(shown, made)
    if rows:
        console.print(table)
    console.print(
        f"{counted(len(rows), 'event')}. Nothing was sent or stored. --json shows everything."
    )
    if routing is not None:
        taken = Counter(row.route for row in rows)
        numbers = [f"{each.name} {taken[each.name]}" for each in routing.routes]
        console.print(f"By route: {', '.join(numbers)}, no route {taken[None]}.")

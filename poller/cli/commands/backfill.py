"""The command `backfill`: send events of the past."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock
from poller.cli.backfill_plan import QUESTION, BackfillOptions
from poller.cli.commands.backfill_files import check_files, send_files
from poller.cli.commands.backfill_log import send_log
from poller.cli.groups import examples
from poller.cli.options import BoundType, WholeNumber, config_option, read_settings, yes_option
from poller.cli.pipelines import needing_queue
from poller.cli.settings_file import SettingsFile
from poller.cli.views.confirmation import refuse_without_terminal
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.services import background_share, connect, stream_of, streams_of_routes
from poller.config import Settings, integrations
from poller.core.errors import FatalError, TakenOverError
from poller.service.lifecycle.process import Failed, Process
from poller.service.observability.logging_setup import configure_logging
from poller.service.slices.workers import SliceWorkers

_NOT_BEGUN = {"ledger-missing", "stream-unknown"}
"""The errors after which `--new` helps."""
_PATH = click.Path(path_type=Path, allow_dash=True)


class _IntegrationsType(click.ParamType[Any]):
    """Segment's `integrations` as JSON text."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the table."""
        try:
            return integrations(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_FILE_OPTIONS = (
    click.option(
        "--from-file",
        "from_file",
        is_flag=True,
        help="Read the log from files, not from Auth0. The files are named as arguments.",
    ),
    click.option(
        "--files-from",
        type=_PATH,
        help="With --from-file: a file that lists the files, one per line, or - for stdin.",
    ),
    click.option(
        "--record",
        metavar="EXPRESSION",
        help="With --from-file: a JMESPath expression that finds the log event in each "
        "object of the files.",
    ),
    click.option(
        "--any-tenant",
        is_flag=True,
        help="With --from-file: also send events that name another tenant.",
    ),
    click.option(
        "--read-again",
        is_flag=True,
        help="With --from-file: read the files from the beginning, such as after a change "
        "of rules.",
    ),
    click.option(
        "--settle-empty",
        is_flag=True,
        help="With --from-file: also settle files without any known type of event.",
    ),
    click.argument("paths", metavar="[PATH]...", nargs=-1, type=_PATH),
)


def _file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a backfill from files."""
    for option in reversed(_FILE_OPTIONS):
        function = option(function)
    return function


@click.command(
    epilog=examples(
        "backfill --since 7d --dry-run",
        "backfill --since 2026-01-01 --until 2026-02-01",
        "backfill --from-file archive/2024-01.json.gz archive/2024-02.json.gz",
    ),
)
@config_option
@click.option(
    "--since",
    type=BoundType(),
    help="The beginning of the range: earliest, a date, a time, or a time before now such as 7d.",
)
@click.option(
    "--until",
    type=BoundType(),
    help="The end of the range. A backfill never sends what belongs to the daemon.",
)
@_file_options
@click.option(
    "--parallel",
    type=WholeNumber(1, 32),
    help="How many slices or files to work on at once. The default depends on the tenant.",
)
@click.option(
    "--share",
    is_flag=True,
    help="Let the workers of the folder walk the slices, each on its machine.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Also send what is settled already, under the same message ids.",
)
@click.option("--no-identify", is_flag=True, help="Do not identify each user at the end.")
@click.option(
    "--integrations",
    type=_IntegrationsType(),
    help="The destinations of this run, instead of the setting backfill.integrations.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan, and send nothing.")
@yes_option
@click.option("--new", is_flag=True, help="Create a ledger if there is none.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the plan and the summary as JSON, a line each."
)
def backfill(
    config: Path | None, paths: tuple[Path, ...], *, from_file: bool, **arguments: Any
) -> int:
    """Send the events of a range that were not sent yet.

    A backfill may run beside the daemon. It may be interrupted, and the same command continues it.
    It asks before it sends. Without a terminal, as in cron, it needs --yes.
    """
    options = BackfillOptions(**arguments)
    check_files(paths, options.files_from, options.record, from_file=from_file)
    _refuse_misuse(options, from_file=from_file)
    refuse_without_terminal(QUESTION, is_answered=options.yes or options.dry_run)
    file = SettingsFile(config)
    settings = read_settings(file)
    configure_logging(settings.log.level, settings.log.format)
    process = Process()
    destinations = options.integrations
    if destinations is None:
        destinations = settings.backfill.integrations
    with (
        _open_ledger(settings, process, create=options.new) as ledger,
        connect(
            settings,
            process.stopping,
            share=background_share(settings),
            integrations=destinations,
        ) as services,
    ):
        history = BackfillParts(
            settings=settings,
            services=services,
            ledger=ledger,
            no_identify=options.no_identify,
            again=options.again,
        )
        if from_file:
            return send_files(history, process, options, paths)
        return send_log(history, process, options, _workers(file, history, options))


def _workers(
    file: SettingsFile, history: BackfillParts, options: BackfillOptions
) -> Callable[..., SliceWorkers]:
    """Return the class of the workers, or what makes them if other machines help.

    Raises:
        UsageError: the pipeline is not one that workers can have.
        TransientError: no worker runs.
        FatalError: the queue of the workers is not installed.
    """
    if not options.share:
        return SliceWorkers
    with needing_queue():
        from poller.cli.pipelines.shared_slices import shared_by_workers  # noqa: PLC0415

    return shared_by_workers(file, history, options)


def _refuse_misuse(options: BackfillOptions, *, from_file: bool) -> None:
    if options.since is None and not from_file:
        raise click.UsageError("Missing option '--since'.")
    if options.share and (from_file or options.again):
        raise click.UsageError("--share is for what was not sent yet of the tenant's log")
    if from_file and options.again:
        raise click.UsageError(
            "--again is for the tenant's log. To send files again, set a new segment.generation"
        )


@contextmanager
def _open_ledger(settings: Settings, process: Process, *, create: bool) -> Iterator[SqlLedger]:
    def end(error: TakenOverError) -> None:
        process.end(Failed(error))

    with acquire_lock(settings.state.url, "backfill", on_lost=end):
        try:
            ledger = SqlLedger.open(
                settings.state.url,
                stream_of(settings),
                create=create,
                neighbours={*streams_of_routes(settings)} - {stream_of(settings)},
                late_window=settings.poll.late_window,
            )
        except FatalError as error:
            if create or error.code not in _NOT_BEGUN:
                raise
            hint = f"{error.hint}. `backfill --new` also creates it"
            raise FatalError(str(error), code=error.code, hint=hint) from None
        try:
            yield ledger
        finally:
            ledger.close()

"""The command `run`: the daemon, or one drain."""

import os
from pathlib import Path

import click

from poller.cli.commands.status import collect
from poller.cli.groups import examples
from poller.cli.options import config_option, read_settings
from poller.cli.pipelines.running import run_file, run_folder
from poller.cli.pipelines.table import refuse_second
from poller.cli.settings_file import SettingsFile
from poller.cli.wiring.catch_up import begin_backlog_job, connect_background
from poller.cli.wiring.daemon import build_drain, build_maintenance, open_ledger
from poller.cli.wiring.fatal_exit import recording_fatal_exit
from poller.cli.wiring.services import connect
from poller.config import Settings
from poller.core.errors import FatalError
from poller.service.lifecycle.ending import finish
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.one_shot import run_once
from poller.service.lifecycle.process import Process
from poller.service.observability.instrumented import NO_OBSERVER
from poller.service.observability.logging_setup import configure_logging
from poller.service.observability.systemd import Supervisor


@click.command(
    epilog=examples("run --config /etc/auth0-segment-poller/acme.toml", "run --once"),
)
@config_option
@click.option("--once", is_flag=True, help="Forward up to the end of the log, then exit: for cron.")
@click.option(
    "--standby",
    is_flag=True,
    help="If another process runs on the ledger, wait, and take over when it has ended.",
)
@click.option(
    "--new-stream",
    is_flag=True,
    help="Begin this tenant and source in a ledger that holds other streams.",
)
def run(config: Path | None, *, once: bool, standby: bool, new_stream: bool) -> int:
    """Forward new logins and signups until the program is told to stop.

    The program continues at the position where it stopped last time.
    """
    if once and standby:
        raise click.UsageError("--standby is for a daemon: it waits, and --once does not")
    heartbeat = Heartbeat()
    supervisor = Supervisor.of({} if once else os.environ, heartbeat)
    file = SettingsFile(config)
    if file.pipelines is not None and not once:
        if standby:
            raise click.UsageError(
                "--standby is for one settings file: the pipelines of a folder try again anyway"
            )
        return run_folder(file.folder or Path(), supervisor, collect, new_stream=new_stream)
    _refuse_second(file, supervisor)
    with recording_fatal_exit(file, supervisor):
        settings = read_settings(file)
        configure_logging(settings.log.level, settings.log.format)
        if once:
            return _drain_once(settings, new_stream=new_stream)
        return run_file(
            config, settings, supervisor, collect, standby=standby, new_stream=new_stream
        )


def _refuse_second(file: SettingsFile, supervisor: Supervisor) -> None:
    """Refuse a pipeline whose stream is another's. The ledger of that stream holds no error of it.

    Raises:
        FatalError: another pipeline of the folder comes first.
    """
    try:
        refuse_second(file)
    except FatalError as error:
        supervisor.ended(error)
        raise


def _drain_once(settings: Settings, *, new_stream: bool) -> ExitCode:
    process = Process()
    with (
        open_ledger(settings, process, adopt=new_stream) as ledger,
        connect(settings, process.stopping) as services,
        connect_background(settings, services, process.stopping, NO_OBSERVER) as background,
    ):
        drain = build_drain(
            settings,
            services,
            ledger,
            process,
            begun=lambda now: ledger.note_catch_up(since=now, error=None),
        )
        maintenance = build_maintenance(settings, services, ledger)
        reason = run_once(
            drain.pages,
            ledger,
            process,
            beside=lambda end: begin_backlog_job(settings, background, ledger, process, end),
            interval=settings.poll.interval,
            maintain=maintenance.run_if_due,
        )
        return finish(reason, process, interrupted=ExitCode.INTERRUPTED)

"""The command `worker`: one of many processes that divide the pipelines of a folder."""

import os
from pathlib import Path

import click

from poller.cli.groups import examples
from poller.cli.options import config_option
from poller.cli.pipelines import needing_queue
from poller.cli.settings_file import SettingsFile
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.systemd import Supervisor


@click.command(epilog=examples("worker --config /etc/auth0-segment-poller/many"))
@config_option
def worker(config: Path | None) -> ExitCode:
    """Forward a share of the pipelines of a folder, beside workers on other machines.

    All pipelines share one ledger in PostgreSQL. The workers divide the pipelines among them. If a
    worker dies, the others take over its pipelines.
    """
    supervisor = Supervisor.of(os.environ, Heartbeat())
    file = SettingsFile(config)
    if file.pipelines is None or file.folder is None:
        raise click.UsageError("a worker needs a folder of settings files: --config FOLDER")
    with needing_queue():
        from poller.cli.pipelines.worker import run_worker  # noqa: PLC0415

    return run_worker(file.folder, supervisor)

"""The process of one pipeline, or of a folder of them."""

import faulthandler
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from poller.cli.options import act_as_ledger_owner, read_settings
from poller.cli.pipelines.failures import telling_of_failures
from poller.cli.pipelines.folder import Folder, tell_refused, warn_of_restart
from poller.cli.pipelines.memory import Memory
from poller.cli.pipelines.opening import Post, open_pipeline
from poller.cli.pipelines.pasting import CompletedCommands
from poller.cli.pipelines.shared_switch import ping_while_all_are_well
from poller.cli.pipelines.table import refuse_second
from poller.cli.settings_file import SettingsFile
from poller.cli.views.status import StatusReport
from poller.cli.wiring.metrics import (
    observer_of,
    serve_metrics,
    serve_metrics_of_pipelines,
    watched_of,
)
from poller.cli.wiring.page.serving import serve_page
from poller.cli.wiring.standby import Standby
from poller.config import Settings, SettingsError, load_shared_settings, read_defaults
from poller.core.errors import PollerError
from poller.service.lifecycle.ending import finish
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.process import Process, Work
from poller.service.observability.logging_setup import configure_logging
from poller.service.observability.systemd import Supervisor
from poller.service.pipelines.pipeline import Pipeline, Running
from poller.service.pipelines.pipelines import Pipelines
from poller.service.watching.feed import Feed

if TYPE_CHECKING:
    from poller.service.pipelines.endpoint import Watched

_STDERR = 2
_ROUTES_BEGIN_LATER = SettingsError(("the file has routes now: restart the service to begin them",))

log = structlog.get_logger()


def run_file(
    config: Path | None,
    settings: Settings,
    supervisor: Supervisor,
    collect: Callable[[Settings, datetime], StatusReport],
    *,
    standby: bool,
    new_stream: bool,
) -> ExitCode:
    """Run the pipeline of a settings file until there is a reason to stop.

    Raises:
        PollerError, SettingsError: the pipeline cannot be opened, or cannot go on.
    """
    process, feed = Process(), Feed()
    post = Post(feed=feed, observer=observer_of(settings, feed), supervisor=supervisor)
    current = [settings]

    def opened(work: Work) -> AbstractContextManager[Running]:
        return open_pipeline(current[0], work, post, new_stream=new_stream)

    def collected(now: datetime) -> StatusReport:
        return collect(current[0], now)

    supervisor.opening()
    pipeline = Pipeline("", opened, process, supervisor, is_alone=True)
    process.on_reload = lambda: _read_again(config, current, pipeline, supervisor)
    with Pipelines(process, supervisor) as pipelines:
        pipelines.add(pipeline)
        opening = Standby(settings.state.url, pipeline.open, process, supervisor)
        ended = opening.wait(is_patient=standby)
        if ended is not None:
            return finish(ended, process, interrupted=ExitCode.DONE)
        with (
            serve_metrics(settings, supervisor.heartbeat, post.observer),
            serve_page(settings, feed, post.observer, supervisor, process, collected),
        ):
            _tell_where_it_hangs(supervisor)
            reason = pipelines.run(interval_s=settings.poll.interval.total_seconds())
            return finish(reason, process, interrupted=ExitCode.DONE)


def _read_again(
    config: Path | None, current: list[Settings], pipeline: Pipeline, supervisor: Supervisor
) -> None:
    """Read the settings again. With a mistake in them, the old ones go on."""
    supervisor.reloading()
    try:
        file = SettingsFile(config)
        if file.pipelines is not None:
            raise _ROUTES_BEGIN_LATER
        refuse_second(file)
        settings = read_settings(file)
    except (SettingsError, PollerError) as error:
        tell_refused(error, note="the old settings go on")
        supervisor.reloaded("the settings have a mistake: the old ones go on")
        return
    is_changed = settings != current[0]
    log.info("settings.read", changed=int(is_changed))
    if is_changed:
        warn_of_restart(current[0], settings)
        configure_logging(settings.log.level, settings.log.format)
        current[0] = settings
        pipeline.replace()
    supervisor.reloaded("the settings were read")


def run_folder(
    path: Path,
    supervisor: Supervisor,
    collect: Callable[[Settings, datetime], StatusReport],
    *,
    new_stream: bool,
) -> ExitCode:
    """Run the pipelines of a folder until there is a reason to stop.

    Raises:
        SettingsError: the folder holds no pipeline, or its defaults cannot be used.
        FatalError: the address of the metrics or of the page cannot be listened on.
    """
    shared = load_shared_settings(read_defaults(path), os.environ)
    configure_logging(shared.log.level, shared.log.format, CompletedCommands(path))
    allow_many_files()
    process = Process()
    pipelines = Pipelines(process, supervisor)
    folder = Folder(path, shared, process, supervisor, pipelines, new_stream=new_stream)
    with pipelines:
        folder.start()
        _act_as_owner(folder)
        process.on_reload = folder.reload
        with (
            serve_metrics_of_pipelines(shared, supervisor.heartbeat, lambda: watched(folder)),
            ping_while_all_are_well(shared, lambda: _are_all_well(folder)),
            telling_of_failures(folder),
            _serve_page_of_folder(folder, process, collect),
        ):
            _tell_where_it_hangs(supervisor)
            memory = Memory()

            def tick() -> None:
                folder.look()
                memory.trim_if_due()

            reason = pipelines.run(tick, pipelines=len(pipelines))
            return finish(reason, process, interrupted=ExitCode.DONE)


@contextmanager
def _serve_page_of_folder(
    folder: Folder, process: Process, collect: Callable[[Settings, datetime], StatusReport]
) -> Iterator[None]:
    """Serve the live page within this context, if the settings say so."""
    if (address := folder.shared.page.listen) is None:
        yield
        return
    # This imports the web server, and a process without the page need not wait for it.
    from poller.cli.pipelines.page import open_page_of_folder  # noqa: PLC0415

    with open_page_of_folder(folder, address, lambda: watched(folder), process, collect):
        yield


def watched(folder: Folder) -> Mapping[str, "Watched"]:
    """Return what the metrics tell of each pipeline."""
    return {
        name: watched_of(
            member.settings or folder.shared, member.post.observer, member.post.supervisor
        )
        for name, member in folder.members.items()
    }


def _are_all_well(folder: Folder) -> bool:
    kinds = (each.post.supervisor.condition.kind for each in folder.members.values())
    return all(kind == "running" for kind in kinds)


def _act_as_owner(folder: Folder) -> None:
    """Let root become the owner of the first pipeline's ledger, as for a file alone."""
    known = [each.settings for each in folder.members.values() if each.settings is not None]
    if known:
        act_as_ledger_owner(known[0])


def allow_many_files() -> None:
    """Raise the limit of open files to the hard one. A pipeline needs about a dozen."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tell_where_it_hangs(supervisor: Supervisor) -> None:
    """Write the traceback of every thread when the watchdog sends SIGABRT."""
    if supervisor.watchdog:
        faulthandler.enable(file=_STDERR)

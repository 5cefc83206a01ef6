"""The command `page`: the link of the live page."""

from collections.abc import Iterable
from pathlib import Path

import click

from poller.adapters.sql_ledger.local_files.page_link import read_page_link
from poller.adapters.sql_ledger.reader import running_daemon
from poller.cli.groups import SuggestingGroup, examples
from poller.cli.options import config_option, read_settings
from poller.cli.settings_file import SettingsFile
from poller.cli.views.output import say
from poller.config import Settings, SettingsError
from poller.core.errors import FatalError, PollerError, TransientError
from poller.service.lifecycle.exit_codes import ExitCode


@click.group("page", cls=SuggestingGroup, epilog=examples("page url"))
def page() -> None:
    """Print the link of the live page, which shows what the daemon does."""


@page.command("url", epilog=examples("page url", "page url --config acme.toml"))
@config_option
def url(config: Path | None) -> int:
    """Print the link of the live page of the daemon that runs.

    The link holds a secret, and shows people. Give it only to those who may see them. For a
    folder of pipelines it leads to all of them, and with --pipeline to one.
    """
    file = SettingsFile(config)
    if file.pipelines is None:
        say(_link(read_settings(file, secrets=False)))
        return ExitCode.DONE
    say(_link_of_all(file.folder or Path(), file.pipelines))
    return ExitCode.DONE


def _link_of_all(folder: Path, names: Iterable[str]) -> str:
    """Return the link of the page of all pipelines, from the link of any of them.

    Raises:
        FatalError, TransientError, SettingsError: no pipeline has a link, for the reason of one.
    """
    problem: Exception = TransientError("no pipeline is open")
    for name in names:
        try:
            link = _link(read_settings(SettingsFile(folder, name), secrets=False))
        except (PollerError, SettingsError) as error:
            problem = error
        else:
            start, _, token = link.partition("/pipelines/")
            return f"{start}/?{token.partition('?')[2]}"
    raise problem


def _link(settings: Settings) -> str:
    """Return the link of the page of a pipeline.

    Raises:
        FatalError: the page is off, or belongs to another user.
        TransientError: no daemon serves it.
    """
    if settings.page.listen is None:
        raise FatalError(
            "the page is off",
            code="settings-invalid",
            hint='set page.listen to an address, such as "127.0.0.1:9465", and start the daemon',
        )
    try:
        link = read_page_link(settings.state.url, settings.pipeline)
    except OSError as error:
        raise FatalError(
            f"the link of the page cannot be read: {error.strerror}",
            code="ledger-inaccessible",
            hint="run the command as the user who runs the daemon",
        ) from None
    if link is None or running_daemon(settings.state.url) is None:
        raise TransientError("no daemon serves the page now: start it with `run`")
    return link

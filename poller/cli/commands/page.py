"""The command `page`: the link of the live page."""

from pathlib import Path

import click

from poller.adapters.sql_ledger.local_files.page_link import read_page_link
from poller.adapters.sql_ledger.reader import running_daemon
from poller.cli.groups import SuggestingGroup, examples
from poller.cli.options import config_option, read_settings
from poller.cli.views.output import say
from poller.core.errors import FatalError, TransientError
from poller.service.lifecycle.exit_codes import ExitCode


@click.group("page", cls=SuggestingGroup, epilog=examples("page url"))
def page() -> None:
    """Print the link of the live page, which shows what the daemon does."""


@page.command("url", epilog=examples("page url", "page url --config acme.toml"))
@config_option
def url(config: Path | None) -> int:
    """Print the link of the live page of the daemon that runs.

    The link holds a secret, and shows people. Give it only to those who may see them.
    """
    settings = read_settings(config, secrets=False)
    if settings.page.listen is None:
        raise FatalError(
            "the page is off",
            code="settings-invalid",
            hint='set page.listen to an address, such as "127.0.0.1:9465", and start the daemon',
        )
    try:
        link = read_page_link(settings.state.url)
    except OSError as error:
        raise FatalError(
            f"the link of the page cannot be read: {error.strerror}",
            code="ledger-inaccessible",
            hint="run the command as the user who runs the daemon",
        ) from None
    if link is None or running_daemon(settings.state.url) is None:
        raise TransientError("no daemon serves the page now: start it with `run`")
    say(link)
    return ExitCode.DONE

"""The command `alerts`: test the alerts that reach people."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from poller.cli.groups import SuggestingGroup, examples
from poller.cli.options import config_option, read_settings
from poller.cli.views.output import say, sign
from poller.cli.wiring.alerts import heartbeat_of, targets_of
from poller.cli.wiring.services import stream_of
from poller.config import Settings
from poller.core.errors import TransientError
from poller.service.lifecycle.exit_codes import ExitCode


@click.group("alerts", cls=SuggestingGroup, epilog=examples("alerts test"))
def alerts() -> None:
    """Test the alerts that reach people."""


@alerts.command(epilog=examples("alerts test"))
@config_option
def test(config: Path | None) -> int:
    """Send one alert to every URL, and say which arrived.

    The dead man's switch gets one ping of the form log, which does not change its state. If it
    knows no such form, it gets an ordinary ping.
    """
    settings = read_settings(config)
    attempts = [*_attempts(settings)]
    if not attempts:
        raise click.UsageError("set alerts.urls or alerts.heartbeat_url first")
    results = [_try(name, attempt) for name, attempt in attempts]
    return ExitCode.DONE if all(results) else ExitCode.ATTENTION


def _attempts(settings: Settings) -> Iterator[tuple[str, Callable[[], None]]]:
    stream = stream_of(settings)
    about = f"{stream.domain} to {stream.source_name}, on {socket.gethostname()}"
    title = f"A test of the alerts of {about}"
    text = f"{title}. Nothing needs to be done."
    for target in targets_of(settings):
        yield (
            f"alerts.urls {target.name}",
            lambda target=target: target.send(title, text, "good"),  # type: ignore[misc] # a loop
        )
    heartbeat = heartbeat_of(settings)
    if heartbeat is not None:
        yield "alerts.heartbeat_url", lambda: heartbeat.ping_without_effect(text)


def _try(name: str, attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except TransientError as error:
        say(f"{sign('✗')} {name}: {error}")
        return False
    say(f"{sign('✓')} {name}: arrived")
    return True

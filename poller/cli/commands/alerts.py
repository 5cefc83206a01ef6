"""The command `alerts`: test the alerts that reach people."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from poller.cli.groups import SuggestingGroup, examples
from poller.cli.options import config_option, json_option, read_settings
from poller.cli.views.output import say, say_json, sign
from poller.cli.wiring.alerts import heartbeat_of, targets_of
from poller.cli.wiring.services import stream_of
from poller.config import Settings
from poller.core.errors import TransientError
from poller.service.lifecycle.exit_codes import ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReport:
    """One alert or ping that was sent, and why it did not arrive. Without an error it arrived."""

    name: str
    error: str | None


@click.group("alerts", cls=SuggestingGroup, epilog=examples("alerts test"))
def alerts() -> None:
    """Test the alerts that reach people."""


@alerts.command(epilog=examples("alerts test"))
@config_option
@json_option
def test(config: Path | None, *, as_json: bool) -> int:
    """Send one alert to every URL, and say which arrived.

    The dead man's switch gets one ping of the form log, which does not change its state. If it
    knows no such form, it gets an ordinary ping.
    """
    settings = read_settings(config)
    attempts = [*_attempts(settings)]
    if not attempts:
        raise click.UsageError("set alerts.urls or alerts.heartbeat_url first")
    reports = []
    for name, attempt in attempts:
        reports.append(_report(name, attempt))
        if not as_json:
            _show(reports[-1])
    if as_json:
        say_json(reports)
    return ExitCode.ATTENTION if any(report.error for report in reports) else ExitCode.DONE


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


def _report(name: str, attempt: Callable[[], None]) -> AttemptReport:
    try:
        attempt()
    except TransientError as error:
        return AttemptReport(name=name, error=str(error))
    return AttemptReport(name=name, error=None)


def _show(report: AttemptReport) -> None:
    if report.error:
        say(f"{sign('✗')} {report.name}: {report.error}")
    else:
        say(f"{sign('✓')} {report.name}: arrived")

"""Options and arguments of the commands, and the settings that a command reads."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from poller.cli.settings_file import PIPELINE, SettingsFile
from poller.config import (
    Settings,
    SettingsError,
    find_settings_file,
    holds_pipelines,
    load_settings,
    parse_duration,
    parse_moment,
    pipeline_names,
)
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST, LogId, floor_id

_HALF_AN_HOUR = timedelta(minutes=30)

Bound = timedelta | LogId
"""One end of a range of the log: a time before the server's now, or a position."""


class BoundType(click.ParamType[Bound]):
    """A date, a time, `earliest`, or a time before now such as `7d`."""

    name = "DATE|TIME|AGE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Bound:
        """Return the bound that the text stands for."""
        if value == "earliest":
            return EARLIEST
        try:
            if value[-1:] in "dhms" and value[:1].isdigit():
                return parse_duration(value)
            return floor_id(parse_moment(value))
        except ValueError:
            self.fail(
                "must be earliest, a date such as 2026-01-31, a time such as 2026-01-31T08:00:00Z, "
                "or a time before now such as 7d",
                param,
                ctx,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """A range of time that holds `since` and ends before `until`."""

    since: datetime
    until: datetime


class TimeRangeType(click.ParamType[TimeRange]):
    """A whole day, or the time around a moment."""

    name = "DATE|TIME|AGE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> TimeRange:
        """Return the range that the text stands for. An age counts from this machine's now."""
        try:
            if value[-1:] in "dhms" and value[:1].isdigit():
                moment = datetime.now(UTC) - parse_duration(value)
            else:
                moment = parse_moment(value)
            if len(value) == len("2026-01-31"):
                return TimeRange(since=moment, until=moment + timedelta(days=1))
            return TimeRange(since=moment - _HALF_AN_HOUR, until=moment + _HALF_AN_HOUR)
        except (ValueError, OverflowError) as error:
            text = str(error) if isinstance(error, ValueError) else "is out of range"
            self.fail(f"{value} {text}", param, ctx)


class DurationType(click.ParamType[timedelta]):
    """A length of time such as `30s` or `1h30m`."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the length of time that the text stands for."""
        try:
            if isinstance(value, timedelta):
                return value
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class WholeNumber(click.IntRange):
    """A whole number in a range. click's own message does not name both ends."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"must be a whole number from {self.min} to {self.max}", param, ctx)


def position_of(bound: Bound, now: datetime) -> LogId:
    """Return the position that the bound stands for. `now` is the server's time."""
    if not isinstance(bound, timedelta):
        return bound
    try:
        return floor_id(now - bound)
    except OverflowError:  # The bound lies before the year 1.
        return EARLIEST


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config and --pipeline to a command that reads settings."""
    config = click.option(
        "--config",
        "config",
        type=click.Path(path_type=Path, readable=False),  # an unreadable file is exit 78, not 2
        help="The settings file, or a folder of them. Without it: $POLLER_CONFIG, ./config.toml or "
        "/etc/auth0-segment-poller/config.toml, the first that exists.",
    )
    pipeline = click.option(
        "--pipeline",
        metavar="NAME",
        expose_value=False,
        callback=_note_pipeline,
        shell_complete=_complete_pipeline,
        help="The pipeline of a folder of settings files, NAME.toml, or the route of a file with "
        "routes, NAME.ROUTE.",
    )
    return config(pipeline(function))


def _note_pipeline(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    del parameter
    context.meta[PIPELINE] = value


def _complete_pipeline(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the pipelines that begin like this. A folder that cannot be read has none."""
    del parameter
    folder = find_settings_file(context.params.get("config"), os.environ)
    try:
        names = pipeline_names(folder) if folder and holds_pipelines(folder) else ()
    except SettingsError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json to a command that prints a report."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(
        function
    )


def yes_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --yes to a command that asks before it acts."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(function)


def read_settings(config: Path | SettingsFile | None, *, secrets: bool = True) -> Settings:
    """Return the settings of a command. From then on, root acts as the owner of the ledger.

    Raises:
        SettingsError: the settings cannot be used. The error lists every problem.
        FatalError: root cannot become the owner of the ledger's folder.
    """
    file = config if isinstance(config, SettingsFile) else SettingsFile(config)
    settings = load_settings(file.content, os.environ, secrets=secrets)
    act_as_ledger_owner(settings)
    return settings


def act_as_ledger_owner(settings: Settings) -> None:
    """Let root become the owner of the ledger's folder for good. Nothing changes for other users.

    Read the files that only root may read before this call.

    Raises:
        FatalError: root cannot become the owner.
    """
    if os.geteuid() != 0:
        return
    # Only root needs these imports.
    from poller.adapters.sql_ledger.places import local_path  # noqa: PLC0415
    from poller.service.lifecycle.privileges import give_up_root  # noqa: PLC0415

    give_up_root(local_path(settings.state.url))


def choose(
    streams: tuple[Stream, ...],
    *,
    domain: str,
    source_name: str | None,
    own: tuple[str | None, str],
) -> Stream:
    """Return the stream of this domain and source name.

    If there are several, return the stream that the settings name.

    `own` is the source name and the generation in the settings.

    Raises:
        FatalError: no stream or more than one stream is left.
    """
    named = [
        each
        for each in streams
        if each.domain == domain and source_name in {None, each.source_name}
    ]
    if len(named) > 1:
        wanted = (source_name or own[0], own[1])
        named = [each for each in named if (each.source_name, each.generation) == wanted]
    if len(named) != 1:
        known = "; ".join(f"{each.domain} -> {each.source_name}" for each in streams)
        raise FatalError(
            f"the ledger holds no stream, or several, of {domain} with that source name",
            code="stream-ambiguous",
            hint=f"name one with --source-name. The ledger holds: {known}",
        )
    return named[0]

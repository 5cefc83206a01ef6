"""What a command is given: the settings file, and what it says. Apart from the wiring, which takes longer to import."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from poller.config import Settings, find_settings_file, load_settings

T = TypeVar("T")


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config, for every command that reads settings."""
    return click.option(
        "--config",
        "config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file; else $POLLER_CONFIG, ./config.toml or /etc/auth0-segment-poller/config.toml.",
    )(function)


def read_settings(config: Path | None, *, secrets: bool = True) -> Settings:
    """Return the settings that a command goes by. From then on root acts as the owner of the ledger's folder.

    Raises:
        SettingsError: with every problem there is.
        FatalError: root cannot become that owner.
    """
    settings, _ = read_settings_and(config, lambda _: None, secrets=secrets)
    return settings


def read_settings_and(
    config: Path | None, look: Callable[[Settings], T], *, secrets: bool = True
) -> tuple[Settings, T]:
    """Return the same, and the result of a `look` at what perhaps only root may read.

    Raises:
        SettingsError, FatalError: as `read_settings`.
    """
    settings = load_settings(find_settings_file(config, os.environ), os.environ, secrets=secrets)
    found = look(settings)
    if os.geteuid() == 0:
        # Here, so that others do not wait for the import.
        from poller.adapters.sql_ledger import given_path  # noqa: PLC0415 - same
        from poller.service.lifecycle.privileges import give_up_root  # noqa: PLC0415 - same

        give_up_root(given_path(settings.state.url))
    return settings, found

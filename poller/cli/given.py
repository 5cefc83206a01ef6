"""What a command is given: the settings file, and what it says. Apart from the wiring, which takes longer to import."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from poller.config import Settings, find_settings_file, load_settings


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config, for every command that reads settings."""
    return click.option(
        "--config",
        "config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file; else $POLLER_CONFIG, ./config.toml or /etc/auth0-segment-poller/config.toml.",
    )(function)


def read_settings(config: Path | None, *, secrets: bool = True) -> Settings:
    """The settings that a command goes by.

    Raises:
        SettingsError: with every problem there is.
    """
    return load_settings(find_settings_file(config, os.environ), os.environ, secrets=secrets)

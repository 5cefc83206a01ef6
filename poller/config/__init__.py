"""Settings: the TOML file, over it the credentials directory, over that the environment."""

from poller.config.declared import SETTINGS, Setting
from poller.config.folders import find_settings_file
from poller.config.loading import load_settings
from poller.config.problems import SettingsError
from poller.config.routes import integrations
from poller.config.secrets import SecretPlace, secret_places
from poller.config.settings import (
    Auth0Settings,
    LogSettings,
    PollSettings,
    SegmentSettings,
    Settings,
    StateSettings,
)
from poller.config.times import StartAt, duration, moment

__all__ = [
    "SETTINGS",
    "Auth0Settings",
    "LogSettings",
    "PollSettings",
    "SecretPlace",
    "SegmentSettings",
    "Setting",
    "Settings",
    "SettingsError",
    "StartAt",
    "StateSettings",
    "duration",
    "find_settings_file",
    "integrations",
    "load_settings",
    "moment",
    "secret_places",
]

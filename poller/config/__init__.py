"""Settings, from the environment, the credentials directory and a TOML file.

The environment wins over credentials, and credentials win over the file.
"""

from poller.config.catalogue import SETTINGS, Setting
from poller.config.destinations import integrations
from poller.config.errors import SettingsError
from poller.config.loading import load_settings, load_shared_settings
from poller.config.parsers.times import parse_duration, parse_moment
from poller.config.secrets import SecretPlace, secret_places
from poller.config.sections.forwarding import PollSettings
from poller.config.sections.program import LogSettings, StateSettings
from poller.config.sections.services import Auth0Settings, SegmentSettings
from poller.config.settings import Settings
from poller.config.sources.folder import (
    choose_route,
    folder_of,
    holds_pipelines,
    pipeline_file,
    pipeline_names,
    read_defaults,
    read_file,
    read_pipeline,
)
from poller.config.sources.layers import without_settings
from poller.config.sources.paths import find_settings_file
from poller.config.sources.toml import TomlFile, read_toml

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
    "StateSettings",
    "TomlFile",
    "choose_route",
    "find_settings_file",
    "folder_of",
    "holds_pipelines",
    "integrations",
    "load_settings",
    "load_shared_settings",
    "parse_duration",
    "parse_moment",
    "pipeline_file",
    "pipeline_names",
    "read_defaults",
    "read_file",
    "read_pipeline",
    "read_toml",
    "secret_places",
    "without_settings",
]

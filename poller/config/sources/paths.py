"""The places where the settings file is looked for, and the default place of the ledger."""

import os.path
from collections.abc import Mapping
from pathlib import Path

from poller.config.parsers.ledger_urls import sqlite_url
from poller.config.sources.secret_files import is_there

CONFIG_VARIABLE = "POLLER_CONFIG"
PROGRAM = "auth0-segment-poller"
LOCAL_FILE = Path("config.toml")
SYSTEM_FILE = Path("/etc") / PROGRAM / "config.toml"


def find_settings_file(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the path of the settings file, or None if there is none.

    The order is --config, $POLLER_CONFIG, ./config.toml, and the file in /etc. The first two are
    returned even if they do not exist.
    """
    if explicit is not None:
        return explicit
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    return next((path for path in (LOCAL_FILE, SYSTEM_FILE) if is_there(path)), None)


def hidden_file(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file in /etc if ./config.toml is read in its place, and nobody named a file."""
    is_named = explicit is not None or environ.get(CONFIG_VARIABLE)
    if is_named or not (is_there(LOCAL_FILE) and is_there(SYSTEM_FILE)):
        return None
    return None if LOCAL_FILE.absolute() == SYSTEM_FILE else SYSTEM_FILE


def default_ledger(path: Path | None, environ: Mapping[str, str], pipeline: str = "") -> str | None:
    """Return the default URL of the ledger, or None if the environment does not even name a home.

    `path` is the path of the settings file. A pipeline of a folder has a folder of its own.
    """
    folder = default_folder(path, environ, pipeline)
    return sqlite_url(folder / "ledger.db") if folder else None


def default_folder(
    path: Path | None, environ: Mapping[str, str], pipeline: str = ""
) -> Path | None:
    """Return the folder for the state of a process, or None as `default_ledger` does."""
    folder = _state_directory(environ)
    if folder is None and (own := _beside_etc(path)):
        return own  # it ends with the name of the settings file, which is that of a pipeline
    folder = folder or _xdg_folder(environ)
    return folder / pipeline if folder else None


def _state_directory(environ: Mapping[str, str]) -> Path | None:
    # systemd joins the folders of StateDirectory= with colons.
    return _absolute(environ.get("STATE_DIRECTORY", "").split(":")[0])


def _beside_etc(path: Path | None) -> Path | None:
    """Return /var/lib/NAME/acme for /etc/NAME/acme.toml, as the units name it."""
    file = Path(os.path.normpath(path.absolute())) if path else Path()
    if not file.is_relative_to("/etc"):
        return None
    inside = file.relative_to("/etc")
    folder = inside.parent if inside.parent.parts else Path(PROGRAM)
    return Path("/var/lib") / folder / inside.stem


def _xdg_folder(environ: Mapping[str, str]) -> Path | None:
    home = _absolute(environ.get("HOME", ""))
    state = _absolute(environ.get("XDG_STATE_HOME", "")) or (home and home / ".local/state")
    return state / PROGRAM if state else None


def _absolute(text: str) -> Path | None:
    # The XDG specification ignores relative paths, and systemd never sets one.
    return Path(text) if text.startswith("/") else None

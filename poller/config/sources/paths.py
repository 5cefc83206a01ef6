"""Where the settings file is looked for, and where the ledger lies when nobody says."""

import os.path
from collections.abc import Mapping
from pathlib import Path

from poller.config.parsers.texts import sqlite_url
from poller.config.sources.secret_files import is_there

CONFIG_VARIABLE = "POLLER_CONFIG"
PROGRAM = "auth0-segment-poller"
LOCAL_FILE = Path("config.toml")
SYSTEM_FILE = Path("/etc") / PROGRAM / "config.toml"


def find_settings_file(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """--config, else $POLLER_CONFIG, else ./config.toml, else the one in /etc; the first two need not exist."""
    if explicit is not None:
        return explicit
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    return next((path for path in (LOCAL_FILE, SYSTEM_FILE) if is_there(path)), None)


def default_ledger(path: Path | None, environ: Mapping[str, str]) -> str | None:
    """The URL of the ledger for the settings file at `path`; None where the environment names no home either."""
    folder = _state_directory(environ) or _beside_etc(path) or _xdg_folder(environ)
    return sqlite_url(folder / "ledger.db") if folder else None


def _state_directory(environ: Mapping[str, str]) -> Path | None:
    # systemd joins the folders of StateDirectory= by colons.
    return _absolute(environ.get("STATE_DIRECTORY", "").split(":")[0])


def _beside_etc(path: Path | None) -> Path | None:
    """/etc/NAME/acme.toml keeps its state in /var/lib/NAME/acme, the StateDirectory= of its units."""
    place = Path(os.path.normpath(path.absolute())) if path else Path()
    if not place.is_relative_to("/etc"):
        return None
    inside = place.relative_to("/etc")
    folder = inside.parent if inside.parent.parts else Path(PROGRAM)
    return Path("/var/lib") / folder / inside.stem


def _xdg_folder(environ: Mapping[str, str]) -> Path | None:
    home = _absolute(environ.get("HOME", ""))
    state = _absolute(environ.get("XDG_STATE_HOME", "")) or (home and home / ".local/state")
    return state / PROGRAM if state else None


def _absolute(text: str) -> Path | None:
    # The XDG specification has relative paths ignored, and systemd never gives one.
    return Path(text) if text.startswith("/") else None

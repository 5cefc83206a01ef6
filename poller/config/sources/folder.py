"""A folder of settings files: each `*.toml` is a pipeline, and `_defaults.toml` is their rest."""

import re
from dataclasses import replace
from pathlib import Path

from poller.config.errors import Place, Problem, Rank, SettingsError, settings_error
from poller.config.sources.secret_files import is_there
from poller.config.sources.toml import TomlFile, read_toml
from poller.config.suggestions import nearest_pipeline

DEFAULTS = "_defaults.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def pipeline_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the pipelines of a folder in alphabetical order.

    A name that no pipeline may have is among them. `read_pipeline` refuses it.

    Raises:
        SettingsError: the folder cannot be read, or holds no pipeline.
    """
    try:
        files = [each for each in folder.iterdir() if each.suffix == ".toml"]
    except OSError as error:
        raise _error(folder, f"cannot be read: {(error.strerror or '').lower()}") from None
    names = sorted(each.stem for each in files if each.name != DEFAULTS and each.name[0] != ".")
    if not names:
        raise _error(folder, "holds no pipeline: each file NAME.toml in it is one")
    return tuple(names)


def read_defaults(folder: Path) -> TomlFile | None:
    """Return what the pipelines of a folder share, or None if they share nothing.

    Raises:
        SettingsError: the file cannot be read, or is not TOML.
    """
    path = folder / DEFAULTS
    return read_toml(path) if is_there(path) else None


def read_pipeline(folder: Path, name: str) -> TomlFile:
    """Return the file of a pipeline, with the defaults of its folder.

    Raises:
        SettingsError: there is no such pipeline, or a file cannot be read, or is not TOML.
    """
    path = folder / f"{name}.toml"
    if not _NAME.fullmatch(name):
        wrong = (
            "is no name of a pipeline, which holds letters, digits, _, - and . only, and begins "
            f"with a letter or a digit. What all pipelines share is in {DEFAULTS}"
        )
        raise _error(path, wrong)
    if not is_there(path):
        raise _error(path, nearest_pipeline(name, pipeline_names(folder)))
    return replace(read_toml(path), pipeline=name, defaults=read_defaults(folder))


def _error(path: Path, wrong: str) -> SettingsError:
    return settings_error([Problem(place=Place(rank=Rank.FILE, source=str(path)), wrong=wrong)])

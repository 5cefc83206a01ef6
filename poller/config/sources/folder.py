"""The pipelines of a folder of settings files, or of a file with routes.

In a folder each `*.toml` is a pipeline, and `_defaults.toml` is what they share. A file with routes
is several pipelines: the route `shop` of `acme.toml` is the pipeline `acme.shop`.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from poller.config.errors import (
    BadValueError,
    Place,
    Problem,
    Rank,
    SettingsError,
    settings_error,
)
from poller.config.sources.routes import ROUTES, read_routes
from poller.config.sources.secret_files import is_there, read_text
from poller.config.sources.toml import TomlFile, read_toml
from poller.config.suggestions import nearest_pipeline

DEFAULTS = "_defaults.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_NAME_OF_ROUTE = re.compile(_NAME.pattern + r"\.[A-Za-z0-9_-]+")


def holds_pipelines(path: Path) -> bool:
    """Return whether the path is a folder, or a file with routes."""
    return path.is_dir() or (path.is_file() and bool(_route_names(path)))


def pipeline_names(path: Path, known: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the pipelines of a folder or of a file with routes, in order.

    A name that no pipeline may have is among them. `read_pipeline` refuses it. A file with a
    mistake keeps the pipelines that are `known` of it.

    Raises:
        SettingsError: the folder cannot be read, or holds no pipeline.
    """
    files = [path] if path.is_file() else _files(path)
    known = tuple(known)
    return tuple(sorted({name for file in files for name in _names(file, known)}))


def pipeline_file(path: Path, name: str) -> Path:
    """Return the settings file of a pipeline of a folder or of a file with routes."""
    if path.is_file():
        return path
    own = path / f"{name}.toml"
    return own if is_there(own) else path / f"{name.rpartition('.')[0]}.toml"


def read_defaults(path: Path) -> TomlFile | None:
    """Return what the pipelines share, or None if they share nothing.

    The routes of a file that is no part of a folder share the file.

    Raises:
        SettingsError: the file cannot be read, or is not TOML.
    """
    if path.is_file() and not is_in_folder(path):
        file = read_toml(path)
        shared = {name: table for name, table in file.tables.items() if name != ROUTES}
        return replace(file, tables=shared)
    path = (path if path.is_dir() else path.parent) / DEFAULTS
    return read_toml(path) if is_there(path) else None


def read_pipeline(path: Path, name: str) -> TomlFile:
    """Return the file of a pipeline, with the defaults of its folder.

    `path` is a folder of settings files, or a file with routes.

    Raises:
        SettingsError: there is no such pipeline, or a file cannot be read, or is not TOML.
    """
    if path.is_file():
        return choose_route(read_file(path), name)
    own = path / f"{name}.toml"
    if not (_NAME.fullmatch(name) or _NAME_OF_ROUTE.fullmatch(name)):
        wrong = (
            "is no name of a pipeline, which holds letters, digits, _, - and . only, and begins "
            f"with a letter or a digit. What all pipelines share is in {DEFAULTS}"
        )
        raise _error(own, wrong)
    stem, _, route = name.rpartition(".")
    holder = path / f"{stem}.toml"
    is_route = bool(stem) and is_there(holder) and _route_names(holder) != ()
    if not is_there(own) and not is_route:
        raise _error(own, nearest_pipeline(name, pipeline_names(path)))
    if is_there(own) and is_route and route in (_route_names(holder) or ()):
        raise _error(own, f"has the name of the route {route} in {holder.name}: rename one of them")
    if is_there(own):
        return _of_folder(own)
    return choose_route(_of_folder(holder), name)


def read_file(path: Path) -> TomlFile:
    """Return a settings file. A file beside the defaults of a folder is a part of the folder.

    Raises:
        SettingsError: a file cannot be read, or is not TOML.
    """
    return _of_folder(path) if is_in_folder(path) else read_toml(path)


def folder_of(path: Path) -> Path | None:
    """Return the folder of pipelines that a path names, or names a file of. Else return None."""
    if path.is_dir():
        return path
    return path.parent if path.is_file() and is_in_folder(path) else None


def is_in_folder(path: Path) -> bool:
    """Return whether a file is a pipeline of the folder that it is in."""
    return path.name != DEFAULTS and (path.parent / DEFAULTS).exists()


def choose_route(file: TomlFile, name: str) -> TomlFile:
    """Return the file as the route of this name sees it. The name is that of the pipeline.

    A file without routes is the pipeline of its own name.

    Raises:
        SettingsError: the file has no route of this name.
    """
    routes, problems = read_routes(file)
    if not routes and name == file.path.stem:
        return file
    chosen = {each.name: replace(file, route=each.name) for each in routes}
    named = {each.name: each for each in chosen.values()}
    if name in named:
        return named[name]
    if problems:
        return file  # the mistakes are told when its settings are loaded
    raise _error(file.path, f"{nearest_pipeline(name, named)} (it holds {', '.join(named)})")


def _of_folder(path: Path) -> TomlFile:
    return replace(read_toml(path), pipeline=path.stem, defaults=read_defaults(path.parent))


def _files(folder: Path) -> list[Path]:
    try:
        files = [each for each in folder.iterdir() if each.suffix == ".toml"]
    except OSError as error:
        raise _error(folder, f"cannot be read: {(error.strerror or '').lower()}") from None
    files = [each for each in files if each.name != DEFAULTS and each.name[0] != "."]
    if not files:
        raise _error(folder, "holds no pipeline: each file NAME.toml in it is one")
    return files


def _names(file: Path, known: tuple[str, ...]) -> list[str]:
    """Return the names of the pipelines of a file."""
    routes = _route_names(file)
    if routes is not None:
        return [f"{file.stem}.{route}" for route in routes] or [file.stem]
    before = f"{file.stem}."
    own = [name for name in known if name.startswith(before)]
    return [name for name in own if not file.with_name(f"{name}.toml").exists()] or [file.stem]


def _route_names(file: Path) -> tuple[str, ...] | None:
    """Return the names of the routes of a file, or None if it has a mistake."""
    try:
        state = file.stat()
        return _route_names_of(file, state.st_mtime_ns, state.st_size, state.st_ino)
    except (OSError, BadValueError, SettingsError):
        return None


@lru_cache(maxsize=4096)
def _route_names_of(file: Path, *state: int) -> tuple[str, ...]:
    """Return the names of the routes of a file in this state.

    A folder of a thousand files is listed often, so a file is read again only after a change.

    Raises:
        BadValueError, SettingsError: the file cannot be read, or has a mistake.
    """
    del state
    if ROUTES not in read_text(file):
        return ()
    routes, problems = read_routes(read_toml(file))
    if problems:
        raise settings_error(problems)
    return tuple(route.name for route in routes)


def _error(path: Path, wrong: str) -> SettingsError:
    return settings_error([Problem(place=Place(rank=Rank.FILE, source=str(path)), wrong=wrong)])

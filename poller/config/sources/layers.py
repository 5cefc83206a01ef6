"""The sources of settings: the environment, the credentials directory, the file and defaults."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from poller.config.catalogue import PREFIX, SETTINGS, Setting
from poller.config.errors import Place, Problem, Rank
from poller.config.parsers.texts import PLACEHOLDER
from poller.config.sources.paths import CONFIG_VARIABLE, default_folder, default_ledger
from poller.config.sources.routes import (
    OF_ONE_SOURCE,
    ROUTES,
    RouteTable,
    names_of_routes,
    own_table,
    settings_of_route,
)
from poller.config.sources.secret_files import SecretFile, is_there
from poller.config.sources.toml import TomlFile
from poller.config.suggestions import nearest_key, nearest_section, nearest_variable

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
_LAYERS_OF_FILE = 3
"""The layers of a file that has no defaults: the environment, credentials, and the file."""

Key = tuple[str, str]
"""The names of a section and of a key in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The values of one source, the place of each value, and the problems with other entries."""

    values: dict[Key, object] = field(default_factory=dict, repr=False)
    places: dict[Key, Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def merge_layers(layers: list[Layer]) -> Layer:
    """Return one layer, in which an earlier layer wins over a later one."""
    merged = Layer(problems=tuple(problem for layer in layers for problem in layer.problems))
    for layer in reversed(layers):
        merged.values.update(layer.values)
        merged.places.update(layer.places)
    return merged


def read_layers(file: TomlFile | None, environ: Mapping[str, str], *, secrets: bool) -> list[Layer]:
    """Return the layers of the environment, of credentials and of the file, the strongest first.

    Below them come the credentials and the file of the defaults, for a pipeline that has any.
    Without `secrets`, a secret that is missing or cannot be read is not a problem.
    """
    folder = file.path.absolute().parent if file else Path()
    layers = [_environment_layer(file, environ, folder, secrets=secrets)]
    if file is None:
        return [*layers, _credentials_layer(SETTINGS, None, environ, secrets=secrets)]
    for each in files_of(file):
        # A placeholder stands for a secret in the folder of credentials, closed to this user.
        is_closed = closed_folder(each.path, environ) is not None
        layers += [
            _credentials_layer(SETTINGS, each, environ, secrets=secrets),
            _file_layer(each, folder, secrets=secrets, is_closed=is_closed),
        ]
    if table := own_table(file):
        layers = [*_route_layers(table, environ, folder, secrets=secrets), *_without_source(layers)]
    return layers


def _route_layers(
    table: RouteTable, environ: Mapping[str, str], folder: Path, *, secrets: bool
) -> Iterator[Layer]:
    """Yield the layers of what a route has for itself. They win over those of the whole file."""
    settings = settings_of_route(table.file.route)
    given = {each: environ[each.variable] for each in settings if each.variable in environ}
    yield _layer(given, lambda each: _variable(each.variable), (), folder, secrets=secrets)
    yield _credentials_layer(settings, table.file, environ, secrets=secrets)
    written = table.written()
    if closed_folder(table.file.path, environ):
        written = {each: value for each, value in written.items() if not _is_left_out(each, value)}
    yield _layer(
        written, lambda each: table.place(each.key), table.unknown(), folder, secrets=secrets
    )


def _without_source(layers: list[Layer]) -> Iterator[Layer]:
    """Yield the layers without the settings that belong to a route. They are a mistake here.

    The defaults of a folder may have them for its other pipelines.
    """
    of_defaults = len(layers) > _LAYERS_OF_FILE
    for number, layer in enumerate(layers):
        problems = list(layer.problems)
        if not (of_defaults and number >= _LAYERS_OF_FILE):
            wrong = (
                "belongs to one source: set it in each of [[routes]], and leave it out here. A "
                "last route without `when` takes what no other takes"
            )
            misplaced = sorted(OF_ONE_SOURCE & layer.places.keys())
            problems += [Problem(place=layer.places[key], wrong=wrong) for key in misplaced]
        values = {key: value for key, value in layer.values.items() if key not in OF_ONE_SOURCE}
        places = {key: place for key, place in layer.places.items() if key not in OF_ONE_SOURCE}
        yield Layer(values=values, places=places, problems=tuple(problems))


def files_of(file: TomlFile | None) -> tuple[TomlFile, ...]:
    """Return the file, and the file of its defaults."""
    return tuple(each for each in (file, file and file.defaults) if each is not None)


def default_layer(file: TomlFile | None, environ: Mapping[str, str]) -> Layer:
    """Return the place of the ledger, which depends on the kind of process."""
    path, pipeline = (file.path, file.pipeline) if file else (None, "")
    folder = default_folder(path, environ, pipeline)
    if folder is None:
        return Layer()
    return Layer(
        values={
            ("state", "url"): default_ledger(path, environ, pipeline),
            ("state", "folder"): str(folder),
        }
    )


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the settings and the secrets that it gives a process."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(PREFIX) and name != CREDENTIALS_VARIABLE
    }


def stand_in_layer() -> Layer:
    """Return values for keys that are required, for the commands that ask no service."""
    return Layer(values={("auth0", "domain"): "unknown.invalid", ("auth0", "client_id"): "unknown"})


def credentials_folder(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return systemd's credentials directory, or the folder that the units load credentials from.

    For acme.toml that folder is acme.credentials.
    """
    if environ.get(CREDENTIALS_VARIABLE):
        return Path(environ[CREDENTIALS_VARIABLE])
    if path:
        return path.absolute().with_suffix(".credentials")
    return None


def closed_folder(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the folder of credentials if it exists and this user may not look into it."""
    folder = credentials_folder(path, environ)
    if folder and folder.is_dir() and not os.access(folder, os.X_OK):
        return folder
    return None


def _environment_layer(
    file: TomlFile | None, environ: Mapping[str, str], folder: Path, *, secrets: bool
) -> Layer:
    """Return the values of POLLER_<SECTION>__<KEY>. A path in a `*_FILE` starts in `folder`."""
    written = {
        setting: environ[setting.variable] for setting in SETTINGS if setting.variable in environ
    }
    known = {setting.variable for setting in SETTINGS} | {CONFIG_VARIABLE}
    known |= {each.variable for name in names_of_routes(file) for each in settings_of_route(name)}
    # In a folder, the route may be one of another pipeline.
    others = f"{PREFIX}{ROUTES.upper()}__" if file and file.pipeline else CONFIG_VARIABLE
    unknown = [
        Problem(place=_variable(name), wrong=nearest_variable(name))
        for name in environ
        if name.startswith(PREFIX) and name not in known and not name.startswith(others)
    ]
    return _layer(
        written, lambda setting: _variable(setting.variable), unknown, folder, secrets=secrets
    )


def _credentials_layer(
    settings: Iterable[Setting],
    file: TomlFile | None,
    environ: Mapping[str, str],
    *,
    secrets: bool,
) -> Layer:
    """Return the files that have the name of a secret, in the folders of credentials."""
    layer = Layer()
    for setting in settings:
        places = _credential_places(setting.credential, file, environ) if setting.is_secret else ()
        found = next(filter(is_there, places), None)
        if found is not None:
            key = (setting.section, setting.key)
            layer.values[key] = SecretFile(
                path=str(found), folder=found.parent, is_required=secrets
            )
            layer.places[key] = Place(rank=Rank.CREDENTIAL, source=str(found))
    return layer


def _credential_places(
    name: str, file: TomlFile | None, environ: Mapping[str, str]
) -> Iterator[Path]:
    """Yield the places where a secret may be, the strongest first.

    In systemd's folder, a secret of a pipeline begins with the name of the pipeline. Of a folder
    LoadCredential= makes `acme_segment_write_key`. For a file `acme.segment_write_key` will do.
    """
    systemds = environ.get(CREDENTIALS_VARIABLE)
    pipeline = file.pipeline if file else ""
    if systemds and pipeline:
        yield from (Path(systemds) / f"{pipeline}{sign}{name}" for sign in "._")
    elif systemds:
        yield Path(systemds) / name
    if file and (pipeline or not systemds):
        folder = credentials_folder(file.path, {})
        if folder and os.access(folder, os.X_OK):
            yield folder / name


def _file_layer(file: TomlFile, folder: Path, *, secrets: bool, is_closed: bool) -> Layer:
    written: dict[Setting, object] = {}
    problems = []
    for section, table in file.tables.items():
        if section == ROUTES:
            continue  # routes have a module of their own
        known = {setting.key: setting for setting in SETTINGS if setting.section == section}
        if not known:
            problems.append(Problem(place=file.place(section), wrong=nearest_section(section)))
        elif not isinstance(table, dict):
            wrong = f"must be a table, which begins with [{section}]"
            problems.append(Problem(place=file.place(section), wrong=wrong))
        else:
            written |= {known[key]: value for key, value in table.items() if key in known}
            problems += [
                Problem(place=file.place(section, key), wrong=nearest_key(section, key))
                for key in table
                if key not in known
            ]
    if is_closed:
        written = {each: value for each, value in written.items() if not _is_left_out(each, value)}
    return _layer(
        written,
        lambda setting: file.place(setting.section, setting.key),
        problems,
        folder,
        secrets=secrets,
    )


def _is_left_out(setting: Setting, value: object) -> bool:
    return value == PLACEHOLDER and (setting.is_secret or setting.secret_key is not None)


def _layer(
    written: Mapping[Setting, object],
    place: Callable[[Setting], Place],
    problems: Iterable[Problem],
    folder: Path,
    *,
    secrets: bool,
) -> Layer:
    layer = Layer(problems=(*problems, *_set_twice(written, place)))
    for setting, value in written.items():
        if value == PLACEHOLDER and not secrets:
            continue
        key = (setting.section, setting.secret_key or setting.key)
        layer.values[key] = value
        layer.places[key] = place(setting)
        if setting.secret_key is not None:
            layer.values[key] = SecretFile(path=value, folder=folder, is_required=secrets)
    return layer


def _set_twice(written: Iterable[Setting], place: Callable[[Setting], Place]) -> Iterator[Problem]:
    """Yield a problem for each secret that is set by its value and by its file."""
    by_name = {setting.name: setting for setting in written}
    for setting in by_name.values():
        twin = by_name.get(f"{setting.section}.{setting.secret_key}")
        if twin:
            wrong = f"is set beside {place(twin).name}: keep one of the two"
            yield Problem(place=place(setting), wrong=wrong)


def _variable(name: str) -> Place:
    return Place(rank=Rank.ENVIRONMENT, source=name)

"""Where settings come from: the environment, the credentials directory, the file, and defaults made of their places."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poller.config.catalogue import PREFIX, SETTINGS, Setting
from poller.config.errors import Place, Problem, Rank
from poller.config.parsers.texts import PLACEHOLDER
from poller.config.sources.paths import CONFIG_VARIABLE, default_ledger
from poller.config.sources.secret_files import SecretFile, is_there
from poller.config.sources.toml import TomlFile
from poller.config.suggestions import nearest_key, nearest_section, nearest_variable

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one source gives: values by (section, key), where each stands, and what it gives in vain."""

    values: dict[tuple[str, str], object] = field(default_factory=dict, repr=False)
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The values as pydantic takes them."""
        tables: dict[str, dict[str, Any]] = {}
        for (section, key), value in self.values.items():
            tables.setdefault(section, {})[key] = value
        return tables


def environment_layer(environ: Mapping[str, str], folder: Path, *, secrets: bool) -> Layer:
    """POLLER_<SECTION>__<KEY>; a `*_FILE` is relative to `folder`."""
    given = {
        setting: environ[setting.variable] for setting in SETTINGS if setting.variable in environ
    }
    known = {setting.variable for setting in SETTINGS} | {CONFIG_VARIABLE}
    unknown = [
        Problem(place=_variable(name), wrong=nearest_variable(name))
        for name in environ
        if name.startswith(PREFIX) and name not in known
    ]
    return _layer(
        given, lambda setting: _variable(setting.variable), unknown, folder, secrets=secrets
    )


def credentials_folder(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return systemd's folder of credentials; else, for acme.toml, acme.credentials, which the units load them from."""
    if environ.get(CREDENTIALS_VARIABLE):
        return Path(environ[CREDENTIALS_VARIABLE])
    return path.absolute().with_suffix(".credentials") if path else None


def credentials_layer(path: Path | None, environ: Mapping[str, str], *, secrets: bool) -> Layer:
    """Files of credentials, by the name of their secret; others there are no business of ours."""
    folder = credentials_folder(path, environ)
    is_given = bool(environ.get(CREDENTIALS_VARIABLE))
    if folder is None or not (is_given or os.access(folder, os.X_OK)):
        return Layer()
    values, places = {}, {}
    for setting in SETTINGS:
        path = folder / setting.credential
        if setting.is_secret and is_there(path):
            values[setting.section, setting.key] = SecretFile(
                path=str(path), folder=folder, is_required=secrets
            )
            places[setting.section, setting.key] = Place(rank=Rank.CREDENTIAL, source=str(path))
    return Layer(values=dict(values), places=places)


def file_layer(file: TomlFile, *, secrets: bool) -> Layer:
    """The tables of the file."""
    given: dict[Setting, object] = {}
    problems = []
    for section, table in file.tables.items():
        if section not in {setting.section for setting in SETTINGS}:
            problems.append(Problem(place=file.place(section), wrong=nearest_section(section)))
        elif not isinstance(table, dict):
            problems.append(
                Problem(place=file.place(section), wrong=f"must be a table, begun by [{section}]")
            )
        else:
            known = {setting.key: setting for setting in SETTINGS if setting.section == section}
            given |= {known[key]: value for key, value in table.items() if key in known}
            problems += [
                Problem(place=file.place(section, key), wrong=nearest_key(section, key))
                for key in table
                if key not in known
            ]
    folder = file.path.absolute().parent
    return _layer(
        given,
        lambda setting: file.place(setting.section, setting.key),
        problems,
        folder,
        secrets=secrets,
    )


def default_layer(path: Path | None, environ: Mapping[str, str]) -> Layer:
    """Every section, and the ledger where this kind of process keeps its state."""
    url = default_ledger(path, environ)
    return Layer(values={("state", "url"): url} if url else {})


def stand_ins() -> Layer:
    """What must be given for a service to be asked, for those commands that ask none."""
    return Layer(values={("auth0", "domain"): "unknown.invalid", ("auth0", "client_id"): "unknown"})


def _layer(
    given: Mapping[Setting, object],
    place: Callable[[Setting], Place],
    problems: Iterable[Problem],
    folder: Path,
    *,
    secrets: bool,
) -> Layer:
    values: dict[tuple[str, str], object] = {}
    places = {}
    for setting, value in given.items():
        if value == PLACEHOLDER and not secrets:
            continue
        key = setting.secret_key or setting.key
        is_file = setting.secret_key is not None
        values[setting.section, key] = (
            SecretFile(path=value, folder=folder, is_required=secrets) if is_file else value
        )
        places[setting.section, key] = place(setting)
    return Layer(values=values, places=places, problems=(*problems, *_given_twice(given, place)))


def _given_twice(given: Iterable[Setting], place: Callable[[Setting], Place]) -> Iterator[Problem]:
    names = {setting.name: setting for setting in given}
    for setting in names.values():
        twin = names.get(f"{setting.section}.{setting.secret_key}")
        if twin:
            yield Problem(
                place=place(setting),
                wrong=f"is given beside {place(twin).name}: keep one of the two",
            )


def _variable(name: str) -> Place:
    return Place(rank=Rank.ENVIRONMENT, source=name)

"""The places of the secrets, without the secrets themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from poller.config.catalogue import SETTINGS, Setting
from poller.config.errors import Rank
from poller.config.sources.layers import CREDENTIALS_VARIABLE, merge_layers, read_layers
from poller.config.sources.routes import settings_of_route
from poller.config.sources.secret_files import SecretFile
from poller.config.sources.toml import TomlFile


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlace:
    """A secret that is set: its setting, its place, and the file that holds it, if any.

    `is_credential` says that systemd gave it. `is_in_folder` says that its file is in the folder
    from which the units load credentials. `credential` is the secret's file in that folder.
    """

    name: str
    place: str
    file: Path | None
    credential: Path | None
    is_credential: bool
    is_in_folder: bool


def secret_places(file: TomlFile | None, environ: Mapping[str, str]) -> tuple[SecretPlace, ...]:
    """Return each secret that is set, at the place that counts. `file` is the settings file."""
    path = file.path if file else None
    layer = merge_layers(read_layers(file, environ, secrets=False))
    folder = path.absolute().with_suffix(".credentials") if path else None
    is_systemds = bool(environ.get(CREDENTIALS_VARIABLE))
    places = []
    for setting in SETTINGS:
        key = (setting.section, setting.key)
        place = layer.places.get(key)
        if setting.is_secret and place:
            places.append(
                SecretPlace(
                    name=setting.name,
                    place=str(replace(place, name=None)),
                    file=_file(layer.values[key], place.rank, path),
                    credential=folder / _own(setting, file).credential if folder else None,
                    is_credential=place.rank is Rank.CREDENTIAL and is_systemds,
                    is_in_folder=place.rank is Rank.CREDENTIAL and not is_systemds,
                )
            )
    return tuple(places)


def _own(setting: Setting, file: TomlFile | None) -> Setting:
    """Return the setting, as the route that is meant may have it for itself."""
    of_route = settings_of_route(file.route) if file and file.route else ()
    return next((each for each in of_route if each.key == setting.key), setting)


def _file(value: object, rank: Rank, path: Path | None) -> Path | None:
    if isinstance(value, SecretFile):
        return value.folder / str(value.path)
    return path if rank is Rank.FILE else None

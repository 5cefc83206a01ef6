"""The places of the secrets, without the secrets themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from poller.config.catalogue import SETTINGS
from poller.config.errors import Rank
from poller.config.sources.layers import CREDENTIALS_VARIABLE, merge_layers, read_layers
from poller.config.sources.secret_files import SecretFile
from poller.config.sources.toml import read_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlace:
    """A secret that is set: its setting, its place, and the file that holds it, if any."""

    name: str
    place: str
    file: Path | None
    is_credential: bool


def secret_places(path: Path | None, environ: Mapping[str, str]) -> tuple[SecretPlace, ...]:
    """Return each secret that is set, at the place that counts.

    Raises:
        SettingsError: the settings file cannot be read.
    """
    layer = merge_layers(read_layers(read_toml(path) if path else None, environ, secrets=False))
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
                    is_credential=place.rank is Rank.CREDENTIAL
                    and bool(environ.get(CREDENTIALS_VARIABLE)),
                )
            )
    return tuple(places)


def _file(value: object, rank: Rank, path: Path | None) -> Path | None:
    if isinstance(value, SecretFile):
        return value.folder / str(value.path)
    return path if rank is Rank.FILE else None

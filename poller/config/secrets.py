"""Where each secret comes from, without the secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poller.config.catalogue import SETTINGS
from poller.config.errors import Rank
from poller.config.sources.layers import (
    CREDENTIALS_VARIABLE,
    Layer,
    credentials_layer,
    environment_layer,
    file_layer,
)
from poller.config.sources.secret_files import SecretFile
from poller.config.sources.toml import read_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlace:
    """A secret that is given: its setting, where, and the file that holds it, if one does."""

    name: str
    place: str
    file: Path | None
    is_credential: bool


def secret_places(path: Path | None, environ: Mapping[str, str]) -> tuple[SecretPlace, ...]:
    """Each secret that is given, at the place that counts.

    Raises:
        SettingsError: the settings file cannot be read.
    """
    file = read_toml(path) if path else None
    folder = file.path.absolute().parent if file else Path()
    layers = [
        environment_layer(environ, folder, secrets=False),
        credentials_layer(path, environ, secrets=False),
    ]
    layers += [file_layer(file, secrets=False)] if file else []
    found = []
    for setting in SETTINGS:
        key = (setting.section, setting.key)
        layer = (
            next((layer for layer in layers if key in layer.places), None)
            if setting.is_secret
            else None
        )
        if layer is not None:
            found.append(
                SecretPlace(
                    name=setting.name,
                    place=str(layer.places[key]),
                    file=_holder(layer, key, path),
                    is_credential=layer.places[key].rank is Rank.CREDENTIAL
                    and bool(environ.get(CREDENTIALS_VARIABLE)),
                )
            )
    return tuple(found)


def _holder(layer: Layer, key: tuple[str, str], path: Path | None) -> Path | None:
    value = layer.values[key]
    if isinstance(value, SecretFile):
        return value.folder / str(value.path)
    return path if layer.places[key].rank is Rank.FILE else None

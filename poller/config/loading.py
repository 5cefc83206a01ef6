"""From files and variables to settings, or to all that is wrong with them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from poller.config.catalogue import SETTINGS, Setting
from poller.config.errors import (
    BadKeysError,
    BadValueError,
    Place,
    Problem,
    Rank,
    SettingsError,
    settings_error,
)
from poller.config.settings import Settings
from poller.config.sources.layers import (
    Layer,
    credentials_folder,
    credentials_layer,
    default_layer,
    environment_layer,
    file_layer,
    stand_ins,
)
from poller.config.sources.paths import CONFIG_VARIABLE, LOCAL_FILE, SYSTEM_FILE
from poller.config.sources.toml import TomlFile, read_toml

_SECRETS = {setting.name: setting for setting in SETTINGS if setting.is_secret}
_FOLLOW_UP = (
    "default_factory_not_called"  # pydantic on a default made of a value that is itself wrong
)


def load_settings(
    path: Path | None, environ: Mapping[str, str], *, secrets: bool = True
) -> Settings:
    """The settings of a process: environment over credentials over the file at `path`, if there is one.

    Without `secrets`, those that are missing or cannot be read are None, and nothing else has to be given.

    Raises:
        SettingsError: with every problem there is, and no value of anything.
    """
    file = read_toml(path) if path else None
    layers = _layers(file, environ, secrets=secrets)
    if secrets and file is None and not layers[0].values:
        raise SettingsError(
            (f"there is no settings file: copy config.example.toml and {_where_to_put_one()}",)
        )
    problems = [problem for layer in layers for problem in layer.problems]
    if secrets:
        problems += _missing_secrets(layers, file, _closed_folder(path, environ))
    problems += _rivals(layers)
    outcome = _validated(layers, file)
    if secrets and isinstance(outcome, Settings):
        problems += _missing_hmac_key(outcome, layers, file)
    if isinstance(outcome, Settings) and not problems:
        return outcome
    problems += [] if isinstance(outcome, Settings) else outcome
    # Raised outside any except block, so that no traceback leads to an error that holds values.
    raise settings_error(problems)


def _layers(file: TomlFile | None, environ: Mapping[str, str], *, secrets: bool) -> list[Layer]:
    folder = file.path.absolute().parent if file else Path()
    path = file.path if file else None
    layers = [
        environment_layer(environ, folder, secrets=secrets),
        credentials_layer(path, environ, secrets=secrets),
    ]
    layers += [file_layer(file, secrets=secrets)] if file else []
    layers.append(default_layer(path, environ))
    return layers if secrets else [*layers, stand_ins()]


def _validated(layers: Sequence[Layer], file: TomlFile | None) -> Settings | list[Problem]:
    sections: dict[str, dict[str, Any]] = {setting.section: {} for setting in SETTINGS}
    values: dict[str, Any] = {"layers": [*(layer.tables for layer in layers), sections]}
    try:
        return Settings(path=file.path if file else None, **values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    return [
        problem
        for each in found
        if each["type"] != _FOLLOW_UP
        for problem in _problems(each, layers, file)
    ]


def _problems(
    found: Mapping[str, Any], layers: Sequence[Layer], file: TomlFile | None
) -> Iterator[Problem]:
    section, key = _key(found["loc"])
    place = _place(layers, file, section, key)
    error = found.get("ctx", {}).get("error")
    if isinstance(error, BadKeysError) and file and place.rank is Rank.FILE:
        for name, wrong in error.wrong:
            yield Problem(place=file.place(section, key, name), wrong=wrong)
    else:
        yield Problem(place=place, wrong=_wrong(found["type"], found.get("ctx", {}), file))


def _key(loc: tuple[int | str, ...]) -> tuple[str, str]:
    section, key, *_ = (*map(str, loc), "")
    return section, key


def _wrong(kind: str, context: Mapping[str, Any], file: TomlFile | None) -> str:
    if kind == "missing":
        return (
            "is missing"
            if file
            else f"is missing, and there is no settings file: {_where_to_put_one()}"
        )
    error = context.get("error")
    return str(error) if isinstance(error, BadValueError) else "is not valid"


def _where_to_put_one() -> str:
    return f"name one with --config FILE or {CONFIG_VARIABLE}, or put it at ./{LOCAL_FILE} or {SYSTEM_FILE}"


def _place(layers: Sequence[Layer], file: TomlFile | None, section: str, key: str) -> Place:
    """Where the value stands that counts; for one that is missing, where it would stand."""
    given = next(
        (layer.places[section, key] for layer in layers if (section, key) in layer.places), None
    )
    if given:
        return given
    if file:
        return file.place(section, key)
    variable = next(
        setting.variable for setting in SETTINGS if (setting.section, setting.key) == (section, key)
    )
    return Place(rank=Rank.ENVIRONMENT, source=variable)


def _closed_folder(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the folder of credentials if it is there and this user may not look into it."""
    folder = credentials_folder(path, environ)
    return folder if folder and folder.is_dir() and not os.access(folder, os.X_OK) else None


def _missing_secrets(
    layers: Sequence[Layer], file: TomlFile | None, closed: Path | None
) -> Iterator[Problem]:
    if not _given(layers, "auth0.client_secret") and not _given(layers, "auth0.private_key"):
        ways = (
            f"{_ways('auth0.client_secret')}; or, for private-key JWT, {_ways('auth0.private_key')}"
        )
        yield Problem(
            place=_place(layers, file, "auth0", "client_secret"),
            wrong=_wrong_if_missing(ways, closed),
        )
    if not _given(layers, "segment.write_key"):
        ways = _ways("segment.write_key")
        yield Problem(
            place=_place(layers, file, "segment", "write_key"),
            wrong=_wrong_if_missing(ways, closed),
        )


def _wrong_if_missing(ways: str, closed: Path | None) -> str:
    if closed is not None:
        return f"is missing; {closed} may hold it, and this user may not look there: run the command as root"
    return f"is missing: give {ways}"


def _missing_hmac_key(
    settings: Settings, layers: Sequence[Layer], file: TomlFile | None
) -> Iterator[Problem]:
    if settings.privacy.email == "hmac" and settings.privacy.hmac_key is None:
        wrong = f'is "hmac", which needs a key: give {_ways("privacy.hmac_key")}'
        yield Problem(place=_place(layers, file, "privacy", "email"), wrong=wrong)


def _ways(name: str) -> str:
    secret: Setting = _SECRETS[name]
    return (
        f"{secret.key} or {secret.key}_file under [{secret.section}], {secret.variable} or {secret.variable}_FILE, "
        f"or a file {secret.credential} in $CREDENTIALS_DIRECTORY or, for acme.toml, in acme.credentials/"
    )


def _rivals(layers: Sequence[Layer]) -> Iterator[Problem]:
    secret, key = _given(layers, "auth0.client_secret"), _given(layers, "auth0.private_key")
    if secret and key:
        yield Problem(
            place=key,
            wrong=f"is given beside the client secret ({secret}): an application uses only one",
        )


def _given(layers: Sequence[Layer], name: str) -> Place | None:
    setting = _SECRETS[name]
    key = (setting.section, setting.key)
    return next((layer.places[key] for layer in layers if key in layer.places), None)

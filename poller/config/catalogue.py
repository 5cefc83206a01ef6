"""The list of settings, which is derived from settings.py.

The sources, the example file, the reference and the suggestions use it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from poller.config.settings import Settings
from poller.config.types import Type

PREFIX = "POLLER_"
SECRET = "secret"  # noqa: S105 - the name of a type
SECRETS = "list of secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key of the settings file.

    `default` is the value in TOML if it is fixed, and otherwise a description.
    """

    section: str
    key: str
    type: str
    default: str
    help: str
    must_be: str = ""
    """The rule for a value, to complete "must be …". Parsers have their own messages."""
    is_default_fixed: bool = False
    secret_key: str | None = None
    """For a `*_file` key: the key whose value the file holds."""
    route: str = ""
    """The route that has this key of a section for itself."""

    @property
    def name(self) -> str:
        """The section and the key."""
        return f"{self.section}.{self.key}"

    @property
    def place(self) -> str:
        """The table that holds the key."""
        return "[[routes]]" if self.route else f"[{self.section}]"

    @property
    def variable(self) -> str:
        """The environment variable."""
        section = f"routes__{self.route.replace('-', '_')}" if self.route else self.section
        return f"{PREFIX}{section}__{self.key}".upper()

    @property
    def credential(self) -> str:
        """The name of the file in the credentials directory that may hold a secret."""
        return f"{self.route}{'.' if self.route else ''}{self.section}_{self.key}"

    @property
    def is_secret(self) -> bool:
        """Return whether the value must not be shown."""
        return self.type in {SECRET, SECRETS}


def _settings() -> Iterator[Setting]:
    for section, table in Settings.model_fields.items():
        if isinstance(table.annotation, type) and issubclass(table.annotation, BaseModel):
            for key, field in table.annotation.model_fields.items():
                setting = _setting(section, key, field)
                yield setting
                if setting.is_secret:
                    yield _file_of(setting)


def _setting(section: str, key: str, field: FieldInfo) -> Setting:
    type_ = _type(field)
    default, is_fixed = _default(field)
    return Setting(
        section=section,
        key=key,
        type=type_.text,
        default=default,
        help=field.description or "",
        must_be=type_.must_be,
        is_default_fixed=is_fixed,
    )


def _default(field: FieldInfo) -> tuple[str, bool]:
    """Return the default in TOML and True, or a description of the default and False."""
    extra = field.json_schema_extra
    if isinstance(extra, dict):
        return str(extra["default_text"]), False
    if field.is_required():
        return "required", False
    if field.default_factory is not None or field.default is None:
        return "none", False
    return json.dumps(field.default), True


def _type(field: FieldInfo) -> Type:
    if get_origin(field.annotation) is Literal:
        choices = get_args(field.annotation)
        return Type(" | ".join(choices), f"one of {', '.join(choices)}")
    # pydantic keeps the metadata of an annotation, but not of one inside a union (`Name | None`).
    inside = [
        part for arm in get_args(field.annotation) for part in getattr(arm, "__metadata__", ())
    ]
    return next(part for part in (*field.metadata, *inside) if isinstance(part, Type))


def _file_of(secret: Setting) -> Setting:
    return Setting(
        section=secret.section,
        key=f"{secret.key}_file",
        type="path",
        default="none",
        help=f"A file that holds {secret.key}. A relative path starts in the folder of the "
        "settings file.",
        secret_key=secret.key,
    )


SETTINGS: tuple[Setting, ...] = tuple(_settings())
"""Every key that the settings file may have."""

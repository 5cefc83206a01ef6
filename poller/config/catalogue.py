"""The list of settings, as the example file, README and the search for unknown keys need it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from poller.config.settings import Settings, Type

PREFIX = "POLLER_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key of the file.

    `default` is the value as TOML where there is one, else words, and then `is_default_fixed` is false.
    """

    section: str
    key: str
    type: str
    default: str
    help: str
    is_default_fixed: bool = False
    is_secret: bool = False
    secret_key: str | None = None
    """For a `*_file` key: the key whose value the file holds."""

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.section}__{self.key}".upper()

    @property
    def credential(self) -> str:
        """The file in the credentials directory that a secret may stand in."""
        return f"{self.section}_{self.key}"


def _settings() -> Iterator[Setting]:
    for section, table in Settings.model_fields.items():
        if isinstance(table.annotation, type) and issubclass(table.annotation, BaseModel):
            for key, field in table.annotation.model_fields.items():
                setting = _setting(section, key, field)
                yield setting
                if setting.is_secret:
                    yield _file_of(setting)


def _setting(section: str, key: str, field: FieldInfo) -> Setting:
    kind = _type(field)
    extra = field.json_schema_extra
    words = extra.get("default_text") if isinstance(extra, dict) else None
    has_default = (
        field.default_factory is None and not field.is_required() and field.default is not None
    )
    is_fixed = words is None and has_default
    words = words or ("required" if field.is_required() else "none")
    return Setting(
        section=section,
        key=key,
        type=kind.text,
        default=json.dumps(field.default) if is_fixed else str(words),
        help=field.description or "",
        is_default_fixed=is_fixed,
        is_secret=kind.is_secret,
    )


def _type(field: FieldInfo) -> Type:
    # pydantic keeps the metadata of an annotation, but not of one inside a union (`Name | None`).
    inside = [
        part
        for arm in getattr(field.annotation, "__args__", ())
        for part in getattr(arm, "__metadata__", ())
    ]
    return next(part for part in (*field.metadata, *inside) if isinstance(part, Type))


def _file_of(secret: Setting) -> Setting:
    return Setting(
        section=secret.section,
        key=f"{secret.key}_file",
        type="path",
        default="none",
        help=f"A file that holds {secret.key}; a relative path starts in the folder of the settings file.",
        secret_key=secret.key,
    )


SETTINGS: tuple[Setting, ...] = tuple(_settings())
"""Every key that may be given."""

"""The base of all sections of the settings file."""

from typing import Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from poller.config.parsers import texts


def in_words(default: str) -> dict[str, Any]:
    """Describe a default that is not a fixed value."""
    return {"default_text": default}


def unparsed(default: object) -> Any:
    """Return a default whose type is not yet the type of its field."""
    return default


class Section(BaseModel):
    """One table of the settings file."""

    # Only `Settings` is validated, and its schema includes the schemas of the sections. With
    # `defer_build` pydantic builds no validator for each section, which would take half of the
    # import.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        arbitrary_types_allowed=True,
        defer_build=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _prepare(cls, value: object, info: ValidationInfo) -> object:
        """Refuse the "..." of config.example.toml, and accept choices in any case."""
        texts.refuse_placeholder(value)
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, str) and get_origin(field.annotation) is Literal:
            return value.lower()
        return value

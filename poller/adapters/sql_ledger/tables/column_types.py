"""The types of the columns of a ledger.

Times are stored as UTC text of one width, and log ids as text. Both compare in the database as they
do in Python, by code point.
"""

from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy import BigInteger, Column, Dialect, ForeignKey, Integer, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

Number = BigInteger().with_variant(Integer(), "sqlite")
"""A number of any size. SQLite has only one kind, and numbers rows only by a column INTEGER."""


def _by_code_point(dialect: Dialect) -> TypeEngine[str]:
    """Return the type of text that is compared by code point, as SQLite compares all text.

    PostgreSQL compares by the language of the database otherwise.
    """
    collation = "C" if dialect.name == "postgresql" else None
    return dialect.type_descriptor(Text(collation=collation))


class UtcText(TypeDecorator[datetime]):
    """An aware datetime as UTC text, to the microsecond."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        return _by_code_point(dialect)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        del dialect
        if value is None:
            return None
        return _text_of(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        del dialect
        if value is None:
            return None
        return datetime.fromisoformat(value)


@lru_cache(maxsize=128)
def _text_of(moment: datetime) -> str:
    """Return the moment as text. The rows of a page have few moments, and repeat them."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


class PlainText(TypeDecorator[str]):
    """Text from outside, in which a character is written out as an escape if need be.

    JSON can hold half a surrogate pair. UTF-8, in which databases store text, cannot. JSON can also
    hold a zero byte, which SQLite stores and PostgreSQL does not.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        return _by_code_point(dialect)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if "\0" in value and dialect.name == "postgresql":
            value = value.replace("\0", r"\x00")
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def log_id() -> PlainText:
    return PlainText()


def fence() -> Column[int]:
    """Return a column for the number of the owner that began to work on the row last."""
    return Column("fence", Number, nullable=False, server_default="0")


def stream_id(*, is_key: bool = False) -> Column[int]:
    return Column("stream_id", ForeignKey("stream.id"), nullable=False, primary_key=is_key)

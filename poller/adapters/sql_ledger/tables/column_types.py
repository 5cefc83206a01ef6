"""The types of the columns of a ledger.

Times are stored as UTC text of one width, and log ids as text that is compared by code point. So
both compare in the database as they do in Python.
"""

from datetime import UTC, datetime

from sqlalchemy import Column, Dialect, ForeignKey, Text, TypeDecorator


class UtcText(TypeDecorator[datetime]):
    """An aware datetime as UTC text, to the microsecond."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        del dialect
        if value is None:
            return None
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        del dialect
        if value is None:
            return None
        return datetime.fromisoformat(value)


class PlainText(TypeDecorator[str]):
    """Text from outside, in which half a surrogate pair is written out as an escape.

    JSON can hold half a surrogate pair. UTF-8, in which SQLite stores text, cannot.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        del dialect
        if value is None or value.isascii():
            return value
        return value.encode("utf-8", "backslashreplace").decode()


def log_id() -> PlainText:
    return PlainText().with_variant(Text(collation="C"), "postgresql")


def stream_id(*, is_key: bool = False) -> Column[int]:
    return Column("stream_id", ForeignKey("stream.id"), nullable=False, primary_key=is_key)

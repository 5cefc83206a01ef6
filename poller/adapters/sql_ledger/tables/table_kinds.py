"""The two kinds of tables of a ledger."""

from sqlalchemy import MetaData, Table
from sqlalchemy.schema import SchemaItem

metadata = MetaData()


def table(name: str, *parts: SchemaItem) -> Table:
    return Table(name, metadata, *parts)


def keyed_table(name: str, *parts: SchemaItem) -> Table:
    """A table whose rows are stored in the order of its primary key, without a number of a row."""
    return Table(name, metadata, *parts, sqlite_with_rowid=False)

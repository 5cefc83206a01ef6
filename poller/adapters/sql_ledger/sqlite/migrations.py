"""The steps that bring an older ledger to the newest version, as one transaction.

`SqliteDatabase.open` calls `migrate` in one transaction, after it has made a backup of the file. So
a migration happens as a whole or not at all, and an older program can go on from the backup.
"""

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Connection, create_mock_engine, insert, update
from sqlalchemy.dialects import sqlite

from poller.adapters.sql_ledger.schema_version import check_version, read_version
from poller.adapters.sql_ledger.sqlite.migration_steps import STEPS, Step
from poller.adapters.sql_ledger.sqlite.totals import keep_totals
from poller.adapters.sql_ledger.tables.schema import metadata, version


def migrate(connection: Connection, *, steps: Sequence[Step] = STEPS) -> None:
    """Create the schema, or bring it to the newest version, within the current transaction.

    Raises:
        FatalError: the database is not a ledger, or the ledger of a later program.
    """
    found, newest = read_version(connection), 1 + len(steps)
    if found is None:
        for statement in _statements():
            connection.exec_driver_sql(statement)
        keep_totals(connection)
        connection.execute(insert(version).values(version=newest))
        return
    check_version(found, known=newest)
    for step in steps[found - 1 :]:
        step(connection)
    if found < newest:
        connection.execute(update(version).values(version=newest))


@cache
def _statements() -> tuple[str, ...]:
    """Return the statements that create the tables, which take longer to write than to run."""
    dialect = sqlite.dialect()
    statements: list[str] = []
    engine = create_mock_engine(
        "sqlite://", lambda each, *_, **__: statements.append(str(each.compile(dialect=dialect)))
    )
    metadata.create_all(engine, checkfirst=False)
    return tuple(statements)

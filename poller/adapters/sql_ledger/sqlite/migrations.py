"""The version of the schema, and how an older ledger is brought to the newest version.

`Database.open` calls `migrate` in one transaction, after it has made a backup of the file. So a
migration happens as a whole or not at all, and an older program can go on from the backup.
"""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, update

from poller.adapters.sql_ledger.sqlite.ledger_files import LedgerFatalError
from poller.adapters.sql_ledger.sqlite.migration_steps import STEPS, Step
from poller.adapters.sql_ledger.tables.schema import metadata, version
from poller.adapters.sql_ledger.tables.totals import keep_totals
from poller.core.errors import FatalError


def read_version(connection: Connection) -> int | None:
    """Return the version of the schema, or None if the database has no tables.

    Raises:
        FatalError: the database has tables, and they are not the tables of a ledger.
    """
    names = inspect(connection).get_table_names()
    if not names:
        return None
    found = connection.scalar(select(version.c.version)) if version.name in names else None
    if found is None:
        raise FatalError(
            "it is a database, but not a ledger",
            code="not-a-ledger",
            hint="point [state] url at a file of the ledger's own",
        )
    return int(found)


def newest_version() -> int:
    """Return the version that this program writes."""
    return 1 + len(STEPS)


def check_version(found: int, *, steps: Sequence[Step] = STEPS) -> None:
    """Refuse a ledger that a later program wrote.

    Raises:
        FatalError: this program does not know the version.
    """
    known = 1 + len(steps)
    if found > known:
        raise FatalError(
            f"its schema is version {found}, and this program knows up to {known}",
            code="ledger-too-new",
            hint="a later version of the program wrote it: upgrade this one; nothing was changed",
        )


class OlderLedgerError(LedgerFatalError):
    """An earlier program wrote the ledger. It cannot be read before it is migrated."""

    def __init__(self, path: Path, found: int) -> None:
        super().__init__(
            f"ledger {path}: its schema is version {found}, "
            f"and this program reads version {newest_version()}",
            code="ledger-too-old",
            hint="start the service once (or `run --once`): "
            "the start keeps a backup and brings the ledger up",
        )


def migrate(connection: Connection, *, steps: Sequence[Step] = STEPS) -> None:
    """Create the schema, or bring it to the newest version, within the current transaction.

    Raises:
        FatalError: the database is not a ledger, or the ledger of a later program.
    """
    found = read_version(connection)
    if found is None:
        metadata.create_all(connection)
        keep_totals(connection)
        connection.execute(insert(version).values(version=1 + len(steps)))
        return
    check_version(found, steps=steps)
    for step in steps[found - 1 :]:
        step(connection)
    if found <= len(steps):
        connection.execute(update(version).values(version=1 + len(steps)))

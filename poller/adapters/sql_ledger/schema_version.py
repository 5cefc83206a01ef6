"""The version of the schema that a ledger has, and the version that this program writes."""

from sqlalchemy import Connection, inspect, select

from poller.adapters.sql_ledger.errors import LedgerFatalError
from poller.adapters.sql_ledger.sqlite.migration_steps import STEPS
from poller.adapters.sql_ledger.tables.schema import version
from poller.core.errors import FatalError

VERSION = 1 + len(STEPS)
"""The version of `tables.schema`. The steps of SQLite lead to it."""
LEASE = "ledger_lease"
"""A table of PostgreSQL that says who holds the ledger. It may be there before the ledger."""


def read_version(connection: Connection) -> int | None:
    """Return the version of the schema, or None if the database has no tables.

    Raises:
        FatalError: the database has tables, and they are not the tables of a ledger.
    """
    names = {*inspect(connection).get_table_names()} - {LEASE}
    if not names:
        return None
    found = connection.scalar(select(version.c.version)) if version.name in names else None
    if found is None:
        raise FatalError(
            "it is a database, but not a ledger",
            code="not-a-ledger",
            hint="point [state] url at a file or a database of the ledger's own",
        )
    return int(found)


def check_version(found: int, *, known: int = VERSION, way_back: str = "") -> None:
    """Refuse a ledger that a later program wrote.

    `way_back` says what brings the older ledger back.

    Raises:
        FatalError: this program does not know the version.
    """
    if found > known:
        raise FatalError(
            f"its schema is version {found}, and this program knows up to {known}",
            code="ledger-too-new",
            hint="a later version of the program wrote it: upgrade this one"
            f"{way_back}; nothing was changed",
        )


class OlderLedgerError(LedgerFatalError):
    """An earlier program wrote the ledger. It cannot be read before it is migrated."""

    def __init__(self, shown: str, found: int) -> None:
        super().__init__(
            f"ledger {shown}: its schema is version {found}, "
            f"and this program reads version {VERSION}",
            code="ledger-too-old",
            hint="start the service once (or `run --once`): "
            "the start keeps a backup and brings the ledger up",
        )

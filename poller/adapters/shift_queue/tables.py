"""PgQueuer's tables, in a schema of their own beside the ledger's tables."""

import psycopg
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.domain.settings import DBSettings

SCHEMA = "auth0_segment_poller_queue"
SETTINGS = DBSettings(db_schema=SCHEMA, prefix="asp_")
_LOCK = "SELECT pg_advisory_xact_lock(3141592653589794)"
_IS_THERE = "SELECT to_regclass(%s) IS NOT NULL"


def install(conninfo: str) -> None:
    """Create the tables if they are missing. Many workers may do so at once.

    Raises:
        psycopg.Error: the server cannot be reached, or the user may not create a schema.
    """
    with psycopg.connect(conninfo, prepare_threshold=None) as connection:
        connection.execute(_LOCK)
        row = connection.execute(_IS_THERE, [SETTINGS.qualified.queue_table]).fetchone()
        if row is not None and not row[0]:
            statements = QueryBuilderEnvironment(settings=SETTINGS).build_install_query()
            connection.execute(statements.encode())

"""PgQueuer's tables, in a schema of their own beside the ledger's tables."""

import psycopg
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.domain.settings import DBSettings

from poller.core.errors import TransientError

SCHEMA = "auth0_segment_poller_queue"
SETTINGS = DBSettings(db_schema=SCHEMA, prefix="asp_")
COUNTS = f"{SCHEMA}.slice_count"
"""The counts of what each worker sent of a slice, for the command that waits for the slice."""
_CREATE_COUNTS = (
    f"CREATE TABLE IF NOT EXISTS {COUNTS} "
    "(run text NOT NULL, counts jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now())"
)
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
        connection.execute(_CREATE_COUNTS.encode())


def failure(error: BaseException) -> BaseException:
    """Return what ended the queue. Tasks that end together raise a group of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, psycopg.Error | TimeoutError):
        return error
    state = f" ({error.sqlstate})" if isinstance(error, psycopg.Error) and error.sqlstate else ""
    return TransientError(
        f"the queue of shifts cannot be reached: {type(error).__name__}{state}",
        hint="look at the database of state.url. The service starts again by itself",
    )

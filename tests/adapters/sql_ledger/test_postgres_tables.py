"""The tables of a ledger in PostgreSQL, without a server."""

import subprocess
import sys
from typing import Any

from sqlalchemy import create_mock_engine

from poller.adapters.sql_ledger.postgres.tables import create_tables


def test_postgresql_holds_at_most_one_live_span_of_a_stream() -> None:
    statements: list[str] = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)))

    engine = create_mock_engine("postgresql+psycopg://", note)
    create_tables(engine)  # type: ignore[arg-type] # it only executes
    (index,) = (each for each in statements if "one_live_span" in each)
    assert index == "CREATE UNIQUE INDEX one_live_span ON span (stream_id) WHERE until IS NULL"


def test_the_tables_alone_load_no_dialect_of_postgresql() -> None:
    """It takes a tenth of the time in which `status` starts."""
    code = (
        "import sys, poller.adapters.sql_ledger.reader; "
        "sys.exit('sqlalchemy.dialects.postgresql' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

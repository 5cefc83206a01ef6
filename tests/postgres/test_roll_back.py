"""A dump from before an upgrade brings a ledger in PostgreSQL back, as the guide says."""

import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock
from poller.core.errors import FatalError
from poller.core.log_ids import EARLIEST
from tests.builders import page, settlement
from tests.fakes import STREAM
from tests.postgres.cluster import USER, Cluster

_LATER_PROGRAM = """
UPDATE ledger_version SET version = version + 1;
ALTER TABLE span RENAME COLUMN fence TO a_later_name;
CREATE TABLE a_later_table (id INTEGER)
"""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return tmp_path / "before.dump"


def run(cluster: Cluster, program: str, *arguments: str | Path) -> None:
    options = ("-h", cluster.folder, "-p", str(cluster.port), "-U", "postgres")
    subprocess.run([program, *options, *arguments], check=True, capture_output=True)


def test_a_dump_from_before_an_upgrade_brings_the_ledger_back(
    postgres_url: str, cluster: Cluster, database: str, dump: Path
) -> None:
    with (
        acquire_lock(postgres_url, "run"),
        closing(SqlLedger.open(postgres_url, STREAM, create=True)) as ledger,
    ):
        ledger.settle(settlement(ledger.begin(after=EARLIEST), page(1)))
        before = ledger.live_span()
    run(cluster, "pg_dump", "-Fc", "-f", dump, database)
    cluster.execute(_LATER_PROGRAM, database)
    with pytest.raises(FatalError) as raised:
        SqlLedger.open(postgres_url, STREAM, create=True)
    assert raised.value.code == "ledger-too-new"
    made_anew = f"CREATE DATABASE {database} OWNER {USER} ENCODING UTF8 TEMPLATE template0"
    run(cluster, "psql", "-q", "-c", f"DROP DATABASE {database}", "-c", made_anew)
    run(cluster, "pg_restore", "--exit-on-error", "--single-transaction", "-d", database, dump)
    with closing(SqlLedger.open(postgres_url, STREAM, create=False)) as ledger:
        after = ledger.live_span()
        assert after == before
        assert after is not None
        begun = ledger.begin_work(after)
        assert begun is not None
        ledger.settle(settlement(begun, page(2)))

"""A dump from before an upgrade brings a ledger in PostgreSQL back, as the guide says."""

import os
import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock
from poller.core.errors import FatalError
from poller.core.log_ids import EARLIEST
from tests.builders import page, settlement
from tests.docs.pages import commands_under
from tests.docs.pages import page as page_of_docs
from tests.fakes import STREAM
from tests.postgres.cluster import Cluster

_LATER_PROGRAM = """
UPDATE ledger_version SET version = version + 1;
ALTER TABLE span RENAME COLUMN fence TO a_later_name;
CREATE TABLE a_later_table (id INTEGER)
"""


GUIDE = commands_under("A ledger in PostgreSQL", page_of_docs("guides/upgrade.md"))


def type_into_a_shell(command: str, cluster: Cluster, database: str, dump: Path) -> None:
    """Type a command of the guide, for this database and as the administrator of this server."""
    typed = command.removeprefix("sudo -u postgres ")
    typed = typed.replace("/var/lib/postgresql/before.dump", str(dump))
    typed = re.sub(r"(DATABASE|-d|dump) poller\b", rf"\1 {database}", typed)
    place = {"PGHOST": str(cluster.folder), "PGPORT": str(cluster.port), "PGUSER": "postgres"}
    shell = ["/bin/bash", "-e", "-c", typed]
    subprocess.run(shell, check=True, capture_output=True, env=os.environ | place)


def test_a_dump_from_before_an_upgrade_brings_the_ledger_back(
    postgres_url: str, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    dump = tmp_path / "before.dump"
    make_dump, *bring_back = GUIDE
    with (
        acquire_lock(postgres_url, "run"),
        closing(SqlLedger.open(postgres_url, STREAM, create=True)) as ledger,
    ):
        ledger.settle(settlement(ledger.begin(after=EARLIEST), page(1)))
        before = ledger.live_span()
    type_into_a_shell(make_dump, cluster, database, dump)
    cluster.execute(_LATER_PROGRAM, database)
    with pytest.raises(FatalError) as raised:
        SqlLedger.open(postgres_url, STREAM, create=True)
    assert raised.value.code == "ledger-too-new"
    for command in bring_back:
        type_into_a_shell(command, cluster, database, dump)
    with closing(SqlLedger.open(postgres_url, STREAM, create=False)) as ledger:
        after = ledger.live_span()
        assert after == before
        assert after is not None
        begun = ledger.begin_work(after)
        assert begun is not None
        ledger.settle(settlement(begun, page(2)))

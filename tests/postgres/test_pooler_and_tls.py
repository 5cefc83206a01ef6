"""The ledger behind PgBouncer, which gives each transaction another session, and over TLS."""

import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.core.errors import TransientError
from poller.core.log_ids import EARLIEST
from tests.builders import page, settlement
from tests.fakes import STREAM, numbered
from tests.postgres.cluster import PASSWORD, USER, Cluster, free_port
from tests.process.bench import eventually

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


def start_pooler(folder: Path, cluster: Cluster, port: int) -> subprocess.Popen[bytes]:
    (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={cluster.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nauth_type = scram-sha-256\n"
        f"auth_file = {folder}/users\nlogfile = {folder}/log\n"
    )
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        for each in (folder, *folder.iterdir()):
            os.chown(each, user.pw_uid, user.pw_gid)
    return subprocess.Popen(
        [str(PGBOUNCER), "--quiet", folder / "pgbouncer.ini"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **as_user,
    )


@pytest.fixture
def pooled_url(cluster: Cluster, postgres_url: str) -> Iterator[str]:
    if PGBOUNCER is None:
        pytest.skip("needs Debian's PgBouncer: apt-get install pgbouncer")
    port = free_port()
    folder = cluster.folder / f"pooler-{port}"
    folder.mkdir()
    process = start_pooler(folder, cluster, port)
    try:
        url = postgres_url.replace(f":{cluster.port}/", f":{port}/")
        wait_for(port, process)
        yield url
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    def listens() -> bool:
        assert process.poll() is None, "PgBouncer did not start"
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    eventually("PgBouncer", listens)


def test_owners_take_turns_behind_a_pooler_that_mixes_their_sessions(pooled_url: str) -> None:
    ends = [*range(100, 600, 100)]
    first = SqlLedger.open(pooled_url, STREAM, create=True)
    spans = [first.begin(after=numbered(end - 100), until=numbered(end)) for end in ends]

    def walk(number: int) -> None:
        ledger = SqlLedger.open(pooled_url, STREAM, create=False)
        span = begun(ledger, spans[number])
        for step in range(10):
            begin = ends[number] - 100 + step * 10
            span = ledger.settle(settlement(span, page(*range(begin + 1, begin + 11))))
        ledger.close()

    threads = [threading.Thread(target=walk, args=(number,)) for number in range(len(ends))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    reader = LedgerReader.open(pooled_url)
    assert reader.totals(STREAM)["forwarded"] == 500
    assert [(each.after, each.reached) for each in reader.spans(STREAM)] == [
        (numbered(0), numbered(500))
    ]
    reader.close()


def begun(ledger: SqlLedger, span: Any) -> Any:
    """Return the span as its new owner works on it."""
    begin_work = getattr(ledger, "begin_work", None)
    return begin_work(span) if begin_work else span


def test_a_lease_holds_behind_a_pooler(pooled_url: str) -> None:
    with acquire_lock(pooled_url, "run"), pytest.raises(LedgerHeldError):
        acquire_lock(pooled_url, "run")
    acquire_lock(pooled_url, "run").close()


def openssl(folder: Path, *arguments: str) -> None:
    command = [str(shutil.which("openssl")), *arguments]
    subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL, timeout=60)


@pytest.fixture
def certified(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """Let the server have a certificate for `localhost`. Return the authority's."""
    new_key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("authority", "stranger"):
        openssl(
            tmp_path, *new_key, "-keyout", f"{name}.key", "-out", f"{name}.crt",
            "-subj", f"/CN={name}", "-days", "2",
        )  # fmt: skip
    openssl(
        tmp_path, *new_key, "-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE",
        "-CA", "authority.crt", "-CAkey", "authority.key", "-days", "2",
    )  # fmt: skip
    owner = cluster.data.stat()
    for name in ("server.crt", "server.key"):
        shutil.copy(tmp_path / name, cluster.data)
        os.chown(cluster.data / name, owner.st_uid, owner.st_gid)
        (cluster.data / name).chmod(0o600)
    cluster.configure("ssl = on\n")
    cluster.reload()
    yield tmp_path
    cluster.configure("ssl = off\n")
    cluster.reload()


def with_tls(url: str, host: str, authority: Path) -> str:
    location, _, folder = url.replace("@127.0.0.1:", f"@{host}:").partition("#")
    return f"{location}?sslmode=verify-full&sslrootcert={authority}#{folder}"


def test_the_server_proves_its_name_by_a_certificate(certified: Path, postgres_url: str) -> None:
    trusted = with_tls(postgres_url, "localhost", certified / "authority.crt")
    ledger = SqlLedger.open(trusted, STREAM, create=True)
    ledger.settle(settlement(ledger.begin(after=EARLIEST), page(1)))
    with ledger._database.reading() as connection:
        assert (
            connection.exec_driver_sql(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            ).scalar()
            is True
        )
    ledger.close()
    for host, authority in (("127.0.0.1", "authority.crt"), ("localhost", "stranger.crt")):
        with pytest.raises(TransientError, match=r"cannot be reached: .*certificate"):
            SqlLedger.open(with_tls(postgres_url, host, certified / authority), STREAM, create=True)


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(postgres_url: str) -> None:
    url = with_tls(postgres_url, "127.0.0.1", Path(certifi.where()))
    with pytest.raises(TransientError, match="server does not support SSL"):
        SqlLedger.open(url, STREAM, create=True)

"""A PostgreSQL server of its own: Debian's programs, in a folder that is removed at the end."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

USER, PASSWORD = "poller", "pass/word@1"
_SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
autovacuum = off
shared_buffers = 16MB
max_connections = 40
log_statement = 'none'
log_min_error_statement = 'error'
lc_messages = 'C'
"""
_ACCESS = """
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""
_END_SESSIONS = "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE datname = %s"
_ATTEMPTS = 5
_PATIENCE_S = 180
"""The longest time for a start or a stop. It suits a machine that is very slow."""
_LOWEST_PORT = 10_000


def programs() -> Path | None:
    """Return the folder of the newest server that is installed, or None."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: each.parent.name)
    return folders[-1] if folders else None


class Cluster:
    """A running server. Its superuser is `postgres`, without a password, at the socket."""

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        # The folder of other temporary files is closed to the user of the server.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.port = 0
        # The server refuses to run as root.
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The process that starts all others."""
        return int((self.data / "postmaster.pid").read_text().split("\n")[0])

    @property
    def log(self) -> str:
        """The text that the server has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def create(self) -> None:
        """Make the files, start the server, and make the role of the program."""
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        self.configure(_SETTINGS + f"unix_socket_directories = '{self.folder}'\n")
        (self.data / "pg_hba.conf").write_text(_ACCESS)
        for attempt in range(_ATTEMPTS):
            self.port = free_port()
            try:
                self.start()
                break
            except subprocess.CalledProcessError:  # another process was first at the port
                if attempt == _ATTEMPTS - 1:
                    raise
        role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        self.execute(role.format(sql.Identifier(USER), sql.Literal(PASSWORD)))

    def configure(self, settings: str) -> None:
        """Add lines to the server's settings."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(settings)

    def start(self) -> None:
        options = ("-l", self.folder / "log", "-o", f"-p {self.port}")
        self._run("pg_ctl", "-D", self.data, "-w", *options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def reload(self) -> None:
        self._run("pg_ctl", "-D", self.data, "reload")

    def remove(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def superuser(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
        )

    def execute(self, statement: Any, database: str = "postgres") -> list[Any]:
        """Execute a statement as the superuser. Return its rows."""
        with self.superuser(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the name of a new database that the role of the program owns."""
        name = f"ledger_{uuid4().hex[:12]}"
        owner = sql.Identifier(USER)
        # Its texts are sorted by a language, as on most servers.
        made = sql.SQL(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        ).format(sql.Identifier(name), owner)
        self.execute(made)
        yield name
        self._drop(name)

    def _drop(self, name: str) -> None:
        """Drop a database, however long its sessions need to end. The server waits for 5 s."""
        database = sql.Identifier(name)
        with self.superuser() as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database)
            )
            connection.execute(_END_SESSIONS, [_PATIENCE_S * 1000, name])
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))

    def url(self, database: str, folder: Path, *, query: str = "") -> str:
        """Return the URL of the ledger in this database, as the settings make it."""
        place = f"{USER}:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@127.0.0.1:{self.port}"
        return f"postgresql+psycopg://{place}/{database}{query}#{folder}"

    def settings(self, database: str, folder: Path) -> dict[str, str]:
        """Return the settings of the ledger in this database, by section and key."""
        return {
            "state__url": f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}",
            "state__password": PASSWORD,
            "state__folder": str(folder),
        }

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._bin / program, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            cwd=self.folder,
            env=os.environ | {"LC_ALL": "C.UTF-8", "PGCTLTIMEOUT": str(_PATIENCE_S - 10)},
            **self._as_user,
        )


def free_port() -> int:
    """Return a free port below those that the kernel gives to connections.

    A connection that gets the port of a server before it starts, or restarts, would keep it down.
    """
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    highest = max(int(ports.split()[0]), _LOWEST_PORT + 2_000)
    while True:
        port = _LOWEST_PORT + secrets.randbelow(highest - _LOWEST_PORT)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port

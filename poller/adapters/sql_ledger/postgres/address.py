"""The address of a PostgreSQL database, from the URL in the settings."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from poller.core.errors import FatalError

_DEFAULTS = {
    "application_name": "auth0-segment-poller",
    # Seconds. A server that is gone is noticed within about 15 s, in whatever state it left.
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,  # milliseconds
}
"""The parameters of libpq that the URL need not name
(https://www.postgresql.org/docs/current/libpq-connect.html)."""
_NAME_CHARACTERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A database, and the folder of this machine for what belongs to its ledger.

    `conninfo` may hold a password. `shown` never does. Pipelines with one database share a ledger,
    although each of them has a folder of its own.
    """

    conninfo: str = field(repr=False)
    shown: str
    folder: Path = field(compare=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL of libpq with the scheme `postgresql+psycopg`, and the folder after its `#`.

        Raises:
            FatalError: libpq cannot read the URL.
        """
        location, _, folder = url.partition("#")
        try:
            given = conninfo_to_dict(location.replace("postgresql+psycopg:", "postgresql:", 1))
        except psycopg.Error:
            # Not from the error, whose text holds the URL and so the password.
            raise FatalError(
                "state.url is not the URL of a PostgreSQL database",
                code="ledger-url-invalid",
                hint="set it to postgresql+psycopg://USER@HOST:5432/DATABASE",
            ) from None
        host = str(given.get("host") or given.get("hostaddr") or "")
        parameters: dict[str, Any] = {**_DEFAULTS, **given}
        if "," in host:
            parameters.setdefault("target_session_attrs", "read-write")
        return cls(
            conninfo=make_conninfo("", **parameters),
            shown=_shown(host, str(given.get("port") or ""), str(given.get("dbname") or "")),
            folder=Path(folder),
        )

    @property
    def local_path(self) -> Path:
        """The path to which the files of this machine add their suffixes."""
        name = sha256(self.shown.encode()).hexdigest()[:_NAME_CHARACTERS]
        return self.folder / f"postgresql-{name}"


def _shown(host: str, port: str, database: str) -> str:
    if host.startswith("/"):  # the folder of a socket
        host = ""
    hosts, ports = host.split(","), port.split(",")
    if len(ports) < len(hosts):  # one port for all
        ports = ports * len(hosts)
    named = [f"{each}:{number}".rstrip(":") for each, number in zip(hosts, ports, strict=False)]
    return f"postgresql://{','.join(named)}/{database}"

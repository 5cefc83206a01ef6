"""The URL of the ledger: a file of SQLite, or a database of PostgreSQL."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from poller.config.errors import BadValueError
from poller.config.parsers.texts import text, word

_SQLITE_URL = re.compile(r"sqlite(?:\+pysqlite)?:///(?P<path>/[^?]+)")
_FILE = "/absolute/path/ledger.db, or sqlite:////absolute/path/ledger.db (four slashes)"
_POSTGRES = "postgresql+psycopg://"
_POSTGRES_SCHEMES = (_POSTGRES, "postgresql://", "postgres://")
_DATABASE = f"{_POSTGRES}USER@HOST:5432/DATABASE"


def ledger_url(value: object) -> str:
    """Return the URL of the ledger from an absolute path, or from a URL of either database."""
    url = text(value)
    if url.startswith("postgres"):
        return _postgres_url(word(url))
    if not url.startswith(("/", "sqlite:", "sqlite+pysqlite:")):
        raise BadValueError(
            f"must be an absolute path, or the URL of a database: {_FILE}, or {_DATABASE}"
        )
    if url.endswith("/") or not url.isprintable():
        raise BadValueError(f"must name a file by its absolute path: {_FILE}")
    if url.startswith("/"):
        return sqlite_url(Path(url))
    if not _SQLITE_URL.fullmatch(url):
        raise BadValueError(
            f"must name a file by its absolute path and nothing else: {_FILE}. "
            "A path with ? in it must be given without sqlite:///"
        )
    return url


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, or the path itself if a URL cannot hold it."""
    return str(path) if "?" in str(path) else f"sqlite:///{path}"


def is_postgres(url: str) -> bool:
    """Return whether the URL names a database of PostgreSQL."""
    return url.startswith(_POSTGRES)


def complete(url: str, password: str | None, folder: str | None) -> str:
    """Return the URL of a PostgreSQL database with its password, and with a folder after its `#`.

    The folder is for what belongs to the ledger on this machine. The URL of a file stays.
    """
    if not is_postgres(url):
        return url
    if password is not None:
        url += f"{'&' if '?' in url else '?'}password={quote(password, safe='')}"
    return f"{url}#{folder or ''}"


def absolute_folder(value: object) -> str:
    """Return the absolute path of a folder."""
    folder = text(value)
    if not folder.startswith("/") or not folder.isprintable():
        raise BadValueError("must be the absolute path of a folder")
    return folder


def _postgres_url(url: str) -> str:
    scheme = next((each for each in _POSTGRES_SCHEMES if url.startswith(each)), None)
    if scheme is None:
        raise BadValueError(f"must be {_DATABASE}")
    try:
        location = f"{_POSTGRES}{url.removeprefix(scheme)}"
        parts = urlsplit(location)
        has_password = parts.password is not None
    except ValueError:
        raise BadValueError(f"must be {_DATABASE}") from None
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    if has_password or "password" in parameters:
        raise BadValueError(
            "holds the password: leave it out, and put it into state.password or "
            "state.password_file"
        )
    if parts.fragment or not (parts.path.strip("/") or parameters.get("dbname")):
        raise BadValueError(f"must name one database: {_DATABASE}")
    return location

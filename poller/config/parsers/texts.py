"""Texts, host names, origins and URLs, parsed into a form that cannot be wrong."""

import math
import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from poller.config.errors import BadValueError
from poller.core.translation.rules import LOGIN_TYPES

Parser = Callable[[object], str]

PLACEHOLDER = "..."
"""What config.example.toml has where a value is the user's own."""

LOG_FORMATS = ("auto", "text", "json")
LEVELS = ("debug", "info", "warning", "error")

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_PRIVATE_KEY = re.compile(r"^-----BEGIN (?:RSA |EC )?PRIVATE KEY-----\r?$", re.MULTILINE)
_LOOPBACK = IPv4Network("127.0.0.0/8")
_LOOPBACK_6 = IPv6Address("::1")
_LISTEN = re.compile(r"(?:\[(?P<six>[^\]%]+)\]|(?P<four>[^:\[\]]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_LONGEST_NAME = 200
_PORTS = range(1, 65_536)


def refuse_placeholder(value: object) -> None:
    """Raises BadValueError for what the example file has, and nobody has replaced."""
    if value == PLACEHOLDER:
        raise BadValueError(f'is still the placeholder "{PLACEHOLDER}"')


def text(value: object) -> str:
    """Text that is there, is no placeholder, and is clean at both ends.

    Raises:
        BadValueError: as every parser of this module.
    """
    refuse_placeholder(value)
    if not isinstance(value, str):
        raise BadValueError("must be text in quotes")
    if not value.strip():
        raise BadValueError("is empty")
    if value != value.strip():
        raise BadValueError("has white space at its start or end")
    return value


def word(value: object) -> str:
    """Text without white space or control characters."""
    found = text(value)
    if any(character.isspace() or not character.isprintable() for character in found):
        raise BadValueError("has white space or control characters in it")
    return found


def name(value: object) -> str:
    """A name for people and for message ids: one line of at most 200 characters."""
    found = text(value)
    if len(found) > _LONGEST_NAME or not found.isprintable():
        raise BadValueError(f"must be one line of at most {_LONGEST_NAME} characters")
    return found


def count(value: object) -> int:
    """A whole number from one on; as text too, since the environment has nothing else."""
    refuse_placeholder(value)
    found = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise BadValueError("must be a whole number from 1 on")
    return found


def count_or_none(value: object) -> int:
    """A whole number from 0 on, 0 standing for no limit."""
    return 0 if value in (0, "0") and not isinstance(value, bool) else count(value)


def share(value: object) -> float:
    """A part of a whole, above 0 and up to 1; as text too, since the environment has nothing else."""
    refuse_placeholder(value)
    try:
        found = (
            float(value)
            if isinstance(value, str | int | float) and not isinstance(value, bool)
            else math.nan
        )
    except (ValueError, OverflowError):
        found = math.nan
    if not 0 < found <= 1:
        raise BadValueError("must be a number above 0 and up to 1, as 0.8")
    return found


def generation(value: object) -> str:
    """A name like any other, or none."""
    return "" if value == "" else name(value)


def flag(value: object) -> bool:
    """True or false; as text too, since the environment has nothing else."""
    refuse_placeholder(value)
    found = (
        {"true": True, "false": False}.get(value.lower(), value)
        if isinstance(value, str)
        else value
    )
    if not isinstance(found, bool):
        raise BadValueError("must be true or false")
    return found


def login_types(value: object) -> frozenset[str]:
    """Log event types that may count as logins: a list, or text with commas between."""
    refuse_placeholder(value)
    found = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(found, list) or not found:
        raise BadValueError('must be a list of log event types, as ["s"]')
    if any(not isinstance(part, str) or part not in LOGIN_TYPES for part in found):
        raise BadValueError(f"may hold {', '.join(LOGIN_TYPES)}")
    return frozenset(found)


def one_of(names: Sequence[str]) -> Callable[[object], str]:
    """A parser of one of these words."""

    def chosen(value: object) -> str:
        found = text(value).lower()
        if found not in names:
            raise BadValueError(f"must be one of {', '.join(names)}")
        return found

    return chosen


def level(value: object) -> str:
    """A log level."""
    found = text(value).lower()
    if found not in LEVELS:
        raise BadValueError(f"must be one of {', '.join(LEVELS)}")
    return found


def private_key(value: object) -> str:
    """A private key in PEM text, without a passphrase."""
    found = text(value.strip("\r\n") if isinstance(value, str) else value)
    if "-----BEGIN ENCRYPTED PRIVATE KEY-----" in found:
        raise BadValueError(
            "is a key with a passphrase: take it off (openssl pkey -in OLD -out NEW)"
        )
    if "-----BEGIN PUBLIC KEY-----" in found:
        raise BadValueError("is a public key: Auth0 has that one; the private key belongs here")
    if not _PRIVATE_KEY.search(found):
        raise BadValueError("must be a private key in PEM form, with its BEGIN line")
    return found


def host_name(value: object) -> str:
    """A bare host name, in lower case."""
    found = text(value).lower()
    if "/" in found or ":" in found or "@" in found:
        raise BadValueError(
            "must be the bare host name: leave off https:// and all that follows the host"
        )
    if not _HOST.fullmatch(found):
        raise BadValueError("must be a host name as acme.us.auth0.com")
    if "." not in found and found != "localhost":
        raise BadValueError("must be the whole host name, as acme.us.auth0.com")
    return found


def base_url(value: object) -> str:
    """The origin that stands for the tenant's own."""
    return _origin(value, path="must be an origin: leave off what follows the host")


def endpoint(value: object) -> str:
    """The origin of Segment's tracking API."""
    leave_off = (
        "leave off /v1, it is added"
        if _path(value).startswith("/v1")
        else "leave off what follows the host"
    )
    return _origin(value, path=f"must be an origin: {leave_off}")


class Socket(NamedTuple):
    """Where a server listens; port 0 is any that is free."""

    host: str
    port: int


def socket(value: object) -> Socket:
    """An IP address and a port to listen on; localhost is 127.0.0.1."""
    wanted = "must be an address and a port, as 127.0.0.1:9464 or [::1]:9464"
    match = _LISTEN.fullmatch(word(value))
    if match is None or int(match["port"]) >= _PORTS.stop:
        raise BadValueError(wanted)
    host = match["six"] or match["four"].lower()
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise BadValueError(wanted) from None
    if (address.version == 6) != bool(match["six"]):  # noqa: PLR2004 - the version of IP that needs brackets
        raise BadValueError(wanted)
    return Socket(str(address), int(match["port"]))


def ledger_url(value: object) -> str:
    """The SQLAlchemy URL of the ledger, from an absolute path or a URL of a SQLite file."""
    wanted = "/absolute/path/ledger.db, or sqlite:////absolute/path/ledger.db (four slashes)"
    if isinstance(value, str) and value.startswith("/"):
        if value.endswith("/") or not value.isprintable():
            raise BadValueError(f"must name a file: {wanted}")
        return sqlite_url(Path(text(value)))
    if isinstance(value, str) and "?" in value:  # SQLAlchemy would cut the path off there
        raise BadValueError(
            f"must name a file by its absolute path and nothing else: {wanted}; a path with ? in it as the path alone"
        )
    try:
        url = make_url(text(value))
    except (ArgumentError, ValueError) as error:
        raise (
            error
            if isinstance(error, BadValueError)
            else BadValueError(f"must be a URL as {wanted}")
        ) from None
    if url.get_backend_name().startswith("postgres"):
        raise BadValueError(f"PostgreSQL is not supported yet: use {wanted}")
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise BadValueError(f"must be a SQLite URL, {wanted}")
    if url.query or not PurePosixPath(url.database or "").is_absolute():
        raise BadValueError(f"must name a file by its absolute path and nothing else: {wanted}")
    return url.render_as_string(hide_password=False)


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, or the path itself where a URL cannot hold it."""
    if "?" in str(path):
        return str(path)
    return URL.create("sqlite", database=str(path)).render_as_string()


def _path(value: object) -> str:
    return _split(value).path if isinstance(value, str) else ""


def _origin(value: object, *, path: str) -> str:
    parts = _split(word(value))
    if parts.scheme not in {"https", "http"} or not parts.netloc:
        raise BadValueError("must begin with https://")
    if "@" in parts.netloc:
        raise BadValueError("must not have a user or password in it")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise BadValueError(path)
    host, address = _host(parts)
    if parts.scheme == "http" and not _is_loopback(host, address):
        raise BadValueError(
            "plain http goes only to this machine (127.0.0.0/8, ::1, localhost): use https"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{parts.port}" if parts.port else "")


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        is_port = parts.port is None or parts.port in _PORTS
    except ValueError:
        is_port = False
    if not is_port:
        raise BadValueError("must be an origin as https://host or https://host:port") from None
    return parts


def _host(parts: SplitResult) -> tuple[str, IPv4Address | IPv6Address | None]:
    host = parts.hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if "%" in host or (
        address is None and not _HOST.fullmatch(host)
    ):  # % begins the zone of an IPv6 address
        raise BadValueError("must have a host name, as https://host or https://host:port")
    return host, address


def _is_loopback(host: str, address: IPv4Address | IPv6Address | None) -> bool:
    return (
        host == "localhost"
        or address == _LOOPBACK_6
        or (isinstance(address, IPv4Address) and address in _LOOPBACK)
    )
